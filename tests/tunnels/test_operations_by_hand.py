"""What the healer lets somebody do by hand, and what it tells, against hand-written clients of AWS."""


import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.engine.operation import Operation, Request
from chalicelib.tunnels.state import KEY
from tests.tunnels.harness import A, B, Yard, fails


def test_by_hand_the_healer_only_plans(yard: Yard) -> None:
    fails(yard, 2)
    yard.now += 2
    before = yard.table.get(*KEY)
    said = yard.hand("heal")
    assert said["status"] == "planned" and said["message"] == "1 x claim-state, 1 x drain, 1 x restart"
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
    assert yard.changes() == [("deregister_targets", A)] and yard.slot(A).drained_manually
    yard.rounds(470)
    assert yard.changes() == [("deregister_targets", A)]
    [(subject, text)] = yard.alerts.told
    assert subject == "TunnelOutOfService: slot 1" and "by hand" in text and "tunnels.undrain" in text
    assert yard.hand("undrain", endpoint=A, apply=True)["status"] == "done"
    yard.rounds(2)
    assert yard.hosts[A]["target"] == "registered" and not yard.slot(A).drained_manually
    assert yard.slot(A).phase == "healthy"


def test_what_was_to_be_out_by_hand_and_is_not_is_taken_out_by_the_healer(yard: Yard) -> None:
    yard.broken["deregister_targets"] = Unavailable("no answer")
    assert "no answer, so it may have been done" in yard.hand("drain", endpoint=A, apply=True)["results"][0]
    del yard.broken["deregister_targets"]
    yard.rounds(6)
    assert yard.hosts[A]["target"] == "absent" and yard.slot(A).drained_manually


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
    assert yard.memory.replacement_times


def test_what_was_planned_by_hand_is_left_if_the_healer_was_faster(yard: Yard) -> None:
    request = Request("manual", int(yard.now), yard.operations["tunnels.drain"].parameters(endpoint=A), apply=True)
    operation = yard.operations["tunnels.drain"]
    [action] = operation.decide(operation.observe(yard.site, request), request).actions
    fails(yard)
    assert "the healer has done something since" in operation.act["by-hand"](yard.site, request, [action])[0]


def test_operations_have_their_names(yard: Yard) -> None:
    assert sorted(yard.operations) == [f"tunnels.{name}" for name in ("drain", "heal", "replace", "status", "undrain")]
    assert all(isinstance(one, Operation) for one in yard.operations.values())
