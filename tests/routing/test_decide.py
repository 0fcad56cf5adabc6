"""Plans, guards, evacuations and returns, as tables; and many random days of a region's life."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored
from chalicelib.routing import decide
from chalicelib.routing.observe import references_of
from chalicelib.routing.records import diff
from chalicelib.routing.state import (
    CheckObservation,
    EndpointReport,
    EvacuationFlag,
    FleetObservation,
    RegionHealth,
    RegionObservation,
    ZoneObservation,
)
from tests.routing.fleets import EIGHT, wanted

FOREIGN = {"Name": "www.example.com.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.7"}]}


def zone(regions: tuple[str, ...] = EIGHT[:3], there: list[dict[str, Any]] | None = None, settled: bool = True,
         checks: bool = True, more: str = "", judged: bool = False, **flags: Any) -> ZoneObservation:
    """What is wanted for `regions`, with all its checks there, and the records `there`."""
    made = wanted(regions, more, judged=judged)
    references = references_of(made.spec.owner, made.checks)
    existing = [CheckObservation(f"id-{name}", name, reference, settled) for name, reference in references.items()]
    return ZoneObservation("app.example.com", "ZONE", made.spec.owner, (*made.compiled.records, made.compiled.owner),
                    made.checks, references, there or [], existing if checks else [], **flags)


def after(seen: ZoneObservation) -> list[dict[str, Any]]:
    """The zone after the plan's batches."""
    groups = diff.groups(seen.existing_records)
    for change in changes(seen):
        record = change["ResourceRecordSet"]
        group = groups.setdefault((record["Name"], record["Type"]), {})
        if change["Action"] == "DELETE":
            del group[record.get("SetIdentifier", "")]
        else:
            group[record.get("SetIdentifier", "")] = record
    return [record for group in groups.values() for record in group.values()]


def changes(seen: ZoneObservation) -> list[dict[str, Any]]:
    plan = decide.plan(seen)
    assert plan.rejected_because == ""
    return [change for action in plan.actions if action.kind == "batch" for change in action.details.changes]


def test_checks_come_first_and_settle_before_records_need_them() -> None:
    plan = decide.plan(zone(checks=False))
    assert [action.kind for action in plan.actions] == ["create-check"] * 9 and plan.requeue_after_seconds == 60
    assert [action.target for action in plan.actions][-3:] == [f"serving-{region}" for region in EIGHT[:3]]
    waiting = decide.plan(zone(settled=False))
    assert waiting.actions == () and waiting.requeue_after_seconds == 60


REGION_CHECKS = {f"alive-{region}": f"parent-{number}" for number, region in enumerate(EIGHT[:3])}


def test_records_wait_for_the_verdicts_of_the_hosts_checks() -> None:
    waiting = decide.plan(zone(judged=True, region_checks=REGION_CHECKS | {"alive-us-east-1": ""}))
    assert waiting.actions == () and waiting.requeue_after_seconds == 60 and "alive-us-east-1" in waiting.notes[0]
    assert "health_checks.rotate" in waiting.notes[0]


def test_records_carry_the_verdicts_of_the_hosts_checks_and_the_marks() -> None:
    seen = zone(judged=True, region_checks=REGION_CHECKS)
    carried = [change["ResourceRecordSet"].get("HealthCheckId") for change in changes(seen)]
    assert set(carried) - {None} == {*REGION_CHECKS.values(), *(f"id-open-{region}" for region in EIGHT[:3])}
    assert all(carried.count(parent) == 1 for parent in REGION_CHECKS.values())
    assert changes(msgspec.structs.replace(seen, existing_records=after(seen))) == []


@pytest.mark.parametrize("first", [True, False])
def test_each_request_leaves_answers_when_verdicts_come_or_go(first: bool) -> None:
    there = after(zone(judged=first, region_checks=REGION_CHECKS))
    then = zone(judged=not first, region_checks=REGION_CHECKS if not first else {}, there=there, force=True)
    names = {record["Name"] for record in after(then)}
    assert any("._region." in name for name in names) != first
    for change in changes(then):
        record = change["ResourceRecordSet"]
        there = [one for one in there if (one["Name"], one.get("SetIdentifier")) != (
            record["Name"], record.get("SetIdentifier"))] + ([record] if change["Action"] != "DELETE" else [])
        standing = {one["Name"] for one in there}
        targets = {one["AliasTarget"]["DNSName"] for one in there if "AliasTarget" in one}
        assert {target for target in targets if target.endswith("app.example.com.")} <= standing


