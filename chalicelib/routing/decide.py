"""Pure decisions about records, evacuations and returns."""

import json
from collections.abc import Sequence

import msgspec

from chalicelib.engine.alerts import Alert
from chalicelib.engine.plan import Action, Plan, given
from chalicelib.engine.schema import Unreadable
from chalicelib.routing.evacuation_flags import statement
from chalicelib.routing.records import diff
from chalicelib.routing.records.compiler import OWNER
from chalicelib.routing.records.diff import Change, Group, Key
from chalicelib.routing.records.spec import Record
from chalicelib.routing.state import (
    EndpointReport,
    EvacuationFlag,
    FleetObservation,
    HealthChange,
    NewCheck,
    RecordBatch,
    RegionHealth,
    RegionObservation,
    ZoneObservation,
)

# A plan that changes or deletes more of what is there is refused unless forced; few records are let off.
MOST_TOUCHED = 0.30
FEW_RECORDS = 10
# How long new checks get to find out about their endpoints before anything depends on them.
SETTLE_SECONDS = 60
# Looks in a row without an answer after which a region counts as dead, as in Route 53's own threshold.
BAD_LOOKS = 2
# Failures sooner after one another (s) are one: rules fire anywhere within their minutes, and now and then twice.
_APART_SECONDS = 30
# So many seconds earlier than the last run a run may begin though its rule fires at the same second.
_JITTER_SECONDS = 5


def plan(seen: ZoneObservation) -> Plan:
    """The next step towards the wanted state. It is checks, then, once these have settled, records, then unused checks.
    """
    step = _next_step(seen)
    away = tuple(f"the bucket {one.name} is unknown, since {one.region} does not answer"
                 for one in seen.buckets if one.state == "away")
    return msgspec.structs.replace(step, notes=(*step.notes, *away))


def _next_step(seen: ZoneObservation) -> Plan:
    hostnames = diff.owned(seen.existing_records, seen.owner) | {seen.hostname}
    if refusal := _foreign(seen) or _shut(seen):
        return Plan(rejected_because=refusal)
    opened = tuple(Action("prepare-flag-bucket", one.name, f"{one.state}. Health checkers must read the marks there",
                          one) for one in seen.buckets if one.state in ("missing", "closed"))
    missing = [name for name in seen.checks if name not in _ids(seen)]
    unsettled = [check.name for check in seen.existing_checks if check.name in seen.checks and not check.settled
                 and check.reference == seen.references[check.name] and check.id not in _attached(seen)]
    if unjudged := [name for name, id in seen.region_checks.items() if not id]:
        told = f"health_checks.rotate has no status yet for {', '.join(unjudged)}. Run this again once it has"
        return Plan(notes=(told,), requeue_after_seconds=SETTLE_SECONDS)
    if missing:
        ids = _ids(seen)
        create = tuple(Action("create-check", name, "wanted and not there",
                              NewCheck(seen.references[name], seen.checks[name], ids)) for name in missing)
        told = f"records follow when {len(missing)} new checks have settled"
        return Plan((*opened, *create), (told,), requeue_after_seconds=SETTLE_SECONDS)
    if unsettled:
        return Plan(notes=(f"the status of these endpoints is still unknown ({', '.join(unsettled)})",),
                    requeue_after_seconds=SETTLE_SECONDS)
    records = _records(seen, hostnames)
    if records.rejected_because:
        return records
    return msgspec.structs.replace(records, actions=(*opened, *records.actions))


