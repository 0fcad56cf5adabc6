"""Tick, sweep, work and the rest, joined as in production, over tables and queues in memory and real processes."""

import copy
import json
import math
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.aws.client import Message, Unavailable
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Request, RunFailed
from chalicelib.schedules import operations, queries, starting
from chalicelib.schedules.state import minute_key
from testing.fakes import MemoryTable
from tests.schedules.harness import FLEET, HOME, NOON, SLOT, STANDBY, Place, ask, handle, job, sweep, tick, why, work


def test_a_due_job_runs_and_its_story_is_written(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command="echo $LAMP_JOB for $LAMP_SLOT; pwd", env={"SHELL": "/bin/sh", "HOME": "/"})])
    tick(place)
    work(place)
    run = place.run("jobs/one", SLOT)
    assert (run["state"], run["exit"], run["region"]) == ("done", 0, HOME)
    output = place.sites[HOME].local_store.get("output#jobs/one", f"{SLOT}#1")
    assert output is not None
    assert output.body["output"] == f"jobs/one for {SLOT}\n/\n"
    report = ask(place, operations.WHY, job="jobs/one", time=SLOT)["plan"]["report"]
    assert (report["answer"], report["output"]) == ("ran", f"jobs/one for {SLOT}\n/\n")


def test_a_minute_without_due_work_costs_one_write_and_one_message_a_region(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(schedule="0 3 * * *")])
    calls: list[str] = []
    place.coordination._fault = calls.append
    for region in place.sites:
        tick(place, region=region)
        [message] = place.sent("schedule-reconciles", region)
        handle(place, starting.SWEEP, message, region)
        assert place.sent("schedule-reconciles", region) == place.sent("schedule-runs", region) == []
    writes = [call for call in calls if call not in ("get", "get_many", "query")]
    assert writes == ["create", "create"]  # one call, told before and after


