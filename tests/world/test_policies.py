"""The permissions of the Lambdas of schedules and tasks: none missing, none superfluous."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from chalicelib.config.fleet import parse
from chalicelib.engine import delivery, schema
from chalicelib.engine.alerts import SCHEMA as ALERTS
from chalicelib.engine.alerts import Alert, AlertGroup, AlertState
from chalicelib.engine.lease import PLACE, Place
from chalicelib.schedules.state import (
    NEWEST,
    NEWEST_KEY,
    TAKEN_ALERT,
    NewestMinute,
    TakenAlert,
    lock_key,
    minute_key,
)
from chalicelib.tasks.state import MESSAGE, MessageState, message_key
from commands import roots
from sandbox.world import Sandbox
from tests.project import copy
from tests.world.least_privilege import HOME, STANDBY, Exercise, Lambdas, LeastPrivilege, deploy, numbers

pytestmark = pytest.mark.world

# No job is due by itself: what runs is what the test sends.
CRONTAB = """\
# lamp: name=fails
0 0 1 1 * echo no; false
# lamp: name=retried retries=1
0 0 1 1 * false
# lamp: name=single overlap=skip
0 0 1 1 * true
# lamp: name=queued on=queue
0 0 1 1 * {"task": "fine.quiet", "args": {}}
# lamp: name=often catch_up=skip
0,30 * * * * true
# lamp: name=held
0 * * * * true
"""
TASKS = """\
from lamplighter import send, task

@task()
def quiet(): pass

@task(concurrency=2)
def placed(): pass

@task(key="number")
def once(number: int): pass

@task(key="number", retries=3)
def fails(number: int): raise ValueError("no")

@task(retries=0)
def dies(): raise ValueError("no")

@task()
def sends(): send("fine.quiet")
"""

# A full hour far ahead, in minutes since the epoch: each minute used is later than all before it.
FAR = 40_000_020
# The last full hour. A tick takes one an hour earlier than the last did, so that the gap before it is its own.
HOUR, ticks = int(time.time()) // 3600 * 60, count()
# A minute long ago.
PAST = 29_400_000
PAUSED = {"since": 1, "reason": "test", "schema": 1}


def run_of(job: str) -> dict[str, Any]:
    """A message for `schedules.work`."""
    return {"job": job, "slot": f"manual#{next(numbers)}", "minute": 1, "why": "manual"}


def slot(minute: int) -> str:
    """The name of the slot of this minute."""
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%H:%MZ}"


def held(on: Lambdas, minute: int) -> None:
    """The job `held` is paused, and its run of the minute waits, so that it is not only to be left out but ended."""
    on.put("paused", "held", PAUSED)
    on.put("run#held", slot(minute), {
        "job": "held", "slot": slot(minute), "minute": minute, "state": "waiting", "why": "due", "region": HOME,
        "owner": "test", "attempt": 0, "started": minute * 60, "lease": 0, "schema": 1})


def tick(on: Lambdas) -> None:
    """A minute with jobs due, after a gap in which runs were lost, twice. A rule's event is believed for a day."""
    minute = HOUR - 60 * next(ticks)
    on.started(minute - 50)
    held(on, minute)
    at = datetime.fromtimestamp(minute * 60, UTC).isoformat()
    for _ in range(2):  # of the second one people know already
        on.drop(*minute_key(minute))
        on.remember(*NEWEST_KEY, schema.encode(NewestMinute(minute - 50), NEWEST))
        on.invoke("schedules_tick", {"detail-type": "Scheduled Event", "time": at})


def sweep(on: Lambdas) -> None:
    """A standby finds a minute that home has not started, after one that it had, twice."""
    minute = FAR + 1440 * next(numbers)
    on.started(minute - 720)
    held(on, minute)
    for _ in range(2):  # of the second one people know already
        on.drop(*minute_key(minute))
        batch = on.records("schedule-reconciles", {"minute": minute}, region=STANDBY)
        on.invoke("schedules_reconcile", batch, STANDBY)


def work(on: Lambdas) -> None:
    """Runs that fail, are tried again, lock, go by message, are of an unknown job or not due, and a dead worker's."""
    on.drop(*lock_key("single"))  # left behind when it might not be deleted
    on.drop("paused", "fails")  # as others leave it
    jobs = ("fails", "retried", "single", "queued", "unknown")
    not_due, dead = run_of("fails") | {"why": "due"}, run_of("fails") | {"why": "due", "slot": slot(next(numbers))}
    on.put("run#fails", dead["slot"], {
        "job": "fails", "slot": dead["slot"], "minute": 1, "state": "running", "why": "due", "region": HOME,
        "owner": "test", "attempt": 9, "started": 60, "lease": 120, "schema": 1})
    told = run_of("fails") | {"why": "due"}
    kind = "JobNotInTimetable"
    on.put("taken-alert", f"{kind}#fails#{told['slot']}", schema.encode(TakenAlert(kind, "fails"), TAKEN_ALERT))
    on.put("paused", "held", PAUSED)
    on.invoke("schedules_work", on.records("schedule-runs", *map(run_of, jobs), not_due, dead, told,
                                           run_of("held") | {"why": "due"}))
    # A request that comes again looks for the record of its minute.
    on.started(1)
    on.invoke("schedules_work", on.records("schedule-runs", run_of("held") | {"why": "due"}, received=2))