def drift(seen: ZoneObservation) -> Plan:
    """Tells people if Route 53 does not hold what fleet.toml wants."""
    found = plan(msgspec.structs.replace(seen, force=True))
    summary = found.rejected_because or "; ".join(
        f"{action.kind} {action.target}: {action.reason}" for action in found.actions if not action.unaudited)
    if not summary and not found.requeue_after_seconds:
        # A bucket that nobody could look at may be the one that was told of before.
        not_judged = ("RoutingDrift",) if any(one.state == "away" for one in seen.buckets) else ()
        return Plan(notes=("Route 53 holds what fleet.toml wants", *found.notes), not_judged=not_judged,
                    unreadable=seen.unreadable)
    text = summary or "; ".join(found.notes)
    alert = Alert("RoutingDrift", seen.hostname, f"Route 53 differs from fleet.toml: {text}",
                  tried=("Lamplighter changes nothing, it only reports drift.",),
                  steps=("Look at the changes with `lamp run routing.plan`.",
                         "Bring Route 53 to what fleet.toml wants: `lamp run routing.apply --apply`.",
                         "If Route 53 is right, change fleet.toml and deploy it."))
    return Plan(report={"drift": text}, alerts=(alert,), unreadable=seen.unreadable)


def evacuate(seen: FleetObservation, now: int) -> Plan:
    """Keep users away from a region, unless nobody else is there to take them."""
    region = _find(seen, seen.asked)
    if region is None:
        return Plan(rejected_because=_unknown(seen))
    if region.mark and region.mark.by == "manual":
        return Plan(notes=(f"{region.name} is evacuated already: {region.mark.why}",))
    if region.no_flag_because:
        return Plan(rejected_because=f"{region.name} cannot be evacuated: {region.no_flag_because}")
    if not seen.others_serve(region.name):
        last = (f"{region.name} is the last region that takes users" if seen.minimum == 1 else
                f"without {region.name} fewer than {seen.minimum} regions (routing.minimum_regions) take users")
        return Plan(rejected_because=f"{last}. Restore or repair another one first")
    return Plan((_put(region.name, EvacuationFlag("manual", now), given(seen.reason)),), _unknown_flags(seen))


def restore(seen: FleetObservation) -> Plan:
    """Let users come back to a region."""
    region = _find(seen, seen.asked)
    if region is None:
        return Plan(rejected_because=_unknown(seen))
    if not region.flag_known and region.no_flag_because:
        return Plan(notes=(f"{region.name} is not evacuated: {region.no_flag_because}",))
    if not region.flag_known:
        return Plan(
            rejected_because=f"{region.name} has a flag that is unreadable now. Run this in another region, or later"
        )
    if region.mark is None:
        return Plan(notes=(f"{region.name} is not evacuated",))
    notes = () if region.alive else (f"{region.name} does not answer now. Route 53 sends nobody there before it does",)
    return Plan((Action("clear-evacuation-flag", region.name, given(seen.reason)),), notes)


def hold(seen: FleetObservation, now: int) -> Plan:
    """After a region died by itself, keep users away until it has been quiet for the hold.

    A flag needs more than half of all regions that had no answer, so regions that are cut off set none. It is not set
    if fewer than the declared minimum of others would surely take users.
    """
    kept = [region for region in seen.regions if region.name in seen.keeper_of]
    known = [region for region in kept if region.flag_known]
    steps = {region.name: _hold(seen, region, now) for region in known}
    notes = tuple(f"{item} counts for nothing" for item in seen.unreadable)
    if seen.reports is None:
        notes = (*notes, "no region is held down, since the reports of the other regions are unreadable now")
    unhealthy = tuple(region.name for region in seen.regions if not region.alive)
    told = Action("report", seen.here, f"no answer from {', '.join(unhealthy)}" if unhealthy else "all answer",
                  EndpointReport(now, unhealthy), unaudited=True)
    return Plan(
        (told, *(action for row in steps.values() for action in row)), (*notes, *_unknown_flags(seen)),
        alerts=tuple(alert for region in known for alert in _held_down(region, steps[region.name], seen.hold)),
        not_judged=("RegionHeldDown",) if len(known) < len(kept) else (), unreadable=seen.unreadable)


