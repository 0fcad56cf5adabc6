"""The time on a zone's clock, and the local minutes that Debian's cron daemon sees at each minute of UTC.

Times are whole minutes since 1970-01-01 00:00, either of UTC or *local*, which is UTC plus the zone's offset. Offsets
come from the pinned `tzdata` package alone, never from the machine, so that every region and every developer has the
same.

The rules are those of the main loop in `cron.c` of cron 3.0pl1-162. The daemon stores the last local minute that it
ran. It wakes once a minute, one second after the local minute began, and compares it with the clock.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import cache, lru_cache
from importlib import import_module
from typing import NamedTuple
from zoneinfo import ZoneInfo

from chalicelib.config import time_zones
from chalicelib.config.time_zones import names as names

DAY = 1440
# The daemon runs everything for a gap up to this many minutes: it takes it for having woken late.
LATE = 5
# It makes up for, or does not repeat, what lies within this many minutes; beyond that the clock was set.
RECOVERED = 180
# How far back the daemon's memory matters: a clock set back by a day repeats that day.
MEMORY = 3 * DAY
# No zone has two changes within this many minutes (the least is a week); a test goes through all of them.
STEP = DAY
# The years 1 to 9998, less what `MEMORY` looks back.
EARLIEST, LATEST = -1_035_000_000, 4_222_000_000
_MONTH = 30 * DAY


class UnknownZone(ValueError):
    """A name that is not in the tz database."""


class OffsetInterval(NamedTuple):
    """UTC minutes `start` up to, not including, `end`, in all of which the daemon does the same.

    The clock shows `minute + offset`. Jobs of fixed time run only if `fixed`, and for the `skipped` local minutes
    before as well (then `end` is `start + 1`). `again` means that the clock was set back so far that local minutes run
    twice.
    """

    start: int
    end: int
    offset: int
    fixed: bool = True
    skipped: int = 0
    again: bool = False

    def seen(self, minute: int, wildcard: bool) -> range:
        """The local minutes that jobs see at UTC `minute`, which are one, several after a gap, or none while time
        repeats."""
        local = minute + self.offset
        if wildcard:
            return range(local - self.skipped if self.skipped < LATE else local, local + 1)
        return range(local - self.skipped, local + 1) if self.fixed else range(0)


@cache
def zone(name: str) -> ZoneInfo:
    """The zone `name` of the pinned tz database. `UnknownZone` says what to write instead."""
    if unknown := time_zones.wrong(name):
        raise UnknownZone(unknown)
    from importlib import resources

    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def version() -> str:
    """The release of the tz database in use, such as `2026f`. A file from one release is not for another."""
    return str(import_module("tzdata").IANA_VERSION)


def stretches(name: str, start: int, end: int) -> list[OffsetInterval]:
    """The stretches of zone `name` that cover UTC minutes `start` up to, not including, `end`, in order."""
    if not EARLIEST <= start <= end <= LATEST:
        raise ValueError(f"UTC minutes {start} to {end} are not within the years 1 to 9998")
    found = _walk(_offsets(zone(name), start - MEMORY, end), end)
    return [s._replace(start=max(s.start, start)) for s in found if s.end > start]


@lru_cache(1024)
def _month(name: str, index: int) -> tuple[OffsetInterval, ...]:
    return tuple(stretches(name, index * _MONTH, (index + 1) * _MONTH))


def stretch(name: str, minute: int) -> OffsetInterval:
    """The interval of zone `name` that holds UTC `minute`, cached, so that the next minutes cost nothing."""
    return next(s for s in _month(name, minute // _MONTH) if s.end > minute)


def _walk(offsets: list[tuple[int, int]], end: int) -> Iterator[OffsetInterval]:
    """The daemon's course over `offsets`, (first UTC minute, offset) each, if it ran well before the first of them."""
    clock = sum(offsets[0]) - 1  # the last local minute that it ran all jobs for
    replay = clock  # local minutes up to this one have run before
    for (start, offset), stop in zip(offsets, [at for at, _ in offsets[1:]] + [end], strict=True):
        ahead = start + offset - clock
        if -RECOVERED < ahead <= 0:
            caught_up = min(stop, clock + 1 - offset)
            yield OffsetInterval(start, caught_up, offset, fixed=False)
            start = caught_up
        elif ahead <= -RECOVERED:
            replay = max(replay, clock)
        elif 1 < ahead <= RECOVERED:
            yield OffsetInterval(start, start + 1, offset, skipped=ahead - 1, again=start + offset <= replay)
            start += 1
        if start < stop:
            yield from _split(OffsetInterval(start, stop, offset), replay)
        if start < stop or ahead > 0:
            clock = stop - 1 + offset


def _split(whole: OffsetInterval, replay: int) -> Iterator[OffsetInterval]:
    """`whole`, cut where the local minutes that have run before (up to `replay`) end."""
    cut = min(max(replay + 1 - whole.offset, whole.start), whole.end)
    if whole.start < cut:
        yield whole._replace(end=cut, again=True)
    if cut < whole.end:
        yield whole._replace(start=cut)


def _offsets(info: ZoneInfo, start: int, end: int) -> list[tuple[int, int]]:
    """(first UTC minute, offset) of every run of equal offsets from `start` up to `end`."""
    found = [(start, _offset(info, start))]
    for probe in (*range(start + STEP, end - 1, STEP), end - 1):
        while _offset(info, probe) != found[-1][1]:
            change = _change(info, found[-1][1], max(found[-1][0], probe - STEP), probe)
            found.append((change, _offset(info, change)))
    return found


def _change(info: ZoneInfo, offset: int, low: int, high: int) -> int:
    """The first minute after `low` whose offset is not `offset`, given that `low` has it and `high` has not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(info, middle) == offset else (low, middle)
    return high


def _offset(info: ZoneInfo, minute: int) -> int:
    """Local minute minus UTC minute, for the local minute that begins during this minute of UTC.

    Before 1972 some offsets had odd seconds (Monrovia -0:44:30). The daemon wakes when the local minute begins.
    """
    difference = datetime.fromtimestamp(60 * minute + 59, info).utcoffset()
    if difference is None:
        raise UnknownZone(f"zone {info.key} has no offset at UTC minute {minute}")
    return (59 + int(difference.total_seconds())) // 60
