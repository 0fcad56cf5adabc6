"""Delivers alerts. They are written before they are published, marked afterwards, and published again until then.

    delivery.deliver(context.local_store, context.alerts, "tunnels.repair", plan.alerts, now,
                     origin=Origin("tunnels.heal", "eu-west-1", "prod", VERSION))

Each operation has one `AlertState` in the local store, under `alerts`/<operation>. It is read each time, also without a
wanted alert. An undelivered alert is due again, and an ended one is reported as ended. Delivery is at least once. A
notice whose answer was lost is published again.
"""

from collections.abc import Callable, Collection, Sequence
from secrets import token_hex
from typing import Protocol

import msgspec
from msgspec.structs import replace

from chalicelib.aws.client import AWS_ERRORS
from chalicelib.aws.store import Item, Store
from chalicelib.engine import alert_plan, alert_text, state
from chalicelib.engine.alert_text import Origin
from chalicelib.engine.alerts import SCHEMA, Alert, AlertPlan, AlertState, Notification, short_key
from chalicelib.engine.metrics import count, logger
from chalicelib.engine.schema import Schema, State, Stored, Unreadable

PK = "alerts"
# Events that a crowd of Lambdas reports: an item each, so that they do not get in each other's way.
EVENTS_PK = "alert-events"
PKS = (PK, EVENTS_PK)
_TRIES = 8
_EVENTS_AT_ONCE = 500
# How long an event waits for its operation, and how long it is remembered that a region has taken one on.
EVENT_KEPT_SECONDS = 7 * 86_400


class Topic(Protocol):
    """The destination of alerts. May raise what `AWS_ERRORS` names. The notice may then have gone out or not."""

    def publish(self, subject: str, text: str) -> None:
        """One notice."""


class Delivery(msgspec.Struct, frozen=True):
    """The result, with the subjects that went out, and those that did not, with the reason. The next run tries again.
    """

    delivered: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def results(self) -> tuple[str, ...]:
        """As the journal has it."""
        return (*(f"told: {subject}" for subject in self.delivered),
                *(f"not told, the next run tries again: {why}" for why in self.failed))


class Event(State, frozen=True):
    """An event that waits to be delivered."""

    alert: Alert


EVENTS = Schema(Event, 1)


def deliver(
    store: Store, topic: Topic, operation: str, wanted: Sequence[Alert], now: float, *, origin: Origin,
    not_judged: Collection[str] = (), events: bool = False,
) -> Delivery:
    """Tells people what is due of `wanted` (see `alert_plan`) and of what was not delivered before.

    With `events` those of `report_event` are delivered, too. Raises the store's error if that does not answer, and
    `Contended` if the state cannot be written. Without it nobody knows the earlier notices, and the run has failed. A
    refusal by the topic is no error.
    """
    reported, items, bad, all_read = _reported(store, operation) if events else ([], [], [], True)
    everything = [*wanted, *reported, *map(alert_text.unreadable_alert, bad)]
    # An unreadable item that this run did not come to is not over.
    unseen = {*not_judged, *(() if all_read else (alert_text.UNREADABLE,))}
    run_id = token_hex(16)

    def plan(before: AlertState, lost: Sequence[Alert]) -> AlertPlan:
        return alert_plan.plan_notifications(before, [*everything, *lost], now, not_judged=unseen)

    planned = _change(store, operation, plan, run_id)
    for item in items:
        # From here on the operation's own state has it.
        store.delete(item)
    delivered: list[str] = []
    failed: list[str] = []
    unsettled: list[tuple[Notification, bool]] = []
    for notification in planned.notifications:
        subject, why = _published(topic, notification, now, origin)
        if why:
            failed.append(why)
        else:
            delivered.append(subject)
        # At once, so that a run that dies at a later notice does not repeat the earlier ones.
        unsettled.append((notification, not why))
        if _settle(store, operation, unsettled, now, run_id):
            unsettled = []
    return Delivery(tuple(delivered), tuple(failed))


def report_event(store: Store, operation: str, alert: Alert, now: float) -> None:
    """Leaves an event for the next `deliver(..., events=True)` of `operation`. Twice the same event is one.

    For many Lambdas at once. Each has an item of its own, so that none has to wait for another.
    """
    # DynamoDB takes 1,024 bytes.
    sk = short_key(f"{alert.group}/{alert.target}/{alert.occurrence}", 1000)
    state.write(store, (f"{EVENTS_PK}#{operation}", sk), EVENTS, None, Event(alert), run_id=alert.target,
                ttl=int(now) + EVENT_KEPT_SECONDS)


