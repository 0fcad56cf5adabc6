"""Which check goes where, and which are looked at: moments in which a gap once grew too long, or an anchor went unread.

`i-1` to `i-4` have the fixed_checks 1 to 4; checks 5 and 6 rove. Checks come every 10 s, so that a slot is two minutes.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.config.declared import HealthChecks
from chalicelib.engine.schema import Stored
from chalicelib.health_checks import decide
from chalicelib.health_checks import state as records
from chalicelib.health_checks.decide import guards, sampling
from chalicelib.health_checks.state import CalculatedCheck, Check, Host, RotationObservation, RotationState

SETTINGS = HealthChecks(target_groups=("web",))
MINUTE = 30_000
AT = MINUTE * 60.0 + 2


def check(number: int, host: int, ago: int, healthy: bool | None = True, read: float = AT - 60) -> Check:
    """A check that has been with `i-<host>` for `ago` minutes."""
    return Check(number, f"c{number}", 1, f"i-{host}", f"192.0.2.{host}", AT - 60 * ago, MINUTE - ago, True, healthy,
                 read)


def memory(*others: Check, queue: dict[str, float] | None = None) -> RotationState:
    """Four settled fixed_checks, and `others`, which take the place of those of the same number."""
    checks = {number: check(number, number, 50) for number in range(1, 5)} | {one.number: one for one in others}
    return RotationState(MINUTE - 1, tuple(checks.values()), CalculatedCheck((1, 2, 3, 4), 2, "p", 9, AT - 900),
                         queue or {})


def hosts(*numbers: int, **states: Any) -> dict[str, Host]:
    """Healthy hosts; `states` by `i<number>`."""
    return {f"i-{n}": Host(f"i-{n}", f"192.0.2.{n}", states.get(f"i{n}", "healthy")) for n in numbers}


def moved(seen_memory: RotationState, there: dict[str, Host]) -> list[tuple[int, str]]:
    """Who is pointed where."""
    stamps = decide.queue_hosts(seen_memory, SETTINGS, there, AT)
    return [(move.check.number, move.host.id)
            for move in decide.move_checks(seen_memory, stamps, SETTINGS, there, AT, MINUTE)]


def test_a_check_that_doubles_another_goes_before_one_that_is_alone_with_its_host() -> None:
    # Check 6 was pointed at an anchor's host a minute ago, for want of another; now i-7 has come.
    found = moved(memory(check(5, 5, 4), check(6, 1, 1, None, 0)), hosts(1, 2, 3, 4, 5, 7))
    assert found == [(6, "i-7")]


def test_a_check_that_doubles_another_does_not_wait_to_become_an_anchor() -> None:
    # i-4 has died and an anchor is wanted; check 6 can never be it, since i-1 has one.
    there = hosts(1, 2, 3, 4, 6, 7, i4="unhealthy")
    found = moved(memory(check(5, 7, 1, None, 0), check(6, 1, 2), check(4, 4, 50, False, AT),
                         queue={"i-6": AT - 60}), there)
    assert found == [(6, "i-6")]


def test_a_rover_that_is_wanted_as_an_anchor_waits_for_nobody() -> None:
    there = hosts(1, 2, 3, 4, 5, 6, 7, i4="unhealthy")
    found = moved(memory(check(5, 5, 2), check(6, 6, 1, None, 0), check(4, 4, 50, False, AT)), there)
    assert found == [(5, "i-7")]


def test_of_two_rovers_with_one_host_the_later_is_the_double() -> None:
    assert moved(memory(check(5, 5, 1, None, 0), check(6, 5, 0, None, 0)), hosts(1, 2, 3, 4, 5, 7)) == [(6, "i-7")]
    assert moved(memory(check(5, 5, 0, None, 0), check(6, 5, 1, None, 0)), hosts(1, 2, 3, 4, 5, 7)) == [(5, "i-7")]


@pytest.mark.parametrize("state", ["draining", None])
def test_a_check_whose_host_leaves_goes_before_one_that_is_alone_with_its_host(state: Any) -> None:
    there = hosts(1, 2, 3, 4, 5, 7, *([6] if state else []), i6=state)
    assert moved(memory(check(5, 5, 4), check(6, 6, 1, None, 0)), there) == [(6, "i-7")]


def test_an_idle_check_stays_where_it_is_when_nobody_waits() -> None:
    assert moved(memory(check(5, 5, 9), check(6, 1, 9)), hosts(1, 2, 3, 4, 5)) == []


@given(st.floats(0, 1e6))
@example(508.30036522453435)
@example(461.1019039721942)
def test_what_is_waited_for_has_come_when_the_waiting_ends(changed: float) -> None:
    # `changed + 60 - changed` may be less than 60, which cost a minute. Seconds since 1970 are so large that it is not
    # before 2038; those of a simulation are small.
    rover = Check(1, "c", 1, "i-1", "192.0.2.1", changed, 0)
    parent = CalculatedCheck((1,), 1, "p", 1, changed)
    assert guards.change_propagated(parent, sampling.observe_at(RotationState(0, (rover,), parent), SETTINGS,
                                                              hosts(1), changed + 55))
    assert guards.settled(rover, SETTINGS, sampling.observe_at(RotationState(0, (rover,), None), SETTINGS, hosts(1),
                                                             changed + 95))
    assert records.is_reportable(rover, SETTINGS,
                                 changed + records.settling_seconds(SETTINGS) - records.TOLERANCE_SECONDS)


def reads(seen_memory: RotationState, there: dict[str, Host]) -> list[int]:
    """Which checks are looked at now."""
    return sampling.checks_to_read(seen_memory, SETTINGS, there, AT, MINUTE)


def test_a_check_with_nowhere_to_go_is_read_once_a_slot() -> None:
    there = hosts(1, 2, 3, 4, 5, 6)
    assert {5, 6}.isdisjoint(reads(memory(check(5, 5, 9, read=AT - 60), check(6, 6, 9, read=AT - 60)), there))
    assert {5, 6} <= set(reads(memory(check(5, 5, 9, read=AT - 120), check(6, 6, 9, read=AT - 118)), there))


def test_a_check_that_may_become_an_anchor_is_read_each_minute_while_one_is_wanted_a_double_is_not() -> None:
    there = hosts(1, 2, 3, 4, 5, i4="draining")
    found = reads(memory(check(5, 5, 9, read=AT - 60), check(6, 1, 9, read=AT - 60)), there)
    assert 5 in found and 6 not in found


@pytest.mark.parametrize("known", [True, False])
def test_lost_anchors_are_read_each_minute_and_the_others_are_not_forgotten(known: bool) -> None:
    there = hosts(*range(1, 9), i3="unhealthy" if known else "healthy", i4="unhealthy" if known else "healthy")
    lost = [check(n, n, 50, False, AT - 60) for n in (3, 4)]
    found = reads(memory(check(5, 5, 1), check(6, 6, 1), check(1, 1, 50, True, AT - 240), *lost), there)
    assert {1, 2, 3, 4} <= set(found)


def test_when_more_are_lost_than_can_be_borne_the_budget_is_kept() -> None:
    lost = [check(n, n, 50, False, AT - 60 - n) for n in range(1, 5)]
    assert [n for n in reads(memory(check(5, 5, 1), check(6, 6, 1), *lost), hosts(*range(1, 9))) if n < 5] == [4, 3]


def test_an_anchor_that_was_read_dead_some_minutes_ago_does_not_make_way() -> None:
    there, able = hosts(*range(1, 9)), [check(5, 5, 2, True, AT), check(6, 6, 2, True, AT)]
    stale = memory(*able, check(3, 3, 50, False, AT - 60), check(4, 4, 50, False, AT))
    found = decide.change_membership(stale, SETTINGS, there, AT)
    assert found and set(found.children) == {1, 2, 3, 5}


def test_a_walk_is_routine_and_a_loss_is_not() -> None:
    left = memory(check(5, 5, 4), check(6, 1, 1, None, 0), check(7, 77, 1, None, 0))
    seen = RotationObservation("eu-west-1", SETTINGS, Stored(left), hosts(1, 2, 3, 4, 5, 7, 8, 9), AT)
    acts = [action for action in decide.reconcile(seen, MINUTE * 60).actions if action.kind == "retarget-check"]
    assert [(action.target, action.unaudited) for action in acts] == [
        ("check 7", False), ("check 6", True), ("check 5", True)]


def changing(present: set[int], previous: tuple[int, ...]) -> RotationState:
    """The calculated check changed ten seconds ago, so that its `previous` children may count still."""
    whole = memory(check(5, 5, 50), check(6, 6, 50))
    parent = CalculatedCheck((1, 2, 3, 4), 2, "p", 9, AT - 10, previous, 2)
    return msgspec.structs.replace(
        whole, checks=tuple(one for one in whole.checks if one.number in present), parent=parent)


@pytest.mark.parametrize(("previous", "may_move"), [((1, 2, 3, 5), True), ((1, 2, 5, 9), False)])
def test_a_child_that_somebody_deleted_may_count_as_anything(previous: tuple[int, ...], may_move: bool) -> None:
    there = changing(set(range(1, 7)), previous)
    checks = {one.number: one for one in (msgspec.structs.replace(one, read=AT) for one in there.checks)}
    assert guards.may_retarget(5, there.parent, checks, SETTINGS, hosts(1, 2, 3, 4, 5, 6), AT) is may_move


@given(st.sets(st.integers(1, 6)), st.lists(st.integers(1, 9), max_size=6, unique=True))
@example({1, 3, 4, 5, 6}, [1, 2, 5])
def test_children_without_a_record_stop_nothing(present: set[int], previous: list[int]) -> None:
    seen = RotationObservation("eu-west-1", SETTINGS, Stored(changing(present, tuple(previous))),
                               hosts(1, 2, 3, 4, 5, 6, 7), AT)
    assert decide.reconcile(seen, int(AT)).claim
