"""When jobs fire, minute for minute as Debian's daemon fires them when clocks change. `zones` has the rules.

Jobs follow *local* minutes, counted like those of UTC, as whole minutes since 1970-01-01 00:00 on the zone's clock.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from chalicelib.crontab import calendar, zones
from chalicelib.crontab.expression import Expression
from chalicelib.crontab.zones import DAY, UnknownZone, zone

__all__ = [
    "DueExplanation",
    "FireTime",
    "LocalInterval",
    "UnknownZone",
    "explain",
    "fires",
    "next_fire",
    "slot_name",
    "slots",
    "spans",
    "stamp",
    "zone",
]

_EPOCH = datetime(1970, 1, 1)
# A day that recurs only on 29 February may be eight years away (1896, 1904); 2096, 2104 as well.
_HORIZONS = (2 * DAY, 70 * DAY, 9 * 366 * DAY)


class LocalInterval(NamedTuple):
    """Local minutes `first` up to, not including, `last`, that jobs of one kind see one after the other.

    They come at UTC minute `local - offset`. Or, if `at` is set, all of them at that UTC minute, skipped by the clock.
    `again` means that the clock has shown them before.
    """

    first: int
    last: int
    offset: int
    at: int | None = None
    again: bool = False

    def utc(self, local: int) -> int:
        """The UTC minute at which local minute `local` is seen."""
        return local - self.offset if self.at is None else self.at


class FireTime(NamedTuple):
    """One time to run, with the UTC `minute`, the local one, its `name` in the store, and whether it was `moved`."""

    minute: int
    local: int
    name: str
    moved: bool


class DueExplanation(msgspec.Struct, frozen=True):
    """Why a job is due at a UTC minute, or not.

    `due`. `moved` means that the clock skipped local minute `local`, which runs now. `suppressed` means that the wall
    clock shows `local` again, and the job has run for it already. `not due` means that `field` (minute, hour, month or
    day) does not match `local`.
    """

    kind: Literal["due", "moved", "suppressed", "not due"]
    local: int
    slot: str = ""
    field: str = ""


@lru_cache(4096)
def spans(tz: str, wildcard: bool, start: int, end: int) -> tuple[LocalInterval, ...]:
    """The local minutes of jobs in zone `tz` from UTC minute `start` up to `end`. `wildcard` says which kind of jobs.
    In order."""
    found: list[LocalInterval] = []
    for stretch in zones.stretches(tz, start, end):
        seen = stretch.seen(stretch.start, wildcard)
        here = stretch.start + stretch.offset
        if len(seen) > 1:
            found.append(LocalInterval(seen.start, here, stretch.offset, stretch.start, stretch.again))
        if seen:
            _extend(found, LocalInterval(here, stretch.end + stretch.offset, stretch.offset, None, stretch.again))
    return tuple(found)


def _extend(found: list[LocalInterval], span: LocalInterval) -> None:
    if found and found[-1] == span._replace(first=found[-1].first, last=span.first):
        span = span._replace(first=found.pop().first)
    found.append(span)


def fires(expression: Expression, tz: str, start: int, end: int) -> list[int]:
    """The UTC minutes from `start` up to, not including, `end` at which the job runs, distinct and ascending.

    The daemon is taken to have been running well before `start`.
    """
    found: list[int] = []
    for span in spans(tz, expression.wildcard, start, end):
        if span.at is None:
            found.extend(local - span.offset for local in _locals(expression, span))
        elif any(True for _ in _locals(expression, span)):
            found.append(span.at)
    return list(dict.fromkeys(found))


def slots(expression: Expression, tz: str, start: int, end: int) -> Iterator[FireTime]:
    """Each occasion to run within UTC minutes `start` up to `end`, in order. A few of them may share a minute."""
    for span in spans(tz, expression.wildcard, start, end):
        for local in _locals(expression, span):
            minute = span.utc(local)
            yield FireTime(minute, local, slot_name(minute, local, expression.wildcard, span.again),
                           span.at is not None)


def next_fire(expression: Expression, tz: str, start: int) -> int | None:
    """The first UTC minute from `start` on at which the job runs. None if there is none within nine years."""
    for horizon in _HORIZONS:
        for slot in slots(expression, tz, start, start + horizon):
            return slot.minute
    return None


def explain(expression: Expression, tz: str, minute: int) -> DueExplanation:
    """Why the job runs, or does not run, at UTC minute `minute`."""
    stretch, wildcard = zones.stretch(tz, minute), expression.wildcard
    local = minute + stretch.offset
    unmatched = calendar.unmatched(expression, local)
    if unmatched is None and not stretch.seen(minute, wildcard):
        return DueExplanation("suppressed", local)
    if unmatched is None:
        return DueExplanation("due", local, slot_name(minute, local, wildcard, stretch.again))
    for skipped in stretch.seen(minute, wildcard):
        if calendar.matches(expression, skipped):
            return DueExplanation("moved", skipped, slot_name(minute, skipped, wildcard, stretch.again))
    return DueExplanation("not due", local, field=unmatched)


def slot_name(minute: int, local: int, wildcard: bool, again: bool = False) -> str:
    """The name of a run's slot, `2026-03-29T00:55Z` for a wildcard job (UTC) and `2026-03-29T02:30` for others (local).

    `again` marks a local minute that recurs and runs again, as in `2026-03-29T02:30#2`.
    """
    if wildcard:
        return stamp(minute) + "Z"
    return stamp(local) + "#2" if again else stamp(local)


@lru_cache(4096)
def stamp(minute: int) -> str:
    """Minute `minute` since 1970-01-01 00:00 as text, such as `2026-03-29T00:55`."""
    return (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def _locals(expression: Expression, span: LocalInterval) -> Iterator[int]:
    """The local minutes of `span` that match, ascending."""
    first, last = span.first // DAY, (span.last - 1) // DAY
    minutes = list(calendar.bits(calendar.minutes(expression)))
    for index in calendar.bits(calendar.days(expression, first, last - first + 1)):
        base = (first + index) * DAY
        if span.first <= base and base + DAY <= span.last:
            yield from [base + minute for minute in minutes]
        else:
            yield from [base + minute for minute in minutes if span.first <= base + minute < span.last]
