"""The state of hosts and checks, as values, and its changes. Times are epoch seconds unless they say minute.

The regional table keeps one `RotationState` under `health-checks`/`memory`. A change is written there before Route 53
is asked for it (`confirmed=False`), and again after Route 53 has confirmed it. The next run looks up what is not
confirmed.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from chalicelib.config.declared import HealthChecks
from chalicelib.engine.schema import Schema, State, Stored, Unreadable

KEY = ("health-checks", "state")
# For so long Route 53 may still act on what a check, or its parent's list of children, said before.
PROPAGATION_SECONDS = 60
REQUESTS_PER_HOUR_MAX = 300
# Turns wait for `since + duration` to the instant, so that is what `at` is compared with: `at - since` might fall short
# of the duration by a rounding, which would cost a minute.

# Turns come once a minute, give or take some seconds: what is certain so soon is good enough for a report, and waited
# for where the verdict is at stake.
TOLERANCE_SECONDS = 10


HostState = Literal["healthy", "unhealthy", "initial", "draining"]


class Host(msgspec.Struct, frozen=True):
    """A target of the region's target groups. `id` is also the token that its answer must contain."""

    id: str
    address: str
    state: HostState = "healthy"


class Check(State, frozen=True):
    """One Route 53 check and its target since `since` (as decided at `minute`). `healthy` was read at `read`.

    `deleted` means that somebody deleted it in Route 53. It has no target then, and is kept only as long as the
    calculated check may still list it.
    """

    number: int
    id: str
    version: int
    host: str
    address: str
    since: float
    minute: int
    confirmed: bool = True
    healthy: bool | None = None
    read: float = 0
    deleted: bool = False


class CalculatedCheck(State, frozen=True):
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


class RotationState(State, frozen=True):
    """All that a run leaves for the next. Hosts are given by their ids.

    `last_result_at` says when there was last a result about each host, or when the host came. `unreachable_since` has
    the hosts whose last result was bad, with the time of the first bad one in a row. `requests` counts the requests to
    Route 53 in each of the last minutes, the last of which is `minute`. Checks that were made for this state are found
    again by `first_minute`, and by how often their number is in `deletions`. Those are the checks that somebody deleted
    (0 is the calculated one), each with the minute in which that was seen.

    `minute`, `checks` and `parent` have no defaults. A state without them is not one that has none, and nobody may make
    all checks anew because of it.
    """

    minute: int
    checks: tuple[Check, ...]
    parent: CalculatedCheck | None
    last_result_at: dict[str, float] = msgspec.field(default_factory=dict)
    requests: tuple[int, ...] = ()
    first_minute: int = 0
    unreachable_since: dict[str, float] = msgspec.field(default_factory=dict)
    deletions: tuple[tuple[int, int], ...] = ()


SCHEMA = Schema(RotationState, 1)
NOTHING_YET = RotationState(0, (), None)


class CheckConfig(msgspec.Struct, frozen=True):
    """Route 53's description of a check, or of the calculated check (`children`, `threshold`)."""

    id: str
    version: int
    host: str = ""
    address: str = ""
    children: tuple[str, ...] = ()
    threshold: int = 0


class CheckChange(msgspec.Struct, frozen=True):
    """The change of check `number` in Route 53 (0 is the calculated check). Without an `id` it is a creation."""

    number: int
    config: dict[str, Any]
    id: str = ""
    version: int = 0


class Publication(msgspec.Struct, frozen=True):
    """The id to publish, in the place of `replaces`. Without an id it is that of the check that this run makes."""

    id: str = ""
    replaces: str | None = None


class RotationObservation(msgspec.Struct, frozen=True):
    """The observation at `at` of a run that began at `began`. `statuses` and `configs` are by the check's number. The
    calculated check is number 0.

    `before` is the state as it was read. In `configs`, `None` means that Route 53 has no such check. One with an id was
    deleted, and any other was never made. `calls` is how many requests to Route 53 it took to see it. `published_id` is
    the calculated check that the coordination table has, "" if it has none that can be read, and `None` if the table
    did not answer.
    """

    region: str
    settings: HealthChecks
    before: Stored[RotationState] | Unreadable
    hosts: Mapping[str, Host]
    at: float
    statuses: Mapping[int, bool] = {}
    configs: Mapping[int, CheckConfig | None] = {}
    calls: int = 0
    published_id: str | None = None
    began: float = 0

    @property
    def state(self) -> RotationState:
        """The state, which can be read."""
        if isinstance(self.before, Unreadable):
            raise TypeError(str(self.before))
        return self.before.value


