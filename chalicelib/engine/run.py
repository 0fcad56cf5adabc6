"""The one path of every operation, from its trigger over observe, decide, claim, journal and act to the alerts.

`run` carries an `Operation` out for any trigger, which is an EventBridge rule's event, an SQS batch, or a manual
invocation. By hand an empty event only plans. `{"apply": true}` acts. `{"apply": "<digest>"}` acts only if the plan is
still that one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from secrets import token_hex
from typing import Any

import msgspec

from chalicelib import foreign
from chalicelib.aws import refusals
from chalicelib.aws.client import AWS_ERRORS, BotoCoreError, ClientError, Unavailable
from chalicelib.context import RegionContext
from chalicelib.engine import alert_text, delivery, journal, state
from chalicelib.engine.alert_text import Origin
from chalicelib.engine.alerts import Alert
from chalicelib.engine.metrics import count, logger
from chalicelib.engine.operation import Operation, Outcome, Rejected, Request, RequeueAfter, RunFailed
from chalicelib.engine.plan import Plan, Results
from chalicelib.engine.schema import Unreadable
from chalicelib.engine.witness import Witness
from chalicelib.version import VERSION

# A rule's event may come late; it is never early by more than clocks differ.
_EVENT_LATE_SECONDS = 86_400
_EVENT_EARLY_SECONDS = 90


def run(
    operation: Operation[Any], context: RegionContext, event: object, id: str = "", *,
    met_before: Sequence[Unreadable] = (), may_be_silent: bool = False,
) -> dict[str, Any]:
    """Carry out `operation` for a Lambda `event`. The answer is JSON-able.

    An SQS batch is answered with `batchItemFailures`. A scheduled event whose run fails raises `RunFailed`. An invoke
    manually always gets an `Outcome`, also when it is refused. `met_before` are items that its caller could not read.
    A run that `may_be_silent` leaves no line in the log if nothing happens.
    """
    if isinstance(event, dict) and isinstance(event.get("Records"), list):
        return _batch(operation, context, event["Records"])
    outcome = _answer(operation, context, lambda: _request(operation, context, event, id), met_before,
                      may_be_silent=may_be_silent)
    scheduled = isinstance(event, dict) and "detail-type" in event
    if scheduled and outcome.status in ("failed", "later", "refused"):
        raise RunFailed(f"{operation.name}: {outcome.message}")
    plain: dict[str, Any] = msgspec.to_builtins(outcome)
    return plain


def _batch(operation: Operation[Any], context: RegionContext, records: Sequence[Any]) -> dict[str, Any]:
    failures = []
    for record in records:
        try:
            outcome = _answer(operation, context, lambda record=record: _message(operation, context, record))  # type: ignore[misc]
        except Exception as error:
            # One bad message comes back alone; raised from here, it would bring back those that are done.
            logger.exception("a message broke the operation and comes back", operation=operation.name)
            count("Failed", operation=operation.name)
            outcome = Outcome(operation.name, "failed", f"{type(error).__name__}: {error}")
        if outcome.status in ("later", "failed"):
            failures.append({"itemIdentifier": str(record["messageId"])})
        if outcome.status == "later":
            _put_off(context, record, outcome.requeue_after_seconds)
    return {"batchItemFailures": failures}


def _put_off(context: RegionContext, record: Mapping[str, Any], seconds: int) -> None:
    # The queue's name as fleet.toml has it: its full name is `<fleet>-<stage>-<name>`.
    name = str(record["eventSourceARN"]).rsplit(":", 1)[1].removeprefix(f"{context.fleet.name}-{context.stage}-")
    try:
        context.queues[name].change_visibility(record["receiptHandle"], seconds)
    except AWS_ERRORS as error:
        # The message comes back all the same, after the queue's own visibility time-out.
        logger.warning("the run could not postpone a message", error=str(error))


def _answer(
    operation: Operation[Any], context: RegionContext, ask: Callable[[], Request],
    met_before: Sequence[Unreadable] = (), *, may_be_silent: bool = False,
) -> Outcome:
    witness = Witness()
    for item in met_before:
        witness.note(item)
    try:
        outcome = _carry_out(operation, witness.watch(context), ask(), witness)
    except Rejected as refusal:
        outcome = Outcome(operation.name, "refused", str(refusal))
    except RequeueAfter as later:
        outcome = Outcome(operation.name, "later", str(later), requeue_after_seconds=later.requeue_after_seconds)
    except state.Superseded as superseded:
        outcome = Outcome(operation.name, "superseded", str(superseded))
    except state.Contended as error:
        outcome = Outcome(operation.name, "failed", f"{error}. The next run tries again")
    except Unavailable as error:
        outcome = Outcome(operation.name, "failed", f"AWS did not answer, so the next run tries again ({error})")
    except (ClientError, BotoCoreError) as error:
        # A name of fleet.toml that the account lacks, or a permission: the caller reads the remedy, the log the place.
        logger.exception("AWS refused a call", operation=operation.name)
        outcome = Outcome(operation.name, "failed", refusals.explain(error))
    outcome = msgspec.structs.replace(outcome, unreadable=tuple(map(str, witness.unreadable)))
    if may_be_silent and _is_uneventful(outcome):
        return outcome
    level = {"failed": logger.error, "refused": logger.warning}.get(outcome.status, logger.info)
    level(outcome.message or outcome.status, operation=operation.name, status=outcome.status, digest=outcome.digest)
    if outcome.status in ("failed", "refused"):
        count(outcome.status.capitalize(), operation=operation.name)
    return outcome


def _is_uneventful(outcome: Outcome) -> bool:
    """Whether a run has found all as it is to be, and has told nobody anything."""
    return (outcome.status == "done" and not outcome.plan.alerts and not outcome.unreadable
            and all(action.unaudited for action in outcome.plan.actions)
            and not any("told" in result for result in outcome.results))


def _carry_out(
    operation: Operation[Any], context: RegionContext, request: Request, witness: Witness
) -> Outcome:
    plan = operation.decide(operation.observe(context, request), request)
    if plan.rejected_because:
        raise Rejected(plan.rejected_because)
    if request.digest and request.digest != plan.digest:
        raise Rejected(f"the plan is no longer {request.digest} but {plan.digest}. Look at it again, then apply that")
    digest, shown = plan.digest, msgspec.structs.replace(plan, claim=None)
    message = _count(plan)
    if not request.apply:
        return Outcome(operation.name, "planned", message, shown, digest)
    if plan.claim:
        _claim(operation, context, request, plan)
    results = _act(operation, context, request, plan, witness)
    if plan.requeue_after_seconds:
        raise RequeueAfter("; ".join(plan.notes) or "not settled yet", plan.requeue_after_seconds)
    return Outcome(operation.name, "done", message, shown, digest, tuple(results))


def _claim(operation: Operation[Any], context: RegionContext, request: Request, plan: Plan) -> None:
    """The state comes first. The run that replaces it may act, and a late run does nothing at all."""
    item, claim = operation.state, plan.claim
    if item is None or claim is None:
        raise TypeError(f"{operation.name}: its plan has a claim, but the operation has no state. Give it a StateItem")
    store = context.local_store if item.store == "local" else context.shared_store
    state.claim(store, item.key, item.schema, claim.before, claim.after, run_id=request.run_id)


def _act(
    operation: Operation[Any], context: RegionContext, request: Request, plan: Plan, witness: Witness
) -> list[str]:
    """Acts in the plan's order, neighbours of one kind together. Then people are told, whatever came of the actions."""
    actions = [msgspec.structs.replace(action, trigger=request.trigger) for action in plan.actions]
    audited = [action for action in actions if not action.unaudited]
    entry = journal.begin(context.local_store, request, operation=operation.name, region=context.region,
                          digest=plan.digest, notes=plan.notes, actions=audited) if audited else None
    results: list[str] = []
    alerts = list(plan.alerts)
    failure: Exception | None = None
    try:
        for kind, row in groupby(actions, key=lambda action: action.kind):
            done = operation.act[kind](context, request, list(row))
            results += done
            alerts += done.alerts if isinstance(done, Results) else ()
            if number := sum(not action.unaudited for action in actions if action.kind == kind):
                count("Action", number, kind=kind, trigger=request.trigger)
    except Exception as error:
        failure = error
        results.append(f"stopped: {type(error).__name__}: {error}")
    # A run that was overtaken has seen less than the one that did: people hear it from that one.
    if not isinstance(failure, state.Superseded):
        try:
            alerts += _unreadable(operation, context, request, (*plan.unreadable, *witness.unreadable))
            results += _tell(operation, context, request, plan, alerts)
        except AWS_ERRORS as error:
            logger.error("the alerts did not go out", operation=operation.name, error=str(error))
            count("AlertUndelivered", kind=operation.name)
            failure = failure or error
            results.append(f"the alerts did not go out: {error}")
    if entry:
        journal.end(context.local_store, entry, results)
    if failure:
        raise failure
    return results


