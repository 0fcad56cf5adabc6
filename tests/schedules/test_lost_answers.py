"""One lost answer for each external call of each operation of schedules: nothing is doubled, lost, or silent."""

from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.engine import run as engine
from chalicelib.engine.operation import RunFailed
from chalicelib.schedules import operations
from chalicelib.schedules.runners import Attempt, Result
from testing.lost_answers import Calls, check_every_lost_answer
from tests.schedules.driver import Regions
from tests.schedules.harness import FLEET, NOON, job

# A fixed-time job has slots in its local time.
SLOT, NEXT = "2026-03-28T12:00", "2026-03-28T12:01"
FAILED = Result("failed", "cannot connect", "exit status 1", 1)
BAD = {"failed": "Failed", "interrupted": "Interrupted", "timed-out": "JobTimedOut"}
# A job that is due at noon only, so that hours may pass.
ONCE = "0 12 28 3 *"


def kinds(regions: Regions) -> Counter[str]:
    """How often people have got an alert of each kind, recoveries aside."""
    return Counter(subject.partition(":")[0] for subject in regions.subjects())


def check_ends(regions: Regions, name: str, *, starts: int = 1, states: tuple[str, ...] = ("done",)) -> None:
    """Each slot has ended in one of these states, or was interrupted. People know of what ended badly."""
    told, found = kinds(regions), regions.states(name)
    assert found and set(found.values()) <= {*states, "interrupted"}, found
    for slot, state in found.items():
        number = regions.commands.starts[name, slot]
        assert number <= starts and (number >= 1 or state not in ("done", "failed", "timed-out")), (slot, number, state)
        if state in BAD:
            assert 1 <= told[BAD[state]] <= 2, (slot, state, told)
    if not set(found.values()) & BAD.keys():
        assert not told.keys() & set(BAD.values()), told


@pytest.mark.slow
def test_tick_starts_each_slot_once(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job("jobs/a"), job("jobs/b", schedule="*/2 * * * *")])
        regions.minutes(2)
        with calls.counted():
            regions.tick(regions.home, calls.wrap_context(regions.home))
        regions.minutes(8)
        assert set(regions.commands.starts.values()) == {1}
        assert len(regions.commands.starts) == 10 + 5 and regions.subjects() == []

    assert len(check_every_lost_answer(scenario, least_calls=6)) >= 12


@pytest.mark.slow
def test_tick_tells_what_the_workers_have_left_for_it(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job(schedule=ONCE)])
        regions.commands.end = lambda attempt: FAILED
        regions.minute()
        assert regions.subjects() == []
        with calls.counted():
            regions.tick(regions.home, calls.wrap_context(regions.home))
        # One that had begun to publish is given some seconds to be still at it.
        regions.minutes(2)
        assert set(regions.subjects()) == {"Failed: jobs/one"} and len(regions.subjects()) <= 2
        told = regions.subjects()
        regions.minutes(30)
        assert regions.subjects() == told

    assert len(check_every_lost_answer(scenario)) >= 16


@pytest.mark.slow
def test_tick_after_a_gap_tells_what_is_missed(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job(catch_up="2m")])
        regions.minute()
        regions.dead = set(regions.place.sites)
        regions.minutes(30)
        regions.dead = set()
        with calls.counted():
            regions.tick(regions.home, calls.wrap_context(regions.home))
        regions.minutes(10)
        assert set(regions.commands.starts.values()) == {1} and len(regions.commands.starts) == 1 + 2 + 10
        assert 1 <= kinds(regions)["Missed"] <= 3, regions.subjects()

    check_every_lost_answer(scenario, least_calls=8)


