"""The due jobs of a minute, by an inverted index that never reads a job that is not due.

For each value of each field there is one big integer whose bit i says whether job i of the build order matches. The
jobs due at a local minute are the AND of five of them. Zones whose clocks show the same share the work.
"""

import hashlib
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import reduce
from operator import or_
from typing import NamedTuple

import msgspec

from chalicelib.crontab import zones
from chalicelib.crontab.calendar import bits, minutes_of
from chalicelib.crontab.container import Packed, pack
from chalicelib.crontab.dst import LocalInterval, slot_name, spans
from chalicelib.crontab.job import Job
from chalicelib.crontab.missed import DayMinutes, MissedRuns, days_of
from chalicelib.crontab.zones import DAY, OffsetInterval

_MAGIC = b"LAMPTIM1"
_EPOCH = date(1970, 1, 1).toordinal()

# The rows of the index, in the order of the file: one per value of a field, then two properties, then one per zone.
_MINUTE, _HOUR, _DOM, _MONTH, _DOW, _EITHER, _WILDCARD, _ZONES = 0, 60, 84, 116, 129, 136, 137, 138


# Each job's minute and hour fields, by number.
Times = tuple[memoryview, memoryview]


class Fire(msgspec.Struct, frozen=True, gc=False):
    """Job number `job` is to run for `slot`. `moved` is for a local minute that the clock skipped."""

    job: int
    slot: str
    moved: bool


class Part(NamedTuple):
    """The jobs (bit i = job i) that are due for the same slot."""

    bitmap: int
    slot: str
    moved: bool


class Due(NamedTuple):
    """All that is due at UTC minute `minute`."""

    minute: int
    parts: tuple[Part, ...]

    @property
    def bitmap(self) -> int:
        """The due jobs. Bit i is job i of the build order."""
        return reduce(or_, (part.bitmap for part in self.parts), 0)

    def fires(self) -> Iterator[Fire]:
        """One by one, in no particular order. A job of fixed time may have several slots when a clock goes forward."""
        for bitmap, slot, moved in self.parts:
            yield from [Fire(job, slot, moved) for job in bits(bitmap)]


def build(jobs: Sequence[Job]) -> bytes:
    """The file `timetable.bin` of `jobs`. Equal jobs give equal bytes.

    `zones.UnknownZone` names the file and line of a job whose zone does not exist.
    """
    names = sorted({_known(job) for job in jobs})
    rows = _rows(jobs, names)
    width = (len(jobs) + 7) // 8
    minutes = struct.pack(f"<{len(jobs)}Q", *(job.expression.minute for job in jobs))
    hours = struct.pack(f"<{len(jobs)}I", *(job.expression.hour for job in jobs))
    roll = hashlib.sha256("\n".join(job.name for job in jobs).encode()).hexdigest()
    facts = {"jobs": len(jobs), "zones": names, "tzdata": zones.version(), "names": roll}
    return pack(_MAGIC, facts, [*(row.to_bytes(width, "little") for row in rows), minutes, hours])


def _known(job: Job) -> str:
    try:
        zones.zone(job.tz)
    except zones.UnknownZone as error:
        raise zones.UnknownZone(f"{job.file}:{job.line}: {error}") from None
    return job.tz


def _rows(jobs: Sequence[Job], names: list[str]) -> list[int]:
    number = {name: 1 << index for index, name in enumerate(names)}
    fields: tuple[tuple[Callable[[Job], int], int], ...] = (
        (lambda job: job.expression.minute, 60),
        (lambda job: job.expression.hour, 24),
        (lambda job: job.expression.dom, 32),
        (lambda job: job.expression.month, 13),
        (lambda job: job.expression.dow, 7),
        (lambda job: not job.expression.both_days, 1),
        (lambda job: job.expression.wildcard, 1),
        (lambda job: number[job.tz], len(names)),
    )
    return [row for key, size in fields for row in _invert([key(job) for job in jobs], size)]