def _held_down(region: RegionObservation, steps: Sequence[Action], hold_seconds: int) -> Sequence[Alert]:
    """The alert of a region that Lamplighter itself keeps users away from, once these steps are done."""
    kinds = {step.kind: step for step in steps}
    flag = kinds["set-evacuation-flag"].details if "set-evacuation-flag" in kinds else region.mark
    if flag is None or flag.by != "hold_down" or "clear-evacuation-flag" in kinds:
        return ()
    text = f"{region.name} died by itself. It comes back when it has answered for {hold_seconds} s"
    return (Alert("RegionHeldDown", region.name, text, flag.at,
                  tried=("Users are kept away from it. Route 53 sends them to the other regions.",),
                  steps=("Look at what the region answers with `lamp run routing.status`.",
                         "Repair the region. Users come back by themselves, once it has answered for a while.",
                         "To let users back at once, call `lamp run routing.restore "
                         f"'{json.dumps({'region': region.name})}' --apply`.")),)


def status(seen: FleetObservation) -> Plan:
    """The living regions, the evacuated ones and the reasons."""
    rows = [{"region": region.name, "alive": region.alive, "serves": region.serves,
             "kept away": region.mark.why.removeprefix("kept away ") if region.mark else
             "" if region.flag_known else "not known"} for region in seen.regions]
    return Plan(notes=_unknown_flags(seen), report={"regions": rows})


def _hold(seen: FleetObservation, region: RegionObservation, now: int) -> list[Action]:
    if isinstance(region.before, Unreadable):
        return []
    before = region.before.value
    after = _health(before, region.alive, now)
    good, bad = after.healthy_since, after.failures_in_a_row
    actions = []
    if after != before:
        actions.append(Action("record", region.name, "answers" if region.alive else "no answer",
                              HealthChange(region.before, after), unaudited=True))
    held = region.mark is not None and region.mark.by == "hold_down"
    enough = seen.others_surely_serve(region.name, now)
    if held and region.alive and not enough:
        actions.append(Action("clear-evacuation-flag", region.name, "nobody else takes users" if seen.minimum == 1 else
                              f"fewer than {seen.minimum} others take users"))
    elif held and region.alive and now - good >= seen.hold - _JITTER_SECONDS:
        actions.append(Action("clear-evacuation-flag", region.name, f"has answered for {now - good} s without a break"))
    elif (region.mark is None and bad >= BAD_LOOKS and seen.hold and not region.no_flag_because and enough
          and seen.reports is not None and seen.is_unhealthy_to_most(region.name, now)):
        reason = f"died by itself. Comes back when it has answered for {seen.hold} s"
        actions.append(_put(region.name, EvacuationFlag("hold_down", now), reason))
    return actions


def _health(before: RegionHealth, alive: bool, now: int) -> RegionHealth:
    """The health after one more look. Two looks of one moment, as of a doubled event, are one.

    A time ahead of the clock is of a run whose clock was ahead, and counts as now.
    """
    if alive:
        return RegionHealth(healthy_since=min(before.healthy_since or now, now))
    if before.failures_in_a_row and 0 <= now - before.failed_at < _APART_SECONDS:
        return before
    return RegionHealth(before.failures_in_a_row + 1, failed_at=now)


def _put(region: str, mark: EvacuationFlag, reason: str) -> Action:
    return Action("set-evacuation-flag", region, reason, mark)


def _unknown_flags(seen: FleetObservation) -> tuple[str, ...]:
    return tuple(region.no_flag_because or
                 f"the flag of {region.name} is unreadable now, so {region.name} counts as open, as for Route 53"
                 for region in seen.regions if not region.flag_known)


def _find(seen: FleetObservation, name: str) -> RegionObservation | None:
    return next((region for region in seen.regions if region.name == name), None)


def _unknown(seen: FleetObservation) -> str:
    known = ", ".join(region.name for region in seen.regions)
    return f"{seen.asked!r} is no region of this fleet. There are {known}"


def _ids(seen: ZoneObservation) -> dict[str, str]:
    """Route 53's ids of the checks that are wanted and there."""
    own = {check.name: check.id for check in seen.existing_checks if seen.references.get(check.name) == check.reference}
    return {**seen.region_checks, **own}


def _attached(seen: ZoneObservation) -> set[str]:
    return {str(record["HealthCheckId"]) for record in seen.existing_records if "HealthCheckId" in record}