@pytest.mark.slow
@pytest.mark.parametrize("is_home_dead", [True, False], ids=["standby", "home"])
def test_reconcile_starts_what_was_left_undone_once(tmp_path: Path, is_home_dead: bool) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job(schedule=ONCE), job("jobs/two", schedule=ONCE, retries=1)])
        regions.minute_number -= 1
        regions.place.now -= 60
        regions.minute()
        if is_home_dead:
            regions.dead = {"eu-west-1"}
        for region, site in regions.place.sites.items():
            if region not in regions.dead:
                regions.tick(site)
        # The messages to the workers get lost, and only the reconcile is left.
        regions.collect()
        regions.letters = [letter for letter in regions.letters if letter.queue == "schedule-reconciles"]
        region = "us-east-1" if is_home_dead else "eu-west-1"
        regions.place.now += 125
        regions.minute_number += 2
        letter = regions.take("schedule-reconciles", region, f'"minute":{NOON}')
        with calls.counted():
            regions.receive(letter, calls.wrap_context(regions.place.sites[region]))
        regions.minutes(40)
        check_ends(regions, "jobs/one")
        check_ends(regions, "jobs/two")
        assert set(regions.commands.starts.values()) == {1} and len(regions.commands.starts) == 2
        told = kinds(regions)["RegionTakeover"]
        # Told once an hour for as long as it lasts, and once more where an answer got lost.
        assert 1 <= told <= 3 if is_home_dead else told == 0

    check_every_lost_answer(scenario, least_calls=5)


def begun(tmp_path: Path, *jobs: Any) -> Regions:
    """After the tick of the first minute, with one message to the workers for each job."""
    regions = Regions(tmp_path, jobs)
    regions.tick(regions.home)
    return regions


def work(regions: Regions, calls: Calls) -> None:
    """The next message is worked off, with the lost answer."""
    letter = regions.take("schedule-runs")
    with calls.counted():
        regions.receive(letter, calls.wrap_context(regions.home))


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["allow", "skip", "queue-one"])
def test_work_runs_once_or_is_interrupted_and_told(tmp_path: Path, overlap: str) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE, overlap=overlap))
        work(regions, calls)
        regions.minutes(45)
        check_ends(regions, "jobs/one")

    check_every_lost_answer(scenario, least_calls=3)


@pytest.mark.slow
def test_work_tells_once_that_a_run_has_failed(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE, overlap="skip"))
        regions.commands.end = lambda attempt: FAILED
        work(regions, calls)
        regions.minutes(45)
        check_ends(regions, "jobs/one", states=("failed",))

    assert len(check_every_lost_answer(scenario)) >= 14


@pytest.mark.slow
def test_work_tries_a_failed_run_again(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE, retries=2))

        def end(attempt: Attempt) -> Result:
            return FAILED if regions.commands.starts[attempt.job.name, attempt.slot] == 1 else Result("done", exit=0)

        regions.commands.end = end
        work(regions, calls)
        regions.minutes(45)
        check_ends(regions, "jobs/one", starts=2)
        assert regions.states("jobs/one") == {SLOT: "done"}

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_work_of_the_second_attempt_ends_it(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE, retries=1))
        regions.commands.end = lambda attempt: FAILED
        regions.receive(regions.take("schedule-runs"))
        regions.place.now += 31
        work(regions, calls)
        regions.minutes(45)
        check_ends(regions, "jobs/one", starts=2, states=("failed",))

    check_every_lost_answer(scenario, least_calls=5)


def overlapping(tmp_path: Path, overlap: str) -> tuple[Regions, Any]:
    """A distant run for 12:00 is under way, and the message for 12:01 lies in the queue."""
    regions = begun(tmp_path, job(schedule="0,1 12 28 3 *", overlap=overlap, on="ssm"))
    regions.receive(regions.take("schedule-runs"))
    look = regions.take("schedule-runs")
    regions.minute_number += 1
    regions.place.now += 60
    regions.tick(regions.home)
    return regions, look


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["skip", "queue-one", "replace"])
def test_work_for_a_slot_that_overlaps(tmp_path: Path, overlap: str) -> None:
    def scenario(calls: Calls) -> None:
        regions, look = overlapping(tmp_path, overlap)
        work(regions, calls)
        if overlap != "replace":
            regions.commands.remote = dict.fromkeys(regions.commands.remote, Result("done", exit=0))
        regions.letters.append(look)
        finish(regions)
        states = regions.states("jobs/one")
        # A message that comes back later may find the first run at its end. Then there is nothing to skip or replace.
        assert states[SLOT] == "done" or (overlap == "replace" and states[SLOT] in ("replaced", "timed-out"))
        assert states[NEXT] == "done" or (overlap == "skip" and states[NEXT] == "overlapped")
        assert set(regions.commands.starts.values()) == {1} and regions.subjects() == []

    check_every_lost_answer(scenario)


