"""The controller's rounds when another was faster, when AWS refuses, when nobody can be told, and with bad records."""

from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.engine import run as engine
from chalicelib.engine import schema
from chalicelib.engine.operation import Operation
from chalicelib.tunnels.state import EFFECTS_PK, KEY, PEER_REPORT, PEER_REPORT_PK, REPAIRS, SCHEMA, Observed, PeerReport
from testing.aws import denied
from tests.tunnels.harness import GROUP, A, B, Yard, fails


def overtaken(yard: Yard, meanwhile: Any) -> dict[str, Any]:
    """A round between whose look and whose actions `meanwhile` is called."""
    yard.now += 2
    heal = yard.operations["tunnels.heal"]

    def observe(*words: Any) -> Observed:
        seen: Observed = heal.observe(*words)
        meanwhile()
        return seen

    slow: Operation[Observed] = replace(heal, observe=observe)
    return engine.run(slow, yard.context, {"apply": True}, "slow")


def test_a_round_that_was_overtaken_does_nothing(yard: Yard) -> None:
    fails(yard, 2)
    outcome = overtaken(yard, lambda: yard.round(0.1))
    assert outcome["status"] == "superseded" and yard.names() == ["elb deregister", "ssm send_command"]


def test_a_round_that_is_overtaken_between_its_actions_leaves_the_rest(yard: Yard) -> None:
    fails(yard, 2)
    deregister = yard.aws.ports.elb.deregister

    def slow(group: str, instance: str) -> None:
        deregister(group, instance)
        yard.sides[A] = ("up", "answered")
        yard.hand("heal", apply=True)

    yard.context = replace(yard.context, aws_regions={"eu-west-1": replace(
        yard.aws.ports, elb=_Elb(yard.aws.ports.elb, slow))})
    yard.aws.changes.clear()
    said = yard.round()
    assert yard.names() == ["elb deregister"] and "a later run has decided" in said["results"][1]


class _Elb:
    def __init__(self, real: Any, deregister: Any) -> None:
        self.targets, self.register, self.deregister = real.targets, real.register, deregister


def test_a_round_that_stood_still_does_nothing(yard: Yard) -> None:
    fails(yard, 2)
    write = yard.local.compare_and_set

    def slow(*words: Any, **more: Any) -> Any:
        item = write(*words, **more)
        yard.now += 11
        return item

    yard.local.compare_and_set = slow  # type: ignore[method-assign]
    said = yard.round()
    assert yard.changes() == [] and all("an observation of 11 s ago" in result for result in said["results"][:2])


def test_an_action_whose_key_was_begun_before_is_not_done_again(yard: Yard) -> None:
    before = yard.local.get(*KEY)
    assert before
    fails(yard)
    there = yard.local.get(*KEY)
    assert there
    # The state goes back to what it was, as when somebody restores the item.
    yard.local.compare_and_set(there, before.body)
    yard.aws.target_groups[GROUP][A] = "healthy"
    fails(yard)
    assert yard.names().count("ssm send_command") == 1


@pytest.mark.parametrize(("call", "code", "kind"), [
    ("ssm send_command", "InvalidDocument", "restart"), ("ssm send_command", "InvalidInstanceId", "restart"),
    ("elb deregister", "TargetGroupNotFound", "drain"), ("elb deregister", "AccessDenied", "drain")])
def test_what_aws_refuses_is_in_the_journal_and_told_in_few_notices(
    yard: Yard, call: str, code: str, kind: str
) -> None:
    yard.aws.denials[call] = denied(code, call)
    said = fails(yard, 30)
    results = [result for one in said for result in one.get("results", ())
               if result.startswith(f"member 1: {kind} of")]
    assert len(results) >= 2 and all(f"refused: An error occurred ({code})" in result for result in results)
    assert [subject for subject in yard.told() if subject.startswith("TunnelActionDenied")] == [
        f"TunnelActionDenied: {kind} of {A}"]
    # The other actions of the round were done.
    other = "ssm send_command" if kind == "drain" else "elb deregister"
    assert (other, A) in yard.changes()


