"""The one loop: triggers, dry runs, digests, the journal, and what becomes of each kind of failure."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.engine.operation import Operation, Rejected, Request, RequeueAfter, RunFailed
from chalicelib.engine.plan import Action, Plan
from chalicelib.engine.run import run
from chalicelib.engine.state import Contended
from testing.aws import denied
from testing.fakes import MemoryQueue
from tests.engine.harness import make_context

TICK = {"detail-type": "Scheduled Event", "time": "2026-03-28T12:00:00Z"}


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lamp's name."""

    lamp: str = "corner"


class Street:
    """An operation that lights lamps, and remembers what it did and when it was asked."""

    def __init__(self, error: Exception | None = None, later: int = 0, unaudited: bool = False) -> None:
        self.lit: list[str] = []
        self.asked: list[Request] = []
        self.error, self.later, self.unaudited = error, later, unaudited
        self.operation: Operation[str] = Operation(
            "lamps.light", "lights", self.observe, self.decide, {"light": self.light}, Asked)

    def observe(self, context: RegionContext, request: Request) -> str:
        self.asked.append(request)
        return str(request.parameters.lamp)

    def decide(self, seen: str, request: Request) -> Plan:
        return Plan((Action("light", seen, "it is dark", unaudited=self.unaudited),), requeue_after_seconds=self.later)

    def light(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        if self.error:
            raise self.error
        self.lit += [action.target for action in actions]
        return [f"{action.target} burns" for action in actions]


@pytest.fixture
def context() -> RegionContext:
    return make_context()


def message(body: Any, received: int = 1, id: str = "m1") -> dict[str, Any]:
    return {"body": body if isinstance(body, str) else json.dumps(body), "messageId": id, "receiptHandle": "r1",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:1:lamplighter-test-schedule-runs",
            "attributes": {"ApproximateReceiveCount": str(received)}}


def journal(context: RegionContext) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(item.body)) for item in context.local_store.query("journal#2026-03-28")]


def test_an_empty_event_only_plans(context: RegionContext) -> None:
    street = Street()
    answer = run(street.operation, context, {})
    assert answer["status"] == "planned"
    assert answer["plan"]["actions"][0]["reason"] == "it is dark"
    assert (street.lit, journal(context)) == ([], [])


def test_apply_acts_and_writes_the_journal(context: RegionContext) -> None:
    street = Street()
    answer = run(street.operation, context, {"apply": True, "lamp": "bridge"}, id="req-1")
    assert (answer["status"], answer["results"]) == ("done", ("bridge burns",))
    [entry] = journal(context)
    assert entry["operation"] == "lamps.light"
    assert entry["request"] == "req-1"
    assert entry["results"] == ["bridge burns"]


def test_a_digest_applies_only_that_plan(context: RegionContext) -> None:
    street = Street()
    digest = run(street.operation, context, {})["digest"]
    assert run(street.operation, context, {"apply": digest})["status"] == "done"
    other = run(street.operation, context, {"apply": digest, "lamp": "bridge"})
    assert other["status"] == "refused"
    assert "no longer" in other["message"]
    assert street.lit == ["corner"]


def test_a_rule_applies_and_its_time_is_the_runs_now(context: RegionContext) -> None:
    street = Street()
    run(street.operation, context, TICK)
    assert street.lit == ["corner"]
    assert street.asked[0].now == 1774699200


@pytest.mark.parametrize("time", [None, "noon", 5, "2026-03-28T12:00:00"])
def test_a_rules_event_without_a_time_is_refused_and_seen(context: RegionContext, time: Any) -> None:
    with pytest.raises(RunFailed, match="time"):
        run(Street().operation, context, {"detail-type": "Scheduled Event", "time": time})


def test_unaudited_acts_leave_no_journal(context: RegionContext) -> None:
    street = Street(unaudited=True)
    run(street.operation, context, TICK)
    assert (street.lit, journal(context)) == (["corner"], [])