def test_two_workers_and_two_ticks_run_it_once(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command=f"echo x >> {tmp_path}/ran")])
    tick(place)
    tick(place)
    work(place)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_the_standby_does_what_home_left_undone_and_nothing_more(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/one"), job("jobs/two", command="echo two")])
    tick(place)
    tick(place, region=STANDBY)
    first = place.sent("schedule-runs")[0]
    handle(place, operations.WORK, first)
    place.now += 125
    sweep(place, STANDBY)
    [left] = place.sent("schedule-runs", STANDBY)
    assert msgspec.json.decode(left.body)["why"] == "late"
    handle(place, operations.WORK, left, STANDBY)
    assert {place.run(name, SLOT)["region"] for name in ("jobs/one", "jobs/two")} == {HOME, STANDBY}


def test_a_silent_home_is_stood_in_for_and_people_are_told_once(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    tick(place, NOON - 1)
    for minute in (NOON, NOON + 1):
        tick(place, minute, STANDBY)
    place.now += 180
    sweep(place, STANDBY)
    work(place, STANDBY)
    assert place.run("jobs/one", SLOT)["region"] == STANDBY
    assert [subject for subject, _ in place.told(STANDBY)] == ["RegionTakeover: us-east-1 takes over"]
    assert why(place, "jobs/one", NOON)[0] == "late"


def test_after_an_outage_each_policy_catches_up_as_it_says(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/usual"), job("jobs/skip", catch_up="skip"), job("jobs/one", catch_up="one"),
                             job("jobs/all", catch_up="all"), job("jobs/2m", catch_up="2m")])
    tick(place, NOON - 31)
    tick(place)
    counts: dict[str, int] = {}
    for message in place.sent("schedule-runs"):
        message = msgspec.json.decode(message.body)
        if message.get("why") == "caught up":
            counts[message["job"]] = counts.get(message["job"], 0) + 1
    assert counts == {"jobs/usual": 5, "jobs/one": 1, "jobs/all": 30, "jobs/2m": 2}
    assert "runs are lost" in place.told()[-1][1]
    place.now += 1
    assert why(place, "jobs/skip", NOON - 10)[0] == "missed"
    assert why(place, "jobs/one", NOON - 10)[0] == "coalesced"


def hours(place: Place, minutes: range, *, standby: bool = True) -> None:
    """The minutes as home's tick, its workers and, two minutes later, the standby live them."""
    for minute in minutes:
        place.now = minute * 60.0 + 1
        tick(place, minute)
        work(place)
        place.now += 1
        tick(place, minute, STANDBY)
        if standby:
            sweep(place, STANDBY)
            work(place, STANDBY)
            sweep(place)
            work(place)


def starts(place: Place) -> dict[str, int]:
    """How often each run of the table was started, by slot."""
    return {sk: item.body["attempt"] for (pk, sk), (item, _, _) in place.coordination.store.items.items()
            if pk.startswith("run#")}


@pytest.mark.slow
def test_what_ran_does_not_run_again_after_the_coordination_table_was_restored(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/all", "*/5 * * * *", catch_up="all"),
                             job("jobs/one", "*/5 * * * *", catch_up="one")])
    hours(place, range(NOON, NOON + 11))
    backup = copy.deepcopy(place.coordination.store.items)
    hours(place, range(NOON + 11, NOON + 60))
    # The reminders of these minutes are still under way when the table goes back.
    hours(place, range(NOON + 60, NOON + 62), standby=False)
    late = {region: place.sent("schedule-reconciles", region) for region in (HOME, STANDBY)}
    assert all(late.values())
    place.coordination.store.restore(backup)
    before = starts(place)
    assert place.told() == []

    for message in late[HOME]:
        handle(place, starting.SWEEP, message)
    hours(place, range(NOON + 62, NOON + 64), standby=False)
    # The standby has not seen the last minutes itself, but the record of home's first tick says that they were started.
    for message in late[STANDBY]:
        handle(place, starting.SWEEP, message, STANDBY)
    assert place.sent("schedule-runs", HOME) == place.sent("schedule-runs", STANDBY) == []
    assert starts(place) == before
    assert [subject for subject, _ in place.told()] == ["ScheduleRecordsGone: records from 2026-03-28 12:11 on"]
    hours(place, range(NOON + 64, NOON + 66))
    assert starts(place) == before | {"2026-03-28T13:05Z": 1}
    assert len(place.told()) == 1


def test_a_request_that_comes_again_after_the_table_was_restored_starts_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command=f"echo x >> {tmp_path}/ran")])
    backup = copy.deepcopy(place.coordination.store.items)
    tick(place)
    [message] = place.sent("schedule-runs")
    handle(place, operations.WORK, message)
    place.coordination.store.restore(backup)
    for received in (2, 3):
        handle(place, operations.WORK, message, received=received)
    run = msgspec.json.decode(message.body)
    for more in ({"why": "retry"}, {"why": "follow-up", "remote_id": "i-1"}):
        handle(place, operations.WORK, Message(json.dumps(run | more)))
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_standby_that_sees_a_restored_table_waits_for_home_before_it_starts_what_it_has_not_seen(
    tmp_path: Path
) -> None:
    place = Place(tmp_path, [job()])
    hours(place, range(NOON, NOON + 3))
    backup = copy.deepcopy(place.coordination.store.items)
    hours(place, range(NOON + 3, NOON + 8))
    # The standby has seen none of the last minutes.
    hours(place, range(NOON + 8, NOON + 10), standby=False)
    late = place.sent("schedule-reconciles", STANDBY)
    place.coordination.store.restore(backup)
    for message in late:
        handle(place, starting.SWEEP, message, STANDBY)
    assert place.sent("schedule-runs", STANDBY) == []
    # Home has died in that very moment: nobody else tells, and the standby starts them late.
    for _ in range(2):
        place.now += 240
        for message in place.sent("schedule-reconciles", STANDBY):
            handle(place, starting.SWEEP, message, STANDBY)
    assert len(place.sent("schedule-runs", STANDBY)) > 0


