"""The decisions of watch and repair in each minute, with their reasons. Pure. `manual.py` has the decisions of manual
operations, and `steps.py` those within a promotion."""

from collections.abc import Iterator

import msgspec

from chalicelib.databases import details
from chalicelib.databases.decide import alerts, conditions, repair
from chalicelib.databases.decide.lag import lag
from chalicelib.databases.observation import FleetDatabases, RepairObservation, WatchObservation
from chalicelib.databases.state import FRESH, Readiness, RegionReport, RepairState, WatchState, reported
from chalicelib.engine.plan import Action, Claim, Plan
from chalicelib.mysql.status import ServerError, ServerStatus


def watch(saw: WatchObservation, now: int) -> Plan:
    """One minute of the watch. It fences first, then publishes the reports and the heartbeat, then alerts people."""
    around, look = saw.around, saw.look
    if around.server is None:
        return Plan(notes=(f"{around.region} has no [[databases.servers]] to watch",))
    if look is None:
        return Plan(notes=("another run has watched this minute",), not_judged=("*",))
    found = dict(conditions.conditions(around, look, now))
    return Plan(
        (*_fence(around, look), *_rejoin(around, look), _ready(around, look), *_report(around, look)),
        claim=Claim(saw.stored, WatchState(now // 60, saw.stored.value.heartbeats, around.primary,
                                           around.believed_version)),
        notes=tuple(found.values()),
        alerts=tuple(alerts.condition(kind, around.region, text) for kind, text in found.items()),
        not_judged=conditions.not_judged(around, look, now),
        unreadable=(*saw.unreadable, *around.unreadable))


def _fence(around: FleetDatabases, look: ServerStatus | ServerError) -> Iterator[Action]:
    if conditions.must_fence(around, look) and around.settings.admin_secret:
        yield Action("fence", around.region, f"{around.primary.region} has the primary, term {around.primary.term}",
                     details.Fence(around.primary.term, around.version))


def _rejoin(around: FleetDatabases, look: ServerStatus | ServerError) -> Iterator[Action]:
    if conditions.rejoined(around, look):
        yield Action("rejoin", around.region, f"replicates from {around.primary.region} now: no longer fenced",
                     details.Rejoin(around.version))


def _ready(around: FleetDatabases, look: ServerStatus | ServerError) -> Action:
    verdict = conditions.ready(around, look)
    behind = lag(look, around.primary.region, around.reports.get(around.primary.region)) if isinstance(
        look, ServerStatus) and around.region != around.primary.region else None
    readiness = Readiness(verdict.ready, verdict.why, around.primary.region, around.primary.term, around.at,
                          around.at + FRESH, behind.at_most if behind else None)
    return Action("publish-readiness", around.region, verdict.why, readiness, unaudited=True)


def _report(around: FleetDatabases, look: ServerStatus | ServerError) -> Iterator[Action]:
    """The facts for other regions. The heartbeat is written on the way where it belongs."""
    term = around.primary.term
    if isinstance(look, ServerStatus):
        fenced = around.region in around.primary.fenced
        facts = reported(look, term, fenced, primary_version=around.believed_version)
        publish = details.PublishReport(facts, beats(around, look), _gauges(around, look))
    elif any(item.key.sk == around.region for item in around.unreadable):
        # The last report may say what the server had: it is not written over by one that does not know.
        return
    else:
        # What it had when it last answered is all that others may ever learn of it.
        last = around.reports.get(around.region) or RegionReport(around.at, False)
        publish = details.PublishReport(
            msgspec.structs.replace(last, at=around.at, reachable=False, term=term, fenced=False,
                                    primary_version=around.believed_version))
    yield Action("publish-report", around.region, "what other regions are to know", publish, unaudited=True)


def beats(around: FleetDatabases, look: ServerStatus) -> bool:
    """Whether to write the heartbeat here. Only the primary gets it, and never a server that replicates."""
    return around.primary.may_write(around.region) and not look.read_only and look.replication is None


def _gauges(around: FleetDatabases, look: ServerStatus) -> dict[str, float]:
    if look.replication is None:
        return {}
    report = around.reports.get(around.primary.region)
    behind = lag(look, around.primary.region, report)
    known = {"ReplicaLagAtLeast": behind.at_least, "ReplicaLagAtMost": behind.at_most}
    running = (look.replication.io.state == "running") + (look.replication.sql.state == "running")
    return {name: value for name, value in known.items() if value is not None} | {
        "ReplicaTransactionsMissing": float(conditions.missing_gtids(look, report).count),
        "ReplicaThreadsRunning": float(running),
    }


