"""The permissions of the Lambdas of schedules and tasks: none missing, none superfluous."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from chalicelib.config.fleet import parse
from chalicelib.schedules.state import NEWEST_KEY, lock_key
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


def run_of(job: str) -> dict[str, Any]:
    """A message for `schedules.work`."""
    return {"job": job, "slot": f"manual#{next(numbers)}", "minute": 1, "why": "manual"}


def slot(minute: int) -> str:
    """The name of the slot of this minute."""
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%H:%MZ}"


def held(on: Lambdas, minute: int) -> None:
    """The job `held` is paused, and its run of the minute waits, so that it is not only to be left out but ended."""
    on.put("paused", "held", {"since": 1, "reason": "test", "schema": 1})
    on.put("run#held", slot(minute), {
        "job": "held", "slot": slot(minute), "minute": minute, "state": "waiting", "why": "due", "region": HOME,
        "owner": "test", "attempt": 0, "started": minute * 60, "lease": 0, "schema": 1})


def tick(on: Lambdas) -> None:
    """A minute with jobs due, after a gap in which runs were lost. A rule's event is believed for a day."""
    minute = HOUR - 60 * next(ticks)
    on.drop(*NEWEST_KEY, table="")  # each minute here lies before the one of the last exercise
    on.started(minute - 50)
    held(on, minute)
    at = datetime.fromtimestamp(minute * 60, UTC).isoformat()
    on.invoke("schedules_tick", {"detail-type": "Scheduled Event", "time": at})


def sweep(on: Lambdas) -> None:
    """A standby finds a minute that home has not started, after one that it had."""
    minute = FAR + 1440 * next(numbers)
    on.started(minute - 720)
    held(on, minute)
    batch = on.records("schedule-reconciles", {"minute": minute}, region=STANDBY)
    on.invoke("schedules_reconcile", batch, STANDBY)


def work(on: Lambdas) -> None:
    """Runs that fail, are tried again, lock, go by message, are of an unknown job or not due, and a dead worker's."""
    on.drop(*lock_key("single"))  # left behind when it might not be deleted
    jobs = ("fails", "retried", "single", "queued", "unknown")
    not_due, dead = run_of("fails") | {"why": "due"}, run_of("fails") | {"why": "due", "slot": slot(next(numbers))}
    on.put("run#fails", dead["slot"], {
        "job": "fails", "slot": dead["slot"], "minute": 1, "state": "running", "why": "due", "region": HOME,
        "owner": "test", "attempt": 9, "started": 60, "lease": 120, "schema": 1})
    on.invoke("schedules_work", on.records("schedule-runs", *map(run_of, jobs), not_due, dead))


def explain(on: Lambdas) -> None:
    """A minute whose run has printed something, and one without a run."""
    minute = PAST + next(numbers)
    on.invoke("schedules_work", on.records("schedule-runs", run_of("fails") | {"minute": minute, "slot": slot(minute)}))
    for asked in (slot(minute), "2026-01-01T00:00Z"):
        on.invoke("schedules_why", {"job": "fails", "time": asked})


def pause(on: Lambdas) -> None:
    """A job that is not paused."""
    on.drop("paused", "fails")
    on.invoke("schedules_pause", {"job": "fails", "apply": True})


def resume(on: Lambdas) -> None:
    """A job that is paused."""
    on.put("paused", "fails", {"since": 1, "reason": "test", "schema": 1})
    on.invoke("schedules_resume", {"job": "fails", "apply": True})


def prune(on: Lambdas) -> None:
    """Something to prune."""
    on.put("old", str(next(numbers)), {}, ttl=1)
    on.invoke("schedules_prune", {"apply": True})


def tasks_work(on: Lambdas) -> None:
    """Tasks with a place, with a key, tasks that fail once or for good, and one that sends another."""
    number = next(numbers)
    for task, args in (("placed", {}), ("once", {"number": number}), ("once", {"number": number}),
                       ("fails", {"number": number}), ("dies", {}), ("sends", {})):
        on.invoke("tasks_work", on.records("default", {"task": f"fine.{task}", "args": args}))
    on.invoke("tasks_work", on.records("default", {"task": "fine.quiet", "args": {}}, received=2))


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
    "schedules_status": lambda on: on.invoke("schedules_status", {}),
    "schedules_why": explain,
    "schedules_run": lambda on: on.invoke("schedules_run", {"job": "fails", "apply": True}),
    # It asks for nothing. `test_hostile_jobs` has what its commands ask for.
    "schedules_runner": lambda on: on.invoke("schedules_runner", {
        "kind": "shell", "words": "true", "stdin": "", "environment": {}, "seconds": 9}),
    # So does the runner of tasks. `test_hostile_tasks` has what its tasks ask for.
    "tasks_runner": lambda on: on.invoke("tasks_runner", {"seconds": 60, "may_cut": True, "calls": [
        {"task": "fine.quiet", "body": '{"task": "fine.quiet"}', "id": "m", "attempt": 1, "queue": "default",
         "seconds": 9}]}),
    "tasks_status": lambda on: on.invoke("tasks_status", {}),
    "journal_read": lambda on: on.invoke("journal_read", {}),
    "journal_alerts": lambda on: on.invoke("journal_alerts", {}),
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