def _unreadable(
    operation: Operation[Any], context: RegionContext, request: Request, met: Sequence[Unreadable]
) -> list[Alert]:
    """The alerts about items that the run could not read, unless the operation has its own way to tell of them."""
    # The state of alerts is told of, and begun anew, by whoever delivers them.
    items = [item for item in {item.key: item for item in met}.values() if not item.key.pk.startswith(delivery.PKS)]
    for item in items:
        logger.error("the run cannot read an item", item=str(item.key), because=item.because)
        count("UnreadableItem", operation=operation.name)
    if operation.tell_unreadable and items:
        operation.tell_unreadable(context, request, items)
        return []
    return [alert_text.unreadable_alert(item) for item in items] if operation.raises_alerts else []


def _tell(
    operation: Operation[Any], context: RegionContext, request: Request, plan: Plan, alerts: Sequence[Alert]
) -> Sequence[str]:
    """Delivers alerts. A scheduled run also tells what is over, and what an earlier run could not get through."""
    store, now = context.local_store, context.clock()
    if request.trigger == "queue":
        # Many Lambdas at once: they leave it to the scheduled operation that delivers for them.
        for alert in alerts:
            event = msgspec.structs.replace(alert, event=True, since=alert.since or now)
            delivery.report_event(store, operation.alert_name, event, now)
        return [f"to be told: {alert.kind}: {alert.target}" for alert in alerts]
    if not alerts and (request.trigger == "manual" or not operation.raises_alerts):
        return ()
    # What a person asks for is about one thing: that it says nothing of the others does not mean that they are over.
    not_judged = ("*",) if request.trigger == "manual" else plan.not_judged
    told = delivery.deliver(
        store, context.alerts, operation.alert_name, alerts, now, not_judged=not_judged,
        origin=Origin(operation.name, context.region, context.stage, VERSION),
        events=operation.delivers_events and request.trigger == "schedule")
    return told.results


