"""The operations of schedules: each joins what is seen, what is decided and what is done."""

from typing import Any

from chalicelib.control import Operation, Request
from chalicelib.plan import Action, Plan
from chalicelib.schedules import act, decide, explain, inspect, observe, seen
from chalicelib.schedules.daylight import stamp
from chalicelib.schedules.execute import Executor
from chalicelib.schedules.records import ReconcileRequest, RunRequest
from chalicelib.schedules.runners import default

_STARTING = {
    "schedule-reconcile": act.schedule_reconcile,
    "record": act.record,
    "enqueue": act.enqueue,
    "skip": act.skip,
    "alert": act.alert,
}


def _tick(saw: seen.TickObservation, request: Request) -> Plan:
    return decide.tick(saw, request.now)


def _sweep(saw: seen.ReconcileObservation, request: Request) -> Plan:
    return decide.sweep(saw, request.now)


def _work(saw: seen.WorkObservation, request: Request) -> Plan:
    return decide.work(saw, request.now)


def _why(saw: inspect.WhySeen, request: Request) -> Plan:
    reason = explain.why(saw.job, saw.minute, saw.known, request.now)
    return Plan(report={"job": saw.job.name, "minute": f"{stamp(saw.minute)}Z", "answer": reason.answer,
                        "sentence": reason.sentence, "output": saw.output})


def _status(saw: inspect.StatusSeen, request: Request) -> Plan:
    return Plan(report=saw.report)


def _pause(saw: inspect.JobSeen, request: Request) -> Plan:
    if saw.paused:
        return Plan(notes=(f"{saw.job.name} is paused already",))
    return Plan((Action("pause", saw.job.name, saw.reason),))


def _resume(saw: inspect.JobSeen, request: Request) -> Plan:
    if not saw.paused:
        return Plan(notes=(f"{saw.job.name} is not paused",))
    return Plan((Action("resume", saw.job.name, saw.reason),))


def _run(saw: inspect.JobSeen, request: Request) -> Plan:
    # The slot is the second asked for: two invokes of one plan within it are one run.
    facts = {"slot": f"{stamp(request.now // 60)}:{request.now % 60:02d}Z#hand", "minute": request.now // 60,
             "why": "by hand", "delay": 0}
    return Plan((Action("enqueue", saw.job.name, saw.reason, facts),))


def _prune(saw: inspect.PruneSeen, request: Request) -> Plan:
    """Each hour a 24th of the table, each day another region: an item is looked at once a day. By hand: all of it."""
    if request.trigger == "schedule" and request.now // 86_400 % saw.regions != saw.rank:
        return Plan(notes=("today another region prunes",))
    parts = 24 if request.trigger == "schedule" else 1
    part = request.now // 3600 % parts
    return Plan((Action("prune", f"the coordination table, part {part + 1} of {parts}", "what has outlived its ttl",
                        {"part": part, "parts": parts}, unaudited=parts > 1),))


def work(executor: Executor) -> Operation[seen.WorkObservation]:
    """`schedules.work` with these runners."""
    return Operation(
        "schedules.work", "runs one due job", observe.work, _work,
        {"start": executor.start, "poll": executor.look, "interrupt": executor.interrupt, "wait": executor.wait,
         "skip": act.skip, "alert": act.alert}, RunRequest)


TICK: Operation[seen.TickObservation] = Operation(
    "schedules.tick", "starts the jobs that are due at this minute", observe.tick, _tick, _STARTING)
SWEEP: Operation[seen.ReconcileObservation] = Operation(
    "schedules.reconcile",
    "starts what was left undone at a minute, and tells of what went wrong",
    observe.sweep,
    _sweep,
    _STARTING,
    ReconcileRequest,
)
WORK = work(Executor(default))
STATUS = Operation("schedules.status", "all jobs: last run, outcome, next fire", inspect.status, _status,
                   parameters=inspect.StatusAsked)
WHY = Operation("schedules.why", "one reason for one minute of a job", inspect.why, _why, parameters=inspect.WhyAsked)
PAUSE = Operation("schedules.pause", "stops a job from running until it is resumed", inspect.job, _pause,
                  {"pause": act.pause}, inspect.JobAsked)
RESUME = Operation("schedules.resume", "lets a paused job run again", inspect.job, _resume, {"resume": act.resume},
                   inspect.JobAsked)
RUN = Operation("schedules.run", "runs a job now", inspect.job, _run, {"enqueue": act.enqueue}, inspect.JobAsked)
PRUNE = Operation("schedules.prune", "deletes what the coordination table no longer needs", inspect.prune, _prune,
                  {"prune": act.prune})

ALL: tuple[Operation[Any], ...] = (TICK, SWEEP, WORK, STATUS, WHY, PAUSE, RESUME, RUN, PRUNE)