def test_an_answer_that_is_lost_stops_nothing_and_is_not_asked_for_twice_by_the_same_key(yard: Yard) -> None:
    yard.aws.denials["elb deregister"] = Unavailable("no answer")
    said = fails(yard, 3)[-1]
    assert "no answer, so it may have happened" in said["results"][0] and said["results"][1].endswith("done")
    yard.aws.denials.clear()
    yard.rounds(6)
    keys = [item.sk for item in yard.local.query(EFFECTS_PK) if item.sk.endswith("/drain")]
    assert len(keys) == 2 and yard.target(A) == "absent"


@pytest.mark.parametrize("call", ["elb targets", "autoscaling members", "ec2 instances"])
def test_without_sight_nothing_is_done_no_member_is_lost_and_it_is_told_once(yard: Yard, call: str) -> None:
    before = [(member.instance, member.phase) for member in yard.state.members]
    yard.aws.denials[call] = denied("AccessDenied", call)
    answers = fails(yard, 20)
    assert yard.changes() == [] and [(one.instance, one.phase) for one in yard.state.members] == before
    [(subject, text)] = yard.topic.told
    assert subject == "TunnelsUnobservable: eu-west-1" and call in text and "policy" in text
    assert call in answers[-1]["plan"]["notes"][0]
    assert yard.state.last_report and yard.state.last_report.up
    yard.aws.denials.clear()
    yard.rounds(5)
    assert yard.changes()[0] == ("elb deregister", A)


def test_a_group_that_is_not_there_is_told_with_its_remedy(yard: Yard) -> None:
    yard.aws.groups.clear()
    yard.round()
    assert "there is no Auto Scaling group lamplighter-test-tunnels in eu-west-1" in yard.topic.told[0][1]


@pytest.mark.slow
def test_a_notice_that_was_not_taken_goes_out_with_the_next_round(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(subject: str, text: str) -> None:
        raise Unavailable("SNS")

    publish = yard.topic.publish
    monkeypatch.setattr(yard.topic, "publish", silent)
    yard.sides[A] = yard.sides[B] = ("far", "closed")
    said = yard.rounds(26)
    assert any("not told, the next run tries again" in result for one in said for result in one.get("results", ()))
    monkeypatch.setattr(yard.topic, "publish", publish)
    yard.round()
    assert yard.told() == ["PrimaryUnreachable: eu-west-1"]
    yard.rounds(60)
    assert yard.told() == ["PrimaryUnreachable: eu-west-1"]


@pytest.mark.slow
def test_who_cannot_be_told_stops_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any, **more: Any) -> None:
        raise denied("AuthorizationError", "Publish")

    monkeypatch.setattr(yard.topic, "publish", refuse)
    monkeypatch.setattr(yard.shared, "create", refuse)
    monkeypatch.setattr(yard.shared, "get", refuse)
    monkeypatch.setattr(yard.shared, "get_many", refuse)
    yard.aws.denials["elb deregister"] = denied("AccessDenied", "DeregisterTargets")
    said = fails(yard)[-1]
    assert "refused: An error occurred (AccessDenied)" in said["results"][0]
    assert any("not told, the next run tries again" in result for result in said["results"])
    assert yard.changes()[-1] == ("ssm send_command", A)
    results = [result for one in fails(yard, 40, B) for result in one["results"]]
    assert any("the report of the primary did not reach other regions" in result for result in results)


