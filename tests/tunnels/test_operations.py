"""The healer's operations as in production, against hand-written clients of AWS."""

from typing import Any

import pytest

from chalicelib import control
from chalicelib.cloud import Unreachable
from chalicelib.control import Request
from chalicelib.tunnels.records import CLAIMS, FAR, KEY
from tests.tunnels.yard import NOON, Yard, refused

A, B, C = "i-0001", "i-0002", "i-0003"


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    """Two endpoints that are healthy."""
    found = Yard(monkeypatch)
    found.rounds(8)
    assert [slot.phase for slot in found.memory.slots] == ["healthy", "healthy"] and not found.changes()
    return found


def fails(yard: Yard, rounds: int = 3, id: str = A, side: str = "local", why: str = "refused") -> list[dict[str, Any]]:
    yard.sides[id] = (side, why)
    return yard.rounds(rounds)


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
    assert yard.slot(A).cool == 60


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
    assert [subject for subject, _ in yard.alerts.told] == ["Quarantined: slot 1"]
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
    assert [subject for subject, _ in yard.alerts.told] == ["FarSideDown: eu-west-1"]
    assert "no canary" in " ".join(said[-1]["plan"]["notes"])
    yard.sides[A] = yard.sides[B] = ("up", "answered")
    yard.rounds(10)
    assert yard.changes() == [] and len(yard.alerts.told) == 1


def canary(yard: Yard, up: bool = True) -> None:
    yard.coordination.store.items.pop((FAR, "ap-southeast-1"), None)
    yard.coordination.create(FAR, "ap-southeast-1", {"up": up, "at": yard.now})


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


@pytest.mark.parametrize("said", [{"up": True}, {"up": "yes", "at": NOON}, {"at": "x"}, {}])
def test_a_canary_that_is_not_one_counts_for_nothing(yard: Yard, said: dict[str, Any]) -> None:
    yard.coordination.create(FAR, "ap-southeast-1", said)
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(10)
    assert yard.changes() == []


def test_the_far_side_is_told_to_other_regions_when_it_changes_and_every_half_minute(yard: Yard) -> None:
    items = []
    for number in range(40):
        if number == 20:
            yard.sides[A] = yard.sides[B] = ("far", "closed")
        yard.round()
        item = yard.coordination.get(FAR, "eu-west-1")
        assert item
        items.append((item.rev, item.body["up"]))
    assert [up for _, up in items] == [True] * 20 + [False] * 20
    assert items[-1][0] - items[0][0] == 3


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
    for one, kinds in ((first, {"remember"}), (second, {"remember", *acts}), (first, acts)):
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
    assert operation.act["remember"](yard.site, request, [remember]) == ["remembered"]
    yard.now += 11
    for action in acts:
        assert "11 s old" in operation.act[action.kind](yard.site, request, [action])[0]
    assert operation.act["remember"](yard.site, request, [remember]) == ["left: what it was decided on is 11 s old"]
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
    assert [subject for subject, _ in yard.alerts.told if subject.startswith("TunnelActRefused")] == [
        f"TunnelActRefused: {kind} of {A}"]
    # The other acts of the round were done.
    other = "send_command" if kind == "drain" else "deregister_targets"
    assert (other, A) in yard.changes()


def test_an_answer_that_is_lost_stops_nothing_and_is_not_asked_for_twice_by_the_same_key(yard: Yard) -> None:
    yard.broken["deregister_targets"] = Unreachable("no answer")
    said = fails(yard, 3)[-1]
    assert "no answer, so it may have been done" in said["results"][1] and said["results"][2].endswith("asked for")
    del yard.broken["deregister_targets"]
    yard.rounds(6)
    keys = [item.sk for item in yard.table.query(CLAIMS) if item.sk.endswith("/drain")]
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
    assert subject == "Unsighted: eu-west-1" and said in text and "policy" in text
    assert said in answers[-1]["plan"]["notes"][0]
    assert yard.memory.far and yard.memory.far.up
    yard.broken.clear()
    yard.rounds(5)
    assert yard.changes()[0] == ("deregister_targets", A)


