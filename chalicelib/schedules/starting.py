"""The operations that start jobs.

They have a module of their own, because the tick starts anew in each region for each release, and a job waits for it.
It imports no worker, no runner and no query.
"""

from typing import Any

from chalicelib.engine.limits import counted_at
from chalicelib.engine.operation import Operation, Request
from chalicelib.engine.plan import Plan
from chalicelib.schedules import act, decide, observation, observe
from chalicelib.schedules.published import ALERTS
from chalicelib.schedules.state import ReconcileRequest

_STARTING = {
    "schedule-reconcile": act.schedule_reconcile,
    "record": act.record,
    "remember": act.remember,
    "enqueue": act.enqueue,
    "skip": act.skip,
    "alert": act.alert,
}


def _tick(saw: observation.TickObservation, request: Request) -> Plan:
    return decide.tick(saw, counted_at(request.now, saw.at))


def _sweep(saw: observation.ReconcileObservation, request: Request) -> Plan:
    return decide.sweep(saw, request.now)


TICK: Operation[observation.TickObservation] = Operation(
    "schedules.tick", "starts the jobs that are due at this minute", observe.tick, _tick, _STARTING,
    alerts_as=ALERTS, delivers_events=True, tell_unreadable=act.tell_unreadable)
SWEEP: Operation[observation.ReconcileObservation] = Operation(
    "schedules.reconcile", "starts the runs that a minute left undone, and sends alerts", observe.sweep, _sweep,
    _STARTING, ReconcileRequest, alerts_as=ALERTS, tell_unreadable=act.tell_unreadable)

ALL: tuple[Operation[Any], ...] = (TICK, SWEEP)