def _invert(masks: list[int], size: int) -> list[int]:
    """For each of `size` bits, the set of those whose mask has it. Jobs with equal masks are handled together."""
    alike: dict[int, bytearray] = defaultdict(lambda: bytearray((len(masks) + 7) // 8))
    for index, mask in enumerate(masks):
        alike[mask][index >> 3] |= 1 << (index & 7)
    rows = [0] * size
    for mask, members in alike.items():
        jobs = int.from_bytes(members, "little")
        for bit in bits(mask):
            rows[bit] |= jobs
    return rows


class Timetable:
    """The index of `timetable.bin`. Rows are read when they are first needed, so that loading takes no time."""

    def __init__(self, file: Packed) -> None:
        self._file = file
        self._zones: list[str] = file.facts["zones"]
        self._cache: dict[int, int] = {}
        self._days: dict[int, int] = {}
        self._views: list[tuple[OffsetInterval, int]] = []
        self._fresh = range(0)
        self.digest = file.digest
        self.jobs: int = file.facts["jobs"]

    @classmethod
    def load(cls, data: bytes) -> "Timetable":
        """The timetable in `data`. `packed.Damaged` if it is none, cut short, or made with other zone data."""
        file = Packed(data, _MAGIC, "timetable (timetable.bin)")
        if file.facts["tzdata"] != zones.version():
            raise file.damaged(f"it was made with tzdata {file.facts['tzdata']}, here is {zones.version()}")
        return cls(file)

    def due(self, minute: int) -> Due:
        """The jobs due at UTC minute `minute` (since 1970-01-01 00:00)."""
        wild, wall, parts = self._row(_WILDCARD), 0, []
        for view, members in self._seen(minute):
            local = minute + view.offset
            jobs = self._matching(local) & members
            wall |= jobs & wild
            if view.fixed and (fixed := jobs & ~wild):
                parts.append(Part(fixed, slot_name(minute, local, False, view.again), False))
            if view.skipped:
                wall |= self._skipped(view.seen(minute, True), members & wild)
                parts += self._made_up(view, minute, members & ~wild)
        return Due(minute, (*parts, Part(wall, slot_name(minute, 0, True), False)) if wall else tuple(parts))

    def _skipped(self, seen: range, members: int) -> int:
        return reduce(or_, (self._matching(local) & members for local in seen[:-1]), 0)

    def _made_up(self, view: OffsetInterval, minute: int, members: int) -> Iterator[Part]:
        for local in view.seen(minute, False)[:-1]:
            if jobs := self._matching(local) & members:
                yield Part(jobs, slot_name(minute, local, False, view.again), True)

    def missed(self, start: int, end: int) -> Iterator[MissedRuns]:
        """The missed runs of each job that was due at a UTC minute from `start` up to, not including, `end`."""
        times = self._file.slice(-2).cast("Q"), self._file.slice(-1).cast("I")
        for wildcard in (False, True):
            found: dict[int, list[DayMinutes]] = defaultdict(list)
            for seen, members in self._alike(wildcard, start, end):
                for span in seen:
                    self._collect(found, times, span, members)
            for job, stints in found.items():
                yield MissedRuns(job, wildcard, stints)

    def _collect(self, found: dict[int, list[DayMinutes]], times: Times, span: LocalInterval, members: int) -> None:
        minutes, hours = times
        for day, within in days_of(span):
            for job in bits(members & self._on(day)):
                if hit := minutes_of(minutes[job], hours[job]) & within:
                    found[job].append(DayMinutes(span, day * DAY, hit))

    def _alike(self, wildcard: bool, start: int, end: int) -> Iterable[tuple[tuple[LocalInterval, ...], int]]:
        """The times on the clocks, and the jobs (fixed-time or wildcard) that follow each."""
        kind = self._row(_WILDCARD)
        kind = kind if wildcard else ((1 << self.jobs) - 1) ^ kind
        groups: dict[tuple[LocalInterval, ...], int] = defaultdict(int)
        for index, name in enumerate(self._zones):
            groups[spans(name, wildcard, start, end)] |= self._row(_ZONES + index) & kind
        return groups.items()

    def _seen(self, minute: int) -> list[tuple[OffsetInterval, int]]:
        """The times on the clocks at `minute`, and the jobs that follow each, cached until one of them changes."""
        if minute not in self._fresh:
            groups: dict[OffsetInterval, int] = defaultdict(int)
            now = [zones.stretch(name, minute) for name in self._zones]
            for index, stretch in enumerate(now):
                groups[stretch._replace(start=0, end=0)] |= self._row(_ZONES + index)
            self._views = list(groups.items())
            self._fresh = range(max((s.start for s in now), default=minute), min((s.end for s in now), default=minute))
        return self._views

    def _matching(self, local: int) -> int:
        day, minute = divmod(local, DAY)
        return self._on(day) & self._row(_HOUR + minute // 60) & self._row(_MINUTE + minute % 60)

    def _on(self, day: int) -> int:
        """The jobs that run on local day `day` (0 is 1970-01-01)."""
        if day not in self._days:
            if len(self._days) > 400:
                self._days.clear()
            when = date.fromordinal(_EPOCH + day)
            dom, dow = self._row(_DOM + when.day), self._row(_DOW + when.isoweekday() % 7)
            self._days[day] = self._row(_MONTH + when.month) & (dom & dow | self._row(_EITHER) & (dom | dow))
        return self._days[day]

    def _row(self, index: int) -> int:
        if index not in self._cache:
            self._cache[index] = int.from_bytes(self._file.slice(index), "little")
        return self._cache[index]
