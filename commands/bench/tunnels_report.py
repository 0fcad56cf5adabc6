"""The results of the faults of `bench tunnels --only faults`, with double repairs by AWS's account, and figures. Pure.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import msgspec

from chalicelib.tunnels.state import VERIFY_TIMEOUT_SECONDS

How = Literal["restart", "replacement", "alone"]
# Auto Scaling tells whole seconds.
_BLUR = 1.0


class Row(msgspec.Struct, frozen=True):
    """One figure. `limit` is its bound, a lower or an upper one, or none if it is only reported."""

    part: str
    what: str
    value: float
    unit: str
    bound: Literal["at least", "at most", ""] = ""
    limit: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the limit is kept."""
        return {"at least": self.value >= self.limit, "at most": self.value <= self.limit}.get(self.bound, True)


class Restart(NamedTuple):
    """A command of Run Command, with its action's key, its host, its begin and end (epoch seconds), and whether it
    failed."""

    key: str
    instance: str
    at: float
    ended: float
    failed: bool


class Removal(NamedTuple):
    """A host that Auto Scaling was asked to terminate, and when the group launched the next one."""

    instance: str
    at: float
    ended: float


class Fault(msgspec.Struct, frozen=True):
    """One fault. `seconds` passed until all was back in the balancer, `None` if it was not. `how` it was healed."""

    name: str
    seconds: float | None
    how: How
    doubles: tuple[str, ...] = ()


def doubles(restarts: Sequence[Restart], removals: Sequence[Removal]) -> Iterator[str]:
    """Each double repair, which is one command twice, one host repaired before its last repair has had its time, or two
    at once."""
    for first, second in combinations(sorted(restarts, key=lambda one: one.at), 2):
        if first.key == second.key:
            yield f"{first.key} was sent twice"
        elif (
            _episode(first) == _episode(second)
            and not first.failed
            and second.at < first.ended + VERIFY_TIMEOUT_SECONDS - _BLUR
        ):
            yield f"{first.instance} was restarted {second.at - first.ended:.0f} s after its restart had ended"
        elif first.instance != second.instance and second.at < first.ended:
            yield f"{first.instance} and {second.instance} were restarted at once"
    for one, other in combinations(sorted(removals, key=lambda one: one.at), 2):
        if one.instance == other.instance:
            yield f"{one.instance} was terminated twice"
        elif other.at + _BLUR < one.ended:
            yield f"{one.instance} and {other.instance} were replaced at once"
    yield from (told for restart in restarts for removal in removals if (told := _mixed(restart, removal)))


def _mixed(restart: Restart, removal: Removal) -> str:
    if restart.instance == removal.instance:
        late = restart.at > removal.at + _BLUR
        return f"{restart.instance} was restarted after it was terminated" if late else ""
    if removal.at - _BLUR > restart.ended or restart.at > removal.ended - _BLUR or restart.failed:
        return ""
    # A restart that began before the second in which the other was terminated has to have ended by then.
    return f"{restart.instance} was restarted while {removal.instance} was replaced"


def _episode(restart: Restart) -> list[str]:
    return restart.key.split("/")[:3]


def rows(faults: Sequence[Fault], wanted: int, written: int, lost: int, counts: Sequence[int]) -> Iterator[Row]:
    """The figures. `counts` are the controllers' rounds, those that came second, superseded actions of others, and
    failed rounds."""
    yield Row("faults", "faults", len(faults), "", "at least", wanted)
    yield Row("faults", "double heals", sum(len(fault.doubles) for fault in faults), "", "at most", 0)
    yield Row("faults", f"rows lost, of {written:,}", lost, "", "at most", 0)
    healed = sum(fault.seconds is not None for fault in faults)
    yield Row("faults", "healed unattended", 100 * healed / max(1, len(faults)), "%", "at least", 99)
    yield from _times(faults, "restart", 60)
    yield from _times(faults, "replacement", 180)
    yield from _times(faults, "alone", 0)
    told = ("rounds of both controllers", "rounds that came second", "acts overtaken", "rounds that failed")
    yield from (Row("faults", what, count, "") for what, count in zip(told, counts, strict=True))


def _times(faults: Sequence[Fault], how: How, limit: float) -> Iterator[Row]:
    if times := [fault.seconds for fault in faults if fault.how == how and fault.seconds is not None]:
        name = "without the healer" if how == "alone" else f"by {how}"
        yield Row("faults", f"{name}, {len(times)}: median", statistics.median(times), "s")
        yield Row("faults", f"{name}, {len(times)}: p99", p99(times), "s", "at most" if limit else "", limit)


def p99(times: Sequence[float]) -> float:
    """The nearest rank, which for less than a hundred values is the greatest."""
    return sorted(times)[math.ceil(0.99 * len(times)) - 1]
