"""How often something may be done, and how long to wait after it. It is pure, with values in and values out, and `now`
in epoch seconds.

REPAIRS = Budget(4, 600)
if REPAIRS.left(state.repairs, now): state = replace(state, repairs=REPAIRS.spend(state.repairs, now))

RETRY = Backoff(min_seconds=60, max_seconds=1800, reset_after_seconds=600)
if not RETRY.wait_seconds(state.cooldown, now): state = replace(state, cooldown=RETRY.failed(state.cooldown, now))
"""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from chalicelib.engine.schema import State

T = TypeVar("T")
# A scheduled event is at most so far ahead of the clock (s), and clocks differ a little.
_AHEAD = 120
# A run that begins so long after the minute of its event (s) began is late: its rule fired on time at most 60 s after.
_LATE = 120

# What has no time within.
_PLAIN = frozenset({str, int, bool, type(None)})

# When something was spent (epoch seconds), and how much.
Spent = tuple[tuple[float, int], ...]


class Cooldown(State, frozen=True):
    """How long the last wait is (s), and until when (epoch seconds) it lasts. The initial value, without a wait."""

    seconds: int = 0
    until: float = 0


def minute_done(minute: int, now: int, clock: float) -> bool:
    """Whether a run has claimed the minute of `now` (epoch seconds) before, where `minute` is the last one claimed.

    A minute that lies ahead of the clock is of a run whose clock was ahead, and holds nothing up.
    """
    return minute >= now // 60 and minute * 60 <= clock + _AHEAD


def decided_at(now: int, clock: float) -> int:
    """The time (epoch seconds) by which an operation of each minute decides, for an event of `now`.

    A rule fires anywhere within its minute, and a run may begin in the next one. It decides its own minute all the
    same, at its end. Otherwise it would take the minute of the next event, and every other one would find nothing to
    do. An event that came later sees the world of this minute by the `clock`. What it did at its own time would be
    long over for the next run, which would do it again at once.
    """
    if clock < now + 60:
        return now
    return now + 59 if clock < now + _LATE else int(clock) // 60 * 60


def counted_at(now: int, clock: float) -> int:
    """The time (epoch seconds) by which an operation counts seconds, for an event of `now`.

    An event has the minute of its rule, and its run begins anywhere within that minute, or later. Between two runs lie
    0 to 119 s, although their events are 60 s apart.
    """
    return max(now, int(clock))


def may_replace(at: float, old_at: float, fresh_seconds: float) -> bool:
    """Whether a published fact of `at` may take the place of one of `old_at` (epoch seconds).

    A run that stood still does not replace what was seen later. A fact further ahead than one that is fresh comes from
    a clock that was ahead, and holds nothing up.
    """
    return not 0 < old_at - at < fresh_seconds


def not_ahead(value: T, now: float) -> T:
    """`value`, a stored state, with every time (a float, epoch seconds) that is ahead of `now` set to `now`.

    Such a time is of a run whose clock was ahead. Left as it is, it would count as fresh, as spent or as just done
    until the clock has caught up. A `Cooldown` lies ahead by its nature, and lasts no longer than its wait.
    """
    return cast(T, _clamped(value, now))


def _clamped(value: Any, now: float) -> Any:
    if isinstance(value, float):
        return min(value, now)
    if isinstance(value, Cooldown):
        return value if value.until <= now + value.seconds else Cooldown(value.seconds, now + value.seconds)
    if isinstance(value, dict):
        ahead = {key: new for key, part in value.items()
                 if type(part) not in _PLAIN and (new := _clamped(part, now)) is not part}
        return value | ahead if ahead else value
    if isinstance(value, msgspec.Struct):
        parts = msgspec.structs.astuple(value)
    elif isinstance(value, tuple):
        parts = value
    else:
        return value
    # Most parts are no times, and most times are not ahead. Each round of the tunnels asks this of its whole state.
    changed = {number: new for number, part in enumerate(parts)
               if type(part) not in _PLAIN and (new := _clamped(part, now)) is not part}
    if not changed:
        return value
    after = [changed.get(number, part) for number, part in enumerate(parts)]
    return tuple(after) if isinstance(value, tuple) else type(value)(
        **dict(zip(value.__struct_fields__, after, strict=True)))


class Budget(State, frozen=True):
    """At most `limit` within any `window_seconds`.

    A time in the future comes from a clock that went backwards since. It counts as spent. A state that keeps
    `recent(...)` in each run is rid of it after one window.
    """

    limit: int
    window_seconds: int

    def recent(self, spent: Sequence[tuple[float, int]], now: float) -> Spent:
        """The entries that still count at `now`. A time in the future becomes now. To be kept in the state by each run.
        """
        return tuple((min(at, now), number) for at, number in spent if now - at < self.window_seconds)

    def used(self, spent: Sequence[tuple[float, int]], now: float) -> int:
        """How much of it is spent."""
        return sum(number for at, number in spent if now - at < self.window_seconds)

    def left(self, spent: Sequence[tuple[float, int]], now: float) -> int:
        """How much may still be spent. Never below 0."""
        return max(0, self.limit - self.used(spent, now))

    def spend(self, spent: Sequence[tuple[float, int]], now: float, number: int = 1) -> Spent:
        """The value to store after `number` more. Does not ask whether there was so much left."""
        return (*self.recent(spent, now), (now, number)) if number else self.recent(spent, now)


class Backoff(State, frozen=True):
    """A wait that doubles from `min_seconds` to `max_seconds`. Forgotten after `reset_after_seconds` of health."""

    min_seconds: int
    max_seconds: int
    reset_after_seconds: int = 0

    def failed(self, cooldown: Cooldown, now: float) -> Cooldown:
        """The wait after one more attempt, from `now` on."""
        seconds = min(self.max_seconds, max(self.min_seconds, 2 * cooldown.seconds))
        return Cooldown(seconds, now + seconds)

    def healthy(self, cooldown: Cooldown, healthy_seconds: float) -> Cooldown:
        """The next wait begins anew once all has been well for long enough. One that still lasts is not cut short."""
        return Cooldown(0, cooldown.until) if healthy_seconds >= self.reset_after_seconds else cooldown

    def settled(self, cooldown: Cooldown, now: float) -> Cooldown:
        """No longer than the longest wait, after a clock went backwards. To be kept in the state by each run."""
        return Cooldown(cooldown.seconds, min(cooldown.until, now + self.max_seconds))

    def wait_seconds(self, cooldown: Cooldown, now: float) -> float:
        """How long is still to be waited. 0 if it is over."""
        return max(0.0, min(cooldown.until - now, float(self.max_seconds)))

    def seconds_after(self, attempt: int) -> int:
        """The wait after the attempt of that number (from 1), for callers that keep no `Cooldown`."""
        return min(self.max_seconds, self.min_seconds << min(max(0, attempt - 1), 40))
