"""The daemon's main loop told a second time, one minute after the other: what the arithmetic is compared with."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

from chalicelib.crontab.expression import Expression

EPOCH = datetime(1970, 1, 1)
# Long enough for the loop to have forgotten how it was started.
RUN_UP = 2 * 1440


class Wake(NamedTuple):
    """The local minutes that wildcard jobs, and those that jobs of fixed time, are run for at a UTC minute."""

    minute: int
    wildcard: list[int]
    fixed: list[int]


@cache
def info(tz: str) -> ZoneInfo:
    with (files("tzdata") / "zoneinfo" / tz).open("rb") as file:
        return ZoneInfo.from_file(file)


def local(tz: str, minute: int) -> int:
    """The clock's minute when the last second of the UTC minute begins."""
    moment = datetime.fromtimestamp(60 * minute + 59, UTC).astimezone(info(tz))
    return (moment.replace(tzinfo=None) - EPOCH) // timedelta(minutes=1)


def wakes(tz: str, start: int, end: int) -> Iterator[Wake]:
    """Every minute from `start` up to `end`, if the daemon has been running for a while."""
    return loop(lambda minute: local(tz, minute), start - RUN_UP, start, end)


def loop(clock: Callable[[int], int], boot: int, start: int, end: int) -> Iterator[Wake]:
    """Every minute from `start` up to `end` of a daemon that runs from `boot` on; `clock`: UTC to local minute."""
    virtual = clock(boot) - 1
    for minute in range(boot, end):
        now = clock(minute)
        ahead, since = now - virtual, list(range(virtual + 1, now + 1))
        if 1 <= ahead <= 5:
            wake, virtual = Wake(minute, since, since), now
        elif 6 <= ahead <= 180:
            wake, virtual = Wake(minute, [now], since), now
        elif -180 < ahead <= 0:
            wake = Wake(minute, [now], [])
        else:
            wake, virtual = Wake(minute, [now], [now]), now
        if minute >= start:
            yield wake


def matches(expression: Expression, minute: int) -> bool:
    """Whether a local minute matches, field by field."""
    when = EPOCH + timedelta(minutes=minute)
    dom, dow = expression.dom >> when.day & 1, expression.dow >> when.isoweekday() % 7 & 1
    day = dom and dow if expression.dom_star or expression.dow_star else dom or dow
    return bool(expression.minute >> when.minute & 1 and expression.hour >> when.hour & 1
                and expression.month >> when.month & 1 and day)


def seen(expression: Expression, wake: Wake) -> list[int]:
    """The local minutes for which the job is run at that minute."""
    return [minute for minute in (wake.wildcard if expression.wildcard else wake.fixed) if matches(expression, minute)]


def fires(expression: Expression, tz: str, start: int, end: int) -> list[int]:
    """The UTC minutes at which the job is run."""
    return [wake.minute for wake in wakes(tz, start, end) if seen(expression, wake)]


@cache
def changes(tz: str) -> list[int]:
    """The UTC minutes in which the offset of `tz` changes, read from its file (RFC 8536, the second block)."""
    data = (files("tzdata") / "zoneinfo" / tz).read_bytes()
    isut, isstd, leap, times, types, chars = _counts(data, 0)
    second = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isut
    found = struct.unpack_from(f">{_counts(data, second)[3]}q", data, second + 44)
    return [moment // 60 for moment in found if _offset(tz, moment - 1) != _offset(tz, moment)]


def _counts(data: bytes, at: int) -> tuple[int, ...]:
    return struct.unpack_from(">6l", data, at + 20)


def _offset(tz: str, moment: int) -> timedelta | None:
    return datetime.fromtimestamp(moment, info(tz)).utcoffset()