def heal(seen: RepairObservation, now: int) -> Plan:
    """One minute of repair. It starts a thread, changes the source to the new primary, or says why not."""
    around, look = seen.around, seen.look
    if around.server is None or around.settings.repair == "off":
        return Plan(notes=("no server here" if around.server is None else 'repair = "off" in fleet.toml',))
    if seen.unreadable:
        return Plan(notes=(f"no repair, since {seen.unreadable[0]}",), unreadable=seen.unreadable,
                    not_judged=("ReplicationBroken",))
    if look is None:
        return Plan(notes=("another run has decided this minute",), not_judged=("*",))
    if isinstance(look, ServerError):
        return Plan(notes=(str(look),), not_judged=("ReplicationBroken",))
    plan = _repair(seen, look, now)
    if seen.was_ahead and plan.claim is None:
        # Or they would count as now in each minute, until the clock has caught up.
        return msgspec.structs.replace(plan, claim=_claim(seen, seen.stored.value, now))
    return plan


def _repair(seen: RepairObservation, look: ServerStatus, now: int) -> Plan:
    around = seen.around
    if conditions.wrong_source(around, look):
        return _follow(seen, look, now)
    verdict = repair.judge(seen, look, now)
    if verdict.told:
        return _tell(seen, now, verdict.told)
    if not verdict.threads:
        return _rest(seen, look, verdict.why, now)
    return _mend(seen, Action("restart", around.region, verdict.why, details.Restart(verdict.threads)), now)


def _mend(seen: RepairObservation, action: Action, now: int) -> Plan:
    if seen.around.settings.repair == "observe":
        return Plan(notes=(f'would {action.kind} ({action.reason}), but repair = "observe" in fleet.toml',))
    return Plan((action,), claim=_claim(seen, repair.record_restart(seen.stored.value, now), now))


def _follow(seen: RepairObservation, look: ServerStatus, now: int) -> Plan:
    """A replica of a server that is not the primary. One that is left there may have broken threads all the same."""
    around, broken = seen.around, "; ".join(repair.permanent_errors(look))
    reasons = (repair.repair_forbidden(around), repair.may_follow(around, look), repair.tunnels(seen),
               repair.budget_exhausted(seen.stored.value, now))
    if why := next(filter(None, reasons), ""):
        note = f"still replicates from a server that is not the primary, and is left there: {why}"
        return _tell(seen, now, broken, note) if broken else Plan(notes=(note,))
    source = details.ReplicationSource(*conditions.source_of(around.settings, around.region, around.primary.region))
    plan = _mend(seen, Action("change-source", around.region, f"{around.primary.region} has become the primary",
                              source), now)
    if plan.actions:
        # Whether the new source repairs it is seen in the next minute.
        return msgspec.structs.replace(plan, not_judged=("ReplicationBroken",))
    return _tell(seen, now, broken, *plan.notes) if broken else plan


def _tell(seen: RepairObservation, now: int, text: str, *notes: str) -> Plan:
    """Only people can help. The replica is not healthy from now on."""
    plan = Plan(notes=(*notes, text), alerts=(alerts.condition("ReplicationBroken", seen.around.region, text),))
    if not seen.stored.value.healthy_since:
        return plan
    broken = msgspec.structs.replace(seen.stored.value, healthy_since=0)
    return msgspec.structs.replace(plan, claim=_claim(seen, broken, now))


def _rest(seen: RepairObservation, look: ServerStatus, why: str, now: int) -> Plan:
    runs = look.replication is not None and not repair.stopped(look)
    before = seen.stored.value
    after = repair.record_healthy(before, now) if runs else before
    # Each minute of health alone is not worth a write.
    if after.cooldown == before.cooldown and bool(after.healthy_since) == bool(before.healthy_since):
        return Plan(notes=(why,))
    return Plan(claim=_claim(seen, after, now), notes=(why,))


def _claim(seen: RepairObservation, after: RepairState, now: int) -> Claim:
    return Claim(seen.stored, msgspec.structs.replace(after, minute=now // 60))
