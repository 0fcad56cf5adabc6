"""Carries out what the schedules' decisions ask for, one function for each kind of action."""

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.aws.client import AWS_ERRORS, Message
from chalicelib.context import RegionContext
from chalicelib.engine import delivery, state
from chalicelib.engine.alerts import Alert
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.schedules import release
from chalicelib.schedules.decide import alerts
from chalicelib.schedules.observation import Enqueued, Recorded, Reminder, Settled
from chalicelib.schedules.published import ALERTS
from chalicelib.schedules.state import (
    MINUTE,
    NEWEST,
    NEWEST_KEY,
    PAUSE,
    RUN,
    TAKEN_ALERT,
    NewestMinute,
    Pause,
    ReconcileRequest,
    Run,
    TakenAlert,
    minute_key,
    pause_key,
    run_key,
    taken_alert_key,
)

DAY = 86_400
# The Lambda has five minutes.
_PRUNE_SECONDS = 240


def schedule_reconcile(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends reminders to this region's own sweep."""
    reminders: list[Reminder] = [action.details for action in actions]
    context.queues["schedule-reconciles"].send([
        Message(_json(ReconcileRequest(reminder.minute, reminder.attempt)), reminder.delay) for reminder in reminders])
    return [f"{action.target}: {action.reason}" for action in actions]


def record(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Writes down which jobs were due at a minute. The first writer is right."""
    results = []
    for action in actions:
        due: Recorded = action.details
        made = state.write(context.shared_store, minute_key(due.minute), MINUTE, None, due.record,
                           run_id=request.run_id,
                           ttl=_ttl(context, request))
        results.append(f"{action.target}: {'recorded' if made else 'was recorded before'}")
    return results


def remember(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Notes in the region's own table which minutes were started. Its loss holds nothing up."""
    [action] = actions
    new, clock = NewestMinute(action.details.minute), context.clock()
    try:
        state.publish(context.local_store, NEWEST_KEY, NEWEST, new, run_id=request.run_id,
                      replaces=lambda old: old.minute < new.minute or old.minute * 60 > clock)
    except AWS_ERRORS as error:
        return [f"{action.target}: not remembered ({error})"]
    return [f"{action.target}: remembered"]


def enqueue(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends one run request for each slot. The claim sees to it that more than one does no harm."""
    due: list[Enqueued] = [action.details for action in actions]
    context.queues["schedule-runs"].send([Message(_json(one.request), one.delay) for one in due])
    return [f"{action.target}: queued ({action.reason})" for action in actions]


def skip(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Settles slots that are not to run, so that nobody else starts them."""
    return [_set_aside(context, request, action) for action in actions]


def alert(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Leaves alerts for the next tick of this region, each once for all regions.

    At least once, because another region makes up for one that dies between an alert and its mark.
    """
    results = []
    for action in actions:
        taken: alerts.AlertToTake = action.details
        key = taken_alert_key(taken.key)
        if context.shared_store.get(*key):
            results.append(f"{action.target}: another region has taken it on before")
            continue
        leave_alert(context, taken.alert)
        mark = TakenAlert(taken.alert.kind, action.target)
        state.write(context.shared_store, key, TAKEN_ALERT, None, mark, run_id=request.run_id,
                    ttl=request.now + delivery.EVENT_KEPT_SECONDS)
        if taken.slot:
            mark_alerted(context, request, run_key(action.target, taken.slot))
        results.append(f"{action.target}: the alert waits for delivery")
    return results


def tell_unreadable(context: RegionContext, request: Request, items: Sequence[Unreadable]) -> Sequence[str]:
    """Leaves the alerts about items that cannot be read. All regions read them, and one of them takes an alert on."""
    return alert(context, request, alerts.unreadable(items, request.now))


def leave_alert(context: RegionContext, what: Alert) -> None:
    """Leaves an alert for the next tick of this region."""
    delivery.report_event(context.local_store, ALERTS, what, context.clock())


def mark_alerted(context: RegionContext, request: Request, key: tuple[str, str]) -> None:
    """Writes into a run that people are told how it ended."""
    state.update(context.shared_store, key, RUN,
                 lambda run: msgspec.structs.replace(run, alerted=True) if run else None,
                 run_id=request.run_id, ttl=_ttl(context, request))


def pause(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Pauses jobs."""
    made = [state.write(context.shared_store, pause_key(action.target), PAUSE, None, Pause(request.now, action.reason),
                        run_id=request.run_id) for action in actions]
    return [f"{action.target}: {'paused' if pause else 'was paused already'}"
            for action, pause in zip(actions, made, strict=True)]


def resume(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Lets paused jobs run again, from the next minute on.

    A pause under a former name goes as well, or the next deployment would bring it along.
    """
    results, book = [], release.book(context.root)
    for action in actions:
        number = book.find(action.target)
        former = book[number].former if number is not None else ()
        items = [context.shared_store.get(*pause_key(name)) for name in (action.target, *former)]
        gone = all([item is None or context.shared_store.delete(item) for item in items])
        results.append(f"{action.target}: {'resumed' if gone else 'changed meanwhile: try again'}")
    return results


def prune(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Deletes items whose ttl has passed, because a strongly consistent global table does not delete them by itself."""
    gone, until = 0, context.clock() + _PRUNE_SECONDS
    for action in actions:
        for item in context.shared_store.scan_expired(request.now, action.details["part"], action.details["parts"]):
            gone += context.shared_store.delete(item)
            if context.clock() > until:
                return [f"{gone} items pruned. The rest next time"]
    return [f"{gone} items pruned"]


def _set_aside(context: RegionContext, request: Request, action: Action) -> str:
    end: Settled = action.details
    run = Run(action.target, end.slot, end.minute, end.state, end.why, context.region, request.id, 0, request.now,
              request.now, ended=request.now, detail=action.reason)
    key, ttl = run_key(run.job, run.slot), _ttl(context, request)
    made = state.write(context.shared_store, key, RUN, None, run, run_id=request.run_id, ttl=ttl)
    if not made:
        # A slot that waits, for its turn or its next attempt, may still be set aside; one that is going may not.
        there = state.find(context.shared_store, key, RUN)
        if isinstance(there, Stored) and there.value.state in ("waiting", "retrying"):
            made = state.write(context.shared_store, key, RUN, there, run, run_id=request.run_id, ttl=ttl)
        elif isinstance(there, Unreadable):
            return f"{run.job} {run.slot}: left alone, it cannot be read: {there}"
    return f"{run.job} {run.slot}: {run.state if made else 'was started meanwhile'}"


def _ttl(context: RegionContext, request: Request) -> int:
    return request.now + context.fleet.schedules.retention


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
