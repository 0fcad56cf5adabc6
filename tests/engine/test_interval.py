"""Rounds under a simulated clock: deadlines, slow rounds, failures, handing over, and never two Lambdas at once."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.engine import interval
from chalicelib.engine.interval import IntervalResult
from chalicelib.engine.lease import LEASE, Lease
from chalicelib.engine.schema import encode
from simulation.scheduler import Crash, Scheduler
from testing.fakes import MemoryTable, Store
from testing.triggers import MODELS, TriggerModel

START = 1_800_000_000.0  # a whole minute
KEY = ("lamps", "lease")


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class Day:
    """One Lambda's rounds: what it did when, as offsets from the minute. Alone, it ends after a minute."""

    def __init__(self, table: MemoryTable, clock: Clock, cost: Callable[[int], float] = lambda number: 0.1) -> None:
        self.table, self.clock, self.cost = table, clock, cost
        self.at: list[float] = []
        self.tokens: list[int] = []

    def run(self, holder: str = "me", **options: float) -> IntervalResult:
        return interval.run_rounds(
            self.table, KEY, self._round, capability="lamps", clock=self.clock, wait=self.clock.wait,
            holder=holder, **{"longest_seconds": 60.0, **options})

    def _round(self, at: float, token: int) -> None:
        assert 0 <= self.clock() - at < 2
        self.at.append(at - START)
        self.tokens.append(token)
        self.clock.wait(self.cost(len(self.at)))


def test_rounds_are_every_two_seconds_as_long_as_nobody_follows() -> None:
    day = Day(MemoryTable(), Clock())
    because = "nobody follows after 275 s: look at its rule"
    assert day.run(longest_seconds=275) == IntervalResult("done", rounds=137, token=137, because=because)
    assert day.at == [2.0 * number for number in range(137)]
    assert day.clock() <= START + 275


@pytest.mark.parametrize(("offset", "every", "longest", "first", "last", "count"), [
    (0.8, 2.0, 60.0, 2.0, 58.0, 29), (31.0, 2.0, 60.0, 32.0, 88.0, 29), (0.0, 5.0, 60.0, 0.0, 55.0, 12),
    (55.0, 2.0, 60.0, 56.0, 112.0, 29), (0.0, 2.0, 10.0, 0.0, 8.0, 5),
])
def test_deadlines_are_those_of_the_clock_not_of_the_start(
    offset: float, every: float, longest: float, first: float, last: float, count: int
) -> None:
    day = Day(MemoryTable(), Clock(START + offset))
    assert day.run(every_seconds=every, longest_seconds=longest).rounds == count
    assert (day.at[0], day.at[-1], len(day.at)) == (first, last, count)


def test_a_slow_round_costs_the_rounds_whose_time_it_took() -> None:
    day = Day(MemoryTable(), Clock(), lambda number: 7.0 if number == 3 else 0.1)
    ended = day.run()
    assert (ended.status, ended.rounds, ended.skipped, ended.token) == ("done", 27, 3, 27)
    assert day.at[:5] == [0.0, 2.0, 4.0, 12.0, 14.0]


def test_tokens_grow_from_round_to_round_and_from_minute_to_minute() -> None:
    table, clock = MemoryTable(), Clock()
    first, second = Day(table, clock), Day(table, clock)
    first.run("a")
    clock.now = START + 60
    second.run("b")
    assert first.tokens + second.tokens == sorted({*first.tokens, *second.tokens})


def test_a_failing_round_is_counted_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(interval, "count", lambda name, **dimensions: counted.append(name))

    def broken(number: int) -> float:
        if number in (2, 3, 5):
            raise ValueError(f"round {number}")
        return 0.1

    day = Day(MemoryTable(), Clock(), broken)
    ended = day.run()
    assert (ended.status, ended.rounds, ended.failed, ended.token) == ("done", 27, 3, 30)
    assert counted == ["RoundFailed"] * 3


def test_three_failing_rounds_in_a_row_end_the_minute_and_give_the_lease_back() -> None:
    def broken(number: int) -> float:
        if number > 4:
            raise ValueError(f"round {number}")
        return 0.1

    table, clock = MemoryTable(), Clock()
    ended = Day(table, clock, broken).run()
    assert (ended.status, ended.rounds, ended.failed) == ("failed", 4, 3)
    assert clock() < START + 15
    assert Day(table, clock).run("next").status == "done"


def body(item: Item | None) -> dict[str, Any]:
    """What an item says."""
    assert item
    return item.body