BAD_BODIES: list[dict[str, Any]] = [{}, {"schema": 1, "run_id": "x", "of": "another making"},
                                    {"schema": 1, "run_id": "x", "at": "noon"}, {"at": 1.0}]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_state_that_cannot_be_read_is_told_once_and_nothing_is_done_on_a_guess(
    yard: Yard, body: dict[str, Any]
) -> None:
    there = yard.local.get(*KEY)
    assert there
    yard.local.compare_and_set(there, body)
    fails(yard, 30)
    assert yard.changes() == [] and len(yard.told()) == 1 and "tunnels/state" in yard.topic.told[0][1]
    assert "tunnels/state" in yard.hand("replace", endpoint=A, apply=True)["message"]
    assert "is unreadable" in yard.hand("status")["plan"]["notes"][0]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_report_that_cannot_be_read_counts_for_nothing_and_the_others_count(
    yard: Yard, body: dict[str, Any]
) -> None:
    yard.sides[A] = yard.sides[B] = ("local", "refused")
    yard.rounds(4)
    yard.shared.create(PEER_REPORT_PK, "us-east-1", body)
    yard.publish(PEER_REPORT_PK, "ap-southeast-1", up=True, at=yard.now)
    yard.rounds(4)
    assert yard.names() == ["ssm send_command"]
    assert len(yard.told()) == 1 and f"{PEER_REPORT_PK}/us-east-1" in yard.topic.told[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_record_of_an_action_that_cannot_be_read_is_told_and_the_repair_goes_on(
    yard: Yard, body: dict[str, Any]
) -> None:
    fails(yard)
    [item] = [item for item in yard.local.query(EFFECTS_PK) if item.sk.endswith("/restart")]
    yard.local.compare_and_set(item, body)
    fails(yard, 60)
    assert yard.names().count("ssm send_command") == 2
    assert [subject for subject in yard.told() if "Unreadable" in subject] == yard.told()[:1]


def test_a_run_whose_clock_was_ahead_hides_no_broken_tunnel(yard: Yard) -> None:
    right = yard.now
    yard.now = right + 3600
    yard.round()
    yard.now = right + 2
    yard.sides[A] = ("local", "refused")
    yard.rounds(30)
    assert ("elb deregister", A) in yard.changes()


@pytest.mark.slow
def test_repairs_counted_by_a_clock_that_was_ahead_end_with_the_window(yard: Yard) -> None:
    item = yard.local.get(*KEY)
    spent = ((yard.now + 6 * 3600, 1),) * REPAIRS.limit
    assert isinstance(item, Item)
    yard.local.compare_and_set(item, schema.encode(replace(yard.state, repairs=spent), SCHEMA))
    yard.sides[A] = ("local", "refused")
    yard.rounds(60)
    assert "ssm send_command" not in yard.names()
    yard.rounds(REPAIRS.window_seconds)
    assert "ssm send_command" in yard.names()


@pytest.mark.slow
def test_a_report_from_the_future_does_not_show_that_the_primary_is_up(yard: Yard) -> None:
    yard.shared.create(PEER_REPORT_PK, "ap-southeast-1", schema.encode(PeerReport(True, yard.now + 3600), PEER_REPORT))
    for endpoint in yard.sides:
        yard.sides[endpoint] = ("ambiguous", "hung")
    yard.rounds(120)
    assert "PrimaryUnreachable: eu-west-1" in [subject for subject, _ in yard.topic.told]


@pytest.mark.parametrize("waiting", ["initial", "unhealthy", "unused"])
def test_one_to_which_the_balancer_sends_nothing_takes_no_load_so_what_fails_is_repaired_where_it_is(
    yard: Yard, waiting: str
) -> None:
    yard.aws.target_groups[GROUP][B] = waiting
    fails(yard)
    assert yard.changes() == [("ssm send_command", A)]
    yard.aws.target_groups[GROUP][B] = "healthy"
    yard.rounds(6)
    assert yard.names().count("elb deregister") == 1 and yard.target(A) == "absent"


@pytest.mark.slow
def test_a_host_to_which_the_balancer_never_sends_is_told(yard: Yard) -> None:
    yard.aws.target_groups[GROUP][B] = "unhealthy"
    yard.rounds(460)
    assert yard.told() == ["TunnelOutOfService: member 2"] and yard.changes() == []
    assert f"The balancer has sent {B} no connections for 15m" in yard.topic.told[-1][1]
