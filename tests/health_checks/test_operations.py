"""health_checks.rotate as in production, against the strict twin of Route 53."""

from datetime import UTC, datetime

import msgspec
import pytest

from chalicelib.engine import run as engine
from chalicelib.engine import state
from chalicelib.engine.operation import Request, RunFailed
from chalicelib.health_checks import check_config, operations
from chalicelib.health_checks.state import KEY, SCHEMA
from tests.health_checks.harness import NOON, Street

# From nothing: six checks, their settling, the parent, and it has propagated.
BEGUN = 7


@pytest.fixture
def street() -> Street:
    """Ten hosts, and the checks stand."""
    found = Street(10)
    found.turns(BEGUN)
    assert found.verdict()
    return found


@pytest.mark.slow
def test_from_nothing_come_six_checks_and_a_parent(street: Street) -> None:
    checks = street.service.account.checks.values()
    assert sorted(check.kind for check in checks) == ["CALCULATED"] + ["HTTP_STR_MATCH"] * 6
    [parent] = [check for check in checks if check.kind == "CALCULATED"]
    assert (len(parent.config["ChildHealthChecks"]), parent.config["HealthThreshold"]) == (4, 2)
    assert {check.reference for check in checks} == {
        f"lamplighter-test/eu-west-1/{NOON // 60}/{number}" for number in range(7)}


@pytest.mark.slow
def test_every_host_is_looked_at_in_its_turn_and_the_verdict_never_changes(street: Street) -> None:
    looked: set[str] = set()
    for _ in range(12):
        street.turn()
        looked |= {check.host for check in street.memory.checks}
        assert street.verdict()
    assert looked == set(street.hosts)


@pytest.mark.slow
def test_every_update_names_the_version_that_it_saw(street: Street) -> None:
    street.turns(6)
    updates = [asked for name, asked in street.asked if name == "UpdateHealthCheck"]
    assert len(updates) > 5 and all(asked["HealthCheckVersion"] >= 1 for asked in updates)


@pytest.mark.slow
def test_a_foreign_change_is_noticed_by_its_version(street: Street) -> None:
    for check in street.memory.checks:
        street.service.call("UpdateHealthCheck", {"HealthCheckId": check.id, "ResourcePath": "/health?other"})
        street.wait(1)
    said = [result for _ in range(3) for result in street.turn().get("results", ())]
    assert any("HealthCheckVersionMismatch" in result for result in said)
    street.turns(4)
    assert all(check.confirmed for check in street.memory.checks)


@pytest.mark.slow
def test_a_terminated_anchor_is_replaced_and_its_check_re_pointed_within_two_minutes(street: Street) -> None:
    gone = sorted(street.fixed_checks())[0]
    street.drop(gone)
    street.turns(2)
    assert gone not in {check.config.get("SearchString") for check in street.service.account.checks.values()}
    street.turns(3)
    assert len(street.fixed_checks()) == 4 and gone not in street.fixed_checks()
    assert street.verdict()


@pytest.mark.slow
def test_a_draining_host_is_no_anchor(street: Street) -> None:
    leaving = sorted(street.fixed_checks())[0]
    street.hosts[leaving] = (street.hosts[leaving][0], "draining")
    street.turns(4)
    assert leaving not in street.fixed_checks() and len(street.fixed_checks()) == 4
    assert street.verdict()


@pytest.mark.slow
def test_a_stranger_at_a_terminated_address_is_not_taken_for_the_host(street: Street) -> None:
    gone = sorted(street.fixed_checks())[0]
    address = street.hosts[gone][0]
    street.drop(gone)
    street.bodies[address] = "Welcome to nginx!"
    checks = street.service.account.checks
    [id] = [check.id for check in checks.values() if check.config.get("SearchString") == gone]
    street.wait(60)
    assert not street.service.healthy()[id]


@pytest.mark.slow
def test_without_the_token_a_stranger_would_be_taken_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_config, "update", lambda host: {"IPAddress": host.address, "SearchString": "e"})
    street = Street(10)
    for address in street.bodies:
        street.bodies[address] = "the one"
    street.turns(BEGUN)
    check = street.memory.checks[0]
    street.drop(check.host)
    street.bodies[check.address] = "Welcome to nginx!"
    street.wait(50)
    assert street.service.healthy()[check.id]


@pytest.mark.slow
def test_up_to_two_anchors_may_die_at_once(street: Street) -> None:
    for id in sorted(street.fixed_checks())[:2]:
        street.bodies.pop(street.hosts[id][0])
    street.wait(60)
    assert street.verdict()
    street.turns(8)
    assert street.verdict() and all(street.hosts[id][0] in street.bodies for id in street.fixed_checks())