def test_then_all_records_are_made_and_nothing_is_left_to_do() -> None:
    first = zone()
    assert {change["Action"] for change in changes(first)} == {"CREATE"} and len(changes(first)) == 89
    ids = {change["ResourceRecordSet"]["HealthCheckId"] for change in changes(first)
           if "HealthCheckId" in change["ResourceRecordSet"]}
    assert ids == {f"id-serving-{region}" for region in EIGHT[:3]}
    again = decide.plan(msgspec.structs.replace(first, existing_records=after(first)))
    assert again.actions == () and again.rejected_because == "" and not again.requeue_after_seconds


def test_the_journal_gets_a_sentence_and_not_the_records() -> None:
    spoken = [action for action in decide.plan(zone()).actions if not action.unaudited]
    assert [(action.kind, action.reason) for action in spoken] == [("change-records", "89 to create")]
    assert len(msgspec.json.encode(spoken)) < 1000


@pytest.mark.slow
def test_ten_thousand_foreign_records_stay_untouched() -> None:
    foreign = [FOREIGN | {"Name": f"host-{number}.example.com."} for number in range(10_000)]
    made = after(zone(there=foreign))
    assert made[:10_000] == foreign and len(made) == 10_089
    for change in changes(zone(EIGHT[:2], [*foreign, *made[10_000:]], force=True)):
        assert not change["ResourceRecordSet"]["Name"].startswith("host-")


@pytest.mark.parametrize(("record", "said"), [
    (FOREIGN | {"Name": "app.example.com."}, "has A records"),
    (FOREIGN | {"Name": "APP.example.com", "Type": "CNAME", "ResourceRecords": [{"Value": "x.y."}]}, "has CNAME"),
    ({"Name": "_lamplighter.app.example.com.", "Type": "TXT", "TTL": 60, "ResourceRecords": [
        {"Value": '"heritage=lamplighter,owner=other-prod"'}]}, "belongs to another owner"),
])  # fmt: skip
def test_a_name_of_somebody_else_is_refused_unless_taken_over(record: dict[str, Any], said: str) -> None:
    assert said in decide.plan(zone(there=[record])).rejected_because
    assert decide.plan(zone(there=[record], adopt=True, force=True)).rejected_because == ""


def test_other_types_at_the_hostname_are_none_of_our_business() -> None:
    mail = {"Name": "app.example.com.", "Type": "MX", "TTL": 60, "ResourceRecords": [{"Value": "10 mail.example.com."}]}
    assert mail in after(zone(there=[mail]))


def test_a_plan_that_touches_too_much_is_refused_without_force() -> None:
    there = after(zone())
    other = zone(EIGHT[3:6], there)
    assert "more than 30%" in decide.plan(other).rejected_because
    assert decide.plan(msgspec.structs.replace(other, force=True)).rejected_because == ""
    small = 'preferences = [{places = ["SE"], order = ["us-east-1", "eu-west-1", "ap-southeast-1"]}]\n'
    assert decide.plan(zone(there=there, more=small)).rejected_because == ""


def test_the_last_answer_of_a_name_is_not_deleted_without_force() -> None:
    old = [{**record, "Name": record["Name"].replace("app.", "old."),
            **({"AliasTarget": record["AliasTarget"] | {
                "DNSName": record["AliasTarget"]["DNSName"].replace("app.example", "old.example")}}
               if "AliasTarget" in record else {})} for record in after(zone())]
    moved = zone(there=old)
    assert "would delete the last answer of old.example.com." in decide.plan(moved).rejected_because
    kinds = {change["Action"] for change in changes(msgspec.structs.replace(moved, force=True))}
    assert kinds == {"CREATE", "DELETE"}


