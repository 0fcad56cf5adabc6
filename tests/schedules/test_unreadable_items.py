"""Items that cannot be read cost only what they stand for. People are told which they are, and nothing is guessed."""

from pathlib import Path
from typing import Any

import pytest

from chalicelib.schedules import operations
from chalicelib.schedules.runners import Runners
from chalicelib.schedules.state import lock_key, minute_key, pause_key, run_key
from chalicelib.schedules.worker import Executor
from tests.schedules.harness import HOME, NOON, SLOT, STANDBY, Place, ask, handle, job, sweep, tick, why
from tests.schedules.test_alerts import DOWN, Scripted

BEFORE = "2026-03-28T11:59Z"
BODIES: dict[str, Any] = {
    "empty": {}, "before-1.0": {"state": "done", "slot": SLOT}, "newer": {"schema": 99, "phase": {"name": "x"}},
    "wrong types": {"schema": 1, "run_id": "x", "slot": 7, "timetable": [], "state": {}, "since": "x", "output": 1},
    "unknown field": {"schema": 1, "run_id": "x", "lumps": 1},
}
bad_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())


def put(place: Place, key: tuple[str, str], body: dict[str, Any]) -> None:
    assert place.coordination.create(*key, body) is not None


def told(place: Place, region: str = HOME) -> str:
    """The one notice that has gone out."""
    [(subject, text)] = place.told(region)
    assert subject.startswith("UnreadableItem: ")
    assert "aws dynamodb get-item" in text
    return text


@bad_body
def test_tick_with_an_unreadable_minute_before_it_starts_what_is_due(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job("jobs/a"), job("jobs/b"), job("jobs/skip", catch_up="skip")])
    put(place, minute_key(NOON - 1), body)
    tick(place)
    assert len(place.sent("schedule-runs")) == 3
    assert "minutes/" in told(place)


@bad_body
def test_reconcile_of_an_unreadable_minute_looks_after_runs_and_starts_no_others(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    place = Place(tmp_path, [job("jobs/begun"), job("jobs/not-begun")])
    tick(place, region=STANDBY)
    put(place, minute_key(NOON), body)
    put(place, run_key("jobs/begun", SLOT), {
        "schema": 1, "job": "jobs/begun", "slot": SLOT, "minute": NOON, "state": "waiting", "why": "due",
        "region": HOME, "owner": "x", "attempt": 0, "started": place.now, "lease": place.now})
    place.now += 125
    sweep(place, STANDBY)
    assert [message.body for message in place.sent("schedule-runs", STANDBY)] == [
        f'{{"job":"jobs/begun","slot":"{SLOT}","minute":{NOON},"why":"retry"}}']
    assert "minutes/" in told(place, STANDBY)


@bad_body
def test_reconcile_with_an_unreadable_minute_before_takes_over(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job()])
    put(place, minute_key(NOON - 1), body)
    tick(place, region=STANDBY)
    place.now += 125
    sweep(place, STANDBY)
    assert len(place.sent("schedule-runs", STANDBY)) == 1
    assert "minutes/" in told(place, STANDBY)


@bad_body
def test_work_with_an_unreadable_run_does_not_start_it(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job("jobs/bad"), job("jobs/good")])
    tick(place)
    put(place, run_key("jobs/bad", SLOT), body)
    runner, _ = started(place)
    assert runner.starts == {("jobs/good", SLOT): 1}
    assert "run#jobs/bad" in told(place)
    # The reconcile leaves it alone as well, and comes back in case it is mended.
    place.now += 61
    sweep(place)
    assert place.sent("schedule-runs") == []
    assert len(place.sent("schedule-reconciles")) == 1


@bad_body
def test_work_with_an_unreadable_lock_does_not_start_its_job(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job("jobs/single", overlap="skip"), job("jobs/good")])
    tick(place)
    put(place, lock_key("jobs/single"), body)
    runner, work = started(place)
    assert runner.starts == {("jobs/good", SLOT): 1}
    assert "lock/jobs/single" in told(place)
    # Once it is mended the reconcile sees to it that the slot runs.
    item = place.coordination.get(*lock_key("jobs/single"))
    assert item is not None
    place.coordination.delete(item)
    place.now += 61
    sweep(place)
    [message] = place.sent("schedule-runs")
    handle(place, work, message)
    assert runner.starts["jobs/single", SLOT] == 1


@bad_body
def test_work_with_an_unreadable_run_behind_the_lock_keeps_the_lock(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job("jobs/single", overlap="skip")])
    put(place, lock_key("jobs/single"), {"schema": 1, "slot": BEFORE, "minute": NOON - 1, "owner": "x",
                                         "lease": place.now + 600})
    put(place, run_key("jobs/single", BEFORE), body)
    tick(place)
    runner, _ = started(place)
    assert runner.starts == {}
    assert place.run("jobs/single", SLOT)["state"] == "overlapped"


@bad_body
def test_tick_with_an_unreadable_pause_holds_that_job_and_starts_the_others(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    place = Place(tmp_path, [job("jobs/held"), job("jobs/good")])
    put(place, pause_key("jobs/held"), body)
    tick(place)
    runner, _ = started(place)
    assert runner.starts == {("jobs/good", SLOT): 1}
    assert "paused/jobs/held" in told(place)


@bad_body
def test_work_that_ends_while_its_lock_became_unreadable_ends(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job("jobs/single", overlap="skip")])
    tick(place)

    def spoil(site: Any, attempt: Any) -> Any:
        lock = place.coordination.get(*lock_key("jobs/single"))
        assert lock is not None
        place.coordination.compare_and_set(lock, body)
        return DOWN

    [message] = place.sent("schedule-runs")
    runner = Scripted({})
    runner.start = spoil  # type: ignore[method-assign]
    work = operations.work(Executor(lambda: Runners({"lambda": runner}, {})))
    handle(place, work, message)
    assert place.run("jobs/single", SLOT)["state"] == "failed"


@bad_body
def test_explain_with_an_unreadable_run_or_minute_does_not_guess(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job()])
    put(place, run_key("jobs/one", SLOT), body)
    place.now += 60
    assert why(place, "jobs/one", NOON)[0] == "unreadable"
    put(place, minute_key(NOON - 5), body)
    answer, sentence = why(place, "jobs/one", NOON - 5)
    assert answer == "unreadable" and "minutes/" in sentence


@bad_body
def test_explain_and_status_with_unreadable_items_go_on_and_name_them(tmp_path: Path, body: dict[str, Any]) -> None:
    place = Place(tmp_path, [job(), job("jobs/two")])
    tick(place)
    started(place)
    assert place.sites[HOME].local_store.create("output#jobs/one", f"{SLOT}#2", body) is not None
    put(place, run_key("jobs/two", "2026-03-28T12:01Z"), body)
    put(place, pause_key("jobs/two"), body)
    put(place, minute_key(NOON + 1), body)
    place.now += 120
    asked = ask(place, operations.WHY, job="jobs/one", time=SLOT)["plan"]["report"]
    assert asked["answer"] == "ran" and len(asked["unreadable"]) == 1
    status = ask(place, operations.STATUS)["plan"]["report"]
    assert [entry["last"]["state"] for entry in status["jobs"]] == ["done", "done"]
    assert len(status["unreadable"]) == 3
    assert ask(place, operations.RESUME, job="jobs/two", apply=True)["status"] == "done"


def started(place: Place) -> tuple[Scripted, Any]:
    """Works off what was sent to the workers."""
    runner = Scripted({})
    work = operations.work(Executor(lambda: Runners({"lambda": runner}, {})))
    for message in place.sent("schedule-runs"):
        handle(place, work, message)
    return runner, work
