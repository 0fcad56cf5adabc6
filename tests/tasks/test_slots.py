import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item, Store
from chalicelib.tasks.concurrency import Permits
from tests.tasks.fakes import Memory


def hold(table: Store, who: str, limit: int = 2, now: float = 0.0, task: str = "a.b") -> Permits | None:
    slots = Permits(table)
    return slots if slots.hold(task, limit, who, now, now + 60) else None


def test_no_more_than_the_limit_hold_a_place_and_a_freed_one_is_taken_again() -> None:
    table = Memory()
    first, second = hold(table, "one"), hold(table, "two")
    assert first and second
    assert hold(table, "three") is None
    first.free()
    assert hold(table, "three")


def test_tasks_do_not_share_places() -> None:
    table = Memory()
    assert hold(table, "one", 1) and hold(table, "two", 1, task="c.d")


def test_within_an_invocation_one_place_serves_all_messages_of_the_task() -> None:
    table = Memory()
    slots = Permits(table)
    assert slots.hold("a.b", 1, "one", 0, 60)
    calls = table.calls
    assert slots.hold("a.b", 1, "two", 0, 60)
    assert table.calls == calls


def test_turning_to_another_task_frees_the_place() -> None:
    table = Memory()
    slots = Permits(table)
    assert slots.hold("a.b", 1, "one", 0, 60) and slots.hold("c.d", 1, "one", 0, 60)
    assert hold(table, "two", 1)


def test_a_dead_holder_s_place_is_free_once_its_invocation_must_have_ended() -> None:
    table = Memory()
    assert hold(table, "dead", 1, now=0.0)
    assert hold(table, "next", 1, now=65.9) is None  # 60 s, rounded up, and 5 s for clocks that differ
    assert hold(table, "next", 1, now=66.1)
    assert hold(table, "third", 1, now=66.1) is None


def test_the_dead_holder_who_wakes_up_does_not_free_its_successor_s_place() -> None:
    table = Memory()
    dead = hold(table, "dead", 1, now=0.0)
    assert dead and hold(table, "next", 1, now=100.0)
    dead.free()
    assert hold(table, "third", 1, now=100.0) is None


def test_places_beyond_a_lowered_limit_count() -> None:
    table = Memory()
    assert all(hold(table, f"m{number}", 8) for number in range(8))
    assert hold(table, "one more", 4) is None
    for number in range(4):
        del table.items["task-slots#a.b", f"{number:04d}"]
    assert hold(table, "one more", 4) is None  # 0 to 3 are free, but four are at work


def test_a_table_without_an_answer_is_no_place_for_everybody() -> None:
    table = Memory()
    table.broken = Unavailable("eu-west-1: no answer")
    with pytest.raises(Unavailable):
        hold(table, "one")


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_whatever_the_order_the_limit_holds(limit: int, moves: list[tuple[int, bool]]) -> None:
    table = Memory()
    holders: dict[int, Permits] = {}
    for who, take in moves:
        if take and who not in holders:
            got = hold(table, f"m{who}", limit)
            assert (got is None) == (len(holders) >= limit)
            if got:
                holders[who] = got
        elif not take and who in holders:
            holders.pop(who).free()
        assert len(table.items) == len(holders) <= limit


class Racing(Memory):
    """Between the look at the places and the taking, somebody else takes one."""

    def query(self, pk: str, *, newest: bool = True, limit: int = 100, after: str = "", before: str = "") -> list[Item]:
        found = super().query(pk, newest=newest, limit=limit, after=after, before=before)
        for number in range(8):
            if super().create(pk, f"{number:04d}", {"until": 1000, "by": "other"}):
                break
        return found


def test_of_two_that_see_the_same_place_free_one_gets_it() -> None:
    table = Racing()
    assert hold(table, "one", 1) is None
    assert len(table.items) == 1
    assert hold(Racing(), "one", 3)