def finish(regions: Regions, minutes: int = 45) -> None:
    """Time passes. Each distant command that is not the first ends within a minute."""
    first = next(iter(regions.commands.remote), "")
    for _ in range(minutes):
        for handle, result in regions.commands.remote.items():
            if handle != first and result is None:
                regions.commands.remote[handle] = Result("done", exit=0)
        regions.minute()


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["queue-one", "replace"])
def test_work_at_the_end_of_a_run_starts_the_one_that_waits(tmp_path: Path, overlap: str) -> None:
    def scenario(calls: Calls) -> None:
        regions, look = overlapping(tmp_path, overlap)
        regions.receive(regions.take("schedule-runs"))
        if overlap == "queue-one":
            regions.commands.remote = dict.fromkeys(regions.commands.remote, Result("done", exit=0))
        with calls.counted():
            regions.receive(look, calls.wrap_context(regions.home))
        finish(regions)
        states = regions.states("jobs/one")
        # A look that comes back later may find that the run has gone on beyond its time-out, and people hear of that.
        assert states[SLOT] in (("done",) if overlap == "queue-one" else ("replaced", "timed-out"))
        assert states[NEXT] == "done" and set(regions.commands.starts.values()) == {1}
        told = kinds(regions)
        assert sum(told.values()) <= 2 and bool(told["JobTimedOut"]) == (states[SLOT] == "timed-out")
        assert len(set(regions.commands.stopped)) == (overlap == "replace")

    check_every_lost_answer(scenario, least_calls=6)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["going on", "done", "failed", "too long"])
def test_work_of_a_distant_run_is_looked_at_until_it_ends(tmp_path: Path, end: str) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE, on="ssm", timeout=300))
        regions.receive(regions.take("schedule-runs"))
        look = regions.take("schedule-runs")
        [handle] = regions.commands.remote
        if end in ("done", "failed"):
            regions.commands.remote[handle] = FAILED if end == "failed" else Result("done", exit=0)
        if end == "too long":
            regions.place.now += 301
            regions.minute_number += 6
        with calls.counted():
            regions.receive(look, calls.wrap_context(regions.home))
        if end == "going on":
            regions.commands.remote[handle] = Result("done", exit=0)
        regions.minutes(45)
        expected = {"going on": "done", "too long": "timed-out"}.get(end, end)
        assert regions.states("jobs/one") == {SLOT: expected}
        assert regions.commands.starts == {("jobs/one", SLOT): 1}
        assert sum(kinds(regions).values()) == (expected != "done") or 1 <= kinds(regions)[BAD[expected]] <= 2

    check_every_lost_answer(scenario, least_calls=2)


@pytest.mark.slow
def test_work_starts_a_distant_run_once(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE, on="ssm", timeout=300))
        work(regions, calls)
        for _ in range(45):
            regions.commands.remote = dict.fromkeys(regions.commands.remote, Result("done", exit=0))
            regions.minute()
        check_ends(regions, "jobs/one")

    check_every_lost_answer(scenario, least_calls=4)


@pytest.mark.slow
def test_work_reports_a_vanished_worker_once(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE))
        regions.place.coordination.create("run#jobs/one", SLOT, {
            "job": "jobs/one", "slot": SLOT, "minute": NOON, "state": "running", "why": "due", "region": "eu-west-1",
            "owner": "x", "attempt": 1, "started": regions.place.now, "lease": regions.place.now + 60, "schema": 1})
        regions.place.now += 300
        regions.minute_number += 5
        work(regions, calls)
        regions.minutes(45)
        check_ends(regions, "jobs/one", states=())

    check_every_lost_answer(scenario, least_calls=5)