def test_checks_that_nothing_needs_go_only_after_the_records_do() -> None:
    seen = zone(EIGHT[:2])
    old = CheckObservation("id-old", "alive-eu-west-1", "lamp:00000000:alive-eu-west-1:0000000000", True)
    more = msgspec.structs.replace(seen, existing_checks=[*seen.existing_checks, old])
    assert "delete-check" not in {action.kind for action in decide.plan(more).actions}
    [last] = decide.plan(msgspec.structs.replace(more, existing_records=after(seen))).actions
    assert (last.kind, last.details) == ("delete-check", "id-old")


def test_drift_is_told_and_peace_is_not() -> None:
    there = after(zone())
    assert decide.drift(zone(there=there)).alerts == ()
    [alert] = decide.drift(zone(there=there[5:])).alerts
    assert (alert.kind, alert.target) == ("RoutingDrift", "app.example.com") and "5 to create" in alert.problem
    [refused] = decide.drift(zone(there=[FOREIGN | {"Name": "app.example.com."}])).alerts
    assert "did not make" in refused.problem


def region(
    name: str, alive: bool, mark: EvacuationFlag | None = None, *, bad: int = 0, good: int = 0, flag_known: bool = True
) -> RegionObservation:
    """A region that failed to answer `bad` times in a row, or has answered since `good`."""
    return RegionObservation(name, alive, mark, flag_known, Stored(RegionHealth(bad, good), 1))


def fleet(
    *regions: RegionObservation, asked: str = "", mine: tuple[str, ...] = ("a",), hold: int = 600
) -> FleetObservation:
    return FleetObservation(regions, hold, mine, asked, "because")


def steps(seen: FleetObservation, now: int = 1000) -> list[Action]:
    """What `hold` does beside its report to the other regions."""
    report, *others = decide.hold(seen, now).actions
    assert report.kind == "report" and report.details.at == now
    assert report.details.unhealthy == tuple(region.name for region in seen.regions if not region.alive)
    return others


def test_a_region_that_sees_no_other_evacuates_none() -> None:
    alone = msgspec.structs.replace(
        fleet(region("a", True), region("b", False, bad=9), region("c", False, bad=9), mine=("b", "c")), here="a")
    assert [action.kind for action in steps(alone)] == ["record", "record"]
    seen = msgspec.structs.replace(alone, regions=(region("a", True), region("b", False, bad=9), region("c", True)))
    assert not sets_flag(seen) and not sets_flag(reported(seen, "c"))
    assert sets_flag(reported(seen, "c", "b"))


def reported(seen: FleetObservation, by: str, *unhealthy: str, at: int = 1000) -> FleetObservation:
    """The same with a report of the region `by`."""
    return msgspec.structs.replace(seen, reports={**(seen.reports or {}), by: EndpointReport(at, unhealthy)})


def sets_flag(seen: FleetObservation) -> bool:
    return "set-evacuation-flag" in {action.kind for action in steps(seen)}


@pytest.mark.parametrize(("at", "counts"), [
    (1000, True), (820, True), (819, False), (1030, True), (1031, False), (10**9, False), (-5, False)])
def test_a_report_counts_while_it_is_fresh(at: int, counts: bool) -> None:
    seen = msgspec.structs.replace(fleet(region("a", True), region("b", False, bad=9), UP, mine=("b",)), here="a")
    seen = msgspec.structs.replace(seen, regions=(*seen.regions[:2], region("c", True)))
    assert sets_flag(reported(seen, "c", "b", at=at)) is counts


def test_without_reports_nobody_is_held_down_and_a_quiet_region_comes_back() -> None:
    seen = msgspec.structs.replace(
        fleet(region("a", True), region("b", False, bad=9), region("c", True), mine=("b",)), here="a", reports=None)
    assert not sets_flag(seen) and "reports of the other regions are unreadable" in decide.hold(seen, 1000).notes[0]
    back = msgspec.structs.replace(
        seen, regions=(region("a", True), region("b", True, HELD, good=400), region("c", True)))
    assert [action.kind for action in steps(back)] == ["clear-evacuation-flag"]


def test_of_two_regions_none_is_held_down_that_says_it_answers() -> None:
    seen = msgspec.structs.replace(fleet(region("a", True), region("b", False, bad=9), mine=("b",)), here="a")
    assert sets_flag(seen) and sets_flag(reported(seen, "b", "b"))
    assert not sets_flag(reported(seen, "b")) and not sets_flag(reported(seen, "b", "a"))