@pytest.mark.parametrize("answers", [True, False])
def test_a_gap_in_which_nobody_ran_is_caught_up_whatever_a_region_remembers(
    tmp_path: Path, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, [job("jobs/all", "*/5 * * * *", catch_up="all")])
    hours(place, range(NOON, NOON + 11))
    local = place.sites[HOME].local_store
    assert isinstance(local, MemoryTable)
    if not answers:
        once = iter([Unavailable("the region's own table does not answer")])

        def away(call: str) -> None:
            for error in once:
                raise error

        monkeypatch.setattr(local, "_fault", away)
    place.now = (NOON + 30) * 60 + 1.0
    tick(place, NOON + 30)
    work(place)
    assert {"2026-03-28T12:15Z", "2026-03-28T12:20Z", "2026-03-28T12:25Z", "2026-03-28T12:30Z"} <= set(starts(place))
    assert place.told() == []


def test_a_standby_that_takes_minutes_over_in_another_order_starts_each(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/each", "* * * * *", catch_up="skip")])
    hours(place, range(NOON, NOON + 3))
    for minute in range(NOON + 3, NOON + 8):  # home is dead
        place.now = minute * 60.0 + 2
        tick(place, minute, STANDBY)
    place.now += 200
    for message in reversed(place.sent("schedule-reconciles", STANDBY)):
        handle(place, starting.SWEEP, message, STANDBY)
        work(place, STANDBY)
    assert {f"2026-03-28T12:{minute:02}Z" for minute in range(3, 8)} <= set(starts(place))


def test_what_a_standby_may_still_start_is_not_called_missed(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/skip", catch_up="skip")])
    tick(place, NOON - 6)
    tick(place)
    assert place.told() == []
    place.sent("schedule-runs")
    place.now += 420
    tick(place, NOON + 7)
    assert "1 runs are lost" in place.told()[-1][1]


def test_a_gap_that_nobody_made_up_for_is_told_of_when_the_standbys_turns_are_over(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/skip", catch_up="skip")])
    tick(place, NOON - 4)
    tick(place)
    for _ in range(10):
        place.now += 60
        sweep(place)
    [text] = [text for subject, text in place.told() if "missed since" in subject]
    assert "3 runs" in text


def test_a_job_renamed_by_a_release_does_not_run_again_for_a_minute_that_was_started(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    old, new = Place(before, [job("jobs/old"), job("jobs/same")]), Place(after, [job("jobs/new"), job("jobs/same")])
    tick(old)
    item = old.coordination.get(*minute_key(NOON))
    assert item is not None
    new.coordination.create(item.pk, item.sk, item.body)
    handle(new, starting.SWEEP, Message(json.dumps({"minute": NOON})), STANDBY)
    assert [json.loads(message.body)["job"] for message in new.sent("schedule-runs", STANDBY)] == ["jobs/same"]


def test_a_standby_tells_of_jobs_that_never_run_when_it_has_a_releases_first_minute(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/never", schedule="0 0 30 2 *")])
    tick(place, region=STANDBY)
    place.now += 125
    sweep(place, STANDBY)
    assert [subject for subject, _ in place.told(STANDBY)] == ["JobNeverDue: never runs"]


def test_pruning_goes_page_by_page_and_takes_turns(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    hours = [f"2026-03-{day}T{hour:02d}:00:00Z" for day in (28, 29, 30) for hour in range(24)]
    pruned = {region: 0 for region in place.sites}
    for region, site in place.sites.items():
        for time in hours:
            place.now = datetime.fromisoformat(time).timestamp()
            answer = engine.run(operations.PRUNE, site, {"detail-type": "Scheduled Event", "time": time})
            pruned[region] += len(answer.get("results", ()))
    assert pruned == dict.fromkeys(place.sites, 24)


def test_pause_resume_and_run_are_planned_first_and_journalled(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    assert ask(place, operations.PAUSE, job="jobs/one")["status"] == "planned"
    assert ask(place, operations.PAUSE, job="one", reason="moving house", apply=True)["status"] == "done"
    tick(place)
    assert place.sent("schedule-runs") == []
    assert why(place, "jobs/one", NOON)[0] == "paused"
    assert ask(place, operations.RUN, job="jobs/one", apply=True)["status"] == "done"
    work(place)
    assert why(place, "jobs/one", NOON)[0] == "paused"
    assert ask(place, operations.RESUME, job="jobs/one", apply=True)["results"] == ("jobs/one: resumed",)
    journal = place.sites[HOME].local_store.query("journal#2026-03-28")
    assert {entry.body["operation"] for entry in journal} == {"schedules.pause", "schedules.run", "schedules.resume"}
    reasons = {action["kind"]: action["reason"] for entry in journal for action in entry.body["actions"]}
    # A person who gave no reason is not given one.
    assert reasons == {"pause": "moving house", "enqueue": "no reason given", "resume": "no reason given"}


def test_an_unknown_job_is_refused_with_a_hint(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("backup/nightly")])
    answer = ask(place, operations.PAUSE, job="nightl")
    assert answer["status"] == "refused"
    assert "backup/nightly" in answer["message"]


def test_status_tells_last_run_and_next_fire(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(schedule="*/5 * * * *"), job("jobs/never", schedule="0 0 30 2 *")])
    tick(place)
    work(place)
    report = ask(place, operations.STATUS)["plan"]["report"]
    by_name = {entry["job"]: entry for entry in report["jobs"]}
    assert by_name["jobs/one"]["last"]["state"] == "done"
    assert by_name["jobs/one"]["next"] == "2026-03-28T12:05Z"
    assert by_name["jobs/never"]["next"] is None
    assert report["last_minute"] == {"minute": "2026-03-28T12:00Z", "region": HOME}


class FarTable:
    """A coordination table whose answers to reads of runs wait until so many are asked for at once."""

    def __init__(self, table: Any, at_once: int) -> None:
        self._table, self._together, self.rounds = table, threading.Barrier(at_once, self._next), 0

    def _next(self) -> None:
        self.rounds += 1

    def query(self, pk: str, **asked: Any) -> Any:
        if pk.startswith("run#"):
            self._together.wait(60)
        return self._table.query(pk, **asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


def test_status_of_ten_thousand_jobs_is_a_few_reads_after_one_another(tmp_path: Path) -> None:
    """From a region 250 ms away: 79 rounds of reads take 20 s of the 30 s."""
    rounds = 3
    place = Place(tmp_path, [job(f"jobs/{number}") for number in range(rounds * queries.AT_ONCE)])
    site = place.sites[HOME]
    far = FarTable(site.shared_store, queries.AT_ONCE)
    request = Request("manual", int(place.now), queries.StatusAsked(), apply=False)
    seen = queries.status(msgspec.structs.replace(site, shared_store=far), request)
    assert far.rounds == rounds and len(seen.report["jobs"]) == rounds * queries.AT_ONCE
    assert math.ceil(10_000 / queries.AT_ONCE) * 0.25 < 20


def test_what_outlived_its_ttl_is_pruned(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    tick(place)
    work(place)
    place.now += FLEET.schedules.retention + 60
    ask(place, operations.PRUNE, apply=True)
    assert place.coordination.get("run#jobs/one", SLOT) is None


@pytest.mark.slow
@pytest.mark.parametrize("operation", operations.ALL, ids=lambda operation: operation.name)
@pytest.mark.parametrize(
    "event", [None, [], "x", {"surprise": 1}, {"Records": [{}]}, {"detail-type": "Scheduled Event"}])
def test_every_operation_answers_a_wrong_event_clearly(tmp_path: Path, operation: Any, event: Any) -> None:
    place = Place(tmp_path, [job()])
    try:
        answer = engine.run(operation, place.sites[HOME], event)
    except RunFailed as failure:
        assert operation.name in str(failure)
    else:
        assert answer == {"batchItemFailures": []} or operation.name in answer["message"]