def _request(operation: Operation[Any], context: RegionContext, event: object, id: str) -> Request:
    if not isinstance(event, dict):
        raise Rejected(f"{operation.name} takes a JSON object, not {type(event).__name__}; send {{}} for a plan")
    run_id = token_hex(16)
    if "detail-type" in event:
        now = _event_time(operation, context, event)
        return Request("schedule", now, _parameters(operation, {}), apply=True, id=id, run_id=run_id)
    apply = event.get("apply", False)
    if not isinstance(apply, bool | str):
        raise Rejected(f'{operation.name}: "apply" is true, or the digest of a plan as text, not {apply!r}')
    parameters = _parameters(operation, {key: value for key, value in event.items() if key != "apply"})
    digest = apply if isinstance(apply, str) else ""
    return Request("manual", int(context.clock()), parameters, apply=bool(apply), digest=digest, id=id, run_id=run_id)


def _event_time(operation: Operation[Any], context: RegionContext, event: Mapping[str, Any]) -> int:
    try:
        when = datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        raise Rejected(f'{operation.name}: a scheduled event needs "time" as in 2026-03-29T00:55:00Z, '
                       f'got {event.get("time")!r}. Let the rule send its own event, without a fixed Input') from None
    if when.tzinfo is None or not 1970 < when.year < 9000:
        raise Rejected(f'{operation.name}: "time" {event["time"]!r} names no zone, or no year of ours. End it with Z')
    ahead = when.timestamp() - context.clock()
    if not -_EVENT_LATE_SECONDS <= ahead <= _EVENT_EARLY_SECONDS:
        side = f"{ahead:.0f} s ahead of" if ahead > 0 else f"{-ahead:.0f} s behind"
        raise Rejected(f'{operation.name}: "time" {event["time"]!r} is {side} this Lambda\'s clock, so one of them is '
                       "wrong and this run does nothing. A rule's event is at most a day old")
    return int(when.timestamp())


def _message(operation: Operation[Any], context: RegionContext, record: Any) -> Request:
    try:
        body, id = record["body"], record["messageId"]
        received = int(record["attributes"]["ApproximateReceiveCount"])
        said = foreign.decode(body)
    except (KeyError, TypeError, ValueError, foreign.Undecodable) as error:
        raise Rejected(f"{operation.name}: not a message of ours ({type(error).__name__}: {error}): "
                       f"{str(record)[:200]}") from None
    parameters = _parameters(operation, said)
    return Request("queue", int(context.clock()), parameters, apply=True, id=str(id), receive_count=received,
                   run_id=token_hex(16))


def _parameters(operation: Operation[Any], said: object) -> Any:
    try:
        return msgspec.convert(said, operation.parameters)
    except (msgspec.ValidationError, RecursionError) as error:
        fields = ", ".join(operation.parameters.__struct_fields__) or "no parameters"
        raise Rejected(f"{operation.name}: {error}. It takes: {fields}") from None


def _count(plan: Plan) -> str:
    kinds = [action.kind for action in plan.actions]
    told = [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    return ", ".join(told) or "nothing to do"
