"""The healer's minute under a simulated clock: deadlines, slow rounds, failures, and never two healers at once."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.tunnels import rounds
from chalicelib.tunnels.rounds import KEY, IntervalResult
from simulation.scheduler import Crash, Scheduler
from testing.fakes import MemoryTable, Store

START = 1_800_000_000.0  # a whole minute


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
    """One healer's minute: what it did when, as offsets from the minute."""

    def __init__(self, table: MemoryTable, clock: Clock, cost: Callable[[int], float] = lambda number: 0.1) -> None:
        self.table, self.clock, self.cost = table, clock, cost
        self.at: list[float] = []
        self.tokens: list[int] = []

    def run(self, holder: str = "me", **options: float) -> IntervalResult:
        return rounds.minute(self.table, self._round, clock=self.clock, wait=self.clock.wait, holder=holder, **options)

    def _round(self, at: float, token: int) -> None:
        assert 0 <= self.clock() - at < 2
        self.at.append(at - START)
        self.tokens.append(token)
        self.clock.wait(self.cost(len(self.at)))


def test_rounds_are_every_two_seconds_and_end_by_second_56() -> None:
    day = Day(MemoryTable(), Clock())
    assert day.run() == IntervalResult("done", rounds=28, token=28)
    assert day.at == [2.0 * number for number in range(28)]
    assert day.clock() <= START + 56


@pytest.mark.parametrize(("offset", "every", "until", "first", "last", "count"), [
    (0.8, 2.0, 56.0, 2.0, 54.0, 27), (31.0, 2.0, 56.0, 32.0, 54.0, 12), (0.0, 5.0, 56.0, 0.0, 50.0, 11),
    (0.0, 2.0, 10.0, 0.0, 8.0, 5),
])
def test_deadlines_are_those_of_the_clock_not_of_the_start(
    offset: float, every: float, until: float, first: float, last: float, count: int
) -> None:
    day = Day(MemoryTable(), Clock(START + offset))
    assert day.run(every=every, until=until).rounds == count
    assert (day.at[0], day.at[-1], len(day.at)) == (first, last, count)


def test_who_comes_too_late_in_the_minute_does_nothing() -> None:
    day = Day(MemoryTable(), Clock(START + 55))
    assert day.run() == IntervalResult("lost", why="too late in the minute for a round")


def test_a_slow_round_costs_the_rounds_whose_time_it_took() -> None:
    day = Day(MemoryTable(), Clock(), lambda number: 7.0 if number == 3 else 0.1)
    assert day.run() == IntervalResult("done", rounds=25, skipped=3, token=25)
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
    monkeypatch.setattr(rounds, "count", lambda name, **dimensions: counted.append(name))

    def broken(number: int) -> float:
        if number in (2, 3, 5):
            raise ValueError(f"round {number}")
        return 0.1

    day = Day(MemoryTable(), Clock(), broken)
    assert day.run() == IntervalResult("done", rounds=25, failed=3, token=28)
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


def test_a_second_healer_of_the_same_minute_ends_at_once_and_says_so() -> None:
    table, clock = MemoryTable(), Clock()
    table.create(*KEY, {"holder": "first", "minute": int(START), "until": START + 15})
    day = Day(table, clock)
    assert day.run() == IntervalResult("lost", why="first has the lease")
    assert (day.at, clock()) == ([], START)


def test_the_lease_of_a_crashed_healer_runs_out() -> None:
    table, clock = MemoryTable(), Clock(START + 20)
    table.create(*KEY, {"holder": "crashed", "minute": int(START), "until": START + 19.9})
    assert Day(table, clock).run().status == "done"


def test_a_healer_of_the_former_minute_is_waited_for() -> None:
    table, clock = MemoryTable(), Clock()
    table.create(*KEY, {"holder": "former", "minute": int(START) - 60, "until": START + 9})
    day = Day(table, clock)
    assert day.run().status == "done"
    assert day.at[0] == 10.0


def test_a_healer_whose_lease_was_taken_stops_before_its_next_round() -> None:
    table, clock = MemoryTable(), Clock()

    def stolen(number: int) -> float:
        if number == 3:
            there = table.get(*KEY)
            assert there
            table.compare_and_set(there, {"holder": "thief", "minute": int(START), "until": clock() + 15})
        return 0.1

    day = Day(table, clock, stolen)
    assert day.run() == IntervalResult("lost", rounds=3, token=0, why="thief has the lease")
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
            MemoryTable(store).compare_and_set(there, {"holder": "other", "minute": int(START), "until": clock()})
            silent = True
        return 0.1

    day = Day(MemoryTable(store, fault), clock, taken_and_run_out)
    ended = day.run()
    assert (ended.status, ended.why) == ("lost", "other has the lease")


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
    assert (ended.status, ended.rounds + ended.failed) == ("done", 28)
    assert ended.rounds >= 27
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
    """Healers as EventBridge starts them, in a simulated hour: late, twice, slow, crashing, with a table that fails.

    `acts` is what an actuator took: it refuses a token lower than one that it has seen.
    """

    def __init__(self, seed: int, rough: bool) -> None:
        self.hub, self.rough, self.store = Scheduler(seed, START), rough, Store()
        self.acts: list[tuple[int, str]] = []
        self.busy: dict[str, float] = {}
        self.overlaps = self.refused = 0
        self.ended: dict[str, IntervalResult] = {}
        for number in range(60):
            for copy in range(2 if self.hub.chance.random() < 0.3 else 1):
                late = self.hub.chance.uniform(0, 70 if self.hub.chance.random() < 0.1 else 3)
                self.hub.at(START + 60 * number + late, lambda name=f"{number}.{copy}": self.start(name))  # type: ignore[misc]

    def start(self, name: str) -> None:
        table = MemoryTable(self.store, self.fault)

        def work() -> None:
            self.ended[name] = rounds.minute(
                table, lambda at, token: self.round(name, token), clock=lambda: self.hub.now, wait=self.hub.wait,
                holder=name)

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
            if self.acts and token < self.acts[-1][0]:
                self.refused += 1
            else:
                self.acts.append((token, name))
        self.busy.pop(name, None)

    def cost(self) -> float:
        slow = self.rough and self.hub.chance.random() < 0.02
        return self.hub.chance.uniform(5, 30) if slow else self.hub.chance.uniform(0.01, 0.3)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rough", [False, True])
def test_an_hour_of_healers_never_has_two_at_once(seed: int, rough: bool) -> None:
    world = World(seed, rough)
    world.hub.run(START + 3700)
    assert world.overlaps == 0
    tokens = [token for token, _ in world.acts]
    assert tokens == sorted(tokens)
    # Each healer acts in one go: once another one has acted, it never does again.
    names = [name for number, (_, name) in enumerate(world.acts) if number == 0 or world.acts[number - 1][1] != name]
    assert len(names) == len(set(names)), names
    # And there is always one at work.
    assert len(world.acts) > 3 * 60 * (12 if rough else 20)
    if not rough:
        assert (world.refused, {ended.failed for ended in world.ended.values()}) == (0, {0})
