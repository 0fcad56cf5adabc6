"""The one way that things flow: trigger -> observe -> decide -> Plan -> act -> journal.

An `Operation` names the functions of its steps; `run` carries it out for any trigger: an EventBridge rule's event, an
SQS batch, or an invoke by hand. By hand an empty event only plans; `{"apply": true}` acts; `{"apply": "<digest>"}`
acts only if the plan is still that one.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Generic, Literal, TypeVar

import msgspec
from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.plan import Action, Plan

Status = Literal["planned", "done", "later", "refused", "failed"]
Seen = TypeVar("Seen")

JOURNAL_DAYS = 90
# An item of DynamoDB holds 400 KB: a journal entry tells the first so many acts and counts the rest.
_JOURNALLED_ACTIONS = 50

logger = Logger(service="lamplighter")


class Rejected(Exception):
    """What was asked cannot be done and never will be as asked; the text says what is wrong and what to do."""


class RequeueAfter(Exception):
    """Not now: the same trigger should come back in `seconds`."""

    def __init__(self, reason: str, seconds: int) -> None:
        super().__init__(reason)
        self.requeue_after_seconds = seconds


class RunFailed(Exception):
    """A scheduled run did not do all that it had to; raised so that Lambda counts it and tries again."""


class Request(msgspec.Struct, frozen=True):
    """What set an operation off. `now` is in epoch seconds: of the event for a schedule, of the clock otherwise."""

    trigger: Literal["schedule", "queue", "hand"]
    now: int
    parameters: Any
    apply: bool
    digest: str = ""
    id: str = ""
    receive_count: int = 1


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run ended: done, later (come back in `seconds`), refused (never retry), failed (retry), or only planned."""

    operation: str
    status: Status
    message: str = ""
    plan: Plan = Plan()
    digest: str = ""
    results: tuple[str, ...] = ()
    requeue_after_seconds: int = 0


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation that takes nothing but the trigger."""


Handler = Callable[[RegionContext, Request, Sequence[Action]], Sequence[str]]


class Operation(msgspec.Struct, Generic[Seen], frozen=True):
    """A named operation. `act` maps each kind of action to the function that carries out a row of them.

    `decide` is pure. `parameters` is the shape of what a queue message or an invoke by hand may say.
    """

    name: str
    description: str
    observe: Callable[[RegionContext, Request], Seen]
    decide: Callable[[Seen, Request], Plan]
    act: Mapping[str, Handler] = {}
    parameters: type[msgspec.Struct] = NoParameters


def run(operation: Operation[Any], site: RegionContext, event: object, id: str = "") -> dict[str, Any]:
    """Carry out `operation` for a Lambda `event`; the answer is JSON-able.

    An SQS batch is answered with `batchItemFailures`. A scheduled event whose run fails raises `Failed`. An invoke by
    hand always gets an `Outcome`, also when it is refused.
    """
    if isinstance(event, dict) and isinstance(event.get("Records"), list):
        return _batch(operation, site, event["Records"])
    outcome = _answer(operation, site, lambda: _request(operation, site, event, id))
    scheduled = isinstance(event, dict) and "detail-type" in event
    if scheduled and outcome.status in ("failed", "later", "refused"):
        raise RunFailed(f"{operation.name}: {outcome.message}")
    return _plain(outcome)


def count(metric: str, **dimensions: str) -> None:
    """Counts one in CloudWatch metric `metric` of namespace Lamplighter (by a log line: no call to AWS)."""
    with single_metric(metric, MetricUnit.Count, 1, namespace="Lamplighter") as one:
        for name, value in dimensions.items():
            one.add_dimension(name, value)


def _batch(operation: Operation[Any], site: RegionContext, records: Sequence[Any]) -> dict[str, Any]:
    failures = []
    for record in records:
        outcome = _answer(operation, site, lambda record=record: _message(operation, site, record))  # type: ignore[misc]
        if outcome.status in ("later", "failed"):
            failures.append({"itemIdentifier": str(record["messageId"])})
        if outcome.status == "later":
            _hide(site, record, outcome.requeue_after_seconds)
    return {"batchItemFailures": failures}


def _hide(site: RegionContext, record: Mapping[str, Any], seconds: int) -> None:
    try:
        site.queues[_queue_name(site, record)].change_visibility(record["receiptHandle"], seconds)
    except Unavailable as error:
        # The message comes back all the same, after the queue's own visibility time-out.
        logger.warning("a message could not be put off", error=str(error))


def _answer(operation: Operation[Any], site: RegionContext, ask: Callable[[], Request]) -> Outcome:
    try:
        outcome = _carry_out(operation, site, ask())
    except Rejected as refusal:
        outcome = Outcome(operation.name, "refused", str(refusal))
    except RequeueAfter as later:
        outcome = Outcome(operation.name, "later", str(later), requeue_after_seconds=later.requeue_after_seconds)
    except Unavailable as error:
        outcome = Outcome(operation.name, "failed", f"no answer from AWS, to be tried again: {error}")
    _tell(operation, outcome)
    return outcome


def _carry_out(operation: Operation[Any], site: RegionContext, request: Request) -> Outcome:
    plan = operation.decide(operation.observe(site, request), request)
    if plan.rejected_because:
        raise Rejected(plan.rejected_because)
    if request.digest and request.digest != plan.digest:
        raise Rejected(f"the plan is no longer {request.digest} but {plan.digest}: look at it again, then apply that")
    if not request.apply:
        return Outcome(operation.name, "planned", _count(plan), plan, plan.digest)
    results = _act(operation, site, request, plan)
    if plan.requeue_after_seconds:
        raise RequeueAfter("; ".join(plan.notes) or "not settled yet", plan.requeue_after_seconds)
    return Outcome(operation.name, "done", _count(plan), plan, plan.digest, tuple(results))


def _act(operation: Operation[Any], site: RegionContext, request: Request, plan: Plan) -> list[str]:
    """Acts in the plan's order, neighbours of one kind together; the journal is written before and after."""
    spoken = [action for action in plan.actions if not action.unaudited]
    entry = _journal(operation, site, request, plan, spoken) if spoken else None
    results: list[str] = []
    try:
        for kind, actions in groupby(plan.actions, key=lambda action: action.kind):
            results += operation.act[kind](site, request, list(actions))
    except Exception as error:
        results.append(f"stopped: {type(error).__name__}: {error}")
        raise
    finally:
        if entry:
            ended = entry.body | {"results": results[:_JOURNALLED_ACTIONS]}
            site.local_store.compare_and_set(entry, ended, ttl=request.now + JOURNAL_DAYS * 86_400)
    return results


