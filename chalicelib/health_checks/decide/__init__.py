"""One decision a minute: who is under the calculated check, where the other checks go, what people must know. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.config.declared import HealthChecks
from chalicelib.engine.alerts import Alert
from chalicelib.engine.limits import minute_done
from chalicelib.engine.plan import Action, Claim, Plan
from chalicelib.engine.schema import Unreadable
from chalicelib.health_checks import check_config, state
from chalicelib.health_checks.decide import guards, sampling
from chalicelib.health_checks.state import (
    REQUESTS_PER_HOUR_MAX,
    CalculatedCheck,
    Check,
    CheckChange,
    Host,
    Publication,
    RotationObservation,
    RotationState,
)

_CREATED_A_TURN = 10
# A region of which not all hosts answer at first gets its parent after so long all the same.
_PATIENCE_SECONDS = 900
# What a check is worth where it is, the least first.
_GONE, _DRAINS, _DOUBLE, _ALONE = range(4)
_WHY_IDLE = ("is gone", "drains", "has another check")
# A deletion is told for so many minutes at least.
_TOLD_MINUTES = 10


class Move(msgspec.Struct, frozen=True):
    """A check, the host that it is to probe next, and why. `routine` is a rotating check's usual walk."""

    check: Check
    host: Host
    reason: str
    routine: bool = False


class Decision(msgspec.Struct, frozen=True):
    """The state to write first, the calculated check to make or change, the checks to make and to move."""

    memory: RotationState
    parent: CalculatedCheck | None = None
    created: tuple[Move, ...] = ()
    moves: tuple[Move, ...] = ()


def reconcile(observation: RotationObservation, now: int) -> Plan:
    """The plan of the minute of `now`: the calculated check, then the moves, then what the other regions are told."""
    if isinstance(observation.before, Unreadable):
        note = f"no change, since {observation.before}"
        return Plan(notes=(note,), unreadable=(observation.before,), not_judged=("*",))
    minute = now // 60
    if minute_done(observation.state.minute, now, observation.at):
        return Plan(notes=("another run has decided this minute",), not_judged=("*",))
    alerts: tuple[Alert, ...]
    not_judged: tuple[str, ...] = ()
    if any(host.state != "draining" for host in observation.hosts.values()):
        # Without the calculated check, this minute's reads are not those from which another could be made.
        begun = state.observed(observation).parent is None and observation.state.parent is not None
        decision = _nothing(observation, minute) if begun else decide(observation, minute)
        alerts = tuple(_alerts(decision.memory, observation))
    else:
        # Either the region is empty, or what is seen of it is wrong: nothing is touched.
        decision = _nothing(observation, minute)
        alerts, not_judged = (_no_hosts(observation.region),), ("RegionUnhealthy", "HostUnreachableFromOutside")
    actions = (*_actions(decision, observation.settings), *_publish(decision.memory.parent, observation))
    return Plan(actions, claim=Claim(observation.before, decision.memory), alerts=alerts, not_judged=not_judged)


def _publish(parent: CalculatedCheck | None, observation: RotationObservation) -> Iterator[Action]:
    """The last action, so that nothing waits for it: the other regions learn which check to attach."""
    region, published = observation.region, observation.published_id
    if parent and parent.confirmed and published is not None and published != parent.id:
        yield Action("publish", region, f"routing is to attach {parent.id}, the region's status",
                     Publication(parent.id, published))
    elif parent and not parent.id:
        # Made by this very run: its id is known once it exists.
        yield Action("publish", region, "routing is to attach the region's status, which is new", Publication())


def decide(observation: RotationObservation, minute: int) -> Decision:
    """The decision, as values."""
    settings, hosts, at = observation.settings, observation.hosts, observation.at
    memory = _forget_deleted(state.observed(observation), at)
    spent = state.requests_last_hour(memory, minute) + observation.calls
    parent = change_membership(memory, settings, hosts, at) if spent < REQUESTS_PER_HOUR_MAX else None
    stamps = queue_hosts(memory, settings, hosts, at)
    after = msgspec.structs.replace(memory, parent=parent) if parent else memory
    left = max(0, REQUESTS_PER_HOUR_MAX - spent - bool(parent))
    created = tuple(_created(memory, stamps, settings, hosts))[:left]
    moves = tuple(move_checks(after, stamps, settings, hosts, at, minute))[: left - len(created)]
    claimed = _claimed(after, minute, stamps, created + moves, observation, parent)
    return Decision(claimed, parent, created, moves)


