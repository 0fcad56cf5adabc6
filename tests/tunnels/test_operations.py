"""The controller's rounds as in production, on fakes of AWS."""

from typing import Any

import pytest

from chalicelib.aws.ssm import Invocation
from chalicelib.tunnels.state import KEY, PEER_REPORT_PK
from testing.aws import FakeInstance
from tests.tunnels.harness import A, B, Yard, fails


def commanded(yard: Yard, status: str, details: str = "") -> None:
    """What has become of the last command."""
    list(yard.aws.commands.values())[-1].invocation = Invocation(status, details or status)


def test_one_that_fails_is_drained_and_restarted_in_the_third_round(yard: Yard) -> None:
    fails(yard, 2)
    assert yard.changes() == []
    said = yard.round()
    assert yard.changes() == [("elb deregister", A), ("ssm send_command", A)]
    assert list(said["results"])[:2] == ["member 1: drain of i-0001: done", "member 1: restart of i-0001: done"]
    assert yard.member(A).phase == "restarting"


def test_a_restart_that_worked_lets_it_back_after_five_answers(yard: Yard) -> None:
    fails(yard)
    commanded(yard, "Success")
    yard.sides[A] = ("up", "answered")
    yard.rounds(4)
    assert yard.member(A).phase == "verifying" and yard.target(A) == "absent"
    yard.round()
    assert yard.member(A).phase == "healthy" and yard.target(A) == "registered"
    assert yard.member(A).cooldown.seconds == 60


@pytest.mark.parametrize(("status", "details", "again"), [
    ("Failed", "Failed", True), ("TimedOut", "Delivery Timed Out", True), ("Cancelled", "Terminated", True),
    ("Pending", "Pending", False), ("InProgress", "Delayed", False), ("Delayed", "Delayed", False)])
def test_a_command_that_failed_is_followed_by_the_next_at_once(
    yard: Yard, status: str, details: str, again: bool
) -> None:
    fails(yard)
    commanded(yard, status, details)
    yard.round()
    assert len(yard.aws.commands) == 1 + again


@pytest.mark.slow
def test_the_whole_ladder_and_its_times(yard: Yard) -> None:
    """Restart, 40 s + 30 s, restart, 70 s, replace; the new one has 300 s; replace again; quarantine, told once."""
    fails(yard)
    seen = [(name, yard.now) for name, _ in yard.changes() if name != "elb deregister"]
    for _ in range(500):
        before = len(yard.changes())
        yard.round()
        for id in [id for id, machine in yard.aws.instances.items() if machine.state == "shutting-down"]:
            yard.remove(id)
            yard.sides[yard.launch()] = ("local", "refused")
        seen += [(name, yard.now) for name, _ in yard.changes()[before:] if name != "elb deregister"]
    names = ["ssm send_command", "ssm send_command", *["autoscaling terminate"] * 2]
    assert [name for name, _ in seen] == names
    times = [at - seen[0][1] for _, at in seen]
    assert times == [0, 70, 140, 140 + 302]
    assert yard.told() == ["TunnelRepairFailed: member 1"]
    assert yard.member("i-0004").phase == "quarantined" and yard.target("i-0004") == "absent"


def test_what_hung_and_comes_back_by_itself_goes_back_without_a_heal_in_between(yard: Yard) -> None:
    fails(yard, 3, A, "ambiguous", "hung")
    yard.sides[A] = ("up", "answered")
    commanded(yard, "Success")
    yard.rounds(5)
    assert [name for name, _ in yard.changes()] == ["elb deregister", "ssm send_command", "elb register"]


