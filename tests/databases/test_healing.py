"""When a thread is started again, by tables; budgets and cool-downs over hours."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.databases import decide
from chalicelib.databases.decide import repair
from chalicelib.databases.details import ReplicationSource
from chalicelib.databases.observation import FleetDatabases, RepairObservation, Tunnels
from chalicelib.databases.state import PrimaryRecord, Promotion, RepairState
from chalicelib.engine.limits import Cooldown
from chalicelib.engine.schema import Stored
from chalicelib.mysql import gtid
from chalicelib.mysql.status import ReplicaStatus, ReplicaThread, ServerError, ServerStatus
from tests.databases.harness import AP, EU, REGIONS, US
from tests.databases.test_watching import NOW, OFF, ON, around, replica

CONNECTING = ReplicaThread("connecting", 2003, "cannot connect")


def sick(
    look: ServerStatus | ServerError,
    view: FleetDatabases | None = None,
    repairs: RepairState | None = None,
    tunnels: Tunnels | None = None,
    tunnelled: bool = False,
    primary: ServerStatus | ServerError | None = None,
) -> RepairObservation:
    return RepairObservation(view or around(), Stored(repairs or RepairState(0)), look, tunnels, tunnelled, primary)


def restarted(*ages: int) -> RepairState:
    """So many seconds ago."""
    return RepairState(0, restarts=tuple((NOW - age, 1) for age in ages))


def error(number: int) -> ReplicaThread:
    return ReplicaThread("stopped", number, "it says why")


@pytest.mark.parametrize("io, sql, threads", [
    (ON, ON, ()), (CONNECTING, ON, ()), (OFF, ON, ("IO",)), (ON, OFF, ("SQL",)), (OFF, OFF, ("IO", "SQL")),
    (error(2003), ON, ("IO",)), (error(2013), ON, ("IO",)), (ON, error(1205), ("SQL",)), (ON, error(1927), ("SQL",)),
    (error(1236), ON, ()), (error(1045), ON, ()), (error(1593), ON, ()),
    (ON, error(1062), ()), (ON, error(1032), ()), (ON, error(1452), ()), (ON, error(1146), ()), (ON, error(1950), ()),
    (OFF, error(1062), ()),
])
def test_which_threads_are_started(io: ReplicaThread, sql: ReplicaThread, threads: tuple[str, ...]) -> None:
    look = replica(5, io, sql)
    found = repair.judge(sick(look), look, int(NOW))
    assert found.threads == threads
    hopeless = any(thread.errno and thread.state == "stopped" for thread in (io, sql)) and not threads
    assert bool(found.told) == hopeless


@given(st.integers(1, 5000))
def test_an_sql_error_that_is_not_known_to_pass_is_told(number: int) -> None:
    look = replica(5, ON, error(number))
    found = repair.judge(sick(look), look, int(NOW))
    assert (found.threads == ("SQL",)) == (number in repair.PASSING_SQL)
    assert bool(found.told) == (number not in repair.PASSING_SQL)


@pytest.mark.parametrize(
    "case, why",
    [
        (sick(replica(5, OFF), around(sure=False)), "coordination table does not answer"),
        (
            sick(replica(5, OFF), around(US, PrimaryRecord(EU, 1, promotion=Promotion(AP, EU, "claimed", 0)))),
            "goes through a promotion",
        ),
        (sick(replica(5, OFF), around(US, PrimaryRecord(EU, 1, fenced=(US,)))), "is fenced"),
        (sick(replica(5, OFF), around(US, PrimaryRecord(US, 1))), "is the primary"),
        (sick(replica(5, OFF), tunnelled=True), "nobody has judged the tunnels"),
        (sick(replica(5, OFF), tunnels=(0, 2, NOW)), "none of the 2 tunnels is up"),
        (sick(replica(5, OFF), tunnels=(2, 2, NOW - 121)), "last judged 121 s ago"),
        (sick(replica(5, OFF), tunnels=(1, 2, NOW - 119), tunnelled=True), ""),
        (sick(replica(5, OFF)), ""),
        (sick(replica(5, OFF), repairs=RepairState(0, cooldown=Cooldown(60, NOW + 1))), "cooling down"),
        (sick(replica(5, OFF), repairs=RepairState(0, cooldown=Cooldown(60, NOW))), ""),
        (sick(replica(5, OFF), repairs=restarted(0, 100, 200, 300)), "did not help"),
        (sick(replica(5, OFF), repairs=restarted(0, 100, 200, 600)), ""),
    ],
)
def test_what_keeps_a_thread_from_being_started(case: RepairObservation, why: str) -> None:
    assert isinstance(case.look, ServerStatus)
    found = repair.judge(case, case.look, int(NOW))
    assert (why in found.why if why else found.threads == ("IO",)) and bool(found.threads) == (not why)


RECEIVED = gtid.read("mariadb", "0-1-15")
WAITING = ReplicaStatus(OFF, OFF, "eu", 3306, True, RECEIVED)


@pytest.mark.parametrize("look, primary, starts", [
    (replica(replication=WAITING), None, False),
    (replica(replication=WAITING), ServerError("silent", "eu", "no answer"), False),
    (replica(replication=WAITING), replica(region=EU, executed_gtids=gtid.read("mariadb", "0-1-14")), False),
    (replica(replication=WAITING), replica(region=EU, executed_gtids=gtid.read("mariadb", "0-1-15")), True),
    (replica(replication=WAITING, executed_gtids=RECEIVED), None, True),
    (replica(replication=msgspec.structs.replace(WAITING, io=ON)), None, True),
    (replica(replication=WAITING, engine="mysql"), None, True),
])
def test_a_relay_log_is_not_thrown_away_unless_the_primary_has_it_all(
    look: ServerStatus, primary: ServerStatus | ServerError | None, starts: bool
) -> None:
    assert bool(repair.judge(sick(look, primary=primary), look, int(NOW)).threads) == starts


def test_four_restarts_in_ten_minutes_and_pauses_that_double() -> None:
    """A replica whose thread stops again within the minute, for six hours."""
    repairs, at = RepairState(0), []
    for minute in range(360):
        now = int(NOW) + 60 * minute
        look = replica(5, OFF)
        if repair.judge(sick(look, repairs=repairs), look, now).threads:
            repairs = repair.record_restart(repairs, now)
            at.append(minute)
    assert at[:6] == [0, 1, 3, 7, 15, 31] and {b - a for a, b in pairwise(at[6:])} == {30}


def test_ten_minutes_of_running_begin_anew() -> None:
    repairs = RepairState(0, cooldown=Cooldown(1800, NOW))
    for minute in range(10):
        repairs = repair.record_healthy(repairs, int(NOW) + 60 * minute)
        assert repairs.cooldown.seconds == 1800
    assert repair.record_healthy(repairs, int(NOW) + 600).cooldown.seconds == 0
    assert repair.record_restart(repair.record_healthy(repairs, int(NOW) + 600),
                                  int(NOW) + 660).cooldown.seconds == repair.COOLDOWN.min_seconds


@pytest.mark.slow
@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_budget_and_pauses_hold_whatever_happens(stands: list[bool]) -> None:
    repairs, at = RepairState(0), []
    for minute, still in enumerate(stands):
        now = int(NOW) + 60 * minute
        look = replica(5, OFF if still else ON)
        case = sick(look, repairs=repairs)
        plan = decide.heal(case, now)
        repairs = plan.claim.after if plan.claim else repairs
        at += [now for action in plan.actions if action.kind == "restart"]
    window, limit = repair.RESTARTS.window_seconds, repair.RESTARTS.limit
    assert all(later - first >= repair.COOLDOWN.min_seconds for first, later in pairwise(at))
    assert all(len([one for one in at if when <= one < when + window]) <= limit for when in at)


def modes(heal: str) -> FleetDatabases:
    view = around()
    return msgspec.structs.replace(view, settings=msgspec.structs.replace(view.settings, repair=heal))


@pytest.mark.parametrize("mode, kinds, note", [
    ("full", ["restart"], ""), ("observe", [], "would restart"), ("off", [], 'repair = "off"')])
def test_the_modes(mode: str, kinds: list[str], note: str) -> None:
    plan = decide.heal(sick(replica(5, OFF), modes(mode)), int(NOW))
    assert [one.kind for one in plan.actions] == kinds and note in "".join(plan.notes)


def test_heal_wants_an_alert_for_as_long_as_only_people_can_help() -> None:
    plan = decide.heal(sick(replica(5, ON, error(1062)), repairs=RepairState(0, healthy_since=5)), int(NOW))
    assert [alert.kind for alert in plan.alerts] == ["ReplicationBroken"]
    assert plan.claim and plan.claim.after.healthy_since == 0 and plan.claim.after.minute == int(NOW) // 60
    assert decide.heal(sick(replica(5, ON, error(1062))), int(NOW)).claim is None
    plan = decide.heal(sick(replica()), int(NOW))
    assert (plan.alerts, plan.not_judged) == ((), ())


@pytest.mark.parametrize("look", [None, ServerError("silent", "us", "gave no answer")])
def test_heal_that_sees_no_server_does_not_say_that_anything_is_over(look: ServerError | None) -> None:
    plan = decide.heal(msgspec.structs.replace(sick(replica()), look=look), int(NOW))
    assert plan.not_judged in (("*",), ("ReplicationBroken",))


@pytest.mark.parametrize(
    "more, kinds", [({}, ["change-source"]), ({"executed_gtids": gtid.read("mariadb", "0-1-11")}, [])]
)
def test_a_replica_of_an_old_primary_follows_the_new_primary_unless_it_has_more(
    more: dict[str, Any], kinds: list[str]
) -> None:
    view = around(US, PrimaryRecord(AP, 1), reports={AP: around().reports[EU]})
    plan = decide.heal(sick(replica(**more), view), int(NOW))
    assert [one.kind for one in plan.actions] == kinds
    if kinds:
        assert plan.actions[0].details == ReplicationSource("ap", 3306) and plan.claim


@pytest.mark.parametrize("mode", ["observe", "full"])
def test_a_broken_replica_that_is_left_at_the_old_primary_is_told(mode: str) -> None:
    view = msgspec.structs.replace(modes(mode), primary=PrimaryRecord(AP, 1), reports={AP: around().reports[EU]})
    more: dict[str, Any] = {"executed_gtids": gtid.read("mariadb", "0-1-11")} if mode == "full" else {}
    plan = decide.heal(sick(replica(5, ON, error(1062), **more), view, RepairState(0, healthy_since=5)), int(NOW))
    assert [alert.kind for alert in plan.alerts] == ["ReplicationBroken"] and plan.actions == ()
    assert plan.claim and plan.claim.after.healthy_since == 0 and len(plan.notes) == 2
    plan = decide.heal(sick(replica(**more), view), int(NOW))
    assert (plan.alerts, plan.not_judged) == ((), ())


def test_whether_a_new_source_repairs_a_broken_replica_is_judged_afterwards() -> None:
    view = around(US, PrimaryRecord(AP, 1), reports={AP: around().reports[EU]})
    plan = decide.heal(sick(replica(5, error(1236)), view), int(NOW))
    assert [one.kind for one in plan.actions] == ["change-source"]
    assert (plan.alerts, plan.not_judged) == ((), ("ReplicationBroken",))


@pytest.mark.parametrize("region", REGIONS)
def test_nothing_to_do_changes_nothing(region: str) -> None:
    plan = decide.heal(sick(replica(region=region), around(region)), int(NOW))
    assert plan.actions == ()
