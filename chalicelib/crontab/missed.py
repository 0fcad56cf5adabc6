"""The missed slots of a job over a span of time. They are counted at once, and listed only on request."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from chalicelib.crontab.calendar import bits
from chalicelib.crontab.dst import FireTime, LocalInterval, slot_name
from chalicelib.crontab.zones import DAY


class DayMinutes(NamedTuple):
    """The due minutes of a job in one local day, within one interval. Bit m of `minutes` is `midnight` + m."""

    span: LocalInterval
    midnight: int
    minutes: int


class MissedRuns(msgspec.Struct, frozen=True, gc=False):
    """The occasions that job number `job` had, in order."""

    job: int
    wildcard: bool
    stints: list[DayMinutes]

    @property
    def count(self) -> int:
        """The number of slots, at least one."""
        return sum(stint.minutes.bit_count() for stint in self.stints)

    @property
    def latest(self) -> FireTime:
        """The last slot."""
        stint = self.stints[-1]
        return self._slot(stint.span, stint.midnight + stint.minutes.bit_length() - 1)

    def slots(self, since: int | None = None) -> Iterator[FireTime]:
        """The slots in order, or only those of UTC minute `since` and after it."""
        for span, midnight, minutes in self.stints:
            if since is None or span.utc(midnight + minutes.bit_length() - 1) >= since:
                found = (self._slot(span, midnight + minute) for minute in bits(minutes))
                yield from (slot for slot in found if since is None or slot.minute >= since)

    def _slot(self, span: LocalInterval, local: int) -> FireTime:
        minute = span.utc(local)
        return FireTime(minute, local, slot_name(minute, local, self.wildcard, span.again), span.at is not None)


def days_of(span: LocalInterval) -> Iterator[tuple[int, int]]:
    """(local day, minutes of that day as bits) for every day that `span` touches."""
    for day in range(span.first // DAY, (span.last - 1) // DAY + 1):
        first, last = max(span.first - day * DAY, 0), min(span.last - day * DAY, DAY)
        yield day, (1 << last) - (1 << first)