@pytest.mark.slow
def test_nothing_up_without_a_canary_is_told_once_and_left(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    said = yard.rounds(1800)
    assert yard.changes() == []
    assert yard.told() == ["PrimaryUnreachable: eu-west-1"]
    assert "no other region" in " ".join(said[-1]["plan"]["notes"])
    yard.sides[A] = yard.sides[B] = ("up", "answered")
    yard.rounds(10)
    assert yard.changes() == [] and yard.topic.told[-1][0] == "Recovered: PrimaryUnreachable: eu-west-1"


def canary(yard: Yard, up: bool = True) -> None:
    yard.publish(PEER_REPORT_PK, "ap-southeast-1", up=up, at=yard.now)


def test_nothing_up_with_a_canary_that_lives_is_healed_in_the_balancer(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    canary(yard)
    yard.rounds(2)
    assert yard.changes() == []
    yard.round()
    assert yard.changes() == [("ssm send_command", A)] and yard.target(A) == "registered"


def test_a_canary_that_speaks_every_few_seconds_vouches_from_its_first_word_on(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    for _ in range(3):
        canary(yard)
        assert yard.changes() == []
        yard.round()
    canary(yard)
    yard.round()
    assert yard.changes() == [("ssm send_command", A)]


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
    assert yard.changes() == [("ssm send_command", A)]


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
    yard.publish(PEER_REPORT_PK, "ap-southeast-1", **{key: value for key, value in said.items() if value is not None})
    yard.rounds(4)
    assert [name for name, _ in yard.changes()] == ["ssm send_command"] * acts


def test_the_far_side_is_told_to_other_regions_when_it_changes_and_every_half_minute(yard: Yard) -> None:
    items = []
    for number in range(40):
        if number == 20:
            yard.sides[A] = yard.sides[B] = ("far", "closed")
        yard.round()
        item = yard.shared.get(PEER_REPORT_PK, "eu-west-1")
        assert item
        items.append((item.version, item.body["up"]))
    assert [up for _, up in items] == [True] * 20 + [False] * 20
    assert items[-1][0] - items[0][0] == 3


def test_instances_that_wait_in_a_warm_pool_are_no_endpoints(yard: Yard) -> None:
    yard.aws.instances[yard.launch()].lifecycle = "Warmed:Stopped"
    assert yard.round()["plan"]["notes"] == ()


def test_what_is_no_member_of_the_group_is_no_endpoint_whatever_ec2_answers(yard: Yard) -> None:
    yard.aws.instances["i-0"] = FakeInstance("i-0", tags={"Role": "tunnel"})
    yard.round()
    assert {member.instance for member in yard.state.members} == {A, B}


def test_off_is_off() -> None:
    yard = Yard(', mode = "off"')
    assert yard.round()["plan"]["notes"] == ("mode is 'off', so the controller leaves the tunnels alone",)
    assert yard.local.get(*KEY) is None and yard.changes() == []


@pytest.mark.slow
def test_without_a_group_instances_are_stopped_and_started() -> None:
    yard = Yard(', tag = "Role=tunnel"')
    yard.rounds(8)
    fails(yard, 75)
    assert yard.changes()[-1] == ("ec2 stop", A) and yard.member(A).phase == "replacing"
    yard.aws.instances[A].state = "stopped"
    yard.rounds(6)
    assert yard.changes()[-1] == ("ec2 start", A) and yard.member(A).phase == "joining"
    yard.sides[A] = ("up", "answered")
    yard.rounds(5)
    assert yard.member(A).phase == "healthy" and yard.target(A) == "registered"
    assert [name for name, _ in yard.changes()].count("ec2 stop") == 1


def test_what_was_not_probed_says_nothing(yard: Yard) -> None:
    fails(yard, 20, A, "ambiguous", "not-probed")
    assert yard.changes() == [] and yard.member(A).phase == "healthy"


def test_every_heal_is_in_the_journal_with_its_reason(yard: Yard) -> None:
    fails(yard)
    [entry] = yard.local.query("journal#2026-03-28")
    assert [action["kind"] for action in entry.body["actions"]] == ["drain", "restart"]
    assert entry.body["actions"][0]["reason"] == "i-0001 has failed 3 times in a row (local: refused)"
    assert entry.body["actions"][1]["details"]["instance"] == A


@pytest.mark.parametrize("lifecycle", ["Terminating", "Terminating:Wait", "Detaching", "Detached"])
def test_an_instance_that_leaves_its_group_is_not_repaired(yard: Yard, lifecycle: str) -> None:
    """Auto Scaling has its own plans with it, and what is detached is nobody's host any more."""
    yard.aws.instances[A].lifecycle = lifecycle
    fails(yard, 6)
    assert [one for one in yard.changes() if one[1] == A] == []