def test_fewer_than_the_declared_minimum_are_neither_evacuated_nor_held_down() -> None:
    seen = msgspec.structs.replace(
        fleet(region("a", True), region("b", False, bad=9), region("c", True, HAND), mine=("b",), asked="b"), here="a")
    seen = reported(seen, "c", "b")
    assert sets_flag(seen) and decide.evacuate(seen, 1000).actions
    two = msgspec.structs.replace(seen, minimum=2)
    assert not sets_flag(two)
    assert "fewer than 2 regions (routing.minimum_regions)" in decide.evacuate(two, 1000).rejected_because
    # What is held down comes back as soon as too few others serve.
    back = msgspec.structs.replace(two, regions=(two.regions[0], region("b", True, HELD, good=900), two.regions[2]))
    assert [action.kind for action in steps(back)] == ["clear-evacuation-flag"]


UP = RegionObservation("b", True)


@pytest.mark.parametrize(("s3_of_the_other", "kinds"), [
    (True, ["record", "set-evacuation-flag"]), (False, ["record"])])
def test_of_two_regions_one_that_is_cut_off_holds_nobody_down(s3_of_the_other: bool, kinds: list[str]) -> None:
    """Each keeps the flag of the other. What cannot read its own flag there may be the one that is cut off."""
    seen = msgspec.structs.replace(
        fleet(region("a", True, good=1, flag_known=s3_of_the_other), region("b", False, bad=5), mine=("b",)), here="a")
    assert [action.kind for action in steps(seen)] == kinds


@pytest.mark.parametrize(("observed", "told"), [
    (region("a", False, bad=0), False),
    (region("a", False, bad=1), True),
    (region("a", False, EvacuationFlag("hold_down", 1), bad=5), True),
    (region("a", True, EvacuationFlag("hold_down", 1), good=500), True),
    (region("a", True, EvacuationFlag("hold_down", 1), good=400), False),
    (region("a", False, EvacuationFlag("manual", 1), bad=5), False),
])  # fmt: skip
def test_people_are_told_of_a_region_that_is_held_down(observed: RegionObservation, told: bool) -> None:
    plan = decide.hold(fleet(observed, UP), 1000)
    assert [(alert.kind, alert.target) for alert in plan.alerts] == [("RegionHeldDown", "a")] * told
    assert plan.not_judged == ()


def test_without_the_flag_nobody_is_told_that_the_region_is_back() -> None:
    assert decide.hold(fleet(region("a", False, bad=3, flag_known=False), UP), 1000).not_judged == ("RegionHeldDown",)


HAND, HELD = EvacuationFlag("manual", 1), EvacuationFlag("hold_down", 1)


@pytest.mark.parametrize(("seen", "kinds", "said"), [
    (fleet(RegionObservation("a", True), RegionObservation("b", True), asked="a"), ["set-evacuation-flag"], ""),
    (fleet(RegionObservation("a", False), RegionObservation("b", True), asked="a"), ["set-evacuation-flag"], ""),
    (fleet(RegionObservation("a", True, HELD), RegionObservation("b", True), asked="a"), ["set-evacuation-flag"], ""),
    (fleet(RegionObservation("a", True, HAND), RegionObservation("b", True), asked="a"), [], ""),
    (fleet(RegionObservation("a", True), RegionObservation("b", False), asked="a"), [], "the last region"),
    (fleet(RegionObservation("a", True), RegionObservation("b", True, HAND), asked="a"), [], "the last region"),
    (fleet(RegionObservation("a", True), asked="a"), [], "the last region"),
    (fleet(RegionObservation("a", True), RegionObservation("b", True), asked="c"), [], "'c' is no region"),
])  # fmt: skip
def test_evacuate(seen: FleetObservation, kinds: list[str], said: str) -> None:
    plan = decide.evacuate(seen, 100)
    assert [action.kind for action in plan.actions] == kinds and said in plan.rejected_because
    assert bool(said) == bool(plan.rejected_because)