@pytest.mark.slow
def test_an_outage_is_seen_and_its_end_too(street: Street) -> None:
    bodies, street.bodies = street.bodies, {}
    street.wait(40)
    assert not street.verdict()
    street.wait(20)
    street.turns(6)
    assert not street.verdict()
    assert any(subject.startswith("RegionUnhealthy") for subject, _ in street.alerts.told)
    street.bodies = bodies
    street.turns(2)
    assert street.verdict()


@pytest.mark.slow
def test_by_hand_an_empty_event_changes_nothing(street: Street) -> None:
    before, changes = street.table.get(*KEY), len([name for name, _ in street.asked if name.startswith("Update")])
    street.wait(120)
    answer = street.turn(apply=False)
    assert answer["status"] == "planned" and answer["plan"]["actions"]
    assert street.table.get(*KEY) == before
    assert len([name for name, _ in street.asked if name.startswith("Update")]) == changes


@pytest.mark.slow
def test_a_minute_is_decided_once(street: Street) -> None:
    street.wait(1380)
    event = {"detail-type": "Scheduled Event", "time": "2026-03-28T12:30:00Z"}
    engine.run(street.operation, street.site, event, "one")
    asked = len(street.asked)
    answer = engine.run(street.operation, street.site, event, "two")
    assert answer["plan"]["notes"] == ("another run has decided this minute",)
    assert len(street.asked) == asked


@pytest.mark.slow
def test_of_two_runs_that_saw_the_same_only_one_acts(street: Street) -> None:
    street.wait(120)
    request = Request("schedule", int(street.now), None, apply=True, run_id="slow")
    plan = street.operation.decide(street.operation.observe(street.site, request), request)
    assert plan.claim is not None and plan.actions
    street.turn()
    changes = [asked for name, asked in street.asked if name == "UpdateHealthCheck"]
    with pytest.raises(state.Superseded):
        state.claim(street.table, KEY, SCHEMA, plan.claim.before, plan.claim.after, run_id="slow")
    for action in plan.actions:
        with pytest.raises(state.Superseded):
            street.operation.act[action.kind](street.site, request, [action])
    assert [asked for name, asked in street.asked if name == "UpdateHealthCheck"] == changes


@pytest.mark.slow
@pytest.mark.parametrize("call", ["UpdateHealthCheck", "GetHealthCheckStatus", "GetHealthCheck"])
def test_a_lost_answer_is_looked_up_and_nothing_is_done_twice(street: Street, call: str) -> None:
    street.lose_answer_to = call
    if call == "GetHealthCheck":
        street.service.call("UpdateHealthCheck", {"HealthCheckId": street.memory.checks[5].id, "ResourcePath": "/x"})
    failed = 0
    for _ in range(8):
        try:
            street.turn()
        except RunFailed:
            failed += 1
    assert failed == 1 and street.lose_answer_to == ""
    assert all(check.confirmed for check in street.memory.checks if check.since < street.now - 60)
    assert street.verdict()
    there = [check for check in street.service.account.checks.values() if check.kind != "CALCULATED"]
    assert {(check.id, check.version, check.host) for check in street.memory.checks} == {
        (check.id, check.version, check.config["SearchString"]) for check in there}


@pytest.mark.slow
@pytest.mark.parametrize("after", range(7))
def test_a_lost_answer_to_a_creation_makes_no_second_check(after: int) -> None:
    street = Street(10)
    failed = 0
    for _ in range(14):
        if street.counts()["CreateHealthCheck"] >= after and not failed:
            street.lose_answer_to = "CreateHealthCheck"
        try:
            street.turn()
        except RunFailed:
            failed += 1
    assert failed == 1 and street.verdict()
    assert len(street.service.account.checks) == 7


@pytest.mark.slow
def test_throttling_is_passed_over(street: Street) -> None:
    from sandbox.route53.service import Fault

    street.service.faults.append(Fault("*", "Throttling", times=1))
    with pytest.raises(RunFailed, match="the next run tries again"):
        street.turn()
    street.turns(3)
    assert street.verdict() and all(check.confirmed for check in street.memory.checks)


@pytest.mark.slow
def test_at_most_five_requests_a_second_and_three_hundred_an_hour(street: Street) -> None:
    street.turns(10)
    street.asked.clear()
    street.turns(60)
    # The twin refuses a sixth request within a second; none was refused.
    assert 100 < len(street.asked) <= 300
    assert street.verdict()