def change_membership(
    memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> CalculatedCheck | None:
    """The parent as it is to become, not yet sure. `None` if it is well as it is, or cannot be bettered now."""
    if memory.parent is None:
        return _first(memory, settings, hosts, at)
    parent = memory.parent
    if not guards.change_propagated(parent, at):
        return None
    checks = {check.number: check for check in memory.checks}
    children = _children(parent, memory.checks, settings, hosts, at)
    wanted = sampling.threshold(settings, hosts)
    if wanted > parent.threshold and not guards.keeps_loss_tolerance(len(children), wanted, settings):
        # More hosts have come: as many may be lost as ever, so the threshold rises only with the fixed_checks.
        wanted = parent.threshold
    for threshold in dict.fromkeys((wanted, parent.threshold)):
        same = set(children) == set(parent.children) and threshold == parent.threshold
        if not same and guards.preserves_status(parent, children, threshold, checks, settings, hosts, at):
            return CalculatedCheck(
                children, threshold, parent.id, parent.version, at, parent.children, parent.threshold, confirmed=False
            )
    return None


def _first(
    memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> CalculatedCheck | None:
    if len(memory.checks) < settings.fixed_checks + settings.rotating_checks:
        return None
    found = _candidates(memory.checks, (), settings, hosts, at)[: settings.fixed_checks]
    waited = at - min(check.since for check in memory.checks) >= _PATIENCE_SECONDS
    if not found or (len(found) < min(settings.fixed_checks, len(sampling.eligible(hosts))) and not waited):
        return None
    return CalculatedCheck(tuple(check.number for check in found), min(len(found), sampling.threshold(settings, hosts)),
                  changed=at, confirmed=False)


def _children(
    parent: CalculatedCheck, checks: Sequence[Check], settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> tuple[int, ...]:
    fixed_checks = [check for check in checks if check.number in parent.children]
    leaving = [check for check in fixed_checks if guards.target_unchanged(check, hosts)
               and not guards.target_in_service(check, hosts)]
    staying = [check for check in fixed_checks if guards.target_in_service(check, hosts)]
    # What was read dead some minutes ago may be back: after an outage no anchor makes way for that reason.
    dead = [check for check in staying if check.healthy is False and check.read == at]
    good = [check for check in staying if check not in dead]
    vacant = max(0, settings.fixed_checks - len(good))
    others = [check for check in checks if check.number not in parent.children]
    take = _candidates(others, good, settings, hosts, at)[:vacant] if vacant else []
    # One that drains will be gone soon, a dead one may come back; a terminated one never counts again.
    kept = [*leaving, *dead][len(take):]
    if leaving and not _outside(good + take, hosts):
        kept = [check for check in kept if check not in leaving]
    return tuple(check.number for check in [*good, *take, *kept])


def _candidates(
    checks: Sequence[Check], fixed_checks: Sequence[Check], settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> list[Check]:
    """Those that may become fixed checks beside `fixed_checks`, one for each host, the longest settled first."""
    found: list[Check] = []
    for check in sorted(checks, key=lambda check: check.since):
        if guards.may_join(check, settings, hosts, at) and guards.distinct([*fixed_checks, *found, check]):
            found.append(check)
    return found


def _outside(fixed_checks: Sequence[Check], hosts: Mapping[str, Host]) -> bool:
    """Whether there is a host from which another fixed check could still come."""
    return bool(set(sampling.eligible(hosts)) - {check.host for check in fixed_checks})


def queue_hosts(
    memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> dict[str, float]:
    """When there was last a result about each host that is to be probed. For one that had none, when it came."""
    stamps = {id: memory.last_result_at.get(id, at) for id in sampling.eligible(hosts)}
    for check in memory.checks:
        if check.host in stamps and state.is_reportable(check, settings, at):
            stamps[check.host] = at
    return stamps


def move_checks(
    memory: RotationState, stamps: Mapping[str, float], settings: HealthChecks, hosts: Mapping[str, Host], at: float,
    minute: int,
) -> Iterator[Move]:
    """All moves of this run, the idle checks first. No host loses a check that an idle one could have replaced.

    `memory` has the parent as it is about to be.
    """
    waiting = sorted(sorted(stamps.keys() - {check.host for check in memory.checks}), key=stamps.__getitem__)
    checks = {check.number: check for check in memory.checks}
    uses = {check.number: _use(check, memory, hosts) for check in memory.checks}
    for check in sorted(memory.checks, key=lambda check: (uses[check.number], check.minute, check.number)):
        use = uses[check.number]
        if use == _ALONE:
            # Before there is a calculated check, whoever may become a fixed one waits for the others.
            stays = memory.parent is None and check.healthy is True
            is_due = not stays and sampling.due(check, settings, at, minute)
            reason = f"{check.host} has been probed" if is_due else ""
        else:
            reason = f"{check.host} {_WHY_IDLE[use]}"
        if reason and check.confirmed and guards.may_retarget(check.number, memory.parent, checks, settings, hosts, at):
            host = waiting.pop(0) if waiting else _any(check, stamps, hosts)
            if host:
                yield Move(check, hosts[host], reason, routine=use >= _DOUBLE)
                # What follows must count this one as unsettled.
                checks[check.number] = msgspec.structs.replace(check, since=at, confirmed=False)


def _use(check: Check, memory: RotationState, hosts: Mapping[str, Host]) -> int:
    """The loss when the check leaves. It is nothing if its host is gone, drains or has another check, and otherwise one
    host."""
    if not guards.target_unchanged(check, hosts):
        return _GONE
    if not guards.target_in_service(check, hosts):
        return _DRAINS
    return _DOUBLE if guards.duplicates_target(check, memory.checks, memory.parent) else _ALONE


def _any(check: Check, stamps: Mapping[str, float], hosts: Mapping[str, Host]) -> str:
    """A check without a new target stays, unless its host is gone, because a stranger may get the address."""
    return "" if guards.target_unchanged(check, hosts) else min(stamps, default="")


def _forget_deleted(memory: RotationState, at: float) -> RotationState:
    """The state without the deleted checks that no list of the calculated check may have any more."""
    listed = {number for children, _ in guards.possible_memberships(memory.parent, at) for number in children}
    gone = [(check.number, int(at // 60)) for check in memory.checks
            if check.deleted and check.number not in listed]
    if not gone:
        return memory
    checks = tuple(check for check in memory.checks if not check.deleted or check.number in listed)
    return msgspec.structs.replace(memory, checks=checks, deletions=(*memory.deletions, *gone))


def _nothing(observation: RotationObservation, minute: int) -> Decision:
    memory = state.observed(observation)
    return Decision(_claimed(memory, minute, memory.last_result_at, (), observation, None))


def _created(
    memory: RotationState, stamps: Mapping[str, float], settings: HealthChecks, hosts: Mapping[str, Host]
) -> Iterator[Move]:
    """The checks that do not exist yet, some at a time, each with a host that has none as long as there are such."""
    made = {check.number for check in memory.checks}
    total = settings.fixed_checks + settings.rotating_checks
    missing = [number for number in range(1, total + 1) if number not in made]
    if not missing:
        return
    taken = {check.host for check in memory.checks}
    order = sorted(stamps, key=lambda id: (id in taken, stamps[id], id))
    for count, new in enumerate(missing[:_CREATED_A_TURN]):
        host = hosts[order[count % len(order)]]
        yield Move(Check(new, "", 0, "", "", 0, 0), host, "there is to be a check of this number")


def _claimed(
    memory: RotationState,
    minute: int,
    stamps: dict[str, float],
    moves: tuple[Move, ...],
    observation: RotationObservation,
    parent: CalculatedCheck | None,
) -> RotationState:
    """The state that says all of it is about to happen, none of it confirmed yet."""
    moved = {move.check.number: _moved(move, observation.at, minute) for move in moves}
    checks = [moved.pop(check.number, check) for check in memory.checks] + list(moved.values())
    requests = state.with_requests(memory, minute, observation.calls + len(moves) + bool(parent))
    return RotationState(minute, tuple(checks), memory.parent, stamps, requests, memory.first_minute or minute,
                         memory.unreachable_since, memory.deletions)


def _moved(move: Move, at: float, minute: int) -> Check:
    check, host = move.check, move.host
    return Check(check.number, check.id, check.version, host.id, host.address, at, minute, confirmed=False)


def _actions(decision: Decision, settings: HealthChecks) -> Iterator[Action]:
    checks = {check.number: check for check in decision.memory.checks}
    for move in decision.created:
        yield Action("create-check", f"check {move.check.number}", f"{move.reason}: {move.host.id}",
                     CheckChange(move.check.number, check_config.config(settings, move.host)))
    if parent := decision.parent:
        kind = "update-calculated-check" if parent.id else "create-calculated-check"
        ids = [checks[number].id for number in parent.children]
        config = (check_config.family(ids, parent.threshold) if parent.id
                  else check_config.parent(ids, parent.threshold))
        yield Action(kind, "the region's status", _why(parent, checks),
                     CheckChange(0, config, parent.id, parent.version))
    for move in decision.moves:
        yield Action("retarget-check", f"check {move.check.number}", f"{move.reason}. Next is {move.host.id}",
                     CheckChange(move.check.number, check_config.update(move.host), move.check.id, move.check.version),
                     unaudited=move.routine)


def _why(parent: CalculatedCheck, checks: Mapping[int, Check]) -> str:
    came = [checks[number].host for number in parent.children if number not in parent.previous_children]
    went = [f"check {number}" for number in parent.previous_children if number not in parent.children]
    parts = (["in: " + ", ".join(came)] if came else []) + (["out: " + ", ".join(went)] if went else [])
    return "; ".join([*parts, f"{parent.threshold} of {len(parent.children)} must be healthy"])


def _no_hosts(region: str) -> Alert:
    return Alert(
        "NoHosts", region,
        f"No target group of {region} has a host with a public address that is not draining",
        tried=("The health checks stay as they are.",),
        steps=("Look at the target groups of [health_checks] in the console of EC2.",
               "If the region is empty on purpose, take its users away with `lamp run routing.evacuate`."))


def _alerts(memory: RotationState, observation: RotationObservation) -> Iterator[Alert]:
    """What holds now. The engine knows what of it people have been told."""
    parent, checks = memory.parent, {check.number: check for check in memory.checks}
    if parent:
        lost = [checks[number].host for number in parent.children
                if number in checks and checks[number].healthy is False]
        if len(parent.children) - len(lost) < parent.threshold:
            yield Alert(
                "RegionUnhealthy", observation.region,
                f"Too many fixed_checks of {observation.region} do not answer: {', '.join(sorted(lost))}",
                tried=("Route 53 sends the region's users to their second nearest region.",),
                steps=("Look at the hosts with `lamp run health_checks.status`.",
                       "Repair or replace them. The checks follow by themselves."))
    yield from _deletion_alerts(memory, observation)
    for id, since in memory.unreachable_since.items():
        host = observation.hosts.get(id)
        if host and host.state == "healthy":
            yield Alert(
                "HostUnreachableFromOutside", id,
                f"{id} ({host.address}) is healthy for its target group, but does not answer from outside with its own "
                f"id at {observation.settings.path}",
                since=since, tried=("A rotating check probes the host again in its turn.",),
                steps=("Look at its security group and its public address.",
                       f"Ask it from outside. Its answer at {observation.settings.path} must contain {id}."))


def _deletion_alerts(memory: RotationState, observation: RotationObservation) -> Iterator[Alert]:
    """Each deleted check, until another one stands in its place. Some minutes at least, so that a lost notice goes
    out."""
    region, total = observation.region, observation.settings.fixed_checks + observation.settings.rotating_checks
    missing = set(range(total + 1)) - {check.number for check in memory.checks if check.id and not check.deleted}
    if memory.parent and memory.parent.id:
        missing.discard(0)
    deleted = {check.number for check in memory.checks if check.deleted}
    deleted |= {number for number, minute in memory.deletions
                if number in missing or memory.minute - minute < _TOLD_MINUTES}
    for number in sorted(deleted):
        name = f"check {number} of {region}" if number else f"the calculated check of {region}"
        attach = ("Attach the new one to the records: `lamp run routing.apply --apply`.",) if number == 0 else ()
        yield Alert(
            "HealthCheckDeleted", name, f"Somebody deleted {name} in Route 53",
            tried=("All other checks go on. A new check takes its place as soon as that is safe.",),
            steps=("Find out who deleted it: look for DeleteHealthCheck in CloudTrail.", *attach))


def status(observation: RotationObservation, now: int) -> Plan:
    """The report, with the fixed checks, the targets of the others, and the budget."""
    if isinstance(observation.before, Unreadable):
        return Plan(notes=(str(observation.before),), report={
            "region": observation.region, "unreadable": str(observation.before)})
    memory, settings, at = observation.state, observation.settings, observation.at
    anchored = memory.parent.children if memory.parent else ()
    checks = [{"check": check.number, "id": check.id, "as": "fixed" if check.number in anchored else "rotating",
               "host": check.host, "address": check.address, "healthy": check.healthy,
               "settled": guards.settled(check, settings, at)} for check in memory.checks]
    waits = {id: round(at - stamp) for id, stamp in memory.last_result_at.items()}
    report: dict[str, Any] = {
        "region": observation.region, "parent": memory.parent.id if memory.parent else None,
        "threshold": memory.parent.threshold if memory.parent else None,
        "may_be_lost_at_once": max(0, len(anchored) - memory.parent.threshold) if memory.parent else 0,
        "hosts": len(observation.hosts), "longest_without_result": max(waits.values(), default=0),
        "bound": state.max_staleness_seconds(settings, len(sampling.eligible(observation.hosts))),
        "requests_in_the_last_hour": state.requests_last_hour(memory, now // 60),
        "checks": checks}
    return Plan(report=report)