def _reported(store: Store, operation: str) -> tuple[list[Alert], list[Item], list[Unreadable], bool]:
    """The events that wait, their items, the unreadable items on the way, and whether these were all that there are.

    Nobody removes the unreadable ones. So they do not count, or the events behind them would wait for ever.
    """
    found: list[Alert] = []
    items: list[Item] = []
    bad: list[Unreadable] = []
    after = ""
    while len(items) < _EVENTS_AT_ONCE:
        page = store.query(f"{EVENTS_PK}#{operation}", newest=False, limit=_EVENTS_AT_ONCE, after=after)
        values, unreadable = state.read_all(store, page, EVENTS)
        readable = [item for item in page if (item.pk, item.sk) in values]
        found += [values[item.pk, item.sk].value.alert for item in readable]
        items += readable
        bad += unreadable
        if len(page) < _EVENTS_AT_ONCE:
            return found, items, bad, True
        after = page[-1].sk
    return found, items, bad, False


def _change(
    store: Store, operation: str, change: Callable[[AlertState, Sequence[Alert]], AlertPlan], run_id: str
) -> AlertPlan:
    """Writes what `change` makes of the state, again from the start when another run was faster.

    Raises `Contended` if one always was.
    """
    key = (PK, operation)
    for _ in range(_TRIES):
        before, lost = _load(store, key)
        planned = change(before.value, lost)
        unchanged = planned.state is before.value or planned.state == before.value
        if unchanged or state.write(store, key, SCHEMA, before, planned.state, run_id=run_id):
            return planned
    raise state.Contended(f"the alerts of {operation}: their state changed {_TRIES} times before it could be written")


def _load(store: Store, key: tuple[str, str]) -> tuple[Stored[AlertState], tuple[Alert, ...]]:
    """The state, and what to tell of it. An unreadable one is replaced, because two notices are better than none."""
    item = store.get(*key)
    if item is None:
        return Stored(AlertState()), ()
    found = state.read(store, item, SCHEMA)
    if not isinstance(found, Unreadable):
        return found, ()
    logger.error("the state of the alerts is unreadable and begins anew", item=str(found.key), because=found.because,
                 body=str(item.body)[:2000])
    lost = replace(alert_text.unreadable_alert(found), event=True,
                   tried=("The run has replaced it and written its text to the log.",),
                   steps=("Expect alerts that you know already. They go out once more.",))
    return state.instead_of(item, AlertState()), (lost,)


def _published(topic: Topic, notification: Notification, now: float, origin: Origin) -> tuple[str, str]:
    """The subject, and nothing or why the notice may not have gone out.

    Raises nothing. Whatever is wrong with one notice, the others go out.
    """
    kind = notification.group.alert.kind
    subject, text = _worded(notification, now, origin)
    try:
        topic.publish(subject, text)
    except Exception as error:
        count("AlertUndelivered", kind=kind)
        logger.error("an alert may not have gone out", subject=subject, error=f"{type(error).__name__}: {error}",
                     exc_info=not isinstance(error, AWS_ERRORS))
        return subject, f"{subject}: {error}"
    count("Alert", kind=kind)
    return subject, ""


def _worded(notification: Notification, now: float, origin: Origin) -> tuple[str, str]:
    """The subject and the text. An alert that cannot be worded is told all the same, as well as it can be."""
    try:
        return alert_text.subject(notification), alert_text.text(notification, now, origin=origin)
    except Exception as error:
        kind = notification.group.alert.kind
        logger.exception("an alert cannot be put into words", key=notification.key)
        step = origin.addressed("Look at `lamp status` and at the log of the Lambda.")
        return kind, (f"WHAT IS WRONG: {kind}. The alert cannot be put into words ({type(error).__name__}).\n\n"
                      f"WHAT TO DO NOW:\n1. {step}\n\nFrom {origin}.")


def _settle(
    store: Store, operation: str, told: Sequence[tuple[Notification, bool]], now: float, run_id: str
) -> bool:
    """Writes down what came of notices. Whether it is written."""
    def settled(before: AlertState, lost: Sequence[Alert]) -> AlertPlan:
        for notification, done in told:
            before = alert_plan.settle_delivery(before, notification, now, delivered=done)
        return AlertPlan(before)

    try:
        _change(store, operation, settled, run_id)
    except AWS_ERRORS as error:
        # It is told again in some seconds: once too often, but not once too few.
        logger.warning("the run could not record that alerts went out", operation=operation, error=str(error))
        return False
    return True
