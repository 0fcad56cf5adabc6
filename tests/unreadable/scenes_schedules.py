"""Worlds in which the operations of schedules, of the journal and of tasks find each kind of item that they read."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.aws import client
from chalicelib.aws.client import Message
from chalicelib.engine import delivery, schema
from chalicelib.engine.alerts import Alert
from chalicelib.engine.journal import SCHEMA as JOURNAL
from chalicelib.engine.journal import JournalEntry
from chalicelib.engine.lease import PLACE, Place
from chalicelib.journal import operations as journal
from chalicelib.schedules import operations, release, starting
from chalicelib.schedules.published import ALERTS
from chalicelib.schedules.runners import Runners
from chalicelib.schedules.state import (
    LOCK,
    MINUTE,
    NEWEST,
    NEWEST_KEY,
    OUTPUT,
    PAUSE,
    RUN,
    TAKEN_ALERT,
    Lock,
    MinuteRecord,
    NewestMinute,
    Output,
    Pause,
    Run,
    RunRequest,
    TakenAlert,
    lock_key,
    minute_key,
    output_key,
    pause_key,
    run_key,
    taken_alert_key,
)
from chalicelib.schedules.worker import Executor
from chalicelib.tasks.state import MESSAGE, MessageState, message_key
from testing.alerts import ORIGIN
from testing.fakes import MemoryQueue, MemoryTable, MemoryTopic
from tests.schedules import harness as schedules
from tests.schedules.harness import HOME, NOON, SLOT, STANDBY
from tests.schedules.harness import Place as Region
from tests.schedules.test_alerts import Scripted
from tests.tasks.fakes import SqsClient, record
from tests.tasks.harness import NOW, Workshop, body
from tests.unreadable.stage import Scene, Stage, Tools, remember_alert

_A_DAY = 86_400


def _put(table: Any, key: tuple[str, str], value: Any, shape: schema.Schema[Any], ttl: int | None = None) -> None:
    assert table.create(*key, schema.encode(value, shape, run_id="earlier"), ttl=ttl)


def _run(job: str, slot: str, minute: int, state: Any, **more: Any) -> Run:
    return Run(job, slot, minute, state, "due", HOME, "earlier", 1, minute * 60.0, minute * 60.0, **more)


def _region(tools: Tools) -> Region:
    """Two jobs that are due each minute, one that must not overlap, and two that are paused, since a while."""
    place = Region(tools.folder, [
        schedules.job("jobs/a"), schedules.job("jobs/b"), schedules.job("jobs/single", overlap="skip"),
        schedules.job("jobs/held"), schedules.job("jobs/held-too"), schedules.job("jobs/never", "0 0 30 2 *")])
    table = place.coordination
    for name in ("jobs/held", "jobs/held-too"):
        _put(table, pause_key(name), Pause(1, "test"), PAUSE)
    # A run of this minute waits, so that it is to be set aside now.
    _put(table, run_key("jobs/held", SLOT), _run("jobs/held", SLOT, NOON, "waiting"), RUN)
    _put(table, minute_key(NOON - 8), MinuteRecord("earlier", "0", HOME, NOON - 8), MINUTE)
    for region in (HOME, STANDBY):
        local = place.sites[region].local_store
        assert isinstance(local, MemoryTable)
        _put(local, NEWEST_KEY, NewestMinute(NOON - 8), NEWEST)
        remember_alert(local, ALERTS)
        delivery.report_event(local, ALERTS, Alert("Failed", "jobs/old", "It failed.", event=True), NOON * 60)
    return place


def _stage(place: Region, run: Any, region: str = HOME) -> Stage:
    local = place.sites[region].local_store
    assert isinstance(local, MemoryTable)
    return Stage({"shared": place.coordination.store, "local": local.store}, run, lambda: place.told(region),
                 lambda: _sent(place, region))


def _sent(place: Region, region: str) -> Iterator[str]:
    for name, queue in place.sites[region].queues.items():
        assert isinstance(queue, MemoryQueue)
        for message in queue.sent:
            said = json.loads(message.body)
            yield f"sends {name} {said.get('job', said.get('minute'))} {said.get('slot', '')}"


def _tick(tools: Tools) -> Stage:
    place = _region(tools)
    # Another region has taken on what the gap is about.
    for item in _alerts_of(tools.folder):
        _put(place.coordination, item, TakenAlert("Sample", "sample"), TAKEN_ALERT)
    return _stage(place, lambda: schedules.tick(place))


@cache
def _alerts_of(folder: Path) -> Iterable[tuple[str, str]]:
    """The keys of the alerts that a first tick takes on, from a world of its own."""
    place = _region(Tools(folder, pytest.MonkeyPatch()))
    schedules.tick(place)
    return [key for key in place.coordination.store.items if key[0] == "taken-alert"]


def _reconcile(tools: Tools) -> Stage:
    """Home has started nothing of this minute."""
    place = _region(tools)
    ended = _run("jobs/b", SLOT, NOON, "failed", ended=NOON * 60.0 + 1, exit=1)
    _put(place.coordination, run_key("jobs/b", SLOT), ended, RUN)
    place.now += 125
    return _stage(place, lambda: _swept(place), STANDBY)


def _swept(place: Region) -> Any:
    schedules.tick(place, region=STANDBY)
    [message] = place.sent("schedule-reconciles", STANDBY)
    return schedules.handle(place, starting.SWEEP, message, STANDBY)


def _reconcile_again(tools: Tools) -> Stage:
    """Home has begun the minute, and its alerts have been taken on."""
    place = _region(tools)
    schedules.tick(place)
    place.sent("schedule-runs")
    [message] = place.sent("schedule-reconciles")
    ended = _run("jobs/b", SLOT, NOON, "failed", ended=NOON * 60.0 + 1, exit=1)
    _put(place.coordination, run_key("jobs/b", SLOT), ended, RUN)
    _put(place.coordination, taken_alert_key(f"Failed#jobs/b#{SLOT}"), TakenAlert("Failed", "jobs/b"), TAKEN_ALERT)
    place.now += 65
    return _stage(place, lambda: schedules.handle(place, starting.SWEEP, message))


def _work(tools: Tools) -> Stage:
    """A job that runs, one behind a lock whose holder has ended, one that is paused, and one that died too often."""
    place = _region(tools)
    schedules.tick(place)
    messages, runner = place.sent("schedule-runs"), Scripted({})
    work = operations.work(Executor(lambda: Runners({"lambda": runner}, {})))
    before = "2026-03-28T11:59Z"
    _put(place.coordination, lock_key("jobs/single"), Lock(before, NOON - 1, "earlier", place.now + 600), LOCK)
    _put(place.coordination, run_key("jobs/single", before), _run("jobs/single", before, NOON - 1, "done"), RUN)
    died = _run("jobs/b", SLOT, NOON, "running")
    _put(place.coordination, run_key("jobs/b", SLOT), died, RUN)
    place.now += 600

    # A run of no slot of this release, of which people have heard.
    odd = RunRequest("jobs/a", "2026-03-28T11:58:30Z", NOON)
    messages = [*messages, Message(msgspec.json.encode(odd).decode()),
                Message(msgspec.json.encode(RunRequest("jobs/held", SLOT, NOON)).decode())]
    _put(place.coordination, taken_alert_key(f"JobNotInTimetable#jobs/a#{odd.slot}"),
         TakenAlert("JobNotInTimetable", "jobs/a"), TAKEN_ALERT)

    def run() -> Any:
        return {"batchItemFailures": [failed for message in messages for failed in
                                      schedules.handle(place, work, message, received=2)["batchItemFailures"]]}

    stage = _stage(place, run)
    return Stage(stage.tables, run, stage.told, lambda: [f"starts {job}" for job, _ in runner.starts])


def _known(tools: Tools) -> Region:
    """A job that has run, and has printed something."""
    place = _region(tools)
    _put(place.coordination, minute_key(NOON), MinuteRecord("earlier", "0", HOME, NOON), MINUTE)
    _put(place.coordination, run_key("jobs/a", SLOT), _run("jobs/a", SLOT, NOON, "done", ended=NOON * 60.0 + 1), RUN)
    _put(place.sites[HOME].local_store, output_key("jobs/a", SLOT, 1), Output("hello"), OUTPUT)
    _put(place.coordination, pause_key("jobs/a"), Pause(1, "test"), PAUSE)
    # In this minute it was paused.
    _put(place.coordination, minute_key(NOON + 1), MinuteRecord(
        release.timetable(tools.folder).digest, "ff", HOME, NOON + 1), MINUTE)
    place.now += 320
    return place


def _asked(operation: Any, **event: Any) -> Any:
    def make(tools: Tools) -> Stage:
        place = _known(tools)
        return _stage(place, lambda: schedules.ask(place, operation, **event))
    return make


def _prune(tools: Tools) -> Stage:
    place = _region(tools)
    for number in range(3):
        _put(place.coordination, ("run#jobs/old", f"{number}"), _run("jobs/old", f"{number}", 1, "done"), RUN, ttl=60)
    return _stage(place, lambda: schedules.ask(place, operations.PRUNE, apply=True))


def _journal(operation: str) -> Any:
    def make(tools: Tools) -> Stage:
        place = _region(tools)
        for number in range(2):
            _put(place.sites[HOME].local_store, ("journal#2026-03-28", f"11:59:00#{number}#x"),
                 JournalEntry("schedules.pause", HOME, "manual", "r", "", 0, ()), JOURNAL)
        [found] = [each for each in journal.ALL if each.name == operation]
        return _stage(place, lambda: schedules.ask(place, found))
    return make


def _tasks(tools: Tools) -> Stage:
    """A message that came before, one of a task with places, of which one is taken, and one that is new."""
    sqs, capsys = SqsClient(), pytest.MonkeyPatch
    tools.monkeypatch.setattr(client, "client", lambda service, region: sqs)
    shop = Workshop(sqs, capsys)  # type: ignore[arg-type]
    shop.task("t.note", shop.note)
    shop.task("t.placed", shop.note, concurrency=2)
    _put(shop.table, message_key("m1"), MessageState(1, 1), MESSAGE)
    _put(shop.table, ("task-permits#t.placed", "0000"), Place("another", NOW + 600), PLACE)
    topic = MemoryTopic()

    def told() -> list[tuple[str, str]]:
        delivery.deliver(shop.table, topic, ALERTS, (), NOW, origin=ORIGIN, events=True)
        return topic.told

    return Stage({"local": shop.table.store}, lambda: {"batchItemFailures": shop.work(
        record(body(n=1), 1, receives=2), record(body("t.placed", n=2), 2), record(body(n=3), 3))},
        told, lambda: [f"runs {call['n']}" for call in shop.calls])


# That somebody has paused a job, or taken an alert on, is said by the item's key.
_PAUSED, _TAKEN = ("shared paused/*",), ("shared taken-alert/*",)
SCENES = (
    Scene("schedules.tick", "after a gap", _tick, counted=_TAKEN),
    # Who had the jobs before, and whether the release is another one, the record of the last minute says.
    Scene("schedules.reconcile", "a standby takes over", _reconcile, counted=_TAKEN, depends={
        "shared minutes/*": ("shared taken-alert/never#*", "shared taken-alert/takeover#*"),
        "shared run#jobs/b/*": ("shared taken-alert/Failed#jobs/b#*",)}),
    # Which jobs were due, the record of the minute says. A run of an unreadable minute that has begun is looked after.
    Scene("schedules.reconcile", "home looks after its own", _reconcile_again, counted=_TAKEN, depends={
        f"shared minutes/*{NOON}": ("sends schedule-runs *",),
        "shared run#jobs/b/*": ("shared taken-alert/Failed#*",)}),
    # Whether a run of the job is under way, its lock and the run behind it say.
    Scene("schedules.work", "a lock, a pause, and a dead worker", _work, counted=(*_PAUSED, *_TAKEN), depends={
        "shared lock/jobs/single": ("starts jobs/single", "shared run#jobs/single/*"),
        "shared run#jobs/single/*": ("starts jobs/single", "shared lock/jobs/single"),
        "shared run#jobs/b/*": ("starts jobs/b",)}),
    Scene("schedules.status", "of all", _asked(operations.STATUS), by_hand=True),
    Scene("schedules.why", "a minute that ran", _asked(operations.WHY, job="jobs/a", time=SLOT), by_hand=True),
    Scene("schedules.why", "a minute in a gap", _asked(operations.WHY, job="jobs/a", time="2026-03-28T11:30Z"),
          by_hand=True),
    Scene("schedules.why", "a minute in which it was paused",
          _asked(operations.WHY, job="jobs/a", time="2026-03-28T12:01Z"), by_hand=True),
    Scene("schedules.pause", "again", _asked(operations.PAUSE, job="jobs/a", apply=True), counted=_PAUSED),
    Scene("schedules.resume", "a paused job", _asked(operations.RESUME, job="jobs/a", apply=True), counted=_PAUSED),
    Scene("schedules.run", "a paused job", _asked(operations.RUN, job="jobs/a", apply=True), counted=_PAUSED),
    # What is over its time goes, whatever it says.
    Scene("schedules.prune", "old runs", _prune, counted=("shared *",)),
    Scene("journal.read", "of a day", _journal("journal.read"), by_hand=True),
    Scene("journal.alerts", "of a region", _journal("journal.alerts"), by_hand=True),
    Scene("tasks.work", "counters and permits", _tasks, depends={"local task-message#m1/*": ("runs 1",)}),
)