def test_a_later_lambda_is_handed_the_lease_after_the_round_in_hand() -> None:
    table, clock = MemoryTable(), Clock()

    def asked(number: int) -> float:
        if number == 3:
            item = table.get(*KEY)
            assert item
            table.compare_and_set(item, encode(Lease("first", "second"), LEASE))
        return 0.1

    first = Day(table, clock, asked).run("first")
    assert (first.status, first.rounds, first.because) == ("done", 4, "second follows")
    second = Day(table, clock)
    assert second.run("second").status == "done"
    assert second.at[0] == 8.0


@pytest.mark.parametrize("left", [
    encode(Lease("crashed", ""), LEASE), encode(Lease("crashed", "dead"), LEASE),
    {}, {"until": 99}, encode(Lease("crashed", ""), LEASE) | {"until": START + 3600.0},
], ids=["held", "asked for", "empty", "another release's", "of a clock an hour ahead"])
def test_the_lease_of_the_dead_is_taken_when_nobody_has_renewed_it_for_its_time(left: dict[str, Any]) -> None:
    table, clock = MemoryTable(), Clock(START + 20)
    table.create(*KEY, left)
    day = Day(table, clock)
    assert day.run().status == "done"
    assert 20 + interval.LEASE_SECONDS < day.at[0] <= 20 + interval.LEASE_SECONDS + 4


def test_the_newest_of_several_gets_the_lease_and_the_others_say_so() -> None:
    table, clock = MemoryTable(), Clock()
    table.create(*KEY, encode(Lease("old", ""), LEASE))

    class Overtaken(Clock):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            item = table.get(*KEY)
            assert item
            table.compare_and_set(item, encode(Lease("old", "newest"), LEASE))

    day = Day(table, Overtaken())
    assert day.run() == IntervalResult("lost", because="newest, started later, is to have the lease")
    assert (day.at, clock()) == ([], START)


def test_a_healer_whose_lease_was_taken_stops_before_its_next_round() -> None:
    table, clock = MemoryTable(), Clock()

    def stolen(number: int) -> float:
        if number == 3:
            there = table.get(*KEY)
            assert there
            table.compare_and_set(there, encode(Lease("thief", ""), LEASE))
        return 0.1

    day = Day(table, clock, stolen)
    assert day.run() == IntervalResult("lost", rounds=3, token=0, because="thief has the lease")
    assert body(table.get(*KEY))["holder"] == "thief"


def test_a_healer_that_was_in_doubt_and_finds_another_ones_mark_does_not_come_back() -> None:
    silent = False
    store, clock = Store(), Clock()

    def fault(call: str) -> None:
        nonlocal silent
        if silent:
            silent = False
            raise Unavailable(call)

    def taken_and_run_out(number: int) -> float:
        nonlocal silent
        if number == 3:
            there = MemoryTable(store).get(*KEY)
            assert there
            MemoryTable(store).compare_and_set(there, encode(Lease("other", ""), LEASE))
            silent = True
        return 0.1

    day = Day(MemoryTable(store, fault), clock, taken_and_run_out)
    ended = day.run()
    assert (ended.status, ended.because) == ("lost", "other has the lease")


class Faults:
    """Calls of the table that give no answer: `lose` is asked with the number of the call; after it, it is done."""

    def __init__(self, lose: Callable[[int], bool], done: bool) -> None:
        self.lose, self.done, self.calls, self.half = lose, done, 0, False

    def __call__(self, call: str) -> None:
        self.half = not self.half
        self.calls += self.half
        if self.lose(self.calls) and self.half != self.done:
            self.half = False
            raise Unavailable(f"{call}: no answer")


@pytest.mark.parametrize("done", [True, False], ids=["it was done", "it was not done"])
@pytest.mark.parametrize("lost", range(1, 9))
def test_a_lost_answer_costs_no_more_than_a_round(lost: int, done: bool) -> None:
    day = Day(MemoryTable(fault=Faults(lambda call: call == lost, done)), Clock())
    ended = day.run()
    assert (ended.status, ended.rounds + ended.failed) == ("done", 30)
    assert ended.rounds >= 29
    assert day.tokens == sorted(day.tokens)


@pytest.mark.parametrize("done", [True, False])
def test_without_the_table_there_is_no_round_and_the_minute_fails(done: bool) -> None:
    day = Day(MemoryTable(fault=Faults(lambda call: True, done)), Clock())
    ended = day.run()
    assert (ended.status, ended.rounds, ended.failed, day.at) == ("failed", 0, 3, [])


