"""The healer's rounds as in production, against hand-written clients of AWS."""

from typing import Any

import pytest

from chalicelib.tunnels.state import KEY, PEER_REPORT_PK
from tests.tunnels.harness import A, B, Yard, fails


def test_one_that_fails_is_drained_and_restarted_in_the_third_round(yard: Yard) -> None:
    fails(yard, 2)
    assert yard.changes() == []
    said = yard.round()
    assert yard.changes() == [("deregister_targets", A), ("send_command", A)]
    assert said["results"] == ("remembered", "slot 1: drain of i-0001: asked for",
                               "slot 1: restart of i-0001: asked for")
    assert yard.slot(A).phase == "restarting"


def test_a_restart_that_worked_lets_it_back_after_five_answers(yard: Yard) -> None:
    fails(yard)
    yard.commands["command-0"] = ("Success", "Success")
    yard.sides[A] = ("up", "answered")
    yard.rounds(4)
    assert yard.slot(A).phase == "verifying" and yard.hosts[A]["target"] == "absent"
    yard.round()
    assert yard.slot(A).phase == "healthy" and yard.hosts[A]["target"] == "registered"
    assert yard.slot(A).cooldown_seconds == 60


@pytest.mark.parametrize(("status", "details", "again"), [
    ("Failed", "Failed", True), ("TimedOut", "Delivery Timed Out", True), ("Cancelled", "Terminated", True),
    ("Pending", "Pending", False), ("InProgress", "Delayed", False), ("Delayed", "Delayed", False)])
def test_a_command_that_failed_is_followed_by_the_next_at_once(
    yard: Yard, status: str, details: str, again: bool
) -> None:
    fails(yard)
    yard.commands["command-0"] = (status, details)
    yard.round()
    assert len(yard.commands) == 1 + again


def test_the_whole_ladder_and_its_times(yard: Yard) -> None:
    """Restart, 40 s + 30 s, restart, 70 s, replace; the new one has 300 s; replace again; quarantine, told once."""
    fails(yard)
    seen = [(name, yard.now) for name, _ in yard.changes() if name != "deregister_targets"]
    for _ in range(500):
        before = len(yard.changes())
        yard.round()
        for id in [id for id, host in yard.hosts.items() if host.get("lifecycle")]:
            del yard.hosts[id]
            yard.sides[yard.launch()] = ("local", "refused")
        seen += [(name, yard.now) for name, _ in yard.changes()[before:] if name != "deregister_targets"]
    names = ["send_command", "send_command", *["terminate_instance_in_auto_scaling_group"] * 2]
    assert [name for name, _ in seen] == names
    times = [at - seen[0][1] for _, at in seen]
    assert times == [0, 70, 140, 140 + 302]
    assert [subject for subject, _ in yard.alerts.told] == ["TunnelRepairFailed: slot 1"]
    assert yard.slot("i-0004").phase == "quarantined" and yard.hosts["i-0004"]["target"] == "absent"


def test_what_hung_and_comes_back_by_itself_goes_back_without_a_heal_in_between(yard: Yard) -> None:
    fails(yard, 3, A, "ambiguous", "hung")
    yard.sides[A] = ("up", "answered")
    yard.commands["command-0"] = ("Success", "Success")
    yard.rounds(5)
    assert [name for name, _ in yard.changes()] == ["deregister_targets", "send_command", "register_targets"]


