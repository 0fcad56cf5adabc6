"""The worker: it claims a slot, runs the command, and records the end, with locks, retries and overlaps."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.aws.client import Throttled, Unavailable
from chalicelib.schedules import operations, worker
from chalicelib.schedules.runners import Attempt, Result, Runners
from chalicelib.schedules.state import SKEW_SECONDS
from chalicelib.schedules.worker import Executor
from testing.fakes import MemoryTable, no_fault
from tests.schedules.harness import HOME, NOON, SLOT, Place, ask, handle, job, sweep, tick, why, work


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


@pytest.mark.slow
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


@pytest.mark.parametrize(("command", "more", "subject"), [
    ("false || echo backup failed", {"alarm_on": "output"}, "JobOutput: jobs/one"),
    ("echo backup failed; exit 3", {"alarm_on": "output"}, "Failed: jobs/one"),
    ("true", {"alarm_on": "output"}, ""),
    ("printf '\\n \\n'", {"alarm_on": "output"}, ""),
    ("echo backup failed", {"alarm_on": "output", "mailto": ""}, ""),
    ("echo backup failed", {"alarm_on": "failure", "mailto": "ops@example.com"}, ""),
    ("echo backup failed >&2", {"alarm_on": "output", "mailto": "ops@example.com"}, "JobOutput: jobs/one"),
])
def test_output_is_told_whatever_the_status_if_it_is_the_alarm(
    tmp_path: Path, command: str, more: dict[str, Any], subject: str
) -> None:
    place = Place(tmp_path, [job(command=command, **more)])
    tick(place)
    work(place)
    assert [told for told, _ in place.told()] == ([subject] if subject else [])
    assert all("backup failed" in text and "cron.d/test:3" in text for _, text in place.told())
    assert place.run("jobs/one", SLOT).get("alerted", False) is (bool(subject) or more.get("mailto") == "")


@pytest.mark.slow
def test_output_of_a_job_that_talks_every_minute_is_told_when_it_has_doubled_and_not_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(command="seq 1 2000", alarm_on="output")])
    notices = []
    for minute in range(NOON, NOON + 121):
        place.now = minute * 60.0
        tick(place, minute)
        work(place)
        notices = place.told()
    more = [f"More: JobOutput: {count} x, jobs/one" for count in (10, 20, 40, 80)]
    assert [subject for subject, _ in notices] == ["JobOutput: jobs/one", *more]
    assert all(len(text) < 3000 for _, text in notices) and "1999" in notices[0][1]


def test_output_whose_alert_was_lost_is_told_by_the_reconcile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, [job(command="echo x", alarm_on="output")])
    tick(place)
    with monkeypatch.context() as dying:
        dying.setattr(worker, "leave_alert", lambda *_: None)
        dying.setattr(worker, "mark_alerted", lambda *_: None)
        work(place)
    assert place.told() == [] and place.run("jobs/one", SLOT)["state"] == "done"
    place.now += 120
    sweep(place)
    [(subject, text)] = place.told()
    assert subject == "JobOutput: jobs/one" and "lamp explain jobs/one" in text


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


def test_a_replaced_run_makes_way(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(on="http", overlap="replace")])
    tick(place)
    [first] = place.sent("schedule-runs")
    tick(place, NOON + 1)
    [second] = place.sent("schedule-runs")
    asked = list[bool]()

    class Posting:
        def start(self, site: Any, attempt: Attempt) -> Result:
            asked.append(attempt.replaced())
            # While the first is under way, the second asks it to make way.
            handle(place, operations.WORK, second)
            asked.append(attempt.replaced())
            return Result("replaced")

    handle(place, operations.work(Executor(lambda: Runners({"http": Posting()}, {}))), first)
    assert asked == [False, True]
    assert place.run("jobs/one", SLOT)["state"] == "replaced"
    [follow_up] = place.sent("schedule-runs")
    assert msgspec.json.decode(follow_up.body)["slot"] == "2026-03-28T12:01Z"


def refusing(place: Place, error: Exception) -> None:
    """The runner of home ends each call in this way."""
    place.aws[HOME].denials["lambda invoke"] = error


def test_a_run_for_which_no_runner_is_free_waits_and_counts_no_attempt(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(overlap="skip", command="echo $LAMP_TOKEN")])
    refusing(place, Throttled("Rate Exceeded"))
    tick(place)
    work(place)
    run = place.run("jobs/one", SLOT)
    assert (run["state"], run["attempt"]) == ("retrying", 0)
    assert "Rate Exceeded" in run["detail"] and place.told() == []
    assert place.coordination.get("lock", "jobs/one") is None
    [message] = place.sent("schedule-runs")
    assert 5 <= message.delay <= 20
    place.aws[HOME].denials.clear()
    place.now += message.delay + 1
    handle(place, operations.WORK, message)
    run = place.run("jobs/one", SLOT)
    assert (run["state"], run["attempt"], run.get("throttled_since", 0)) == ("done", 1, 0)


def test_a_run_for_which_no_runner_is_ever_free_fails_after_a_quarter_of_an_hour(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    refusing(place, Throttled("Rate Exceeded"))
    tick(place)
    tries = 0
    while messages := place.sent("schedule-runs"):
        for message in messages:
            place.now += message.delay + 1
            handle(place, operations.WORK, message)
            tries += 1
    assert 40 < tries < 200
    run = place.run("jobs/one", SLOT)
    assert run["state"] == "failed"
    assert "no room for it for 15 min: Rate Exceeded. Raise the concurrency of Lambda" in run["detail"]
    assert [subject for subject, _ in place.told()] == ["Failed: jobs/one"]


def test_a_runner_that_gives_no_answer_fails_its_run_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path, [job()])
    refusing(place, Unavailable("read timed out"))
    tick(place)
    work(place)
    run = place.run("jobs/one", SLOT)
    assert (run["state"], run["detail"]) == (
        "failed", "on=lambda: no answer, it may have begun all the same: read timed out")


def test_a_runner_that_gives_no_answer_keeps_the_lock_until_its_command_is_over(tmp_path: Path) -> None:
    place = Place(tmp_path, [job(overlap="skip", timeout=60)])
    refusing(place, Unavailable("read timed out"))
    tick(place)
    [message] = place.sent("schedule-runs")
    answer = handle(place, operations.WORK, message)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m"}]}
    place.aws[HOME].denials.clear()
    place.now += 60
    tick(place, NOON + 1)
    work(place)
    assert place.run("jobs/one", "2026-03-28T12:01Z")["state"] == "overlapped"
    place.now += 60 + SKEW_SECONDS + 1
    handle(place, operations.WORK, message, received=2)
    assert place.run("jobs/one", SLOT)["state"] == "interrupted"
    tick(place, NOON + 4)
    work(place)
    assert place.run("jobs/one", "2026-03-28T12:04Z")["state"] == "done"
