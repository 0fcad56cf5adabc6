"""The healer's rounds when another was faster, when AWS refuses, and when nobody can be told."""

from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.engine.operation import Request
from chalicelib.tunnels.state import EFFECTS_PK
from tests.tunnels.harness import A, B, Yard, fails, refused


def test_a_round_that_was_overtaken_does_nothing(yard: Yard) -> None:
    fails(yard, 2)
    operation = yard.operations["tunnels.heal"]
    yard.now += 2
    request = Request("schedule", int(yard.now), None, apply=True, id="slow")
    plan = operation.decide(operation.observe(yard.site, request), request)
    yard.round()
    done = yard.changes()
    for action in plan.actions:
        result = operation.act[action.kind](yard.site, request, [action])
        assert "another round was faster" in result[0] or "left: " in result[0] or not result
    assert yard.changes() == done


def test_a_round_that_came_second_does_not_keep_the_first_from_its_acts(yard: Yard) -> None:
    fails(yard, 2)
    operation = yard.operations["tunnels.heal"]
    yard.now += 2
    first, second = (Request("schedule", int(yard.now), None, apply=True, id=id) for id in ("first", "second"))
    plans = {one: operation.decide(operation.observe(yard.site, one), one) for one in (first, second)}
    # Both have seen the same, and want the same; the second one is faster from here on.
    acts = {"drain", "restart"}
    for one, kinds in ((first, {"claim-state"}), (second, {"claim-state", *acts}), (first, acts)):
        for action in plans[one].actions:
            if action.kind in kinds:
                operation.act[action.kind](yard.site, one, [action])
    assert yard.changes() == [("deregister_targets", A), ("send_command", A)]


def test_a_round_that_stood_still_does_nothing(yard: Yard) -> None:
    fails(yard, 2)
    operation = yard.operations["tunnels.heal"]
    yard.now += 2
    request = Request("schedule", int(yard.now), None, apply=True, id="slow")
    remember, *acts = operation.decide(operation.observe(yard.site, request), request).actions
    assert operation.act["claim-state"](yard.site, request, [remember]) == ["remembered"]
    yard.now += 11
    for action in acts:
        assert "11 s old" in operation.act[action.kind](yard.site, request, [action])[0]
    assert operation.act["claim-state"](yard.site, request, [remember]) == ["left: what it was decided on is 11 s old"]
    assert yard.changes() == []


def test_a_round_that_is_run_twice_acts_once(yard: Yard) -> None:
    fails(yard, 2)
    operation = yard.operations["tunnels.heal"]
    yard.now += 2
    request = Request("schedule", int(yard.now), None, apply=True, id="twice")
    plan = operation.decide(operation.observe(yard.site, request), request)
    for _ in range(2):
        for action in plan.actions:
            operation.act[action.kind](yard.site, request, [action])
    assert yard.changes() == [("deregister_targets", A), ("send_command", A)]


@pytest.mark.parametrize(("method", "code", "kind"), [
    ("send_command", "InvalidDocument", "restart"), ("send_command", "InvalidInstanceId", "restart"),
    ("deregister_targets", "TargetGroupNotFound", "drain"), ("deregister_targets", "AccessDenied", "drain")])
def test_what_aws_refuses_is_in_the_journal_and_told_once_an_hour(
    yard: Yard, method: str, code: str, kind: str
) -> None:
    yard.broken[method] = refused(code, method)
    said = fails(yard, 30)
    results = [result for one in said for result in one.get("results", ()) if f"{kind} of" in result]
    assert len(results) >= 2 and all(f"refused: An error occurred ({code})" in result for result in results)
    assert [subject for subject, _ in yard.alerts.told if subject.startswith("TunnelActionDenied")] == [
        f"TunnelActionDenied: {kind} of {A}"]
    # The other acts of the round were done.
    other = "send_command" if kind == "drain" else "deregister_targets"
    assert (other, A) in yard.changes()