@pytest.mark.slow
def test_pause_holds_and_resume_lets_go_or_says_that_it_did_not(tmp_path: Path) -> None:
    for ask, before in ((operations.PAUSE, False), (operations.RESUME, True)):
        def scenario(calls: Calls, ask: Any = ask, before: bool = before) -> None:
            regions = Regions(tmp_path, [job()])
            if before:
                engine.run(operations.PAUSE, regions.home, {"job": "jobs/one", "apply": True})
            with calls.counted():
                answer = engine.run(ask, calls.wrap_context(regions.home), {"job": "jobs/one", "apply": True})
            is_paused = regions.place.coordination.get("paused", "jobs/one") is not None
            assert answer["status"] == "failed" or is_paused is (ask is operations.PAUSE)
            # Asked once more, it is done.
            engine.run(ask, regions.home, {"job": "jobs/one", "apply": True})
            regions.minutes(5)
            assert len(regions.commands.starts) == (0 if ask is operations.PAUSE else 5)

        check_every_lost_answer(scenario, least_calls=4)


@pytest.mark.slow
def test_a_paused_slot_is_set_aside_once(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = begun(tmp_path, job(schedule=ONCE))
        engine.run(operations.PAUSE, regions.home, {"job": "jobs/one", "apply": True})
        work(regions, calls)
        regions.minutes(30)
        assert regions.states("jobs/one") == {SLOT: "paused"} and not regions.commands.starts
        assert regions.subjects() == []

    check_every_lost_answer(scenario, least_calls=2)


@pytest.mark.slow
def test_run_starts_a_job_once_or_says_that_it_may_not_have(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job(schedule="0 3 1 1 *")])
        with calls.counted():
            answer = engine.run(operations.RUN, calls.wrap_context(regions.home), {"job": "jobs/one", "apply": True})
        regions.minutes(5)
        number = sum(regions.commands.starts.values())
        assert number == 1 or (number == 0 and answer["status"] == "failed")

    check_every_lost_answer(scenario, least_calls=3)


@pytest.mark.slow
def test_prune_takes_only_what_is_over(tmp_path: Path) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job(schedule=ONCE)])
        regions.minutes(2)
        regions.place.now += FLEET.schedules.retention - 60
        engine.run(operations.PAUSE, regions.home, {"job": "jobs/one", "apply": True})
        regions.place.coordination.create("run#jobs/one", "later", {}, ttl=int(regions.place.now) + 9999)
        regions.place.now += 600
        time = datetime.fromisoformat("2026-04-12T00:00:00+00:00").timestamp()
        assert abs(time - regions.place.now) < 90_000
        with calls.counted(), suppress(RunFailed, Unavailable):
            engine.run(operations.PRUNE, calls.wrap_context(regions.home), {"apply": True})
        engine.run(operations.PRUNE, regions.home, {"apply": True})
        left = {pk for pk, _ in regions.place.coordination.store.items}
        assert left == {"paused", "run#jobs/one"} and set(regions.place.coordination.store.sorted["run#jobs/one"]) == {
            "later"}

    check_every_lost_answer(scenario, least_calls=4)


@pytest.mark.slow
@pytest.mark.parametrize("operation", [operations.STATUS, operations.WHY], ids=lambda one: one.name)
def test_questions_change_nothing_and_are_answered_or_fail(tmp_path: Path, operation: Any) -> None:
    def scenario(calls: Calls) -> None:
        regions = Regions(tmp_path, [job(), job("jobs/two")])
        regions.minutes(3)
        event = {"job": "jobs/one"} | ({"time": "2026-03-28T12:01Z"} if operation is operations.WHY else {})
        before = dict(regions.place.coordination.store.items)
        with calls.counted():
            answer = engine.run(operation, calls.wrap_context(regions.home), event)
        assert answer["status"] == "planned" or "no answer" in answer["message"]
        assert regions.place.coordination.store.items == before

    check_every_lost_answer(scenario, least_calls=3)