def test_without_the_pause_the_twin_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "REQUESTS_PER_SECOND", 1e9)
    street = Street(10, pause_seconds=0)
    with pytest.raises(RunFailed):
        street.turns(30)


@pytest.mark.slow
def test_no_hosts_is_told_once_an_hour_and_nothing_is_touched(street: Street) -> None:
    checks, street.hosts = dict(street.service.account.checks), {}
    street.turns(3)
    assert street.service.account.checks == checks
    assert [subject for subject, _ in street.alerts.told] == ["NoHosts: eu-west-1"]


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "rotating", "calculated"])
def test_a_deleted_check_is_told_once_and_replaced_while_the_others_go_on(street: Street, role: str) -> None:
    parent = street.memory.parent
    assert parent
    ids = {"fixed": [check.id for check in street.memory.checks if check.number in parent.children],
           "rotating": [check.id for check in street.memory.checks if check.number not in parent.children],
           "calculated": [parent.id]}
    street.service.call("DeleteHealthCheck", {"HealthCheckId": ids[role][0]})
    street.turns(16)
    checks = street.service.account.checks
    assert len(checks) == 7 and ids[role][0] not in checks
    assert street.verdict() and len(street.fixed_checks()) == 4
    assert all(check.id in checks and check.confirmed for check in street.memory.checks)
    told = [subject.partition(" of ")[0] for subject, _ in street.alerts.told]
    assert len(told) == 2 and told[0].startswith("HealthCheckDeleted: ") and told[1] == f"Recovered: {told[0]}"


@pytest.mark.slow
def test_all_checks_deleted_at_once_are_made_anew(street: Street) -> None:
    for id in list(street.service.account.checks):
        street.service.call("DeleteHealthCheck", {"HealthCheckId": id})
        street.wait(1)
    street.now = float(street.now // 60 * 60 + 60)
    street.turns(30)
    assert len(street.service.account.checks) == 7
    assert street.verdict() and len(street.fixed_checks()) == 4


@pytest.mark.slow
def test_status_tells_who_judges_and_who_looks(street: Street) -> None:
    report = engine.run(operations.STATUS, street.site, {})["plan"]["report"]
    assert sorted(check["as"] for check in report["checks"]) == ["fixed"] * 4 + ["rotating"] * 2
    assert (report["may_be_lost_at_once"], report["hosts"], report["bound"]) == (2, 10, 460)


@pytest.mark.slow
def test_a_run_whose_clock_was_ahead_holds_no_later_minute_up(street: Street) -> None:
    right = street.site
    street.site = msgspec.structs.replace(right, clock=lambda: street.now + 6 * 3600)
    assert engine.run(street.operation, street.site, {"apply": True})["status"] == "done"
    street.site = right
    street.hosts = {id: (address, "unhealthy") for id, (address, _) in street.hosts.items()}
    street.bodies = {}
    street.turns(20)
    assert "RegionUnhealthy: eu-west-1" in [subject for subject, _ in street.alerts.told]


@pytest.mark.slow
def test_a_run_whose_clock_was_ahead_does_not_stop_the_rotation(street: Street) -> None:
    street.turns(12)
    right = street.site
    street.site = msgspec.structs.replace(right, clock=lambda: street.now + 6 * 3600)
    assert engine.run(street.operation, street.site, {"apply": True})["status"] == "done"
    street.site = right
    street.turns(1)
    before = {check.number: check.host for check in street.memory.checks}
    street.turns(20)
    parent = street.memory.parent
    assert parent
    rotating = [check for check in street.memory.checks if check.number not in parent.children]
    assert all(check.host != before[check.number] for check in rotating)
    assert all(check.since <= street.now for check in street.memory.checks)


@pytest.mark.slow
@pytest.mark.parametrize("late_seconds", [70, 3540, 86_000])
def test_an_event_that_came_late_counts_as_the_minute_in_which_it_came(street: Street, late_seconds: int) -> None:
    """Its requests to Route 53 fall into the hour's budget of now, and the turn of this minute is taken."""
    street.turns(2)
    event = {"detail-type": "Scheduled Event",
             "time": datetime.fromtimestamp((street.now - late_seconds) // 60 * 60, UTC).isoformat()}
    engine.run(street.operation, street.site, event)
    assert street.memory.minute == street.now // 60
    again = engine.run(street.operation, street.site, event)
    assert again["message"] == "nothing to do" and "another run has decided this minute" in again["plan"]["notes"]