def test_an_answer_that_is_lost_stops_nothing_and_is_not_asked_for_twice_by_the_same_key(yard: Yard) -> None:
    yard.broken["deregister_targets"] = Unavailable("no answer")
    said = fails(yard, 3)[-1]
    assert "no answer, so it may have been done" in said["results"][1] and said["results"][2].endswith("asked for")
    del yard.broken["deregister_targets"]
    yard.rounds(6)
    keys = [item.sk for item in yard.table.query(EFFECTS_PK) if item.sk.endswith("/drain")]
    assert len(keys) == 2 and yard.hosts[A]["target"] == "absent"


@pytest.mark.parametrize(("method", "said"), [
    ("describe_target_groups", "elbv2 describe_target_groups in eu-west-1"),
    ("describe_target_health", "elbv2 describe_target_health in eu-west-1"),
    ("describe_auto_scaling_groups", "autoscaling describe_auto_scaling_groups"),
    ("describe_instances", "ec2 describe_instances")])
def test_without_sight_nothing_is_done_no_slot_is_lost_and_it_is_told_once(yard: Yard, method: str, said: str) -> None:
    before = [(slot.instance, slot.phase) for slot in yard.memory.slots]
    yard.broken[method] = refused("AccessDenied", method)
    answers = fails(yard, 20)
    assert yard.changes() == [] and [(slot.instance, slot.phase) for slot in yard.memory.slots] == before
    [(subject, text)] = yard.alerts.told
    assert subject == "TunnelsUnobservable: eu-west-1" and said in text and "policy" in text
    assert said in answers[-1]["plan"]["notes"][0]
    assert yard.memory.last_report and yard.memory.last_report.up
    yard.broken.clear()
    yard.rounds(5)
    assert yard.changes()[0] == ("deregister_targets", A)


def test_a_group_that_is_not_there_is_told_with_its_remedy(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.hosts.clear()
    monkeypatch.setattr("tests.tunnels.harness.Client._describe_auto_scaling_groups",
                        lambda self, **asked: {"AutoScalingGroups": []})
    yard.round()
    assert "there is no Auto Scaling group lamplighter-test-tunnels in eu-west-1" in yard.alerts.told[0][1]


def test_a_page_that_was_not_taken_is_told_later(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(subject: str, text: str) -> None:
        raise Unavailable("SNS")

    publish = yard.alerts.publish
    monkeypatch.setattr(yard.alerts, "publish", silent)
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    said = yard.rounds(30)
    assert any("not told, to be tried again" in result for one in said for result in one.get("results", ()))
    monkeypatch.setattr(yard.alerts, "publish", publish)
    yard.rounds(60)
    assert [subject for subject, _ in yard.alerts.told] == ["PrimaryUnreachable: eu-west-1"]


def test_a_page_that_comes_too_late_is_left_to_a_later_round(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    operation = yard.operations["tunnels.heal"]
    yard.rounds(23)
    yard.now += 2
    request = Request("schedule", int(yard.now), None, apply=True, id="slow")
    actions = operation.decide(operation.observe(yard.site, request), request).actions
    [page] = [action for action in actions if action.kind == "alert"]
    yard.now += 12
    yard.round()
    assert operation.act["alert"](yard.site, request, [page]) == ["eu-west-1: left for a later round"]
    assert [subject for subject, _ in yard.alerts.told] == ["PrimaryUnreachable: eu-west-1"]


def test_who_cannot_be_told_stops_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any, **more: Any) -> None:
        raise refused("AuthorizationError", "Publish")

    monkeypatch.setattr(yard.alerts, "publish", refuse)
    monkeypatch.setattr(yard.coordination, "create", refuse)
    monkeypatch.setattr(yard.coordination, "get_many", refuse)
    yard.broken["deregister_targets"] = refused("AccessDenied", "DeregisterTargets")
    said = fails(yard)[-1]
    assert "refused: An error occurred (AccessDenied)" in said["results"][1]
    assert "nobody could be told: An error occurred (AuthorizationError)" in said["results"][1]
    assert yard.changes()[-1] == ("send_command", A)
    results = [result for one in fails(yard, 40, B) for result in one["results"]]
    assert any("eu-west-1: not told, to be tried again" in result for result in results)
    assert any("other regions could not be told of the far side" in result for result in results)
