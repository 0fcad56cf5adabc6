"""One decision a minute: who is under the calculated check, where the other checks go, what people must know. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from chalicelib.config.fleet import HealthChecks
from chalicelib.engine.alerts import Alert
from chalicelib.engine.plan import Action, Claim, Plan
from chalicelib.engine.schema import Unreadable
from chalicelib.health_checks import check_config, state
from chalicelib.health_checks.decide import guards, membership, rotation, sampling
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
_READ_MORE = "docs/health-checks.md"


class Decision(msgspec.Struct, frozen=True):
    """The state to write first, the calculated check to make or change, the checks to make and to move."""

    memory: RotationState
    parent: CalculatedCheck | None = None
    created: tuple[rotation.Move, ...] = ()
    moves: tuple[rotation.Move, ...] = ()


def reconcile(observation: RotationObservation, now: int) -> Plan:
    """The plan of the minute of `now`: the calculated check, then the moves, then what the other regions are told."""
    if isinstance(observation.before, Unreadable):
        note = f"nothing is done: {observation.before}"
        return Plan(notes=(note,), unreadable=(observation.before,), not_judged=("*",))
    minute = now // 60
    if observation.state.minute >= minute:
        return Plan(notes=("this minute's decision has been taken",), not_judged=("*",))
    alerts: tuple[Alert, ...]
    not_judged: tuple[str, ...] = ()
    if sampling.eligible(observation.hosts):
        decision = decide(observation, minute)
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
        yield Action("publish", region, f"routing is to attach {parent.id}, the region's verdict",
                     Publication(parent.id, published))
    elif parent and not parent.id:
        # Made by this very run: its id is known once it exists.
        yield Action("publish", region, "routing is to attach the region's verdict, which is new", Publication())


def decide(observation: RotationObservation, minute: int) -> Decision:
    """The decision, as values."""
    memory, settings, hosts, at = state.observed(observation), observation.settings, observation.hosts, observation.at
    spent = state.requests_last_hour(memory, minute) + observation.calls
    parent = membership.change(memory, settings, hosts, at) if spent < REQUESTS_PER_HOUR_MAX else None
    stamps = rotation.queue(memory, settings, hosts, at)
    after = msgspec.structs.replace(memory, parent=parent) if parent else memory
    left = max(0, REQUESTS_PER_HOUR_MAX - spent - bool(parent))
    created = tuple(_created(memory, stamps, settings, hosts))[:left]
    moves = tuple(rotation.moves(after, stamps, settings, hosts, at, minute))[: left - len(created)]
    claimed = _claimed(after, minute, stamps, created + moves, observation, parent)
    return Decision(claimed, parent, created, moves)


def _nothing(observation: RotationObservation, minute: int) -> Decision:
    memory = state.observed(observation)
    return Decision(_claimed(memory, minute, memory.last_result_at, (), observation, None))


def _created(
    memory: RotationState, stamps: Mapping[str, float], settings: HealthChecks, hosts: Mapping[str, Host]
) -> Iterator[rotation.Move]:
    """The checks that do not exist yet, some at a time, each with a host that has none as long as there are such."""
    made, taken = {check.number for check in memory.checks}, {check.host for check in memory.checks}
    order = sorted(stamps, key=lambda id: (id in taken, stamps[id], id))
    missing = sorted(set(range(1, settings.fixed_checks + settings.rotating_checks + 1)) - made)
    for count, new in enumerate(missing[:_CREATED_A_TURN]):
        yield rotation.Move(Check(new), hosts[order[count % len(order)]], "there is to be a check of this number")


def _claimed(
    memory: RotationState,
    minute: int,
    stamps: dict[str, float],
    moves: tuple[rotation.Move, ...],
    observation: RotationObservation,
    parent: CalculatedCheck | None,
) -> RotationState:
    """The state that says all of it is about to happen, none of it confirmed yet."""
    moved = {move.check.number: _moved(move, observation.at, minute) for move in moves}
    checks = [moved.pop(check.number, check) for check in memory.checks] + list(moved.values())
    calls = [call for call in memory.calls if call[0] > minute - 60]
    if count := observation.calls + len(moves) + bool(parent):
        calls.append((minute, count))
    return RotationState(minute, tuple(checks), memory.parent, stamps, tuple(calls), memory.first_minute or minute,
                         memory.unreachable_since)


def _moved(move: rotation.Move, at: float, minute: int) -> Check:
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
        yield Action(kind, "the region's verdict", _why(parent, checks),
                     CheckChange(0, config, parent.id, parent.version))
    for move in decision.moves:
        yield Action("retarget-check", f"check {move.check.number}", f"{move.reason}; next is {move.host.id}",
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
        tried=("The health checks were left as they are.",),
        steps=("Look at the target groups of [health_checks] in the console of EC2.",
               "If the region is empty on purpose, take its users away: `lamp run routing.evacuate`."),
        read_more=_READ_MORE)


def _alerts(memory: RotationState, observation: RotationObservation) -> Iterator[Alert]:
    """What holds now. The engine knows what of it people have been told."""
    parent, checks = memory.parent, {check.number: check for check in memory.checks}
    if parent:
        lost = [checks[number].host for number in parent.children if checks[number].healthy is False]
        if len(parent.children) - len(lost) < parent.threshold:
            yield Alert(
                "RegionUnhealthy", observation.region,
                f"Too many fixed_checks of {observation.region} do not answer: {', '.join(sorted(lost))}",
                tried=("Route 53 sends the region's users to their second nearest region.",),
                steps=("Look at the hosts: `lamp run health_checks.status`.",
                       "Mend or replace them: the checks follow by themselves."),
                read_more=_READ_MORE)
    for id, since in memory.unreachable_since.items():
        host = observation.hosts.get(id)
        if host and host.state == "healthy":
            yield Alert(
                "HostUnreachableFromOutside", id,
                f"{id} ({host.address}) is healthy for its target group, but does not answer from outside with its own "
                f"id at {observation.settings.path}",
                since=since, tried=("The host is probed again in its turn.",),
                steps=("Look at its security group and its public address.",
                       f"Ask it from outside: its answer at {observation.settings.path} must contain {id}."),
                read_more=_READ_MORE)


def status(observation: RotationObservation, now: int) -> Plan:
    """The report, with the fixed checks, the targets of the others, and the budget."""
    if isinstance(observation.before, Unreadable):
        return Plan(notes=(str(observation.before),), report={
            "region": observation.region, "unreadable": str(observation.before)})
    memory, settings, at = observation.state, observation.settings, observation.at
    anchored = memory.parent.children if memory.parent else ()
    checks = [{"check": check.number, "id": check.id, "as": "anchor" if check.number in anchored else "rover",
               "host": check.host, "address": check.address, "healthy": check.healthy,
               "settled": guards.settled(check, settings, at)} for check in memory.checks]
    waits = {id: round(at - stamp) for id, stamp in memory.last_result_at.items()}
    report: dict[str, Any] = {
        "region": observation.region, "parent": memory.parent.id if memory.parent else None,
        "threshold": memory.parent.threshold if memory.parent else None,
        "may_be_lost_at_once": max(0, len(anchored) - memory.parent.threshold) if memory.parent else 0,
        "hosts": len(observation.hosts), "longest_without_verdict": max(waits.values(), default=0),
        "bound": state.max_staleness_seconds(settings, len(sampling.eligible(observation.hosts))),
        "requests_in_the_last_hour": state.requests_last_hour(memory, now // 60),
        "checks": checks}
    return Plan(report=report)