def test_what_stopped_in_the_middle_is_in_the_journal(context: RegionContext) -> None:
    with pytest.raises(ZeroDivisionError):
        run(Street(ZeroDivisionError("oops")).operation, context, {"apply": True})
    assert journal(context)[0]["results"] == ["stopped: ZeroDivisionError: oops"]


@pytest.mark.parametrize(("error", "status"), [
    (Rejected("no such lamp"), "refused"), (RequeueAfter("raining", 7), "later"), (Unavailable("dark"), "failed"),
    (Contended("lamps/state: it changed"), "failed")])
def test_by_hand_every_failure_is_an_answer(context: RegionContext, error: Exception, status: str) -> None:
    answer = run(Street(error).operation, context, {"apply": True})
    assert answer["status"] == status
    assert str(error) in answer["message"]


@pytest.mark.parametrize("error", [Rejected("no"), RequeueAfter("no", 1), Unavailable("no")])
def test_a_scheduled_run_that_fails_is_an_error_of_its_lambda(context: RegionContext, error: Exception) -> None:
    with pytest.raises(RunFailed, match=r"lamps\.light: .*no"):
        run(Street(error).operation, context, TICK)


@pytest.mark.parametrize(("error", "back"), [
    (None, False), (Rejected("no"), False), (RequeueAfter("no", 7), True), (Unavailable("no"), True)])
def test_only_what_may_succeed_later_goes_back_to_its_queue(
    context: RegionContext, error: Exception | None, back: bool
) -> None:
    answer = run(Street(error).operation, context, {"Records": [message({})]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}] if back else []}


def test_a_message_that_comes_later_is_hidden_until_then(context: RegionContext) -> None:
    run(Street(RequeueAfter("no", 7)).operation, context, {"Records": [message({})]})
    queue = context.queues["schedule-runs"]
    assert isinstance(queue, MemoryQueue)
    assert queue.hidden == [("r1", 7)]


@pytest.mark.parametrize("error", [Unavailable("dark"), denied("ChangeMessageVisibility")])
def test_a_message_that_cannot_be_hidden_still_comes_back_and_so_do_those_after_it(
    context: RegionContext, error: Exception
) -> None:
    def dark(call: str) -> None:
        raise error

    dim = msgspec.structs.replace(context, queues={"schedule-runs": MemoryQueue(fault=dark)})
    street = Street(later=3)
    answer = run(street.operation, dim, {"Records": [message({}), {**message({}), "messageId": "m2"}]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]}


@pytest.mark.parametrize("event", [None, [], "x", 3, {"lamp": 3}, {"lump": "x"}, {"apply": 1}, {"apply": None}])
def test_a_wrong_event_gets_one_clear_refusal(context: RegionContext, event: Any) -> None:
    answer = run(Street().operation, context, event)
    assert answer["status"] == "refused"
    assert "lamps.light" in answer["message"]


@pytest.mark.parametrize("record", [{}, None, 3, message("{"), message("[]"), message({"lump": 1}),
                                    message("[" * 100_000 + "]" * 100_000), message('{"lamp":"\ud800"}')])
def test_a_foreign_message_is_refused_not_retried(context: RegionContext, record: Any) -> None:
    street = Street()
    assert run(street.operation, context, {"Records": [record]}) == {"batchItemFailures": []}
    assert street.lit == []


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["apply", "lamp", "Records", "body", "messageId", "attributes"])
                                      | st.text(max_size=4), inner, max_size=4), max_leaves=8)


@pytest.mark.slow
@given(JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_event_breaks_the_loop(context: RegionContext, event: Any) -> None:
    answer = run(Street().operation, context, event)
    assert "status" in answer or "batchItemFailures" in answer


def test_a_digest_changes_with_any_fact() -> None:
    plans = [Plan((Action("light", target, "r", {"n": number}),)) for target in "ab" for number in (1, 2)]
    assert len({plan.digest for plan in plans}) == 4
    assert plans[0].digest == Plan((Action("light", "a", "r", {"n": 1}),), notes=("else",)).digest
