"""Tick, sweep, work and the rest, joined as in production, over tables and queues in memory and real processes."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.aws.client import Message, Unavailable
from chalicelib.crontab.dst import stamp
from chalicelib.engine import run as engine
from chalicelib.engine.operation import RunFailed
from chalicelib.schedules import operations
from chalicelib.schedules.runners import Runners, process
from chalicelib.schedules.state import SKEW_SECONDS, minute_key
from chalicelib.schedules.worker import Executor
from testing.fakes import MemoryTable, no_fault
from tests.schedules.harness import FLEET, NOON, Place, job

SLOT = "2026-03-28T12:00Z"
HOME, STANDBY = "eu-west-1", "us-east-1"


def tick(place: Place, minute: int = NOON, region: str = HOME) -> dict[str, Any]:
    event = {"detail-type": "Scheduled Event", "time": f"{stamp(minute)}:00Z"}
    return engine.run(operations.TICK, place.sites[region], event)


def handle(place: Place, operation: Any, message: Message, region: str = HOME, received: int = 1) -> Any:
    queue = "schedule-runs" if operation is operations.WORK else "schedule-reconciles"
    record = {"body": message.body, "messageId": "m", "receiptHandle": "r",
              "eventSourceARN": f"arn:aws:sqs:{region}:1:lamplighter-test-{queue}",
              "attributes": {"ApproximateReceiveCount": str(received)}}
    return engine.run(operation, place.sites[region], {"Records": [record]})


def work(place: Place, region: str = HOME) -> None:
    for message in place.sent("schedule-runs", region):
        assert handle(place, operations.WORK, message, region) == {"batchItemFailures": []}


def sweep(place: Place, region: str = HOME) -> None:
    for message in place.sent("schedule-reconciles", region):
        handle(place, operations.SWEEP, message, region)


def ask(place: Place, operation: Any, **event: Any) -> dict[str, Any]:
    return engine.run(operation, place.sites[HOME], event)


def why(place: Place, name: str, minute: int) -> tuple[str, str]:
    report = ask(place, operations.WHY, job=name, time=f"{stamp(minute)}Z")["plan"]["report"]
    return report["answer"], report["sentence"]


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
        handle(place, operations.SWEEP, message, region)
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
        errand = msgspec.json.decode(message.body)
        if errand.get("why") == "caught up":
            counts[errand["job"]] = counts.get(errand["job"], 0) + 1
    assert counts == {"jobs/usual": 5, "jobs/one": 1, "jobs/all": 30, "jobs/2m": 2}
    assert "runs are missed for good" in place.told()[-1][1]
    place.now += 1
    assert why(place, "jobs/skip", NOON - 10)[0] == "missed"
    assert why(place, "jobs/one", NOON - 10)[0] == "coalesced"


def test_what_a_standby_may_still_start_is_not_called_missed(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/skip", catch_up="skip")])
    tick(place, NOON - 6)
    tick(place)
    assert place.told() == []
    place.sent("schedule-runs")
    place.now += 420
    tick(place, NOON + 7)
    assert "1 runs are missed" in place.told()[-1][1]


def test_a_gap_that_nobody_made_up_for_is_told_of_when_the_standbys_turns_are_over(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/skip", catch_up="skip")])
    tick(place, NOON - 4)
    tick(place)
    for _ in range(10):
        place.now += 60
        sweep(place)
    [text] = [text for subject, text in place.told() if "missed since" in subject]
    assert "3 runs" in text


def test_a_lock_whose_run_has_ended_holds_nobody_off(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(overlap="skip")])
    tick(place)
    work(place)
    lock = {"slot": SLOT, "minute": NOON, "owner": "late duplicate", "lease": place.now + 660, "schema": 1}
    assert place.coordination.create("lock", "jobs/one", lock) is not None
    place.now += 60
    tick(place, NOON + 1)
    work(place)
    assert place.run("jobs/one", "2026-03-28T12:01Z")["state"] == "done"


def test_a_duplicate_that_takes_the_lock_of_a_finished_run_leaves_nothing_behind(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(overlap="skip")])
    tick(place)
    [message] = place.sent("schedule-runs")
    original, done = place.coordination.get, list[bool]()

    def get(pk: str, sk: str) -> Any:
        # Just before the duplicate takes the lock the other worker does all of the work.
        if pk == "lock" and not done:
            done.append(True)
            handle(place, operations.WORK, message)
        return original(pk, sk)

    place.coordination.get = get  # type: ignore[method-assign]
    handle(place, operations.WORK, message)
    place.now += 60
    tick(place, NOON + 1)
    work(place)
    assert place.run("jobs/one", "2026-03-28T12:01Z")["state"] == "done"


def test_an_end_is_settled_though_its_output_cannot_be_kept(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command="echo x; exit 1", overlap="skip")])
    regional = place.sites[HOME].local_store
    assert isinstance(regional, MemoryTable)
    tick(place)

    def dark(call: str) -> None:
        raise Unavailable(call)

    regional._fault = dark
    [message] = place.sent("schedule-runs")
    assert handle(place, operations.WORK, message)["batchItemFailures"]
    regional._fault = no_fault
    assert place.run("jobs/one", SLOT)["state"] == "failed"
    assert place.coordination.get("lock", "jobs/one") is None
    assert handle(place, operations.WORK, message, received=2) == {"batchItemFailures": []}
    assert place.run("jobs/one", SLOT)["alerted"]
    assert [subject for subject, _ in place.told()] == ["Failed: jobs/one"]


@pytest.mark.parametrize(("error", "detail"), [
    (Unavailable("eu-west-1: throttled"), "no answer, it may have begun all the same"),
    (ValueError("bad path"), "ValueError: bad path")])
def test_a_runner_that_breaks_is_a_failed_run_told_at_once(tmp_path: Path, error: Exception, detail: str) -> None:
    class Broken:
        def start(self, site: Any, attempt: Any) -> Any:
            raise error

    place = Place(tmp_path, [job()])
    tick(place)
    [message] = place.sent("schedule-runs")
    broken = operations.work(Executor(lambda: Runners({"lambda": Broken()}, {})))
    handle(place, broken, message)
    assert detail in place.run("jobs/one", SLOT)["detail"]
    assert place.told()[0][0] == "Failed: jobs/one"


def test_a_job_renamed_by_a_release_does_not_run_again_for_a_minute_that_was_started(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    old, new = Place(before, [job("jobs/old"), job("jobs/same")]), Place(after, [job("jobs/new"), job("jobs/same")])
    tick(old)
    item = old.coordination.get(*minute_key(NOON))
    assert item is not None
    new.coordination.create(item.pk, item.sk, item.body)
    handle(new, operations.SWEEP, Message(json.dumps({"minute": NOON})), STANDBY)
    assert [json.loads(message.body)["job"] for message in new.sent("schedule-runs", STANDBY)] == ["jobs/same"]


def test_a_waiting_slot_starts_though_a_release_now_allows_overlap(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    place.coordination.create("run#jobs/one", SLOT, {
        "job": "jobs/one", "slot": SLOT, "minute": NOON, "state": "waiting", "why": "due", "region": HOME, "owner": "x",
        "attempt": 0, "started": place.now, "lease": place.now, "schema": 1})
    tick(place)
    work(place)
    assert place.run("jobs/one", SLOT)["state"] == "done"


def test_a_paused_jobs_next_attempt_is_set_aside(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command="exit 1", retries=1)])
    tick(place)
    work(place)
    ask(place, operations.PAUSE, job="jobs/one", apply=True)
    place.now += 31
    work(place)
    assert place.run("jobs/one", SLOT)["state"] == "paused"


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


def test_a_failure_is_told_with_its_output_unless_mailto_is_empty(tmp_path: Path) -> None:
    place = Place(tmp_path, [job("jobs/loud", command="echo broken pump; exit 3"),
                             job("jobs/quiet", command="exit 3", mailto="")])
    tick(place)
    work(place)
    [(subject, text)] = place.told()
    assert subject == "Failed: jobs/loud"
    assert "broken pump" in text
    assert "cron.d/test:3" in text
    assert place.run("jobs/loud", SLOT)["alerted"]
    assert why(place, "jobs/quiet", NOON) == ("failed", f"for {SLOT} in {HOME}, started 0 s after its minute, "
                                              "attempt 1, took 0.0 s: exit status 3")


def test_a_failed_run_is_tried_again_and_told_only_at_the_end(tmp_path: Path) -> None:
    mark = tmp_path / "there"
    place = Place(tmp_path, [job(command=f"test -e {mark} || {{ touch {mark}; exit 1; }}", retries=1)])
    tick(place)
    work(place)
    assert place.run("jobs/one", SLOT)["state"] == "retrying"
    place.now += 31
    work(place)
    run = place.run("jobs/one", SLOT)
    assert (run["state"], run["attempt"]) == ("done", 2)
    assert place.told() == []


def test_a_time_out_ends_the_whole_process_group(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command="sleep 600 & echo started; sleep 600", timeout=1)])
    tick(place)
    work(place)
    assert place.run("jobs/one", SLOT)["state"] == "timed-out"
    assert place.told()[0][0] == "JobTimedOut: jobs/one"


def test_a_vanished_worker_is_reported_as_interrupted_and_not_repeated(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command=f"echo x >> {tmp_path}/ran")])
    tick(place)
    [message] = place.sent("schedule-runs")
    claim = place.coordination.create(f"run#{'jobs/one'}", SLOT, {
        "job": "jobs/one", "slot": SLOT, "minute": NOON, "state": "running", "why": "due", "region": HOME, "owner": "x",
        "attempt": 1, "started": place.now, "lease": place.now + 660, "schema": 1})
    assert claim is not None
    assert handle(place, operations.WORK, message)["batchItemFailures"]
    place.now += 661 + SKEW_SECONDS
    handle(place, operations.WORK, message, received=2)
    assert place.run("jobs/one", SLOT)["state"] == "interrupted"
    assert not (tmp_path / "ran").exists()
    assert place.told()[0][0] == "Interrupted: jobs/one"


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
    assert "moving house" in str([entry.body for entry in journal])


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


def test_what_outlived_its_ttl_is_pruned(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    tick(place)
    work(place)
    place.now += FLEET.schedules.retention + 60
    ask(place, operations.PRUNE, apply=True)
    assert place.coordination.get("run#jobs/one", SLOT) is None


def test_the_waiting_run_starts_when_the_one_before_ends(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(overlap="queue-one")])
    lock = {"slot": "2026-03-28T11:59Z", "minute": NOON - 1, "owner": "other", "lease": place.now + 600, "schema": 1}
    held = place.coordination.create("lock", "jobs/one", lock)
    tick(place)
    work(place)
    assert place.run("jobs/one", SLOT)["state"] == "waiting"
    held = place.coordination.get("lock", "jobs/one")
    assert held is not None
    assert held.body["waiting"] == SLOT
    place.coordination.delete(held)
    place.now += 60
    sweep(place)
    work(place)
    assert place.run("jobs/one", SLOT)["state"] == "done"
    assert place.coordination.get("lock", "jobs/one") is None


def test_a_replaced_run_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_ASK_SECONDS", 0.05)
    fifo = tmp_path / "told"
    place = Place(tmp_path, [job(command=f"echo > {fifo}; sleep 600", overlap="replace")])
    tick(place)
    [first] = place.sent("schedule-runs")
    tick(place, NOON + 1)
    [second] = place.sent("schedule-runs")
    # The first run's worker asks now and then whether it is to make way: let the second ask it to beforehand.
    real = place.coordination.create

    def create(pk: str, sk: str, body: dict[str, Any], **more: Any) -> Any:
        item = real(pk, sk, body, **more)
        if pk == "run#jobs/one" and sk == SLOT:
            handle(place, operations.WORK, second)
        return item

    place.coordination.create = create  # type: ignore[method-assign]
    handle(place, operations.WORK, first)
    assert place.run("jobs/one", SLOT)["state"] == "replaced"
    [follow_up] = place.sent("schedule-runs")
    assert msgspec.json.decode(follow_up.body)["slot"] == "2026-03-28T12:01Z"


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
