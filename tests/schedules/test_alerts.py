"""Alerts of jobs: one for each cause, heard within a minute, also when the notice gets lost on its way."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.engine import run as engine
from chalicelib.schedules import operations
from chalicelib.schedules.decide import alerts
from chalicelib.schedules.runners import Attempt, Result, Runners
from chalicelib.schedules.state import Run
from chalicelib.schedules.worker import Executor
from testing.fakes import MemoryTopic, no_fault
from tests.schedules.harness import HOME, NOON, SLOT, STANDBY, Place, handle, job, sweep, tick

DOWN = Result("failed", "connecting ...\ncannot connect to 10.0.0.7:3306 after 12 s", "exit status 1", 1)


class Scripted:
    """A runner that ends each job as its script says, and counts the starts."""

    def __init__(self, ends: Mapping[str, Result]) -> None:
        self.ends = ends
        self.starts: Counter[tuple[str, str]] = Counter()

    def start(self, site: Any, attempt: Attempt) -> Result:
        self.starts[attempt.job.name, attempt.slot] += 1
        return self.ends.get(attempt.job.name, Result("done", exit=0))


def worker(ends: Mapping[str, Result]) -> Any:
    runner = Scripted(ends)
    return operations.work(Executor(lambda: Runners({"lambda": runner}, {})))


def subjects(place: Place, region: str = HOME) -> list[str]:
    """What has gone out, without another delivery."""
    topic = place.sites[region].alerts
    assert isinstance(topic, MemoryTopic)
    return [subject for subject, _ in topic.told]


@pytest.mark.slow
def test_work_with_200_failures_of_one_reason_gives_one_alert_with_count_and_ten_names(tmp_path: Path) -> None:
    jobs = [job(f"jobs/n{number:03d}") for number in range(200)]
    place = Place(tmp_path, jobs)
    work = worker({one.name: Result("failed", f"cannot connect to 10.0.0.{number}:3306", "exit status 1", 1)
                   for number, one in enumerate(jobs)})
    tick(place)
    for message in place.sent("schedule-runs"):
        handle(place, work, message)
    assert subjects(place) == []
    place.now += 60
    tick(place, NOON + 1)
    topic = place.sites[HOME].alerts
    assert isinstance(topic, MemoryTopic)
    [(subject, text)] = topic.told
    assert subject == "Failed: 200 x, first jobs/n000"
    assert len(set(re.findall(r"jobs/n\d+", text.split("It has happened 200 times. ")[1].split("\n")[0]))) == 10


@pytest.mark.slow
def test_work_with_failures_of_one_reason_all_through_ten_minutes_gives_at_most_two_alerts(tmp_path: Path) -> None:
    jobs = [job(f"jobs/n{number}") for number in range(20)]
    place = Place(tmp_path, jobs)
    work = worker(dict.fromkeys((one.name for one in jobs), DOWN))
    for minute in range(11):
        tick(place, NOON + minute)
        for message in place.sent("schedule-runs"):
            handle(place, work, message)
        place.sent("schedule-reconciles")
        place.now += 60
    tick(place, NOON + 11)
    assert len(subjects(place)) <= 2
    assert subjects(place)[-1].startswith("More: Failed: 2")


def test_work_with_failures_of_two_reasons_tells_of_both(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/a"), job("jobs/b")])
    work = worker({"jobs/a": DOWN, "jobs/b": Result("failed", "no such file", "exit status 1", 1)})
    tick(place)
    for message in place.sent("schedule-runs"):
        handle(place, work, message)
    assert sorted(subject for subject, _ in place.told()) == ["Failed: jobs/a", "Failed: jobs/b"]


@pytest.mark.parametrize("region", [HOME, STANDBY])
def test_tick_with_a_lost_publish_is_heard_with_the_next_tick(tmp_path: Path, region: str) -> None:
    place = Place(tmp_path, [job()])
    work = worker({"jobs/one": DOWN})
    tick(place)
    [message] = place.sent("schedule-runs")
    handle(place, work, message, region)
    topic = place.sites[region].alerts
    assert isinstance(topic, MemoryTopic)

    def lost(call: str) -> None:
        raise Unavailable(call)

    topic._fault = lost
    place.now += 60
    tick(place, NOON + 1, region)
    assert subjects(place, region) == []
    topic._fault = no_fault
    place.now += 60
    tick(place, NOON + 2, region)
    assert subjects(place, region) == ["Failed: jobs/one"]
    place.now += 60
    tick(place, NOON + 3, region)
    assert len(subjects(place, region)) == 1


def test_reconcile_in_another_region_does_not_tell_again(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    work = worker({"jobs/one": DOWN})
    for region in (HOME, STANDBY):
        tick(place, region=region)
    [message] = place.sent("schedule-runs")
    handle(place, work, message)
    place.now += 130
    for region in (HOME, STANDBY):
        sweep(place, region)
    assert [subject for subject, _ in place.told(HOME)] == ["Failed: jobs/one"]
    assert place.told(STANDBY) == []


def test_run_ended_says_what_is_wrong_and_what_to_do() -> None:
    run = Run("jobs/one", SLOT, NOON, "timed-out", "due", HOME, "o", 2, 0.0, 0.0, ended=NOON * 60.0, detail="600 s")
    alert = alerts.run_ended(job(), run, "one\ntwo 17")
    assert alert is not None
    assert (alert.kind, alert.target, alert.occurrence, alert.event) == ("JobTimedOut", "jobs/one", SLOT, True)
    assert alert.cause == "# s: two #"
    assert alert.tried == ("Workers started it 2 times.",)
    assert len(alert.steps) == 3
    assert "cron.d/test:3" in alert.problem and "two 17" in alert.problem
    assert alerts.run_ended(job(mailto=""), run) is None


def test_manual_run_that_fails_is_told_too(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(schedule="0 3 * * *")])
    engine.run(operations.RUN, place.sites[HOME], {"job": "jobs/one", "apply": True})
    [message] = place.sent("schedule-runs")
    handle(place, worker({"jobs/one": DOWN}), message)
    assert [subject for subject, _ in place.told()] == ["Failed: jobs/one"]
