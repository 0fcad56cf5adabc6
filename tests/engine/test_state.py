"""Claimed state: one of two runs gets it, a lost answer costs a run, one bad item costs only itself."""

from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.engine import state
from chalicelib.engine.schema import Schema, State, Stored, Unreadable
from tests.engine.harness import When, World

KEY = ("lamps", "state")


class Lamps(State, frozen=True):
    """How many burn."""

    burning: int = 0


class Term(State, frozen=True):
    """Something that only grows."""

    number: int


LAMPS, TERM = Schema(Lamps), Schema(Term)


def loaded(world: World) -> Stored[Lamps]:
    found = state.load(world.store, KEY, LAMPS, Lamps())
    assert isinstance(found, Stored)
    return found


def test_load_of_nothing_gives_the_default_with_version_0() -> None:
    assert loaded(World()) == Stored(Lamps())
    assert state.find(World().store, KEY, LAMPS) is None


def test_claim_by_two_runs_is_had_by_one() -> None:
    world = World()
    for _ in range(2):
        before = loaded(world)
        first = state.claim(world.store, KEY, LAMPS, before, Lamps(before.value.burning + 1), run_id="a")
        with pytest.raises(state.Superseded, match="another run was faster"):
            state.claim(world.store, KEY, LAMPS, before, Lamps(before.value.burning + 1), run_id="b")
        assert loaded(world) == first
        assert first.run_id == "a"


def test_current_of_superseded_run_raises() -> None:
    world = World()
    first = state.claim(world.store, KEY, LAMPS, None, Lamps(1), run_id="a")
    assert state.current(world.store, KEY, LAMPS, run_id="a") == first
    state.claim(world.store, KEY, LAMPS, first, Lamps(2), run_id="b")
    with pytest.raises(state.Superseded, match="a later run has decided"):
        state.current(world.store, KEY, LAMPS, run_id="a")


@pytest.mark.parametrize("body", [{}, {"schema": 1, "x": 1}, None])
def test_current_of_lost_or_unreadable_state_raises(body: Any) -> None:
    world = World()
    if body is not None:
        world.store.create(*KEY, body)
    with pytest.raises(state.Superseded, match="is gone" if body is None else "lamps/state"):
        state.current(world.store, KEY, LAMPS, run_id="a")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", [1, 2])
def test_lost_answer_of_claim_never_gives_it_to_two(lost: int, when: When) -> None:
    world, claimed = World(lost, when), []
    for run in "ab":
        try:
            before = loaded(world)
            state.claim(world.store, KEY, LAMPS, before, Lamps(before.value.burning + 1), run_id=run)
            claimed.append(run)
        except Unavailable:
            continue
    assert claimed == ["b"]
    # Only a write whose answer got lost had happened.
    assert loaded(world).value.burning == (2 if (lost, when) == (2, "after") else 1)


def test_write_repeated_after_lost_answer_is_one_write() -> None:
    world = World(1, "after")
    with pytest.raises(Unavailable):
        state.write(world.store, KEY, LAMPS, None, Lamps(1), run_id="a")
    again = state.write(world.store, KEY, LAMPS, None, Lamps(1), run_id="a")
    assert again == loaded(world)
    assert loaded(world).version == 1


def test_write_of_other_content_by_the_same_run_is_not_taken_for_the_first() -> None:
    world = World(1, "after")
    with pytest.raises(Unavailable):
        state.write(world.store, KEY, LAMPS, None, Lamps(1), run_id="a")
    assert state.write(world.store, KEY, LAMPS, None, Lamps(2), run_id="a") is None
    assert loaded(world).value == Lamps(1)


def test_read_all_goes_on_behind_an_unreadable_item() -> None:
    world = World()
    for number in range(3):
        state.write(world.store, ("run", str(number)), LAMPS, None, Lamps(number), run_id="a")
    bad = world.store.get("run", "1")
    assert bad
    world.store.compare_and_set(bad, {"schema": 1, "burning": "many"})
    values, unreadable = state.read_all(world.store, world.store.query("run"), LAMPS)
    assert {sk: found.value.burning for (_, sk), found in values.items()} == {"0": 0, "2": 2}
    assert [one.key.sk for one in unreadable] == ["1"]
    keys = [("run", "1"), ("run", "1"), ("run", "2"), ("run", "9")]
    assert state.load_many(world.store, keys, LAMPS) == ({("run", "2"): values["run", "2"]}, unreadable)
    assert state.load_many(world.store, [], LAMPS) == ({}, ())


def test_update_tries_again_when_another_run_is_faster() -> None:
    world, seen = World(), list[Lamps | None]()

    def change(before: Lamps | None) -> Lamps:
        if not seen:
            state.write(world.store, KEY, LAMPS, None, Lamps(10), run_id="other")
        seen.append(before)
        return Lamps((before or Lamps()).burning + 1)

    written = state.update(world.store, KEY, LAMPS, change, run_id="a")
    assert isinstance(written, Stored)
    assert written.value == Lamps(11)
    assert seen == [None, Lamps(10)]


def test_update_that_loses_each_race_raises_and_has_written_nothing() -> None:
    world = World()

    def change(before: Lamps | None) -> Lamps:
        found = state.find(world.store, KEY, LAMPS)
        assert not isinstance(found, Unreadable)
        state.write(world.store, KEY, LAMPS, found, Lamps((before or Lamps()).burning + 10), run_id="other")
        return Lamps(1)

    with pytest.raises(state.Contended, match="lamps/state: the item changed 3 times"):
        state.update(world.store, KEY, LAMPS, change, run_id="a")
    assert loaded(world).value == Lamps(30)


def test_update_leaves_unreadable_items_and_unwanted_changes_alone() -> None:
    world = World()
    assert state.update(world.store, KEY, LAMPS, lambda before: None, run_id="a") is None
    assert world.store.get(*KEY) is None
    world.store.create(*KEY, {"lamps": 3})
    assert isinstance(state.update(world.store, KEY, LAMPS, lambda before: Lamps(1), run_id="a"), Unreadable)
    assert world.store.get(*KEY) == Item(*KEY, 1, {"lamps": 3})


def published(world: World, number: int) -> bool:
    return state.publish(world.store, ("term", "eu-west-1"), TERM, Term(number),
                         replaces=lambda old: old.number < number)


def test_publish_never_goes_backwards_and_replaces_what_cannot_be_read() -> None:
    world = World()
    assert [published(world, number) for number in (2, 1, 2, 3)] == [True, False, False, True]
    item = world.store.get("term", "eu-west-1")
    assert item and item.body["number"] == 3
    world.store.compare_and_set(item, {})
    assert published(world, 1)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_lost_answer_of_publish_is_made_up_for_by_the_next_run(lost: int, when: When) -> None:
    world = World(lost, when)
    for number in (1, 2):
        try:
            published(world, number)
        except Unavailable:
            continue
    published(world, 3)
    item = world.store.get("term", "eu-west-1")
    assert item and item.body["number"] == 3