def settling_seconds(settings: HealthChecks) -> int:
    """Seconds after which a check's status speaks of its new target, whatever Route 53 did meanwhile."""
    return PROPAGATION_SECONDS + (settings.failures + 1) * settings.interval


def dwell_minutes(settings: HealthChecks) -> int:
    """Minutes that a rotating check stays with a host."""
    return math.ceil(settling_seconds(settings) / 60)


def max_staleness_seconds(settings: HealthChecks, hosts: int) -> int:
    """The longest time (s) for which one of so many hosts goes without a result."""
    stops = math.ceil(max(0, hosts - settings.fixed_checks) / settings.rotating_checks)
    return stops * dwell_minutes(settings) * 60 + settling_seconds(settings)


def observed(observation: RotationObservation) -> RotationState:
    """The state, with what this run has read and looked up."""
    before, configs, at = observation.state, observation.configs, observation.at
    if not observation.statuses and not configs:
        return before
    # What has no id and is not in Route 53 was never made.
    known = [check for check in before.checks if check.id or configs.get(check.number, check) is not None]
    checks = tuple(_observed(check, observation) for check in known)
    parent, deletions = before.parent, before.deletions
    if parent and 0 in configs:
        config = configs[0]
        deletions += ((0, int(at // 60)),) if config is None and parent.id else ()
        parent = _observed_parent(parent, config, checks, at) if config else None
    unreachable = {id: since for id, since in before.unreachable_since.items() if id in observation.hosts}
    for check in checks:
        if check.read == at and check.healthy is False:
            unreachable.setdefault(check.host, at)
        elif check.read == at:
            unreachable.pop(check.host, None)
    return msgspec.structs.replace(before, checks=checks, parent=parent, unreachable_since=unreachable,
                                   deletions=deletions)


def deleted(check: Check, at: float) -> Check:
    """The check after somebody deleted it, as seen `at`."""
    return Check(check.number, check.id, check.version, "", "", at, check.minute, confirmed=False, deleted=True)


def _observed(check: Check, observation: RotationObservation) -> Check:
    at = observation.at
    if observation.configs.get(check.number, check) is None:
        return deleted(check, at)
    if config := observation.configs.get(check.number):
        return Check(check.number, config.id, config.version, config.host, config.address, at, check.minute)
    healthy = observation.statuses.get(check.number)
    if healthy is None or not is_reportable(check, observation.settings, at):
        return check
    return msgspec.structs.replace(check, healthy=healthy, read=at)


def _observed_parent(
    parent: CalculatedCheck, config: CheckConfig, checks: tuple[Check, ...], at: float
) -> CalculatedCheck:
    if parent.confirmed and config.version == parent.version:
        return parent
    # Whichever of the two lists holds, the other may have held until now.
    numbers = {check.id: check.number for check in checks}
    children = tuple(numbers[id] for id in config.children if id in numbers)
    other, threshold = (parent.previous_children, parent.before_threshold)
    if set(children) == set(parent.previous_children):
        other, threshold = parent.children, parent.threshold
    return CalculatedCheck(children, config.threshold, config.id, config.version, at, other, threshold)


def confirmed(state: RotationState, number: int, id: str, version: int, at: float) -> RotationState:
    """The state after Route 53 has taken a change of check `number` (0: the calculated check) at `at`."""
    if number == 0 and state.parent:
        parent = msgspec.structs.replace(state.parent, id=id, version=version, changed=at, confirmed=True)
        return msgspec.structs.replace(state, parent=parent)
    checks = tuple(
        msgspec.structs.replace(check, id=id, version=version, since=at, confirmed=True)
        if check.number == number else check for check in state.checks)
    return msgspec.structs.replace(state, checks=checks)


def is_reportable(check: Check, settings: HealthChecks, at: float) -> bool:
    """Whether what is read of the check now is a result about its host, or so nearly that it may be reported."""
    return check.confirmed and at >= check.since + settling_seconds(settings) - TOLERANCE_SECONDS


def requests_last_hour(state: RotationState, minute: int) -> int:
    """Requests to Route 53 in the hour before `minute`."""
    minutes = 60 - max(0, minute - state.minute)
    return sum(state.requests[-minutes:]) if minutes > 0 else 0


def with_requests(state: RotationState, minute: int, count: int) -> tuple[int, ...]:
    """`RotationState.requests` of a run in `minute` that makes `count` requests."""
    pause = min(60, max(0, minute - state.minute - 1))
    return (*state.requests, *(0,) * pause, count)[-60:]
