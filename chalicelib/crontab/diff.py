"""Every fire that a change of schedules gains or loses, counted without listing a single one of them.

The times of a job within a window of whole UTC days are a few *blocks*, each a set of days times a set of minutes of
the day. A zone with one change of clocks in the window takes two blocks before it, two after, and one for the day
itself.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import msgspec

from chalicelib.crontab.calendar import FULL_DAY, bits, days, minutes
from chalicelib.crontab.dst import LocalInterval, spans
from chalicelib.crontab.expression import Expression
from chalicelib.crontab.job import Job
from chalicelib.crontab.missed import days_of
from chalicelib.crontab.zones import DAY

# Local days are looked at from two before the window: a zone may be 15 hours off, and make up for 3 hours more.
_BEFORE = 2


class Window(NamedTuple):
    """`length` whole UTC days from day `first` on (day 0 is 1970-01-01)."""

    first: int
    length: int


class Block(NamedTuple):
    """Times at each of `minutes` (bit m is minute m of a UTC day) on each of `days` (bit d is day d of the window)."""

    days: int
    minutes: int


class Firings(msgspec.Struct, frozen=True):
    """A set of UTC minutes, as blocks that do not overlap."""

    window: Window
    blocks: tuple[Block, ...] = ()

    def __len__(self) -> int:
        return sum(block.days.bit_count() * block.minutes.bit_count() for block in self.blocks)

    def __iter__(self) -> Iterator[int]:
        """The minutes since 1970-01-01 00:00, ascending."""
        whole = 0
        for block in self.blocks:
            whole |= block.days
        for day in bits(whole):
            hit = 0
            for block in self.blocks:
                hit |= block.minutes if block.days >> day & 1 else 0
            midnight = (self.window.first + day) * DAY
            yield from (midnight + minute for minute in bits(hit))

    def __sub__(self, other: "Firings") -> "Firings":
        """The minutes of this set that are not in `other`, which has the same window."""
        left = list(self.blocks)
        for taken in other.blocks:
            left = [piece for block in left for piece in _without(block, taken)]
        return Firings(self.window, tuple(left))


def _without(block: Block, taken: Block) -> tuple[Block, ...]:
    shared = block.days & taken.days
    if not shared or not block.minutes & taken.minutes:
        return (block,)
    pieces = Block(block.days & ~shared, block.minutes), Block(shared, block.minutes & ~taken.minutes)
    return tuple(piece for piece in pieces if piece.days and piece.minutes)


class Change(msgspec.Struct, frozen=True):
    """The change of a job's times. `before` and `after` are its schedule and zone, empty if there is no such job."""

    name: str
    before: str
    after: str
    gained: Firings
    lost: Firings

    def examples(self, most: int = 3) -> tuple[list[int], list[int]]:
        """The first few UTC minutes gained, and those lost."""
        return list(islice(self.gained, most)), list(islice(self.lost, most))


def compare(before: Sequence[Job], after: Sequence[Job], window: Window) -> list[Change]:
    """The jobs, by name, that fire at other minutes of `window` in `after` than in `before`."""
    old, new = ({job.name: job for job in jobs} for jobs in (before, after))
    found = []
    for name in sorted(old.keys() | new.keys()):
        change = _change(name, old.get(name), new.get(name), window)
        if change.gained.blocks or change.lost.blocks:
            found.append(change)
    return found


def _change(name: str, old: Job | None, new: Job | None, window: Window) -> Change:
    none = Firings(window)
    if old and new and (old.expression, old.tz) == (new.expression, new.tz):
        return Change(name, _when(old), _when(new), none, none)
    earlier = firings(old.expression, old.tz, window) if old else none
    later = firings(new.expression, new.tz, window) if new else none
    return Change(name, _when(old), _when(new), later - earlier, earlier - later)


def _when(job: Job | None) -> str:
    return f"{job.schedule} {job.tz}" if job else ""


def firings(expression: Expression, tz: str, window: Window) -> Firings:
    """When the job fires within `window`."""
    plan = _plan(tz, expression.wildcard, window)
    local = days(expression, window.first - _BEFORE, window.length + 2 * _BEFORE)
    wanted = minutes(expression)
    blocks = [block for offset, whole in plan.whole for block in _shifted(local, wanted, offset, whole)]
    blocks += [Block(1 << day, _pieces(local, wanted, seen, window, day)) for day, seen in plan.partial]
    return Firings(window, tuple(block for block in blocks if block.days and block.minutes))


class _Plan(NamedTuple):
    """The course of a zone's clock, with the days of each constant offset, and the intervals of each day with a change.
    """

    whole: tuple[tuple[int, int], ...]
    partial: tuple[tuple[int, tuple[LocalInterval, ...]], ...]


@lru_cache(2048)
def _plan(tz: str, wildcard: bool, window: Window) -> _Plan:
    parts: dict[int, list[LocalInterval]] = defaultdict(list)
    for span in spans(tz, wildcard, window.first * DAY, (window.first + window.length) * DAY):
        for day, part in _by_day(span):
            parts[day - window.first].append(part)
    whole: dict[int, int] = defaultdict(int)
    partial = []
    for day, seen in parts.items():
        # A change at midnight UTC leaves the day in one piece, but for what is made up for at its first minute.
        if len(seen) == 1 and seen[0].last - seen[0].first == DAY:
            whole[seen[0].offset] |= 1 << day
        else:
            partial.append((day, tuple(seen)))
    return _Plan(tuple(whole.items()), tuple(partial))


def _by_day(span: LocalInterval) -> Iterator[tuple[int, LocalInterval]]:
    """(UTC day, the part of `span` that comes on it)."""
    first, last = span.utc(span.first), span.utc(span.last - 1)
    for day in range(first // DAY, last // DAY + 1):
        if span.at is None:
            start, end = max(first, day * DAY), min(last + 1, day * DAY + DAY)
            yield day, span._replace(first=start + span.offset, last=end + span.offset)
        else:
            yield day, span


def _shifted(local: int, wanted: int, offset: int, whole: int) -> tuple[Block, Block]:
    """The times on the UTC days `whole`, given the local days and minutes. A UTC day has parts of two local ones."""
    day, minute = divmod(offset, DAY)
    early = Block(local >> _BEFORE + day & whole, wanted >> minute)
    return early, Block(local >> _BEFORE + day + 1 & whole, wanted << DAY - minute & FULL_DAY)


def _pieces(local: int, wanted: int, seen: Sequence[LocalInterval], window: Window, day: int) -> int:
    """The minutes of UTC day `day` of the window that are hit, given the spans on that day."""
    hit, midnight = 0, (window.first + day) * DAY
    for span in seen:
        for number, within in days_of(span):
            if local >> number - window.first + _BEFORE & 1 and wanted & within:
                hit |= _placed(wanted & within, span, number * DAY, midnight)
    return hit


def _placed(minutes: int, span: LocalInterval, local: int, utc: int) -> int:
    """Minutes of the local day that begins at `local` as minutes of the UTC day that begins at `utc`."""
    if span.at is not None:
        return 1 << span.at - utc
    shift = local - span.offset - utc
    return minutes << shift if shift >= 0 else minutes >> -shift
