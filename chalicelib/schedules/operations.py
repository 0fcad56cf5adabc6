"""The operations of schedules. Each joins an observation, a decision and its actions."""

from typing import Any

from chalicelib.crontab.dst import stamp
from chalicelib.engine.limits import counted_at
from chalicelib.engine.operation import Operation, Request
from chalicelib.engine.plan import Action, Plan
from chalicelib.schedules import act, decide, observation, observe, queries
from chalicelib.schedules.decide import explain
from chalicelib.schedules.published import ALERTS
from chalicelib.schedules.runners import default
from chalicelib.schedules.state import ReconcileRequest, RunRequest
from chalicelib.schedules.worker import Executor

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


def _work(saw: observation.WorkObservation, request: Request) -> Plan:
    return decide.work(saw, request.now)


def _why(saw: queries.WhySeen, request: Request) -> Plan:
    reason = explain.why(saw.job, saw.minute, saw.known, request.now)
    return Plan(report={"job": saw.job.name, "minute": f"{stamp(saw.minute)}Z", "answer": reason.answer,
                        "sentence": reason.sentence, "output": saw.output,
                        "unreadable": [str(item) for item in saw.unreadable]})


def _status(saw: queries.StatusSeen, request: Request) -> Plan:
    return Plan(report=saw.report)


def _pause(saw: queries.JobSeen, request: Request) -> Plan:
    if saw.paused:
        return Plan(notes=(f"{saw.job.name} is paused already",))
    return Plan((Action("pause", saw.job.name, saw.reason),))


def _resume(saw: queries.JobSeen, request: Request) -> Plan:
    if not saw.paused:
        return Plan(notes=(f"{saw.job.name} is not paused",))
    return Plan((Action("resume", saw.job.name, saw.reason),))


def _run(saw: queries.JobSeen, request: Request) -> Plan:
    # The slot is the second asked for: two invokes of one plan within it are one run.
    slot = f"{stamp(request.now // 60)}:{request.now % 60:02d}Z#manual"
    run = RunRequest(saw.job.name, slot, request.now // 60, "manual")
    return Plan((Action("enqueue", saw.job.name, saw.reason, observation.Enqueued(run)),))


def _prune(saw: queries.PruneSeen, request: Request) -> Plan:
    """Each hour a 24th of the table, each day another region, so that each item gets a look once a day. A manual run
    covers all of it."""
    if request.trigger == "schedule" and request.now // 86_400 % saw.regions != saw.rank:
        return Plan(notes=("today another region prunes",))
    parts = 24 if request.trigger == "schedule" else 1
    part = request.now // 3600 % parts
    return Plan((Action("prune", f"the coordination table, part {part + 1} of {parts}", "items that have outlived "
                                                                                        "their ttl",
                        {"part": part, "parts": parts}, unaudited=parts > 1),))


def work(executor: Executor) -> Operation[observation.WorkObservation]:
    """`schedules.work` with these runners."""
    return Operation(
        "schedules.work", "runs one due job", observe.work, _work,
        {"start": executor.start, "poll": executor.look, "interrupt": executor.interrupt, "wait": executor.wait,
         "skip": act.skip, "alert": act.alert}, RunRequest, alerts_as=ALERTS)


TICK: Operation[observation.TickObservation] = Operation(
    "schedules.tick", "starts the jobs that are due at this minute", observe.tick, _tick, _STARTING,
    alerts_as=ALERTS, delivers_events=True)
SWEEP: Operation[observation.ReconcileObservation] = Operation(
    "schedules.reconcile",
    "starts the runs that a minute left undone, and sends alerts",
    observe.sweep,
    _sweep,
    _STARTING,
    ReconcileRequest,
    alerts_as=ALERTS,
)
WORK = work(Executor(default))
STATUS = Operation("schedules.status", "all jobs with their last run, outcome and next time", queries.status, _status,
                   parameters=queries.StatusAsked, raises_alerts=False)
WHY = Operation("schedules.why", "one reason for one minute of a job", queries.why, _why, parameters=queries.WhyAsked,
                raises_alerts=False)
PAUSE = Operation("schedules.pause", "keeps a job from running until somebody resumes it", queries.job, _pause,
                  {"pause": act.pause}, queries.JobAsked, raises_alerts=False)
RESUME = Operation("schedules.resume", "lets a paused job run again", queries.job, _resume, {"resume": act.resume},
                   queries.JobAsked, raises_alerts=False)
RUN = Operation("schedules.run", "runs a job now", queries.job, _run, {"enqueue": act.enqueue}, queries.JobAsked,
                raises_alerts=False)
PRUNE = Operation("schedules.prune", "deletes what the coordination table no longer needs", queries.prune, _prune,
                  {"prune": act.prune}, raises_alerts=False)

ALL: tuple[Operation[Any], ...] = (TICK, SWEEP, WORK, STATUS, WHY, PAUSE, RESUME, RUN, PRUNE)