@pytest.mark.parametrize(("seen", "kinds", "said"), [
    (fleet(RegionObservation("a", True, HAND), asked="a"), ["clear-evacuation-flag"], ""),
    (fleet(RegionObservation("a", False, HELD), asked="a"), ["clear-evacuation-flag"], ""),
    (fleet(RegionObservation("a", True), asked="a"), [], ""),
    (fleet(RegionObservation("a", True, flag_known=False), asked="a"), [], "is unreadable now"),
    (fleet(RegionObservation("a", True), asked="z"), [], "'z' is no region"),
])  # fmt: skip
def test_restore(seen: FleetObservation, kinds: list[str], said: str) -> None:
    plan = decide.restore(seen)
    assert [action.kind for action in plan.actions] == kinds and said in plan.rejected_because


@pytest.mark.parametrize(("observed", "others", "kinds"), [
    # What it has been (bad looks before, good since), and what is done at 1000.
    (region("a", True, good=100), UP, []),
    (RegionObservation("a", True), UP, ["record"]),
    (region("a", False, good=100), UP, ["record"]),
    (region("a", False, bad=1), UP, ["record", "set-evacuation-flag"]),
    (region("a", False, bad=1), RegionObservation("b", False), ["record"]),
    (region("a", False, HELD, bad=5), UP, ["record"]),
    (region("a", False, HAND, bad=5), UP, ["record"]),
    (region("a", True, HELD, bad=5), UP, ["record"]),
    (region("a", True, HELD, good=500), UP, []),
    (region("a", True, HELD, good=400), UP, ["clear-evacuation-flag"]),
    (region("a", True, HELD, good=900), RegionObservation("b", False), ["clear-evacuation-flag"]),
    (region("a", True, HELD, good=900), RegionObservation("b", True, HAND),
     ["clear-evacuation-flag"]),
    (region("a", True, HAND, good=1), UP, []),
    (region("a", False, bad=3, flag_known=False), UP, []),
])  # fmt: skip
def test_hold(observed: RegionObservation, others: RegionObservation, kinds: list[str]) -> None:
    assert [action.kind for action in steps(fleet(observed, others))] == kinds


@pytest.mark.parametrize(("apart", "counted"), [(0, 1), (2, 1), (29, 1), (30, 2), (60, 2), (119, 2), (-7200, 2)])
def test_two_looks_of_one_moment_are_one_failure(apart: int, counted: int) -> None:
    """As of a doubled event, or of a rule that fires late in one minute and early in the next."""
    observed = RegionObservation("a", False, before=Stored(RegionHealth(1, failed_at=10_000), 1))
    done = steps(fleet(observed, UP), 10_000 + apart)
    assert [action.kind for action in done] == ["record", "set-evacuation-flag"] * (counted == 2)


def test_a_quiet_time_that_began_ahead_of_the_clock_counts_from_now() -> None:
    [record] = steps(fleet(region("a", True, HELD, good=999_999), UP))
    assert record.details.after == RegionHealth(healthy_since=1000)


def test_hold_leaves_regions_alone_whose_mark_another_keeps() -> None:
    assert steps(fleet(region("a", False, bad=9), UP, mine=())) == []


def test_no_hold_no_mark() -> None:
    seen = fleet(region("a", False, bad=9), UP, hold=0)
    assert [action.kind for action in steps(seen)] == ["record"]


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80), st.integers(0, 900))
def test_on_any_day_the_hold_never_keeps_the_only_living_region_away_and_gives_back_what_is_quiet(
    looks: list[tuple[bool, bool]], hold: int
) -> None:
    mark, health, quiet = None, RegionHealth(), 0
    for minute, (alive, other) in enumerate([*looks, *[(True, True)] * (hold // 60 + 2)]):
        now = 60_000 + minute * 60
        observed = RegionObservation("a", alive, mark, before=Stored(health, 1))
        seen = fleet(observed, RegionObservation("b", other), hold=hold)
        for action in steps(seen, now):
            match action.kind:
                case "record":
                    health = action.details.after
                case "set-evacuation-flag":
                    assert not alive and other
                    mark = action.details
                case "clear-evacuation-flag":
                    assert quiet + 1 > hold / 60 or not other
                    mark = None
        quiet = quiet + 1 if alive else 0
        assert not (mark and alive and not other)
    assert mark is None
