"""Budgets and waits, whatever the times."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine.limits import (
    Backoff,
    Budget,
    Cooldown,
    Spent,
    counted_at,
    decided_at,
    may_replace,
    minute_done,
    not_ahead,
)
from chalicelib.engine.schema import State

STEPS = st.lists(st.tuples(st.floats(0, 400), st.integers(1, 3)), max_size=40)
BUDGET = Budget(4, 600)
BACKOFF = Backoff(min_seconds=60, max_seconds=1800, reset_after_seconds=600)


@pytest.mark.slow
@given(STEPS)
def test_budget_is_never_exceeded_within_any_window(steps: list[tuple[float, int]]) -> None:
    now, done = 1_800_000_000.0, list[tuple[float, int]]()
    spent: Spent = ()
    for wait, number in steps:
        now += wait
        if BUDGET.left(spent, now) >= number:
            spent = BUDGET.spend(spent, now, number)
            done.append((now, number))
        assert sum(count for at, count in done if now - at < BUDGET.window_seconds) <= BUDGET.limit
        # What is remembered says the same as the whole story.
        assert BUDGET.used(spent, now) == BUDGET.used(done, now)


@given(STEPS, st.floats(0, 10_000))
def test_budget_is_free_again_after_one_window(steps: list[tuple[float, int]], before: float) -> None:
    spent = tuple((1_800_000_000.0 - at, number) for at, number in steps)
    assert BUDGET.left(spent, 1_800_000_000 + BUDGET.window_seconds) == BUDGET.limit
    assert 0 <= BUDGET.left(spent, 1_800_000_000) <= BUDGET.limit


@given(st.floats(1, 1e9))
def test_clock_that_went_back_neither_frees_the_budget_nor_blocks_it_for_ever(jump: float) -> None:
    spent = BUDGET.spend((), 1_800_000_000.0 + jump, 4)
    assert BUDGET.left(spent, 1_800_000_000) == 0
    kept = BUDGET.recent(spent, 1_800_000_000)
    assert BUDGET.left(kept, 1_800_000_000 + BUDGET.window_seconds) == 4


def test_spending_nothing_only_forgets() -> None:
    assert BUDGET.spend(((0, 1), (500, 1)), 700, 0) == ((500, 1),)


@given(st.integers(1, 30))
def test_backoff_doubles_up_to_its_most(attempts: int) -> None:
    cooldown, now, waits = Cooldown(), 0.0, []
    for _ in range(attempts):
        cooldown = BACKOFF.failed(cooldown, now)
        waits.append(BACKOFF.wait_seconds(cooldown, now))
        assert BACKOFF.wait_seconds(cooldown, cooldown.until) == 0
        now = cooldown.until
    assert waits == [min(1800, 60 * 2**number) for number in range(attempts)]
    assert waits == [BACKOFF.seconds_after(number + 1) for number in range(attempts)]


def test_backoff_begins_anew_after_long_health_only() -> None:
    cooldown = BACKOFF.failed(BACKOFF.failed(Cooldown(), 0), 60)
    assert BACKOFF.healthy(cooldown, 599) == cooldown
    assert BACKOFF.healthy(cooldown, 600) == Cooldown(0, cooldown.until)
    assert BACKOFF.failed(BACKOFF.healthy(cooldown, 600), 700).seconds == 60


@given(st.floats(0, 1e9))
def test_wait_after_clock_went_back_is_no_longer_than_the_longest(jump: float) -> None:
    cooldown = BACKOFF.settled(BACKOFF.failed(Cooldown(), 1_800_000_000 + jump), 1_800_000_000)
    assert 0 < BACKOFF.wait_seconds(cooldown, 1_800_000_000) <= 1800
    assert BACKOFF.wait_seconds(cooldown, 1_800_001_800) == 0


class Seen(State, frozen=True):
    """A state with times in all places."""

    at: float
    spent: Spent = ()
    cooldown: Cooldown = Cooldown()
    inner: "Seen | None" = None
    name: str = ""
    number: int = 0
    by_name: dict[str, float] = msgspec.field(default_factory=dict)


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.integers(0, 4_000_000_000))
def test_times_ahead_of_the_clock_become_now_wherever_they_are(now: float, at: float, number: int) -> None:
    state = Seen(at, ((at, 3),), Cooldown(60, at), Seen(at, number=number), "name", number, {"a": at})
    right = min(at, now)
    expected = Seen(right, ((right, 3),), Cooldown(60, min(at, now + 60)), Seen(right, number=number), "name", number,
                    {"a": right})
    assert not_ahead(state, now) == expected
    assert at > now or not_ahead(state, now) is state


def test_event_that_came_late_decides_by_the_minute_of_the_clock_and_counts_as_that_minute() -> None:
    minute = 1_800_000_000 // 60 * 60
    assert decided_at(minute, minute + 59.9) == decided_at(minute, minute - 1.0) == minute
    assert decided_at(minute - 86_000, minute + 2.5) == minute
    assert decided_at(minute - 120, minute + 2.5) == minute
    assert minute_done(minute // 60, decided_at(minute - 180, minute + 2.5), minute + 2.5)


@pytest.mark.parametrize("offset", [0.0, 30.0, 58.0, 59.5, 59.99])
def test_each_event_has_a_minute_of_its_own_wherever_its_rule_fires_and_however_its_run_is_delayed(
    offset: float
) -> None:
    minute, done = 30_000_000, 0
    for number in range(20):
        now, clock = (minute + number) * 60, (minute + number) * 60 + offset + (number % 4) * 0.7
        decided = decided_at(now, clock)
        assert not minute_done(done, decided, clock) and decided // 60 == minute + number
        assert clock - decided <= 62
        done = decided // 60


def test_event_counts_seconds_by_the_clock_unless_that_is_behind() -> None:
    assert counted_at(1_800_000_000, 1_800_000_041.7) == 1_800_000_041
    assert counted_at(1_800_000_000, 1_799_999_990.2) == 1_800_000_000


@pytest.mark.parametrize(("at", "old_at", "may"), [(100, 90, True), (100, 100, True), (100, 110, False),
                                                   (100, 160, True), (100, 3700, True)])
def test_fact_replaces_what_is_older_or_of_a_clock_that_was_ahead(at: float, old_at: float, may: bool) -> None:
    assert may_replace(at, old_at, 60) is may
