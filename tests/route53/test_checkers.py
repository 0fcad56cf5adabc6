"""The checkers' pace, with a clock and a probe that are given."""

import threading

import pytest

from sandbox.route53.checkers import Checkers
from sandbox.route53.checks import REGIONS, Check, Config, create, update
from sandbox.route53.probes import Result
from sandbox.route53.verdicts import AfterMove, enough
from testing.eventually import SECONDS


class World:
    """A clock that stands still, and endpoints that live or do not."""

    def __init__(self, after_move: AfterMove = "carry") -> None:
        self.now = 1000.0
        self.dead: set[str] = set()
        self.asked: list[tuple[float, str]] = []
        self.names = {"a.example.com": "10.0.0.9"}
        self._lock = threading.Lock()
        self.checkers = Checkers(lambda: self.now, self.names.get, self.probe, after_move)

    def probe(self, config: Config, address: str) -> Result:
        with self._lock:
            self.asked.append((self.now, address))
        return Result(address not in self.dead, "as told")

    def run(self, seconds: float) -> None:
        """Let time pass from probe to probe."""
        end = self.now + seconds
        while (due := self.checkers.next_due()) <= end:
            self.now = max(self.now, due)
            self.checkers.step()
        self.now = end

    def healthy(self, id: str = "id") -> bool:
        return enough(self.checkers.minds()[id])


def made(interval: int = 10, **config: object) -> Check:
    """An HTTP check of 10.0.0.1."""
    whole = {"Type": "HTTP", "IPAddress": "10.0.0.1", "RequestInterval": interval, **config}
    return create("id", "reference", whole, {}, local=True)


def test_each_checker_probes_once_per_interval_and_they_are_spread() -> None:
    world = World()
    world.checkers.know([made()])
    world.run(99.9)
    assert len(world.asked) == 8 * 10
    times = [at - 1000 for at, _ in world.asked[:8]]
    assert times == [10 / 8 * number for number in range(8)]


def test_three_regions_are_three_checkers() -> None:
    world = World()
    world.checkers.know([made(Regions=list(REGIONS[:3]))])
    world.run(9.9)
    assert len(world.asked) == 3
    assert [view.region for view in world.checkers.views("id")] == list(REGIONS[:3])


@pytest.mark.parametrize(("interval", "threshold"), [(10, 1), (10, 3), (30, 3), (30, 10)])
def test_an_outage_is_seen_after_the_threshold_and_so_is_its_end(interval: int, threshold: int) -> None:
    world = World()
    world.checkers.know([made(interval, FailureThreshold=threshold)])
    world.run(interval * 2)
    world.dead = {"10.0.0.1"}
    world.run(interval * (threshold - 1))
    assert world.healthy()
    world.run(interval)
    assert not world.healthy()
    world.dead = set()
    world.run(interval * (threshold - 1))
    assert not world.healthy()
    world.run(interval)
    assert world.healthy()


def test_a_disabled_check_is_not_probed_and_goes_on_later() -> None:
    world = World()
    check = made()
    world.checkers.know([update(check, {"Disabled": True}, {}, local=True)])
    world.run(100)
    assert (world.checkers.step(), world.asked, world.checkers.next_due()) == (0, [], float("inf"))
    world.checkers.know([check])
    world.run(9)
    assert len(world.asked) == 8


@pytest.mark.parametrize(("how", "healthy"), [("carry", False), ("healthy", True), ("unhealthy", False)])
def test_a_new_target_starts_as_chosen_and_is_probed_afresh(how: AfterMove, healthy: bool) -> None:
    world = World(how)
    check = made()
    world.checkers.know([check])
    world.dead = {"10.0.0.1"}
    world.run(60)
    assert not world.healthy()
    world.checkers.know([update(check, {"IPAddress": "10.0.0.2"}, {}, local=True)])
    assert world.healthy() is healthy
    world.run(30)
    assert world.healthy()
    assert {address for at, address in world.asked if at > 1060} == {"10.0.0.2"}


def test_an_update_that_moves_nothing_keeps_the_pace() -> None:
    world = World()
    check = made()
    world.checkers.know([check])
    world.run(12)
    before = world.checkers.views("id")
    world.checkers.know([update(check, {"Inverted": True}, {}, local=True)])
    assert world.checkers.views("id") == before


def test_a_probe_that_was_under_way_when_the_target_changed_counts_for_nobody() -> None:
    world = World()
    check = made(FailureThreshold=1)
    moved = update(check, {"IPAddress": "10.0.0.2"}, {}, local=True)

    def probe(config: Config, address: str) -> Result:
        world.checkers.know([moved])
        return Result(False, "too late")

    world.checkers = Checkers(lambda: world.now, world.names.get, probe)
    world.checkers.know([check])
    assert world.checkers.step() == 1
    assert all(world.checkers.minds()["id"])


def test_a_probe_that_is_under_way_is_not_made_twice() -> None:
    world, asked, go = World(), threading.Semaphore(0), threading.Event()

    def probe(config: Config, address: str) -> Result:
        asked.release()
        return Result(go.wait(SECONDS), "late")

    world.checkers = Checkers(lambda: world.now, world.names.get, probe)
    world.checkers.know([made()])
    first = world.checkers._start()
    assert asked.acquire(timeout=SECONDS)
    assert (len(first), world.checkers._start()) == (1, [])
    go.set()
    assert first[0].result(SECONDS) is None
    assert world.checkers.views("id")[0].due == world.now + 10


def test_a_name_is_looked_up_for_each_probe() -> None:
    world = World()
    config = {"Type": "HTTP", "FullyQualifiedDomainName": "a.example.com"}
    world.checkers.know([create("id", "r", config, {}, local=True)])
    world.run(29)
    world.names.clear()
    world.run(90)
    assert {address for _, address in world.asked} == {"10.0.0.9"}
    assert not world.healthy()
    assert {view.text for view in world.checkers.views("id")} == {"Failure: DNS resolution failed"}


def test_an_error_of_the_checkers_own_is_not_lost() -> None:
    def broken(config: Config, address: str) -> Result:
        raise RuntimeError("a bug")

    for stepping in (True, False):
        checkers = Checkers(lambda: 0.0, lambda name: None, broken)
        checkers.know([made()])
        if stepping:
            with pytest.raises(RuntimeError, match="a bug"):
                checkers.step()
            checkers.end()
        else:
            checkers._start()
            with pytest.raises(RuntimeError, match="a bug"):
                checkers.end()


def test_a_deleted_check_is_forgotten() -> None:
    world = World()
    world.checkers.know([made()])
    world.checkers.know([])
    world.run(50)
    assert (world.asked, world.checkers.minds(), world.checkers.views("id")) == ([], {}, [])
