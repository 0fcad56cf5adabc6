"""The state of hosts and checks, as values, and its changes. Times are epoch seconds unless they say minute.

The regional table keeps one `Memory` under `health-checks`/`memory`. A change is written there before the call to Route
53 (`sure=False`), and again after Route 53 has confirmed it. A run that finds an unconfirmed change looks it up first.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from chalicelib.config.fleet import HealthChecks

KEY = ("health-checks", "memory")
# Under which pk the coordination table says, by region (sk), `{"id": <the parent's id>}`: routing attaches that.
REGION_CHECK_PK = "verdict"
# For so long Route 53 may still act on what a check, or its parent's list of children, said before.
PROPAGATION_SECONDS = 60
REQUESTS_PER_HOUR_MAX = 300
# Turns wait for `since + duration` to the instant, so that is what `at` is compared with: `at - since` might fall short
# of the duration by a rounding, which would cost a minute.

# Turns come once a minute, give or take some seconds: what is certain so soon is good enough for a report, and waited
# for where the verdict is at stake.
TOLERANCE_SECONDS = 10


class Host(msgspec.Struct, frozen=True):
    """A target of the region's target groups. `id` is also the token that its answer must contain."""

    id: str
    address: str
    state: Literal["healthy", "unhealthy", "initial", "draining"] = "healthy"


class Check(msgspec.Struct, frozen=True):
    """One Route 53 check and its target since `since` (as decided at `minute`). `healthy` was read at `read`."""

    number: int
    id: str = ""
    version: int = 0
    host: str = ""
    address: str = ""
    since: float = 0
    minute: int = 0
    confirmed: bool = True
    healthy: bool | None = None
    read: float = 0


class CalculatedCheck(msgspec.Struct, frozen=True):
    """The calculated check, with `children` by number, since `changed`. Until that has propagated `before` may count.
    """

    children: tuple[int, ...]
    threshold: int
    id: str = ""
    version: int = 0
    changed: float = 0
    previous_children: tuple[int, ...] = ()
    before_threshold: int = 0
    confirmed: bool = True


class RotationState(msgspec.Struct, frozen=True):
    """The state that a run stores for the next. `queue` says when there was last a result about each host, or when it
    came.

    `born` is the minute of the first run, by which checks of this state are found again.
    """

    run_id: str = ""
    minute: int = 0
    checks: tuple[Check, ...] = ()
    parent: CalculatedCheck | None = None
    last_result_at: dict[str, float] = {}
    calls: tuple[tuple[int, int], ...] = ()
    alerts: dict[str, int] = {}
    first_minute: int = 0


class CheckConfig(msgspec.Struct, frozen=True):
    """Route 53's description of a check, or of the calculated check (`children`, `threshold`)."""

    id: str
    version: int
    host: str = ""
    address: str = ""
    children: tuple[str, ...] = ()
    threshold: int = 0


class RotationObservation(msgspec.Struct, frozen=True):
    """The observation of a run at `at`. `reads` and `found` are by the check's number. The parent is number 0.

    In `found`, `None` means that Route 53 has no such check, because it was never made.

    `calls` is how many requests to Route 53 it took to see it. `version` is the state's in the table, 0: none.
    `published` is the parent's id as the coordination table has it, "" if it has none. `None` means that the answer is
    unknown.
    """

    region: str
    settings: HealthChecks
    memory: RotationState
    hosts: Mapping[str, Host]
    at: float
    statuses: Mapping[int, bool] = {}
    found: Mapping[int, CheckConfig | None] = {}
    calls: int = 0
    version: int = 0
    published: str | None = None


def settling_seconds(settings: HealthChecks) -> int:
    """Seconds after which a check's status speaks of its new target, whatever Route 53 did meanwhile."""
    return PROPAGATION_SECONDS + (settings.failures + 1) * settings.interval


def dwell_minutes(settings: HealthChecks) -> int:
    """Minutes that a rotating check stays with a host."""
    return math.ceil(settling_seconds(settings) / 60)


def max_staleness_seconds(settings: HealthChecks, hosts: int) -> int:
    """The longest time (s) for which one of so many hosts goes without a result."""
    stops = math.ceil(max(0, hosts - settings.anchors) / settings.rovers)
    return stops * dwell_minutes(settings) * 60 + settling_seconds(settings)


def observed(seen: RotationObservation) -> RotationState:
    """The memory, with what this turn has read and looked up."""
    memory = seen.memory
    if not seen.statuses and not seen.found:
        return memory
    made = (check for check in memory.checks if seen.found.get(check.number, check) is not None)
    checks, parent = tuple(_observed(check, seen) for check in made), memory.parent
    if parent and 0 in seen.found:
        there = seen.found[0]
        parent = _parent(parent, there, checks, seen.at) if there else None
    return msgspec.structs.replace(memory, checks=checks, parent=parent)


def _observed(check: Check, seen: RotationObservation) -> Check:
    if there := seen.found.get(check.number):
        return Check(check.number, there.id, there.version, there.host, there.address, seen.at, check.minute)
    healthy = seen.statuses.get(check.number)
    if healthy is None or not is_reportable(check, seen.settings, seen.at):
        return check
    return msgspec.structs.replace(check, healthy=healthy, read=seen.at)


def _parent(parent: CalculatedCheck, there: CheckConfig, checks: tuple[Check, ...], at: float) -> CalculatedCheck:
    # Whichever of the two lists holds, the other may have held until now.
    numbers = {check.id: check.number for check in checks}
    children = tuple(numbers[id] for id in there.children if id in numbers)
    other, threshold = (parent.previous_children, parent.before_threshold)
    if set(children) == set(parent.previous_children):
        other, threshold = parent.children, parent.threshold
    return CalculatedCheck(children, there.threshold, there.id, there.version, at, other, threshold)


def confirmed(memory: RotationState, number: int, id: str, version: int, at: float) -> RotationState:
    """The state after Route 53 has accepted a change of check `number` (0 is the calculated one) at `at`."""
    if number == 0 and memory.parent:
        parent = msgspec.structs.replace(memory.parent, id=id, version=version, changed=at, confirmed=True)
        return msgspec.structs.replace(memory, parent=parent)
    return msgspec.structs.replace(
        memory,
        checks=tuple(
            msgspec.structs.replace(check, id=id, version=version, since=at, confirmed=True)
            if check.number == number
            else check
            for check in memory.checks
        ),
    )


def is_reportable(check: Check, settings: HealthChecks, at: float) -> bool:
    """Whether what is read of the check now is a result about its host, or so nearly that it may be reported."""
    return check.confirmed and at >= check.since + settling_seconds(settings) - TOLERANCE_SECONDS


def requests_last_hour(memory: RotationState, minute: int) -> int:
    """Requests to Route 53 in the hour before `minute`."""
    return sum(count for when, count in memory.calls if when > minute - 60)


def body(memory: RotationState) -> dict[str, Any]:
    """The item body that `read` turns back into the value."""
    plain: dict[str, Any] = msgspec.to_builtins(memory)
    return plain


def read(plain: Mapping[str, Any]) -> RotationState:
    """The memory that an item's body holds."""
    return msgspec.convert(plain, RotationState)
