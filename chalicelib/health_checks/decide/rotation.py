"""The next targets of the rotating checks. Pure. Each host in its turn, the longest unprobed first."""

from collections.abc import Iterator, Mapping

import msgspec

from chalicelib.config.fleet import HealthChecks
from chalicelib.health_checks.decide import guards, sampling
from chalicelib.health_checks.state import Check, Host, RotationState, is_reportable

# What a check is worth where it is, the least first.
_GONE, _DRAINS, _DOUBLE, _ALONE = range(4)


class Move(msgspec.Struct, frozen=True):
    """A check, the host that it is to probe next, and why. `routine` is a rotating check's usual walk."""

    check: Check
    host: Host
    reason: str
    routine: bool = False


def queue(memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float) -> dict[str, float]:
    """When there was last a result about each host that is to be probed. For one that had none, when it came."""
    stamps = {id: memory.last_result_at.get(id, at) for id in sampling.eligible(hosts)}
    for check in memory.checks:
        if check.host in stamps and is_reportable(check, settings, at):
            stamps[check.host] = at
    return stamps


def moves(
    memory: RotationState, stamps: Mapping[str, float], settings: HealthChecks, hosts: Mapping[str, Host], at: float,
    minute: int,
) -> Iterator[Move]:
    """All moves of this run, the idle checks first. No host loses a check that an idle one could have replaced.

    `memory` has the parent as it is about to be.
    """
    waiting = sorted(stamps.keys() - {check.host for check in memory.checks}, key=lambda id: (stamps[id], id))
    checks = {check.number: check for check in memory.checks}
    for check in sorted(memory.checks, key=lambda check: (_use(check, memory, hosts), check.minute, check.number)):
        reason = _reason(check, memory, settings, hosts, at, minute)
        if reason and check.confirmed and guards.may_retarget(check.number, memory.parent, checks, settings, hosts, at):
            host = waiting.pop(0) if waiting else _any(check, stamps, hosts)
            if host:
                yield Move(check, hosts[host], reason, routine=_use(check, memory, hosts) >= _DOUBLE)
                # What follows must count this one as unsettled.
                checks[check.number] = msgspec.structs.replace(check, since=at, confirmed=False)


def _any(check: Check, stamps: Mapping[str, float], hosts: Mapping[str, Host]) -> str:
    """A check without a new target stays, unless its host is gone, because a stranger may get the address."""
    return "" if guards.target_unchanged(check, hosts) else min(stamps, default="")


def _use(check: Check, memory: RotationState, hosts: Mapping[str, Host]) -> int:
    """The loss when the check leaves. It is nothing if its host is gone, drains or has another check, and otherwise one
    host."""
    if not guards.target_unchanged(check, hosts):
        return _GONE
    if not guards.target_in_service(check, hosts):
        return _DRAINS
    return _DOUBLE if guards.duplicates_target(check, memory.checks, memory.parent) else _ALONE


def _reason(
    check: Check, memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float, minute: int
) -> str:
    use = _use(check, memory, hosts)
    if use < _ALONE:
        return f"{check.host} {('is gone', 'drains', 'has another check')[use]}"
    return f"{check.host} has been probed" if sampling.due(check, settings, at, minute) else ""