def test_nothing_up_without_a_canary_is_told_once_and_left(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    said = yard.rounds(1800)
    assert yard.changes() == []
    assert [subject for subject, _ in yard.alerts.told] == ["PrimaryUnreachable: eu-west-1"]
    assert "no canary" in " ".join(said[-1]["plan"]["notes"])
    yard.sides[A] = yard.sides[B] = ("up", "answered")
    yard.rounds(10)
    assert yard.changes() == [] and len(yard.alerts.told) == 1


def canary(yard: Yard, up: bool = True) -> None:
    yard.coordination.store.items.pop((PEER_REPORT_PK, "ap-southeast-1"), None)
    yard.coordination.create(PEER_REPORT_PK, "ap-southeast-1", {"up": up, "at": yard.now})


def test_nothing_up_with_a_canary_that_lives_is_healed_in_the_balancer(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    canary(yard)
    yard.rounds(2)
    assert yard.changes() == []
    yard.round()
    assert yard.changes() == [("send_command", A)] and yard.hosts[A]["target"] == "registered"


def test_a_canary_that_speaks_every_few_seconds_vouches_from_its_first_word_on(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    for _ in range(3):
        canary(yard)
        assert yard.changes() == []
        yard.round()
    canary(yard)
    yard.round()
    assert yard.changes() == [("send_command", A)]


def test_a_canary_that_was_silent_vouches_anew(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    canary(yard)
    yard.round()
    for _ in range(2):
        canary(yard, up=False)
        yard.round()
    canary(yard)
    yard.rounds(2)
    assert yard.changes() == []
    yard.round()
    assert yard.changes() == [("send_command", A)]


def test_what_was_vouched_for_before_the_healer_itself_stood_still_proves_nothing(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    canary(yard)
    yard.round()
    yard.now += 60
    canary(yard)
    yard.rounds(2)
    assert yard.changes() == []


@pytest.mark.parametrize(("spoilt", "acts"), [
    ({}, 1), ({"up": None}, 0), ({"at": None}, 0), ({"up": "yes"}, 0), ({"at": "x"}, 0), ({"primary_region": 1}, 0)])
def test_a_canary_that_is_not_one_counts_for_nothing(yard: Yard, spoilt: dict[str, Any], acts: int) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    said = {"up": True, "at": yard.now, "primary_region": ""} | spoilt
    yard.coordination.create(PEER_REPORT_PK, "ap-southeast-1",
                             {key: value for key, value in said.items() if value is not None})
    yard.rounds(4)
    assert [name for name, _ in yard.changes()] == ["send_command"] * acts


def test_the_far_side_is_told_to_other_regions_when_it_changes_and_every_half_minute(yard: Yard) -> None:
    items = []
    for number in range(40):
        if number == 20:
            yard.sides[A] = yard.sides[B] = ("far", "closed")
        yard.round()
        item = yard.coordination.get(PEER_REPORT_PK, "eu-west-1")
        assert item
        items.append((item.version, item.body["up"]))
    assert [up for _, up in items] == [True] * 20 + [False] * 20
    assert items[-1][0] - items[0][0] == 3


def test_instances_that_wait_in_a_warm_pool_are_no_endpoints(yard: Yard) -> None:
    yard.hosts[yard.launch()]["lifecycle"] = "Warmed:Stopped"
    assert yard.round()["plan"]["notes"] == ()


def test_what_is_no_member_of_the_group_is_no_endpoint_whatever_ec2_answers(yard: Yard) -> None:
    yard.strangers = [{"InstanceId": "i-0", "PrivateIpAddress": "10.0.0.99", "State": {"Name": "running"}}]
    yard.round()
    assert {slot.instance for slot in yard.memory.slots} == set(yard.hosts)


def test_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    yard = Yard(monkeypatch, ', mode = "off"')
    assert yard.round()["plan"]["notes"] == ("mode is 'off': nothing is looked after",)
    assert yard.table.get(*KEY) is None and yard.asked == []


def test_without_a_group_instances_are_stopped_and_started(monkeypatch: pytest.MonkeyPatch) -> None:
    yard = Yard(monkeypatch, ', tag = "Role=tunnel"')
    yard.rounds(8)
    fails(yard, 75)
    assert yard.changes()[-1] == ("stop_instances", A) and yard.slot(A).phase == "replacing"
    yard.hosts[A]["state"] = "stopped"
    yard.rounds(6)
    assert yard.changes()[-1] == ("start_instances", A) and yard.slot(A).phase == "joining"
    yard.sides[A] = ("up", "answered")
    yard.rounds(5)
    assert yard.slot(A).phase == "healthy" and yard.hosts[A]["target"] == "registered"
    assert [name for name, _ in yard.changes()].count("stop_instances") == 1


def test_what_was_not_probed_says_nothing(yard: Yard) -> None:
    fails(yard, 20, A, "ambiguous", "not-probed")
    assert yard.changes() == [] and yard.slot(A).phase == "healthy"


def test_every_heal_is_in_the_journal_with_its_reason(yard: Yard) -> None:
    fails(yard)
    [entry] = yard.table.query("journal#2026-03-28")
    assert [action["kind"] for action in entry.body["actions"]] == ["drain", "restart"]
    assert entry.body["actions"][0]["reason"] == "i-0001 has failed 3 times in a row (local: refused)"
    assert entry.body["actions"][1]["details"]["key"].startswith("1/i-0001/")