def _foreign(seen: ZoneObservation) -> str:
    """The reason why the hostname is not available, which is another owner's records."""
    if seen.hostname in diff.owned(seen.existing_records, seen.owner) or seen.adopt:
        return ""
    name = f"{seen.hostname}."
    other = diff.groups(seen.existing_records).get((f"{OWNER}.{name}", "TXT"), {})
    if other:
        said = next(iter(other.values()))["ResourceRecords"][0]["Value"]
        return (f"{seen.hostname} belongs to another owner ({said}). "
                "Give this fleet another hostname, or take it over with adopt")
    kinds = sorted({record["Type"] for record in map(diff.normal, seen.existing_records)
                    if record["Name"] == name and record["Type"] in ("A", "AAAA", "CNAME")})
    return (f"{seen.hostname} has {' and '.join(kinds)} records that Lamplighter did not make. "
            "Delete them, or take them over with adopt") if kinds else ""


def _shut(seen: ZoneObservation) -> str:
    """Why health checkers cannot be let into a bucket."""
    for one in seen.buckets:
        if one.state == "foreign":
            return f"the bucket {one.name} of {one.region} is not yours, or it forbids s3:ListBucket. Name another"
        if one.state == "own policy":
            return (f"the bucket {one.name} of {one.region} has a policy of its own. Add this statement to it, or name "
                    f"another bucket. {json.dumps(statement(one.name, one.region))}")
    return ""


def _records(seen: ZoneObservation, hostnames: set[str]) -> Plan:
    everything = diff.groups(seen.existing_records)
    there = {key: group for key, group in everything.items() if diff.is_ours(key, hostnames)}
    ids = _ids(seen)
    wanted = diff.groups(_with_ids(record, ids) for record in seen.wanted)
    changed = diff.changes(wanted, there)
    existing = sum(map(len, there.values()))
    if refusal := "" if seen.force else _guard(changed, wanted, there, existing):
        return Plan(rejected_because=refusal)
    batches = list(diff.batches(changed))
    actions = [_batch(f"{number} of {len(batches)}", batch, seen.zone) for number, batch in enumerate(batches, 1)]
    left = [] if batches else [check for check in seen.existing_checks if check.id not in _ids(seen).values()]
    unused = [Action("delete-check", check.name, "no record needs it any more", check.id) for check in left]
    told = [Action("change-records", seen.hostname, _counted(changed), {"batches": len(batches)})] if batches else []
    return Plan((*told, *actions, *unused))


def _batch(target: str, batch: Sequence[Change], zone: str) -> Action:
    # Too long for the journal, which has the announcement instead.
    return Action("batch", target, f"{len(batch)} changes", RecordBatch(zone, batch), unaudited=True)


def _guard(changed: Sequence[Sequence[Change]], wanted: dict[Key, Group], there: dict[Key, Group], count: int) -> str:
    last = sorted(name for name, kind in there if kind != "TXT" and (name, kind) not in wanted
                  and "._" not in name)
    if last:
        return f"this would delete the last answer of {', '.join(last)}. If you mean that, run it with force"
    touched = sum(change["Action"] != "CREATE" for group in changed for change in group)
    if count > FEW_RECORDS and touched > MOST_TOUCHED * count:
        return (f"this would change or delete {touched} of {count} record sets, more than {MOST_TOUCHED:.0%}. "
                "Look at the plan with force, then apply it with force")
    return ""


def _counted(changed: Sequence[Sequence[Change]]) -> str:
    kinds = [change["Action"] for group in changed for change in group]
    words = {"CREATE": "to create", "UPSERT": "to change", "DELETE": "to delete"}
    return ", ".join(f"{kinds.count(kind)} {word}" for kind, word in words.items() if kind in kinds)


def _with_ids(record: Record, ids: dict[str, str]) -> Record:
    return {**record, "HealthCheckId": ids[record["HealthCheckId"]]} if "HealthCheckId" in record else record