def _journal(operation: Operation[Any], site: RegionContext, request: Request, plan: Plan, spoken: list[Action]) -> Any:
    at = datetime.fromtimestamp(request.now, UTC)
    body = {
        "operation": operation.name, "region": site.region, "trigger": request.trigger, "request": request.id,
        "digest": plan.digest, "count": len(spoken), "notes": plan.notes,
        "actions": msgspec.to_builtins(spoken[:_JOURNALLED_ACTIONS]),
    }
    name = f"{at:%H:%M:%S}#{operation.name}#{uuid.uuid4().hex[:8]}"
    return site.local_store.create(f"journal#{at:%Y-%m-%d}", name, body, ttl=request.now + JOURNAL_DAYS * 86_400)


def _request(operation: Operation[Any], site: RegionContext, event: object, id: str) -> Request:
    if not isinstance(event, dict):
        raise Rejected(f"{operation.name} takes a JSON object, not {type(event).__name__}; send {{}} for a plan")
    if "detail-type" in event:
        return Request("schedule", _event_time(operation, event), _parameters(operation, {}), apply=True, id=id)
    apply = event.get("apply", False)
    if not isinstance(apply, bool | str):
        raise Rejected(f'{operation.name}: "apply" is true, or the digest of a plan as text, not {apply!r}')
    parameters = _parameters(operation, {key: value for key, value in event.items() if key != "apply"})
    digest = apply if isinstance(apply, str) else ""
    return Request("hand", int(site.clock()), parameters, apply=bool(apply), digest=digest, id=id)


def _event_time(operation: Operation[Any], event: Mapping[str, Any]) -> int:
    try:
        when = datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        raise Rejected(f'{operation.name}: a scheduled event needs "time" as in 2026-03-29T00:55:00Z, '
                      f'got {event.get("time")!r}; let the rule send its own event, without a constant Input') from None
    if when.tzinfo is None or not 1970 < when.year < 9000:
        raise Rejected(f'{operation.name}: "time" {event["time"]!r} names no zone, or no year of ours; end it with Z')
    return int(when.timestamp())


def _message(operation: Operation[Any], site: RegionContext, record: Any) -> Request:
    try:
        body, id = record["body"], record["messageId"]
        received = int(record["attributes"]["ApproximateReceiveCount"])
        said = msgspec.json.decode(body)
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise Rejected(f"{operation.name}: not a message of ours ({type(error).__name__}: {error}): "
                      f"{str(record)[:200]}") from None
    parameters = _parameters(operation, said)
    return Request("queue", int(site.clock()), parameters, apply=True, id=str(id), receive_count=received)


def _parameters(operation: Operation[Any], said: object) -> Any:
    try:
        return msgspec.convert(said, operation.parameters)
    except msgspec.ValidationError as error:
        fields = ", ".join(operation.parameters.__struct_fields__) or "no parameters"
        raise Rejected(f"{operation.name}: {error}; it takes: {fields}") from None


def _queue_name(site: RegionContext, record: Mapping[str, Any]) -> str:
    """The queue's name as fleet.toml has it: its full name is `<fleet>-<stage>-<name>`."""
    full = str(record["eventSourceARN"]).rsplit(":", 1)[1]
    return full.removeprefix(f"{site.fleet.name}-{site.stage}-")


def _count(plan: Plan) -> str:
    kinds = [action.kind for action in plan.actions]
    told = [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    return ", ".join(told) or "nothing to do"


def _plain(outcome: Outcome) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(outcome)
    return plain


def _tell(operation: Operation[Any], outcome: Outcome) -> None:
    level = {"failed": logger.error, "refused": logger.warning}.get(outcome.status, logger.info)
    level(outcome.message or outcome.status, operation=operation.name, status=outcome.status, digest=outcome.digest)
    if outcome.status in ("failed", "refused"):
        count(outcome.status.capitalize(), operation=operation.name)


