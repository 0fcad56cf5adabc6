"""Where the checks outside the parent go next: pure. Each host in its turn, the longest unprobed first."""

from collections.abc import Iterator, Mapping

import msgspec

from chalicelib.fleet import HealthChecks
from chalicelib.health_checks import agenda, guards
from chalicelib.health_checks.records import Check, Host, Memory, certain, slot

# A rover that is wanted as an anchor waits so many minutes beyond its slot: then the parent is free.
_HELD_MINUTES = 1


class Move(msgspec.Struct, frozen=True):
    """A check, the host that it is to probe next, and why."""

    check: Check
    host: Host
    reason: str


def queue(memory: Memory, settings: HealthChecks, hosts: Mapping[str, Host], at: float) -> dict[str, float]:
    """When there was last a verdict about each host that is to be probed; for one that had none, when it came."""
    stamps = {id: memory.queue.get(id, at) for id in agenda.eligible(hosts)}
    for check in memory.checks:
        if check.host in stamps and certain(check, settings, at):
            stamps[check.host] = at
    return stamps


def moves(
    memory: Memory, stamps: Mapping[str, float], settings: HealthChecks, hosts: Mapping[str, Host], at: float,
    minute: int,
) -> Iterator[Move]:
    """All that is to be re-pointed now. `memory` has the parent as it is about to be."""
    waiting = sorted(stamps.keys() - {check.host for check in memory.checks}, key=lambda id: (stamps[id], id))
    checks = {check.number: check for check in memory.checks}
    want = agenda.wanting(memory, settings, hosts)
    for check in sorted(memory.checks, key=lambda check: (guards.there(check, hosts), check.minute, check.number)):
        reason = _reason(check, settings, hosts, at, minute)
        if reason and want and _held(check, settings, hosts, minute, memory):
            want -= 1
        elif reason and check.sure and guards.may_move(check.number, memory.parent, checks, settings, hosts, at):
            host = waiting.pop(0) if waiting else _any(check, stamps, hosts)
            if host:
                yield Move(check, hosts[host], reason)
                # What follows must count this one as unsettled.
                checks[check.number] = msgspec.structs.replace(check, since=at, sure=False)


def _any(check: Check, stamps: Mapping[str, float], hosts: Mapping[str, Host]) -> str:
    """With nowhere to go a check stays, unless its host is gone: a stranger may get the address."""
    return "" if guards.there(check, hosts) else min(stamps, default="")


def _held(check: Check, settings: HealthChecks, hosts: Mapping[str, Host], minute: int, memory: Memory) -> bool:
    """Whether a rover waits where it is, because it is wanted as an anchor."""
    anchor = memory.parent is not None and check.number in memory.parent.children
    return (not anchor and guards.stays(check, hosts) and check.healthy is not False
            and minute - check.minute < slot(settings) + _HELD_MINUTES)


def _reason(check: Check, settings: HealthChecks, hosts: Mapping[str, Host], at: float, minute: int) -> str:
    if not guards.there(check, hosts):
        return f"{check.host} is gone"
    if not guards.stays(check, hosts):
        return f"{check.host} drains"
    if not agenda.due(check, settings, at, minute):
        return ""
    return f"{check.host} has been probed"
