"""Who becomes the primary, by tables: the choice, what refuses it, what could be lost, and the plan."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.databases import details
from chalicelib.databases.decide import manual, promotion, steps
from chalicelib.databases.observation import PromotionObservation, ServerObservation
from chalicelib.databases.state import PrimaryRecord, Promotion, RegionReport, Steps
from chalicelib.engine.schema import Stored
from chalicelib.mysql import gtid
from chalicelib.mysql.status import Look, ReplicaStatus, ReplicaThread, ServerError, ServerStatus
from tests.databases.harness import AP, EU, FLEET, REGIONS, US
from tests.databases.test_watching import NOW, OFF, around

ON = ReplicaThread("running")
DEAD = ServerError("unreachable", "eu-west-1 (eu:3306)", "cannot connect: no answer")


def server(
    region: str, has: int, received: int = 0, io: ReplicaThread = ON, sql: ReplicaThread = ON, **more: Any
) -> ServerStatus:
    """A replica that has applied so many transactions and received so many; eu-west-1 is a primary."""
    all_of_it = gtid.read("mariadb", f"0-1-{received or has}")
    replication = None if region == EU else ReplicaStatus(io, sql, "eu", 3306, True, all_of_it)
    applied = gtid.read("mariadb", f"0-1-{has}")
    state = ServerStatus(region, "mariadb", "10.11-MariaDB", region, region != EU, applied, NOW, NOW,
                  replication=replication, heartbeats={EU: NOW - 7})
    return msgspec.structs.replace(state, **more)


def throne(eu: Look, us: Look, ap: Look, to: str = "", force: str = "", primary: PrimaryRecord | None = None,
           reports: dict[str, RegionReport] | None = None) -> PromotionObservation:
    view = around(US, primary or PrimaryRecord(EU), reports=reports or {})
    return PromotionObservation(view, {EU: eu, US: us, AP: ap}, to, force)


def seen(region: str, has: int, age: float = 10, **more: Any) -> dict[str, RegionReport]:
    report = RegionReport(NOW - age, True, True, 1, True, gtid.read("mariadb", f"0-1-{has}"),
                    gtid.read("mariadb", f"0-1-{has}"))
    return {region: msgspec.structs.replace(report, **more)}


PROBLEM = ReplicaThread("stopped", 1062, "Duplicate entry")


@pytest.mark.parametrize("eu, us, ap, chosen", [
    (server(EU, 9), server(US, 9), server(AP, 9), US),           # of equals the first of the fleet
    (server(EU, 9), server(US, 8), server(AP, 9), AP),
    (server(EU, 9), server(US, 5, 9), server(AP, 8), US),        # what is received counts
    (server(EU, 9), server(US, 5, 9, sql=PROBLEM), server(AP, 8), AP),  # but not if it cannot be applied
    (server(EU, 9), server(US, 5, 9, OFF, OFF), server(AP, 8), AP),     # or a start would empty the relay log
    (server(EU, 9), server(US, 9, log_updates=False), server(AP, 8), AP),
    (server(EU, 9), server(US, 9, log_bin=False), server(AP, 8), AP),
    (server(EU, 9), DEAD, server(AP, 8), AP),
    (server(EU, 9), server(US, 9, replication=None), server(AP, 8), AP),
])
def test_the_one_that_has_most_is_chosen(eu: Look, us: Look, ap: Look, chosen: str) -> None:
    assert promotion.choose(throne(eu, us, ap)).to == chosen


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 9), st.integers(0, 9))
def test_nobody_that_could_be_opened_has_more(us: int, ap: int, us_waits: int, ap_waits: int) -> None:
    looks = {US: server(US, us, us + us_waits), AP: server(AP, ap, ap + ap_waits)}
    choice = promotion.choose(throne(server(EU, 40), looks[US], looks[AP]))
    assert all(gtid.is_subset(promotion.gtids_after_promotion(looks[choice.to]),
                              promotion.gtids_after_promotion(look)) for look in looks.values())


@pytest.mark.parametrize("view, why", [
    (throne(DEAD, server(US, 9), server(AP, 9)), r"may still be written to. Run databases.fence in eu-west-1"),
    (throne(DEAD, DEAD, DEAD), "no replica can become the primary"),
    (throne(server(EU, 9), server(US, 9), server(AP, 9), "mars-1"), "'mars-1' has no"),
    (throne(server(EU, 9), DEAD, server(AP, 9), US), "A server that does not answer cannot become the primary"),
    (throne(server(EU, 9), server(US, 9, log_updates=False), server(AP, 9), US), "no binary log of what it replicates"),
    (throne(server(EU, 9), server(US, 9, replication=None), server(AP, 9), US), "does not replicate"),
    (throne(server(EU, 9), server(US, 5, 9, sql=PROBLEM), server(AP, 9), US), "cannot apply it (Duplicate entry)"),
    (throne(server(EU, 9), server(US, 5, 9, OFF, OFF), server(AP, 9), US), "cannot apply it (both threads stand still"),
    # The old primary answers, but the chosen one does not get from it what it lacks.
    (throne(server(EU, 9), server(US, 8, io=OFF), server(AP, 8), US), "eu-west-1 has 0-1-9 (1 transactions)"),
    (throne(server(EU, 9), server(US, 8, io=OFF), server(AP, 9), US), "which us-east-1 lacks"),
    # Fenced, and so reported: what its own watch saw counts.
    (throne(DEAD, server(US, 8), server(AP, 8), US, primary=PrimaryRecord(EU, 1, fenced=(EU,)), reports=seen(EU, 9)),
     "eu-west-1 has 0-1-9 (1 transactions), which us-east-1 lacks"),
    (throne(server(EU, 8), server(US, 8, io=OFF), DEAD, US, reports=seen(AP, 9)), "ap-southeast-1 has 0-1-9"),
])
def test_what_is_refused(view: PromotionObservation, why: str) -> None:
    with pytest.raises(promotion.Refusal) as refusal:
        promotion.choose(view)
    assert why in str(refusal.value)
    assert manual.promote(view).rejected_because == str(refusal.value)


HISTORY = gtid.read("mariadb", "0-1-79,0-2-92")
# What follows server 1 although server 2 has become the primary.
LEFT_BEHIND = server(AP, 154)
NEW_PRIMARY = server(EU, 1, id="2", executed_gtids=HISTORY)
LATER = PrimaryRecord(EU, 2, position=gtid.read("mariadb", "0-1-79"))


@pytest.mark.parametrize("eu, reports, primary", [
    (NEW_PRIMARY, {}, PrimaryRecord(EU, 2)),
    (DEAD, seen(EU, 1, executed_gtids=HISTORY, retrieved_gtids=HISTORY, id="2"),
     msgspec.structs.replace(LATER, fenced=(EU,))),
])
def test_replica_of_another_history_is_promoted_by_force_only(
    eu: Look, reports: dict[str, RegionReport], primary: PrimaryRecord
) -> None:
    reports = {region: msgspec.structs.replace(report, term=primary.term) for region, report in reports.items()}
    view = throne(eu, server(US, 1, 79), LEFT_BEHIND, AP, primary=primary, reports=reports)
    with pytest.raises(promotion.Refusal, match=r"ap-southeast-1 has 0-1-80..154 .* which eu-west-1 never had. The two "
                                                "have diverged"):
        promotion.choose(view)
    forced = promotion.choose(msgspec.structs.replace(view, force="burnt"))
    assert any("have diverged" in note and "lost, as forced" in note for note in forced.notes)


def test_replica_of_another_history_is_not_the_best() -> None:
    assert promotion.choose(throne(NEW_PRIMARY, server(US, 1, 79), LEFT_BEHIND)).to == US


def test_old_primary_that_answers_at_last_shows_another_history_before_anything_is_opened() -> None:
    step = details.ApplyRelayLog(AP, 2, "", EU)
    under_way = Promotion(AP, EU, "fenced", 0)
    current = steps.UnderWay(Stored(PrimaryRecord(EU, 2, promotion=under_way)), under_way)
    old = steps.old_primary(msgspec.structs.replace(NEW_PRIMARY, read_only=True), None, current, step)
    assert "have diverged" in steps.drained(LEFT_BEHIND, old, current, step).rejected
    assert not steps.drained(LEFT_BEHIND, old, current, msgspec.structs.replace(step, forced="burnt")).rejected


def test_candidate_that_was_opened_before_a_crash_has_no_other_history_by_its_own_writes() -> None:
    step = details.ApplyRelayLog(AP, 2, "", EU)
    old = steps.OldPrimary(HISTORY, id="2")
    has = gtid.union(HISTORY, gtid.read("mariadb", "0-3-154"))
    opened = server(AP, 1, id="3", executed_gtids=has, replication=None)
    for reached in get_args(Steps):
        under_way = Promotion(AP, EU, reached, 0)
        current = steps.UnderWay(Stored(PrimaryRecord(EU, 2, promotion=under_way)), under_way)
        rejected = steps.drained(opened, old, current, step).rejected
        assert bool(rejected) is (reached in ("claimed", "fenced")), (reached, rejected)


def test_two_with_each_something_else_are_left_to_people() -> None:
    one = server(US, 1, executed_gtids=gtid.read("mariadb", "0-1-9,1-1-5"), io=OFF, sql=OFF)
    other = server(AP, 1, executed_gtids=gtid.read("mariadb", "0-1-8,1-1-6"), io=OFF, sql=OFF)
    with pytest.raises(promotion.Refusal, match="each of us-east-1, ap-southeast-1 has transactions that"):
        promotion.choose(throne(DEAD, one, other, force="burnt"))


@pytest.mark.parametrize("view, notes", [
    (throne(server(EU, 9), server(US, 9), server(AP, 9), US), ["has all its data, so nothing is lost"]),
    (throne(server(EU, 12), server(US, 9), server(AP, 9), US), ["3 transactions are under way, and the promotion"]),
    (throne(server(EU, 9), server(US, 5, 9), server(AP, 9), US), ["has still to apply 4 transactions"]),
    (throne(DEAD, server(US, 9), server(AP, 9), US, "burnt"), [
        "that no replica received, at most the writes of the last 7 s", "has no fence"]),
    (throne(DEAD, server(US, 9, heartbeats={}), server(AP, 9), US, "burnt"), ["no heartbeat says how much at most"]),
    (throne(DEAD, server(US, 9), server(AP, 9), US, "burnt", reports=seen(EU, 11, 200)), [
        "of that, its watch had seen 0-1-10..11 (2 transactions)", "lost, as forced"]),
    (throne(DEAD, server(US, 8), server(AP, 9), US, "burnt"), ["ap-southeast-1 has 0-1-9 (1 transactions)"]),
    (throne(server(EU, 9), server(US, 9), DEAD, US), ["databases.heal in ap-southeast-1 repoints it"]),
])
def test_what_is_said_before_it_is_done(view: PromotionObservation, notes: list[str]) -> None:
    said = "\n".join(promotion.choose(view).notes)
    assert all(note in said for note in notes), said


@pytest.mark.parametrize("change", [
    {}, {"age": 181}, {"read_only": False}, {"fenced": False}, {"term": 0}, {"reachable": False}])
def test_only_its_own_watch_can_prove_a_region_closed_and_lately(change: dict[str, Any]) -> None:
    view = throne(DEAD, server(US, 9), server(AP, 9), US, primary=PrimaryRecord(EU, 1, fenced=(EU,)),
                  reports=seen(EU, 9, **change))
    assert promotion.proven(view, EU) == (not change)
    unfenced = throne(DEAD, server(US, 9), server(AP, 9), US, primary=PrimaryRecord(EU, 1), reports=seen(EU, 9))
    assert not promotion.proven(unfenced, EU)


def test_every_server_that_takes_writes_is_closed_but_the_chosen_one() -> None:
    choice = promotion.choose(throne(server(EU, 9), server(US, 9, read_only=False), server(AP, 9, read_only=False), US))
    assert choice.close == {EU: "set-read-only", AP: "set-read-only"} and choice.claim and choice.claim.fenced == (AP,
                                                                                                                   EU)
    assert choice.follow == (AP,)


def test_a_region_that_was_fenced_long_ago_and_is_gone_is_no_obstacle() -> None:
    view = throne(DEAD, server(US, 9, replication=None, read_only=False), server(AP, 9), AP,
                  primary=PrimaryRecord(US, 1, fenced=(EU,)))
    assert promotion.choose(view).close == {US: "set-read-only"}


@pytest.mark.parametrize("step", ["claimed", "fenced", "drained", "opening", "opened", "pointed"])
def test_what_is_under_way_is_gone_on_with(step: Any) -> None:
    named = EU if step in ("claimed", "fenced", "drained") else US
    primary = PrimaryRecord(named, 3, fenced=(EU,), promotion=Promotion(US, EU, step, 5, "burnt"))
    choice = promotion.choose(throne(DEAD, server(US, 9, replication=None), server(AP, 9), primary=primary))
    assert (choice.to, choice.old, choice.claim, choice.forced) == (US, EU, None, "burnt")
    plan = manual.promote(throne(DEAD, server(US, 9, replication=None), server(AP, 9), primary=primary))
    assert [one.kind for one in plan.actions] == ["set-read-only", "apply-relay-log", "set-writable", "change-source",
                                                  "finish"]
    assert {one.details.term for one in plan.actions} == {3}


def test_another_region_takes_over_a_promotion_with_a_term_of_its_own() -> None:
    primary = PrimaryRecord(EU, 3, fenced=(EU,), promotion=Promotion(US, EU, "drained", 5))
    choice = promotion.choose(throne(server(EU, 9), server(US, 9, replication=None), server(AP, 9), AP,
                                     primary=primary))
    assert choice.claim and choice.claim.term == 4 and choice.claim.fenced == (EU, US)
    assert choice.close == {EU: "set-read-only", US: "set-read-only"}
    with pytest.raises(promotion.Refusal, match="may still be written to"):
        promotion.choose(throne(server(EU, 9), DEAD, server(AP, 9), AP, primary=primary))


def test_the_plan_is_made_of_steps_that_name_the_term() -> None:
    plan = manual.promote(throne(server(EU, 9), server(US, 9), server(AP, 9), US))
    assert [(one.kind, one.target) for one in plan.actions] == [
        ("claim", US),
        ("set-read-only", EU),
        ("apply-relay-log", US),
        ("set-writable", US),
        ("change-source", AP),
        ("finish", US),
    ]
    assert plan.actions[4].details.source.host == "us" and plan.report[AP]["has"] == "0-1-1..9"


def with_settings(**change: Any) -> PromotionObservation:
    view = throne(server(EU, 9), server(US, 9), server(AP, 9), US)
    settings = msgspec.structs.replace(view.around.settings, **change)
    return msgspec.structs.replace(view, around=msgspec.structs.replace(view.around, settings=settings))


@pytest.mark.parametrize("change, why", [
    ({"flavour": "rds"}, "PromoteReadReplica"), ({"admin_secret": None}, "needs admin_secret")])
def test_what_cannot_be_promoted_here(change: dict[str, Any], why: str) -> None:
    assert why in manual.promote(with_settings(**change)).rejected_because


def here(look: Look | None, **change: Any) -> ServerObservation:
    view = around(US)
    return ServerObservation(msgspec.structs.replace(view, settings=msgspec.structs.replace(view.settings, **change)),
                             look)


@pytest.mark.parametrize("one, why", [
    (here(None), "has no server"), (here(DEAD), "cannot connect"),
    (here(server(EU, 9)), "is no replica"), (here(server(US, 9, io=OFF)), "Repair it first"),
    (here(server(US, 9), flavour="rds"), "parameter group")])
def test_when_tuning_is_refused(one: ServerObservation, why: str) -> None:
    assert why in manual.tune(one).rejected_because


def test_fencing_by_hand_marks_and_closes() -> None:
    plan = manual.fence(here(server(US, 9)))
    assert [one.kind for one in plan.actions] == ["record-fence", "set-read-only"]
    assert plan.actions[0].details.primary.fenced == (US,)
    assert manual.fence(here(DEAD)).rejected_because and "PromoteReadReplica" in manual.fence(
        here(server(US, 9), flavour="rds")).rejected_because


def test_the_fleet_of_these_tests_is_the_models() -> None:
    assert FLEET.databases and tuple(one.region for one in FLEET.databases.servers) == REGIONS
