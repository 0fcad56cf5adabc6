"""The operations of schedules. Each joins an observation, a decision and its actions. Those that start jobs are in
`starting`."""

from typing import Any

from chalicelib.crontab.dst import stamp
from chalicelib.engine.operation import Operation, Request
from chalicelib.engine.plan import Plan
from chalicelib.schedules import act, decide, observation, observe, queries, starting
from chalicelib.schedules.decide import explain, manual
from chalicelib.schedules.published import ALERTS
from chalicelib.schedules.runners import default
from chalicelib.schedules.state import RunRequest
from chalicelib.schedules.worker import Executor


def _work(saw: observation.WorkObservation, request: Request) -> Plan:
    return decide.work(saw, request.now)


def _why(saw: queries.WhySeen, request: Request) -> Plan:
    reason = explain.why(saw.job, saw.minute, saw.known, request.now)
    return Plan(report={"job": saw.job.name, "minute": f"{stamp(saw.minute)}Z", "answer": reason.answer,
                        "sentence": reason.sentence, "output": saw.output,
                        "unreadable": [str(item) for item in saw.unreadable]})


def _status(saw: queries.StatusSeen, request: Request) -> Plan:
    return Plan(report=saw.report)


def _pause(saw: observation.JobSeen, request: Request) -> Plan:
    return manual.pause(saw)


def _resume(saw: observation.JobSeen, request: Request) -> Plan:
    return manual.resume(saw)


def _run(saw: observation.JobSeen, request: Request) -> Plan:
    return manual.run(saw, request.now)


def _prune(saw: observation.PruneSeen, request: Request) -> Plan:
    return manual.prune(saw, request.now, whole=request.trigger != "schedule")


def work(executor: Executor) -> Operation[observation.WorkObservation]:
    """`schedules.work` with these runners."""
    return Operation(
        "schedules.work", "runs one due job", observe.work, _work,
        {"start": executor.start, "poll": executor.look, "interrupt": executor.interrupt, "wait": executor.wait,
         "skip": act.skip, "alert": act.alert}, RunRequest, alerts_as=ALERTS, tell_unreadable=act.tell_unreadable)


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

ALL: tuple[Operation[Any], ...] = (*starting.ALL, WORK, STATUS, WHY, PAUSE, RESUME, RUN, PRUNE)
