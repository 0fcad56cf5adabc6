"""What people may do by hand, and what they are told, on fakes of AWS."""

from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.client import Unavailable
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation
from chalicelib.tunnels.state import KEY, Observed
from tests.tunnels.harness import A, B, Yard, fails


def test_by_hand_the_healer_only_plans(yard: Yard) -> None:
    fails(yard, 2)
    yard.now += 2
    before = yard.local.get(*KEY)
    said = yard.hand("heal")
    assert said["status"] == "planned" and said["message"] == "1 x drain, 1 x restart"
    assert yard.local.get(*KEY) == before and yard.changes() == []


def test_where_the_primary_is_there_are_no_tunnels() -> None:
    yard = Yard(region="us-east-1")
    assert yard.hand("status")["message"] == "us-east-1 has the primary and no tunnels. Ask another region"


def test_status_tells_where_each_slot_stands(yard: Yard) -> None:
    fails(yard)
    report = yard.hand("status")["plan"]["report"]
    assert [(row["endpoint"], row["phase"], row["balancer"]) for row in report["members"]] == [
        (A, "restarting", "absent"), (B, "healthy", "registered")]
    assert (report["repairs_in_ten_minutes"], report["members"][0]["probe"]) == (1, "local: refused")


@pytest.mark.slow
def test_out_by_hand_stays_out_until_let_in_by_hand(yard: Yard) -> None:
    plan = yard.hand("drain", endpoint=A)
    assert plan["status"] == "planned" and yard.changes() == []
    yard.round()
    assert yard.hand("drain", endpoint=A, apply=plan["digest"])["status"] == "done"
    assert yard.changes() == [("elb deregister", A)] and yard.member(A).drained_manually
    yard.rounds(470)
    assert yard.changes() == [("elb deregister", A)]
    (subject, text), *_ = yard.topic.told
    assert subject == "TunnelOutOfService: member 1" and "drained i-0001 manually" in text and "tunnels.undrain" in text
    assert yard.hand("undrain", endpoint=A, apply=True)["status"] == "done"
    yard.rounds(2)
    assert yard.target(A) == "registered" and not yard.member(A).drained_manually
    assert yard.member(A).phase == "healthy"


def test_what_was_to_be_out_by_hand_and_is_not_is_taken_out_by_the_healer(yard: Yard) -> None:
    yard.aws.denials["elb deregister"] = Unavailable("no answer")
    assert "no answer, so it may have happened" in yard.hand("drain", endpoint=A, apply=True)["results"][0]
    del yard.aws.denials["elb deregister"]
    yard.rounds(6)
    assert yard.target(A) == "absent" and yard.member(A).drained_manually


def test_by_hand_the_same_guards_hold(yard: Yard) -> None:
    fails(yard, 2, B)
    for name in ("drain", "replace"):
        said = yard.hand(name, endpoint=A, apply=True)
        assert said["status"] == "refused"
        assert "no other member is in the balancer and has answered 5" in said["message"]
    assert "does not answer" in yard.hand("undrain", endpoint=B, apply=True)["message"]
    assert "i-0009 is no endpoint that the controller in eu-west-1 knows. It knows i-0001, i-0002" in yard.hand(
        "drain", endpoint="i-0009")["message"]
    yard.rounds(1)
    assert "a repair of member 2 is under way" in yard.hand("replace", endpoint=B, apply=True)["message"]
    assert "takes: endpoint" in yard.hand("drain", instance=A)["message"]


def test_by_hand_whatever_the_mode() -> None:
    yard = Yard(', mode = "observe"')
    yard.rounds(8)
    fails(yard, 5)
    assert yard.changes() == []
    assert yard.hand("replace", endpoint=A, apply=True)["status"] == "done"
    assert yard.changes() == [("autoscaling terminate", A)] and yard.member(A).phase == "replacing"
    assert yard.state.replacements


def test_what_was_planned_by_hand_is_left_if_the_controller_was_faster(yard: Yard) -> None:
    drain = yard.operations["tunnels.drain"]

    def observe(*words: Any) -> Observed:
        seen: Observed = drain.observe(*words)
        fails(yard)
        return seen

    outcome = engine.run(replace(drain, observe=observe), yard.context, {"endpoint": A, "apply": True}, "manual")
    assert "the controller has acted meanwhile" in outcome["results"][0]


def test_by_hand_it_is_tried_again_when_the_controller_writes_at_the_same_moment(yard: Yard) -> None:
    find, times = yard.local.get, iter(range(9))

    def get(pk: str, sk: str) -> Any:
        item = find(pk, sk)
        if (pk, sk) == KEY and next(times) == 1:
            yard.round()
        return item

    yard.local.get = get  # type: ignore[method-assign]
    assert yard.hand("drain", endpoint=A, apply=True)["results"][0].endswith("done")
    assert yard.target(A) == "absent" and yard.member(A).drained_manually


def test_what_is_done_by_hand_is_in_the_journal_by_its_kind(yard: Yard) -> None:
    for ask in ("drain", "undrain"):
        yard.hand(ask, endpoint=A, apply=True)
        yard.rounds(1)
    entries = [entry.body for entry in yard.local.query("journal#2026-03-28", newest=False)]
    by_hand = [entry for entry in entries if entry["trigger"] == "manual"]
    assert [entry["actions"][0]["kind"] for entry in by_hand] == ["drain", "undrain"]


def test_operations_have_their_names(yard: Yard) -> None:
    assert sorted(yard.operations) == [f"tunnels.{name}" for name in ("drain", "heal", "replace", "status", "undrain")]
    assert all(isinstance(one, Operation) for one in yard.operations.values())
