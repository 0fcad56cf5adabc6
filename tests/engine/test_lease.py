"""Places for at most so many: never one more, whatever is lost; a place of the dead comes back."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.engine.lease import LEASE, PLACE, Lease, LeaseHolder, Place, Semaphore, has_lapsed
from chalicelib.engine.schema import encode
from tests.engine.harness import NOW, When, World


def acquire(world: World, holder: str, limit: int = 2, now: float = NOW, seconds: float = 100) -> Semaphore | None:
    one = Semaphore(world.store, "places#", 5)
    return one if one.acquire("render", limit, holder, now=now, until=now + seconds) else None


def test_semaphore_gives_so_many_places_and_takes_them_back() -> None:
    world = World()
    held = [acquire(world, holder) for holder in "abc"]
    assert [bool(one) for one in held] == [True, True, False]
    assert held[0]
    held[0].release()
    assert acquire(world, "d")
    assert not acquire(world, "e")


def test_semaphore_keeps_its_place_for_the_same_name_and_changes_it_for_another() -> None:
    world, one = World(), Semaphore(World().store, "places#", 5)
    assert one.acquire("render", 1, "a", now=NOW, until=NOW + 9)
    assert one.acquire("render", 1, "a", now=NOW, until=NOW + 9)
    assert one.acquire("mail", 1, "a", now=NOW, until=NOW + 9)
    assert Semaphore(world.store, "places#", 5).acquire("render", 1, "b", now=NOW, until=NOW + 9)
    one.release()
    one.release()


def test_place_of_the_dead_is_free_after_its_lease_and_the_skew_of_clocks() -> None:
    world = World()
    assert acquire(world, "a", limit=1)
    assert not acquire(world, "b", limit=1, now=NOW + 105)
    assert acquire(world, "b", limit=1, now=NOW + 106)
    assert not has_lapsed(NOW, NOW + 5, 5)


def test_place_that_ends_in_the_far_future_is_cut_to_a_run_and_told_once() -> None:
    """As of a clock in 2099. A clock that is an hour wrong is borne, because a place ends by itself."""
    world = World()
    far, hour = 4_070_908_800.0, NOW + 3700
    world.store.create("places#render", "0000", encode(Place("dead", far), PLACE))
    world.store.create("places#render", "0001", encode(Place("ahead", hour), PLACE))
    one = Semaphore(world.store, "places#", 5)
    assert not one.acquire("render", 2, "a", now=NOW, until=NOW + 60)
    [told] = one.unreadable
    assert told.key.sk == "0000" and f"ended at {far:.0f} s since 1970" in told.because
    assert not one.acquire("render", 2, "a", now=NOW + 900, until=NOW + 960) and one.unreadable == ()
    assert one.acquire("render", 2, "a", now=NOW + 906, until=NOW + 960)
    other = Semaphore(world.store, "places#", 5)
    assert not other.acquire("render", 2, "b", now=NOW + 906, until=NOW + 960)
    assert other.acquire("render", 2, "b", now=hour + 6, until=hour + 60)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", [1, 2])
def test_cut_of_a_place_with_a_lost_answer_frees_nothing(lost: int, when: When) -> None:
    world = World(lost, when)
    world.items.put(Item("places#render", "0000", 1, encode(Place("dead", 4e9), PLACE)), "", None)
    one = Semaphore(world.store, "places#", 5)
    with contextlib.suppress(Unavailable):
        assert not one.acquire("render", 1, "a", now=NOW, until=NOW + 60)
    assert not acquire(world, "b", limit=1, now=NOW + 60)
    assert acquire(world, "b", limit=1, now=NOW + 1000)


def test_place_that_cannot_be_read_counts_as_taken() -> None:
    world = World()
    world.store.create("places#render", "0000", {"until": 0})
    assert acquire(world, "a", limit=2)
    assert not acquire(world, "b", limit=2)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_answer_never_gives_a_place_too_many(lost: int, when: When) -> None:
    world, held = World(lost, when), []
    for holder in "abcd":
        try:
            held.append(acquire(world, holder, limit=2))
        except Unavailable:
            continue
    assert 1 <= len([one for one in held if one]) <= 2
    # A place that was taken without its holder knowing comes back with its lease.
    assert acquire(world, "e", limit=3, now=NOW + 106)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.floats(0, 40)), max_size=40), st.integers(1, 3))
def test_never_more_than_the_limit_hold_at_once(steps: list[tuple[str, bool, float]], limit: int) -> None:
    world, now = World(), NOW
    until: dict[str, float] = {}
    held: dict[str, Semaphore] = {}
    for holder, wants, wait in steps:
        now += wait
        if wants and holder not in held:
            if one := acquire(world, holder, limit, now, seconds=30):
                held[holder], until[holder] = one, now + 30
        elif holder in held:
            held.pop(holder).release()
            until.pop(holder)
        assert sum(end > now for end in until.values()) <= limit


def test_two_deliveries_of_one_message_at_the_same_instant_take_two_places() -> None:
    world = World()
    assert acquire(world, "m1", limit=1)
    assert not acquire(world, "m1", limit=1)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def holder(world: World, name: str, clock: Clock) -> LeaseHolder:
    return LeaseHolder(world.store, ("lamps", "lease"), name, seconds=15, least_seconds=3, clock=clock)


@pytest.mark.parametrize("body", [
    {"until": 0}, {}, encode(Lease("dead", ""), LEASE), encode(Lease("dead", "dead, too"), LEASE)])
def test_lease_that_nobody_renews_is_taken_after_its_time_and_not_before(body: dict[str, object]) -> None:
    world, clock = World(), Clock()
    world.store.create("lamps", "lease", body)
    one = holder(world, "a", clock)
    standings = []
    for _ in range(17):
        standings.append(one.hold())
        clock.now += 1.001
    assert standings == ["waiting"] * 16 + ["held"]


def test_lease_that_is_renewed_is_not_taken_whatever_the_clocks_say() -> None:
    world, wrong, right = World(), Clock(), Clock()
    wrong.now += 3600
    first, second = holder(world, "first", wrong), holder(world, "second", right)
    assert first.hold() == "held"
    for _ in range(60):
        assert (second.hold(), first.hold()) == ("waiting", "held")
        wrong.now, right.now = wrong.now + 2, right.now + 2
    assert first.successor == "second"
    first.release()
    assert second.hold() == "held"
    assert (first.hold(), first.token) == ("lost", 0)


def test_successor_that_is_overtaken_is_lost_and_the_newest_follows() -> None:
    world, clock = World(), Clock()
    first, second, third = (holder(world, name, clock) for name in ("first", "second", "third"))
    assert [one.hold() for one in (first, second, third, second, first)] == [
        "held", "waiting", "waiting", "lost", "held"]
    assert second.why == "third, started later, is to have the lease"
    first.release()
    assert third.hold() == "held"


def test_lease_that_is_asked_for_while_it_is_given_back_is_free_at_once() -> None:
    world, clock = World(), Clock()
    first, second, third = (holder(world, name, clock) for name in ("first", "second", "third"))
    assert [one.hold() for one in (first, second, first, third)] == ["held", "waiting", "held", "waiting"]
    # It has not seen that the third one asks, so its next write meets another version.
    assert first.successor == "second"
    first.release()
    assert (second.hold(), third.hold()) == ("lost", "held")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lease_is_given_back_though_an_answer_is_lost(lost: int, when: When) -> None:
    world, clock = World(0, when), Clock()
    first, second, third = (holder(world, name, clock) for name in ("first", "second", "third"))
    assert [one.hold() for one in (first, second, first, third)] == ["held", "waiting", "held", "waiting"]
    # The write that meets the third one's, the look, and the write once more.
    world.loss.lost = world.loss.calls + lost
    first.release()
    assert world.loss.lost == 0
    assert third.hold() == "held"


def test_lease_that_another_one_has_taken_is_not_given_back() -> None:
    world, clock = World(), Clock()
    first, second = holder(world, "first", clock), holder(world, "second", clock)
    assert [first.hold(), second.hold()] == ["held", "waiting"]
    clock.now += 17
    assert second.hold() == "held"
    first.release()
    assert second.hold() == "held"


def test_successor_that_died_is_followed_by_the_next_one() -> None:
    world, clock = World(), Clock()
    first, second, third = (holder(world, name, clock) for name in ("first", "second", "third"))
    assert [first.hold(), second.hold(), first.hold()] == ["held", "waiting", "held"]
    first.release()
    assert [third.hold(), third.hold()] == ["waiting", "held"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", range(1, 9))
def test_lost_answer_never_gives_the_lease_to_two(lost: int, when: When) -> None:
    world, clock = World(lost, when), Clock()
    first, second = holder(world, "first", clock), holder(world, "second", clock)
    for _ in range(12):
        assert [first.hold(), second.hold()].count("held") <= 1
        clock.now += 0.5
    holds, waits = (first, second) if first.token else (second, first)
    assert holds.token
    holds.release()
    clock.now += 17
    assert waits.token == 0
    follower = holder(world, "follower", clock)
    assert [follower.hold() for _ in range(2)][-1] == "held"
    assert follower.token > holds.token
