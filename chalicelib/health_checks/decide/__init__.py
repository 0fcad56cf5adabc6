"""One decision a minute about the children of the calculated check, the targets of the other checks, and the alerts.
Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from chalicelib.config.fleet import HealthChecks
from chalicelib.engine.plan import Action, Plan
from chalicelib.health_checks import check_config, state
from chalicelib.health_checks.decide import guards, membership, rotation, sampling
from chalicelib.health_checks.state import (
    REQUESTS_PER_HOUR_MAX,
    CalculatedCheck,
    Check,
    Host,
    RotationObservation,
    RotationState,
)

_CREATED_A_TURN = 10
_TOLD_MINUTES = 60


class Decision(msgspec.Struct, frozen=True):
    """The memory to write first, the parent to make or change, the checks to make and to move, and what to tell."""

    memory: RotationState
    parent: CalculatedCheck | None = None
    created: tuple[rotation.Move, ...] = ()
    moves: tuple[rotation.Move, ...] = ()
    alerts: tuple[tuple[str, str, str], ...] = ()


def reconcile(seen: RotationObservation, now: int, id: str) -> Plan:
    """The plan of the run `id`. It writes the state first, then changes the calculated check, then moves the others."""
    if seen.memory.minute >= now // 60:
        return Plan(notes=("this minute's decision has been taken",))
    decision = decide(seen, now // 60, id) if sampling.eligible(seen.hosts) else _nothing(seen, now // 60, id)
    facts = {"version": seen.version, "memory": state.body(decision.memory)}
    return Plan((Action("claim-state", seen.region, "what is about to be done", facts, unaudited=True),
                 *_acts(decision, seen.settings), *(_alert(*told) for told in decision.alerts),
                 *_publish(decision.memory.parent, seen)))


def _publish(parent: CalculatedCheck | None, seen: RotationObservation) -> Iterator[Action]:
    """The last action, so that nothing waits for it. The other regions learn which check to attach."""
    if parent and parent.confirmed and seen.published is not None and seen.published != parent.id:
        facts = {"id": parent.id, "was": seen.published}
        yield Action("publish", seen.region, f"routing is to attach {parent.id}, the region's verdict", facts)
    elif parent and not parent.id:
        # Made by this very turn: its id is known once it is there.
        yield Action("publish", seen.region, "routing is to attach the region's verdict, which is new", {})


def decide(seen: RotationObservation, minute: int, id: str = "") -> Decision:
    """The decision, as values."""
    memory, settings, hosts, at = state.observed(seen), seen.settings, seen.hosts, seen.at
    spent = state.requests_last_hour(memory, minute) + seen.calls
    parent = membership.change(memory, settings, hosts, at) if spent < REQUESTS_PER_HOUR_MAX else None
    stamps = rotation.queue(memory, settings, hosts, at)
    after = msgspec.structs.replace(memory, parent=parent) if parent else memory
    left = max(0, REQUESTS_PER_HOUR_MAX - spent - bool(parent))
    created = tuple(_created(memory, stamps, settings, hosts))[:left]
    moves = tuple(rotation.moves(after, stamps, settings, hosts, at, minute))[: left - len(created)]
    alerts = tuple(_alerts(after, seen, minute))
    return Decision(_claimed(after, minute, id, stamps, created + moves, seen, parent, alerts),
                    parent, created, moves, alerts)


def _nothing(seen: RotationObservation, minute: int, id: str) -> Decision:
    """Without hosts nothing is touched, because either the region is empty, or the observation of it is wrong."""
    told = ("NoHosts", seen.region, "no target group has a host with a public address that is not draining: the checks "
            "are left as they are; look at the target groups")
    memory = state.observed(seen)
    alerts = (told,) if memory.alerts.get(f"NoHosts {seen.region}", 0) <= minute - _TOLD_MINUTES else ()
    return Decision(_claimed(memory, minute, id, memory.last_result_at, (), seen, None, alerts), alerts=alerts)


def _created(
    memory: RotationState, stamps: Mapping[str, float], settings: HealthChecks, hosts: Mapping[str, Host]
) -> Iterator[rotation.Move]:
    """The checks that do not exist yet, some at a time, each with a host that has none as long as there are such."""
    made, taken = {check.number for check in memory.checks}, {check.host for check in memory.checks}
    order = sorted(stamps, key=lambda id: (id in taken, stamps[id], id))
    missing = sorted(set(range(1, settings.anchors + settings.rovers + 1)) - made)
    for count, new in enumerate(missing[:_CREATED_A_TURN]):
        yield rotation.Move(Check(new), hosts[order[count % len(order)]], "there is to be a check of this number")


def _claimed(
    memory: RotationState,
    minute: int,
    id: str,
    stamps: dict[str, float],
    moves: tuple[rotation.Move, ...],
    seen: RotationObservation,
    parent: CalculatedCheck | None,
    alerts: tuple[tuple[str, str, str], ...],
) -> RotationState:
    """The memory that says all of it is about to happen, none of it sure yet."""
    moved = {move.check.number: _moved(move, seen.at, minute) for move in moves}
    checks = [moved.pop(check.number, check) for check in memory.checks] + list(moved.values())
    calls = [call for call in memory.calls if call[0] > minute - 60]
    if count := seen.calls + len(moves) + bool(parent):
        calls.append((minute, count))
    told = {key: when for key, when in memory.alerts.items() if when > minute - _TOLD_MINUTES}
    told |= {f"{kind} {name}": minute for kind, name, _ in alerts}
    return RotationState(id, minute, tuple(checks), memory.parent, stamps, tuple(calls), told,
                  memory.first_minute or minute)


def _moved(move: rotation.Move, at: float, minute: int) -> Check:
    check, host = move.check, move.host
    return Check(check.number, check.id, check.version, host.id, host.address, at, minute, confirmed=False)


def _acts(decision: Decision, settings: HealthChecks) -> Iterator[Action]:
    checks = {check.number: check for check in decision.memory.checks}
    for move in decision.created:
        facts = {"number": move.check.number, "config": check_config.config(settings, move.host)}
        yield Action("create-check", f"check {move.check.number}", f"{move.reason}: {move.host.id}", facts)
    if decision.parent:
        kind = "update-calculated-check" if decision.parent.id else "create-calculated-check"
        yield Action(kind, "the region's verdict", _why(decision.parent, checks), _family(decision.parent, checks))
    for move in decision.moves:
        facts = {"number": move.check.number, "id": move.check.id, "version": move.check.version,
                 "config": check_config.update(move.host)}
        yield Action("retarget-check", f"check {move.check.number}", f"{move.reason}; next is {move.host.id}", facts,
                     unaudited=move.routine)


def _family(parent: CalculatedCheck, checks: Mapping[int, Check]) -> dict[str, Any]:
    ids = [checks[number].id for number in parent.children]
    config = check_config.family(ids, parent.threshold) if parent.id else check_config.parent(ids, parent.threshold)
    return {"number": 0, "id": parent.id, "version": parent.version, "config": config}


def _why(parent: CalculatedCheck, checks: Mapping[int, Check]) -> str:
    came = [checks[number].host for number in parent.children if number not in parent.previous_children]
    went = [f"check {number}" for number in parent.previous_children if number not in parent.children]
    parts = (["in: " + ", ".join(came)] if came else []) + (["out: " + ", ".join(went)] if went else [])
    return "; ".join([*parts, f"{parent.threshold} of {len(parent.children)} must be healthy"])


def _alerts(memory: RotationState, seen: RotationObservation, minute: int) -> Iterator[tuple[str, str, str]]:
    for kind, name, text in _found(memory, seen):
        if f"{kind} {name}" not in memory.alerts or memory.alerts[f"{kind} {name}"] <= minute - _TOLD_MINUTES:
            yield kind, name, text


def _found(memory: RotationState, seen: RotationObservation) -> Iterator[tuple[str, str, str]]:
    parent, checks = memory.parent, {check.number: check for check in memory.checks}
    if parent:
        lost = [checks[number].host for number in parent.children if checks[number].healthy is False]
        if len(parent.children) - len(lost) < parent.threshold:
            yield "RegionUnhealthy", seen.region, f"too many anchors do not answer: {', '.join(sorted(lost))}"
    for check in memory.checks:
        if (
            check.healthy is False
            and guards.target_in_service(check, seen.hosts)
            and seen.hosts[check.host].state == "healthy"
        ):
            text = f"{check.host} ({check.address}) is healthy for its target group, but does not answer from outside "
            yield "HostUnreachableFromOutside", check.host, f"{text}with its own id at {seen.settings.path}"


def status(seen: RotationObservation, now: int) -> Plan:
    """The report, with the fixed checks, the targets of the others, and the budget."""
    memory, settings = seen.memory, seen.settings
    anchored = memory.parent.children if memory.parent else ()
    checks = [{"check": check.number, "id": check.id, "as": "anchor" if check.number in anchored else "rover",
               "host": check.host, "address": check.address, "healthy": check.healthy,
               "settled": guards.settled(check, settings, seen.at)} for check in memory.checks]
    waits = {id: round(seen.at - stamp) for id, stamp in memory.last_result_at.items()}
    return Plan(report={
        "region": seen.region, "parent": memory.parent.id if memory.parent else None,
        "threshold": memory.parent.threshold if memory.parent else None,
        "may_be_lost_at_once": max(0, len(anchored) - memory.parent.threshold) if memory.parent else 0,
        "hosts": len(seen.hosts), "longest_without_verdict": max(waits.values(), default=0),
        "bound": state.max_staleness_seconds(settings, len(sampling.eligible(seen.hosts))),
        "requests_in_the_last_hour": state.requests_last_hour(memory, now // 60),
        "checks": checks})


def _alert(kind: str, name: str, text: str) -> Action:
    return Action("alert", name, text, {"kind": kind})