def explain(on: Lambdas) -> None:
    """A minute whose run has printed something, and one without a run. The job is paused."""
    on.put("paused", "fails", PAUSED)
    minute = PAST + next(numbers)
    on.invoke("schedules_work", on.records("schedule-runs", run_of("fails") | {"minute": minute, "slot": slot(minute)}))
    for asked in (slot(minute), "2026-01-01T00:00Z"):
        on.invoke("schedules_why", {"job": "fails", "time": asked})


def pause(on: Lambdas) -> None:
    """A job that is not paused, and then is."""
    on.drop("paused", "fails")
    for _ in range(2):
        on.invoke("schedules_pause", {"job": "fails", "apply": True})


def run(on: Lambdas) -> None:
    """A job that is paused."""
    on.put("paused", "fails", PAUSED)
    on.invoke("schedules_run", {"job": "fails", "apply": True})


def status(on: Lambdas) -> None:
    """A job that is paused, another that has run, and a minute that home has started."""
    on.put("paused", "fails", PAUSED)
    on.started(PAST)
    held(on, PAST)
    on.invoke("schedules_status", {})


def read_journal(on: Lambdas) -> None:
    """An entry of today."""
    on.drop("paused", "fails")
    on.invoke("schedules_pause", {"job": "fails", "apply": True})
    on.invoke("journal_read", {})


def read_alerts(on: Lambdas) -> None:
    """An alert that is not over."""
    group = AlertGroup(Alert("Missed", "held", "it was not run"), 60)
    on.remember(delivery.PK, "schedules", schema.encode(AlertState({"Missed//held": group}), ALERTS))
    on.invoke("journal_alerts", {})


def resume(on: Lambdas) -> None:
    """A job that is paused."""
    on.put("paused", "fails", PAUSED)
    on.invoke("schedules_resume", {"job": "fails", "apply": True})


def prune(on: Lambdas) -> None:
    """Something to prune."""
    on.put("old", str(next(numbers)), {}, ttl=1)
    on.invoke("schedules_prune", {"apply": True})


def tasks_work(on: Lambdas) -> None:
    """Tasks with a place, with a key, tasks that fail once or for good, and one that sends another."""
    number = next(numbers)
    on.remember("task-permits#fine.placed", "0", schema.encode(Place("somebody", time.time() + 600), PLACE))
    for task, args in (("placed", {}), ("once", {"number": number}), ("once", {"number": number}),
                       ("fails", {"number": number}), ("dies", {}), ("sends", {})):
        on.invoke("tasks_work", on.records("default", {"task": f"fine.{task}", "args": args}))
    again = on.records("default", {"task": "fine.quiet", "args": {}}, received=2)
    on.remember(*message_key(again["Records"][0]["messageId"]), schema.encode(MessageState(1, 1), MESSAGE))
    on.invoke("tasks_work", again)


def peek(on: Lambdas) -> None:
    """A dead letter to look at."""
    on.dead_letter()
    on.invoke("tasks_peek", {})


def redrive(on: Lambdas) -> None:
    """Two dead letters, one of which is brought back."""
    on.dead_letter()
    on.dead_letter()
    on.invoke("tasks_redrive", {"limit": 1, "apply": True})


EXERCISES: dict[str, Exercise] = {
    "schedules_tick": tick, "schedules_reconcile": sweep, "schedules_work": work, "schedules_pause": pause,
    "schedules_resume": resume, "schedules_prune": prune, "tasks_work": tasks_work, "tasks_peek": peek,
    "tasks_redrive": redrive,
    "schedules_status": status,
    "schedules_why": explain,
    "schedules_run": run,
    # It asks for nothing. `test_hostile_jobs` has what its commands ask for.
    "schedules_runner": lambda on: on.invoke("schedules_runner", {
        "kind": "shell", "words": "true", "stdin": "", "environment": {}, "seconds": 9}),
    # So does the runner of tasks. `test_hostile_tasks` has what its tasks ask for.
    "tasks_runner": lambda on: on.invoke("tasks_runner", {"seconds": 60, "may_cut": True, "calls": [
        {"task": "fine.quiet", "body": '{"task": "fine.quiet"}', "id": "m", "attempt": 1, "queue": "default",
         "seconds": 9}]}),
    "tasks_status": lambda on: on.invoke("tasks_status", {}),
    "journal_read": read_journal, "journal_alerts": read_alerts,
}


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambdas]:
    """The real Lambdas and policies with jobs and tasks made for this test, in two regions."""
    project = copy(tmp_path_factory.mktemp("policies"))
    for path in [*(project / "cron").rglob("*"), *(project / "tasks").rglob("*")]:
        if path.is_file():
            path.unlink()
    (project / "cron" / "crontabs" / "made").write_text(CRONTAB)
    (project / "tasks" / "fine.py").write_text(TASKS)
    with Sandbox.start() as world:
        yield Lambdas(world, deploy(world, project))


class TestSchedulesAndTasks(LeastPrivilege):
    prefixes = ("schedules_", "tasks_", "journal_")
    exercises = EXERCISES
    fleet = parse((roots.PRODUCT / "fleet.toml").read_text())