def test_a_group_that_is_not_there_is_told_with_its_remedy(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.hosts.clear()
    monkeypatch.setattr("tests.tunnels.yard.Client._describe_auto_scaling_groups",
                        lambda self, **asked: {"AutoScalingGroups": []})
    yard.round()
    assert "there is no Auto Scaling group lamplighter-test-tunnels in eu-west-1" in yard.alerts.told[0][1]


def test_a_page_that_was_not_taken_is_told_later(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(subject: str, text: str) -> None:
        raise Unreachable("SNS")

    publish = yard.alerts.publish
    monkeypatch.setattr(yard.alerts, "publish", silent)
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    said = yard.rounds(30)
    assert any("not told, to be tried again" in result for one in said for result in one.get("results", ()))
    monkeypatch.setattr(yard.alerts, "publish", publish)
    yard.rounds(60)
    assert [subject for subject, _ in yard.alerts.told] == ["FarSideDown: eu-west-1"]


def test_a_page_that_comes_too_late_is_left_to_a_later_round(yard: Yard) -> None:
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    operation = yard.operations["tunnels.heal"]
    yard.rounds(23)
    yard.now += 2
    request = Request("schedule", int(yard.now), None, apply=True, id="slow")
    actions = operation.decide(operation.observe(yard.site, request), request).actions
    [page] = [action for action in actions if action.kind == "page"]
    yard.now += 12
    yard.round()
    assert operation.act["page"](yard.site, request, [page]) == ["eu-west-1: left for a later round"]
    assert [subject for subject, _ in yard.alerts.told] == ["FarSideDown: eu-west-1"]


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


def test_instances_that_wait_in_a_warm_pool_are_no_endpoints(yard: Yard) -> None:
    yard.hosts[yard.launch()]["lifecycle"] = "Warmed:Stopped"
    assert yard.round()["plan"]["notes"] == ()


def test_what_is_no_member_of_the_group_is_no_endpoint_whatever_ec2_answers(yard: Yard) -> None:
    yard.strangers = [{"InstanceId": "i-0", "PrivateIpAddress": "10.0.0.99", "State": {"Name": "running"}}]
    yard.round()
    assert {slot.instance for slot in yard.memory.slots} == set(yard.hosts)


def test_by_hand_the_healer_only_plans(yard: Yard) -> None:
    fails(yard, 2)
    yard.now += 2
    before = yard.table.get(*KEY)
    said = yard.hand("heal")
    assert said["status"] == "planned" and said["message"] == "1 x remember, 1 x drain, 1 x restart"
    assert yard.table.get(*KEY) == before and yard.changes() == []


def test_where_the_master_is_there_are_no_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    yard = Yard(monkeypatch, region="us-east-1")
    assert yard.hand("status")["message"] == "us-east-1 is where the master is: it has no tunnels; ask another region"


def test_status_tells_where_each_slot_stands(yard: Yard) -> None:
    fails(yard)
    report = yard.hand("status")["plan"]["report"]
    assert [(row["endpoint"], row["phase"], row["balancer"]) for row in report["slots"]] == [
        (A, "restarting", "absent"), (B, "healthy", "registered")]
    assert (report["heals_in_ten_minutes"], report["slots"][0]["probe"]) == (1, "local: refused")


def test_out_by_hand_stays_out_until_let_in_by_hand(yard: Yard) -> None:
    plan = yard.hand("drain", endpoint=A)
    assert plan["status"] == "planned" and yard.changes() == []
    yard.round()
    assert yard.hand("drain", endpoint=A, apply=plan["digest"])["status"] == "done"
    assert yard.changes() == [("deregister_targets", A)] and yard.slot(A).kept
    yard.rounds(470)
    assert yard.changes() == [("deregister_targets", A)]
    [(subject, text)] = yard.alerts.told
    assert subject == "TunnelOut: slot 1" and "by hand" in text and "tunnels.undrain" in text
    assert yard.hand("undrain", endpoint=A, apply=True)["status"] == "done"
    yard.rounds(2)
    assert yard.hosts[A]["target"] == "registered" and not yard.slot(A).kept and yard.slot(A).phase == "healthy"


def test_what_was_to_be_out_by_hand_and_is_not_is_taken_out_by_the_healer(yard: Yard) -> None:
    yard.broken["deregister_targets"] = Unreachable("no answer")
    assert "no answer, so it may have been done" in yard.hand("drain", endpoint=A, apply=True)["results"][0]
    del yard.broken["deregister_targets"]
    yard.rounds(6)
    assert yard.hosts[A]["target"] == "absent" and yard.slot(A).kept


def test_by_hand_the_same_guards_hold(yard: Yard) -> None:
    fails(yard, 2, B)
    for name in ("drain", "replace"):
        said = yard.hand(name, endpoint=A, apply=True)
        assert said["status"] == "refused" and "no other slot is in the balancer and has answered 5" in said["message"]
    assert "does not answer" in yard.hand("undrain", endpoint=B, apply=True)["message"]
    assert "i-0009 is no endpoint that the healer in eu-west-1 knows; it knows: i-0001, i-0002" in yard.hand(
        "drain", endpoint="i-0009")["message"]
    yard.rounds(1)
    assert "slot 2 is being healed" in yard.hand("replace", endpoint=B, apply=True)["message"]
    assert "takes: endpoint" in yard.hand("drain", instance=A)["message"]


def test_by_hand_whatever_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    yard = Yard(monkeypatch, ', mode = "observe"')
    yard.rounds(8)
    fails(yard, 5)
    assert yard.changes() == []
    assert yard.hand("replace", endpoint=A, apply=True)["status"] == "done"
    assert yard.changes() == [("terminate_instance_in_auto_scaling_group", A)] and yard.slot(A).phase == "replacing"
    assert yard.memory.replacements


def test_what_was_planned_by_hand_is_left_if_the_healer_was_faster(yard: Yard) -> None:
    request = Request("hand", int(yard.now), yard.operations["tunnels.drain"].parameters(endpoint=A), apply=True)
    operation = yard.operations["tunnels.drain"]
    [action] = operation.decide(operation.observe(yard.site, request), request).actions
    fails(yard)
    assert "the healer has done something since" in operation.act["by-hand"](yard.site, request, [action])[0]


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
    assert entry.body["actions"][1]["facts"]["key"].startswith("1/i-0001/")


def test_operations_have_their_names(yard: Yard) -> None:
    assert sorted(yard.operations) == [f"tunnels.{name}" for name in ("drain", "heal", "replace", "status", "undrain")]
    assert all(isinstance(one, control.Operation) for one in yard.operations.values())