def test_while_the_table_is_silent_the_lease_is_good_as_long_as_it_lasts_for_a_round() -> None:
    day = Day(MemoryTable(fault=Faults(lambda call: call > 2, False)), Clock())
    assert day.run().status == "failed"
    assert day.at == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


class World:
    """Lambdas as EventBridge starts them for twenty minutes, by a model of triggers.

    If it is `rough`, they are slow and crash, their table fails, and their clocks are up to an hour wrong.

    `acts` is what an actuator took: it refuses a token lower than one that it has seen.
    """

    def __init__(self, seed: int, rough: bool, model: TriggerModel) -> None:
        self.hub, self.rough, self.store = Scheduler(seed, START), rough, Store()
        self.acts: list[tuple[float, int, str]] = []
        self.busy: dict[str, float] = {}
        self.overlaps = self.refused = 0
        self.ended: dict[str, IntervalResult] = {}
        for number, at in enumerate(model.times(self.hub.chance, START, minutes=20)):
            self.hub.at(at, lambda name=str(number): self.start(name))  # type: ignore[misc]

    def start(self, name: str) -> None:
        table = MemoryTable(self.store, self.fault)
        skew = self.hub.chance.choice((-3600.0, -1.0, 0.0, 1.0, 3600.0)) if self.rough else 0.0

        def work() -> None:
            self.ended[name] = interval.run_rounds(
                table, KEY, lambda at, token: self.round(name, token), capability="lamps",
                clock=lambda: self.hub.now + skew, wait=self.hub.wait, holder=name)

        def gone(error: BaseException | None) -> None:
            self.busy.pop(name, None)
            assert error is None or isinstance(error, Crash), error

        self.hub.spawn(work, name, gone)
        if self.rough and self.hub.chance.random() < 0.2:
            self.hub.at(self.hub.now + self.hub.chance.uniform(0, 60), lambda: self.hub.kill(name))

    def fault(self, call: str) -> None:
        self.hub.wait(self.hub.chance.uniform(0, 0.05))
        if self.rough and self.hub.chance.random() < 0.03:
            self.hub.wait(self.hub.chance.choice([0.0, 1.5, 5.0]))
            raise Unavailable(call)

    def round(self, name: str, token: int) -> None:
        self.overlaps += any(until > self.hub.now for other, until in self.busy.items() if other != name)
        # A round that is slower than it should be is what the token is for.
        self.busy[name] = self.hub.now + 2
        for _ in range(3):
            self.hub.wait(self.cost())
            if self.acts and token < self.acts[-1][1]:
                self.refused += 1
            else:
                self.acts.append((self.hub.now, token, name))
        self.busy.pop(name, None)

    def cost(self) -> float:
        slow = self.rough and self.hub.chance.random() < 0.02
        return self.hub.chance.uniform(5, 30) if slow else self.hub.chance.uniform(0.01, 0.3)

    def unwatched(self) -> list[float]:
        """The seconds between one action and the next, from the first trigger's on."""
        times = [at for at, _, _ in self.acts]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rough", [False, True])
def test_twenty_minutes_of_lambdas_never_has_two_at_once(seed: int, rough: bool, model: TriggerModel) -> None:
    world = World(seed, rough, model)
    world.hub.run(START + 1200)
    assert world.overlaps == 0
    tokens = [token for _, token, _ in world.acts]
    assert tokens == sorted(tokens)
    # Each acts in one go: once another one has acted, it never does again.
    names = [name for number, (_, _, name) in enumerate(world.acts)
             if number == 0 or world.acts[number - 1][2] != name]
    assert len(names) == len(set(names)), names
    # And there is always one at work.
    assert len(world.acts) > 3 * 20 * (8 if rough else 28)
    if not rough:
        assert (world.refused, {ended.failed for ended in world.ended.values()}) == (0, {0})


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("seed", range(2))
def test_wherever_the_triggers_fall_all_but_three_percent_of_the_time_is_watched(
    seed: int, model: TriggerModel
) -> None:
    world = World(seed, False, model)
    world.hub.run(START + 1200)
    unwatched = world.unwatched()
    assert len(unwatched) > 1500
    assert max(unwatched) <= 5.0
    # A round's last look and the next round's first are at most 2 s apart, and half a second for their calls.
    assert sum(gap for gap in unwatched if gap > 2.5) <= 0.03 * 1200
