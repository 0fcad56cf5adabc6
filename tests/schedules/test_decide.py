"""The decisions of the tick, the sweep and the worker, as tables."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.config.workload import RESERVE_SECONDS
from chalicelib.crontab import policy
from chalicelib.engine.plan import Plan
from chalicelib.engine.schema import Stored
from chalicelib.schedules import decide
from chalicelib.schedules.decide.backoff import jitter, retry_delay
from chalicelib.schedules.observation import (
    DueRun,
    Memory,
    PreviousMinute,
    ReconcileObservation,
    Reminder,
    TickObservation,
    WorkObservation,
)
from chalicelib.schedules.state import SKEW_SECONDS, Lock, MinuteRecord, NewestMinute, Run, RunRequest
from tests.schedules.harness import NOON, job

NOW = NOON * 60
SLOT = "2026-03-28T12:00Z"
HOME, STANDBY = "eu-west-1", "us-east-1"
# A region that has noted this minute already.
KNOWN = Memory(True, Stored(NewestMinute(NOON)))


def alerts(plan: Plan) -> list[str]:
    return [action.details.alert.kind for action in plan.actions if action.kind == "alert"]


def kinds(plan: Plan) -> list[str]:
    return [action.kind for action in plan.actions]


def a_run(state: str = "running", **more: Any) -> Run:
    facts: dict[str, Any] = {
        "job": "jobs/one", "slot": SLOT, "minute": NOON, "state": state, "why": "due", "region": HOME, "owner": "o",
        "attempt": 1, "started": NOW, "lease": NOW + 660} | more
    return Run(**facts)


def ticked(rank: int = 0, now: int = NOW, **more: Any) -> Plan:
    facts: dict[str, Any] = {
        "minute": NOON, "region": HOME, "rank": rank, "patience": 120, "record": MinuteRecord("t", "1", HOME, NOON),
        "slots": [DueRun(job(), SLOT, NOON)], "memory": KNOWN} | more
    return decide.tick(TickObservation(**facts), now)


def swept(runs: list[Run], now: int = NOW + 120, **more: Any) -> Plan:
    facts: dict[str, Any] = {
        "minute": NOON, "attempt": 0, "region": STANDBY,
        "record": MinuteRecord("t", "1", HOME, NOON), "recorded": True, "previous": None,
        "slots": [DueRun(job(), SLOT, NOON)], "runs": {(run.job, run.slot): run for run in runs},
        "memory": KNOWN} | more
    return decide.sweep(ReconcileObservation(**facts), now)


def worked(run: Run | None = None, lock: Lock | None = None, now: float = NOW, received: int = 1, paused: bool = False,
           wanted: RunRequest | None = None, known: bool = True, due: bool = True,
           **policy: Any) -> Plan:
    there = job(**policy) if known else None
    return decide.work(WorkObservation(wanted or RunRequest("jobs/one", SLOT, NOON), there, run, lock, received,
                                       paused, due), now)


def test_home_reminds_itself_before_it_does_anything_else() -> None:
    plan = ticked()
    assert kinds(plan) == ["schedule-reconcile", "record", "enqueue"]
    assert plan.actions[0].details.delay == 60


@pytest.mark.parametrize(("memory", "is_noted"), [
    (Memory(), True), (Memory(True, Stored(NewestMinute(NOON - 1))), True), (KNOWN, False),
    # Of a clock that was ahead.
    (Memory(True, Stored(NewestMinute(NOON + 60))), True), (Memory(False), False)])
def test_a_region_notes_the_newest_minute_that_was_started(memory: Memory, is_noted: bool) -> None:
    assert ("remember" in kinds(ticked(memory=memory))) is is_noted
    assert ("remember" in kinds(swept([a_run("done")], memory=memory))) is is_noted
    assert "remember" not in kinds(swept([], record=None, slots=[], memory=memory))


@pytest.mark.parametrize(("rank", "delay"), [(1, 120), (2, 240)])
def test_a_standby_only_reminds_itself_after_its_patience(rank: int, delay: int) -> None:
    plan = ticked(rank)
    assert kinds(plan) == ["schedule-reconcile"]
    assert plan.actions[0].details.delay == delay


@pytest.mark.parametrize(("rank", "patience", "after", "delay"), [
    (1, 90, 0, 90), (1, 90, 59, 31), (1, 90, 89, 1), (1, 90, 3600, 0), (2, 120, 41, 199), (4, 300, 10, 900)])
def test_a_standby_looks_so_long_after_the_minute_wherever_in_it_its_own_rule_fires(
    rank: int, patience: int, after: int, delay: int
) -> None:
    [remind] = ticked(rank, now=NOW + after, patience=patience).actions
    assert remind.details.delay == delay


@pytest.mark.parametrize("after", [0, 41, 59, 3600])
def test_jitter_counts_from_the_minute_wherever_in_it_the_rule_fires(after: int) -> None:
    spread = job(jitter=300)
    moment = jitter(spread, SLOT)
    assert moment > 60
    plan = ticked(now=NOW + after, slots=[DueRun(spread, SLOT, NOON)])
    assert plan.actions[2].details.delay == max(0, moment - after)


def test_a_minute_without_due_jobs_costs_one_write_and_one_message() -> None:
    assert kinds(ticked(slots=[])) == ["schedule-reconcile", "record"]


def test_a_paused_job_is_set_aside_and_not_enqueued() -> None:
    plan = ticked(paused=frozenset({"jobs/one"}))
    assert kinds(plan) == ["schedule-reconcile", "record", "skip"]
    assert plan.actions[2].details.state == "paused"


def test_lost_slots_are_told_of() -> None:
    plan = ticked(missed_count=7, record=MinuteRecord("t", "1", HOME, NOON - 30))
    assert "7 runs are lost" in plan.actions[-1].reason
    assert plan.actions[-1].details.key == f"gap#{NOON - 30}"


@pytest.mark.parametrize(("state", "told", "rest"), [
    ("done", False, []), ("failed", True, []), ("overlapped", False, []), ("paused", False, []),
    ("replaced", False, []), ("coalesced", False, [])])
def test_a_settled_slot_is_left_alone(state: str, told: bool, rest: list[str]) -> None:
    assert kinds(swept([a_run(state, alerted=told)])) == rest


def test_a_slot_that_nobody_started_is_started_and_looked_after() -> None:
    plan = swept([])
    assert kinds(plan) == ["enqueue", "schedule-reconcile"]
    assert plan.actions[0].details.request.why == "late"
    assert plan.actions[1].details == Reminder(NOON, 30, 1)


def test_a_run_whose_lease_holds_is_only_looked_at_again() -> None:
    assert kinds(swept([a_run()])) == ["schedule-reconcile"]


@pytest.mark.parametrize(("state", "lease", "now", "passed_on"), [
    ("running", NOW + 660, NOW + 660 + SKEW_SECONDS, False),
    ("running", NOW + 660, NOW + 661 + SKEW_SECONDS, True),
    ("retrying", NOW + 30, NOW + 30 + SKEW_SECONDS, False),
    ("retrying", NOW + 30, NOW + 31 + SKEW_SECONDS, True),
    ("waiting", NOW, NOW + 1, True)])
def test_what_went_silent_is_passed_on(state: str, lease: float, now: int, passed_on: bool) -> None:
    plan = swept([a_run(state, lease=lease)], now=now)
    assert ("enqueue" in kinds(plan)) is passed_on


def test_an_untold_failure_is_told() -> None:
    plan = swept([a_run("failed", detail="exit status 3")])
    assert (kinds(plan), alerts(plan)) == (["alert", "schedule-reconcile"], ["Failed"])


def test_a_failure_of_a_silent_job_is_not() -> None:
    assert kinds(swept([a_run("failed")], slots=[DueRun(job(mailto=""), SLOT, NOON)])) == []


@pytest.mark.parametrize(("turn", "age", "told"), [
    (0, 240, []), (1, 30, []), (1, 31, ["Missed"]), (4, 500, ["Missed"])])
def test_a_slot_that_did_not_start_when_asked_to_is_missed(turn: int, age: int, told: list[str]) -> None:
    assert alerts(swept([], attempt=turn, now=NOW + age)) == told


def test_a_slot_whose_jitter_is_not_over_is_left_to_the_message_that_is_under_way() -> None:
    slot = next(slot for slot in (DueRun(job(jitter=900), str(number), NOON) for number in range(99))
                if jitter(slot.job, slot.slot) > 400)
    plan = swept([], slots=[slot], attempt=1, now=NOW + 150)
    assert (kinds(plan), alerts(plan)) == (["schedule-reconcile"], [])
    late = swept([], slots=[slot], attempt=3, now=NOW + jitter(slot.job, slot.slot))
    assert (kinds(late), late.actions[0].details.delay) == (["enqueue", "schedule-reconcile"], 0)


def test_a_standby_that_finds_no_record_takes_over_and_says_so() -> None:
    plan = swept([], recorded=False, record=MinuteRecord("t", "1", STANDBY, NOON),
                 previous=PreviousMinute(NOON - 1, MinuteRecord("t", "1", HOME, NOON - 1)))
    # Once the record is written nobody else learns that the alert is due, so the alert comes first.
    assert kinds(plan) == ["alert", "record", "enqueue", "schedule-reconcile"]
    assert plan.actions[0].details.alert.kind == "RegionTakeover"


def test_a_takeover_by_whoever_had_the_last_minute_is_no_news() -> None:
    plan = swept([], recorded=False, record=MinuteRecord("t", "1", STANDBY, NOON),
                 previous=PreviousMinute(NOON - 1, MinuteRecord("t", "1", STANDBY, NOON - 1)))
    assert kinds(plan) == ["record", "enqueue", "schedule-reconcile"]


@given(st.integers(0, 20))
def test_reminders_grow_rarer_and_fit_sqs(turn: int) -> None:
    plan = swept([a_run()], attempt=turn)
    # The worker's lease ends 660 s after noon, two minutes before which this looks.
    assert plan.actions[-1].details.delay == min(900, 30 * 2**turn, 660 - 120 + SKEW_SECONDS + 1)


def test_after_a_day_a_slot_is_given_up_and_people_hear_of_it() -> None:
    plan = swept([a_run("waiting")], now=NOW + 86_400)
    assert (kinds(plan), alerts(plan)) == (["enqueue", "alert"], ["Missed"])


@given(st.lists(st.integers(0, 900), max_size=50), st.integers(0, 5), st.integers(0, 2000))
def test_a_sweep_never_comes_back_sooner_than_half_a_minute(spread: list[int], turn: int, age: int) -> None:
    slots = [DueRun(job(f"jobs/{number}", jitter=900), f"{number}", NOON) for number in spread]
    for action in swept([], slots=slots, attempt=turn, now=NOW + age).actions:
        if action.kind == "schedule-reconcile":
            assert 30 <= action.details.delay <= 900
            assert action.details.attempt <= 5


@pytest.mark.parametrize(("age", "told", "again"), [(299, [], 1), (300, ["Missed"], 0)])
def test_what_a_gap_left_out_is_told_of_once_no_standby_can_have_done_it(
    age: int, told: list[str], again: int
) -> None:
    doubtful = [DueRun(job(catch_up="skip"), "2026-03-28T11:59Z", NOON - 1)]
    plan = swept([], slots=[], unconfirmed=doubtful, confirm_after=NOW + 300, now=NOW + age)
    assert (alerts(plan), kinds(plan).count("schedule-reconcile")) == (told, again)
    run = a_run("done", slot="2026-03-28T11:59Z")
    assert kinds(swept([run], slots=[], unconfirmed=doubtful, confirm_after=NOW + 300, now=NOW + age)) == []


def test_a_new_errand_starts() -> None:
    plan = worked()
    assert kinds(plan) == ["start"]
    assert plan.actions[0].details.attempt == 1


@pytest.mark.parametrize("state", ["done", "failed", "timed-out", "interrupted", "overlapped", "coalesced", "paused"])
def test_a_final_run_is_never_started_again(state: str) -> None:
    assert kinds(worked(a_run(state, alerted=True), retries=5)) == []


@pytest.mark.parametrize(("state", "told"), [
    ("done", []), ("replaced", []), ("failed", ["Failed"]), ("timed-out", ["JobTimedOut"]),
    ("interrupted", ["Interrupted"])])
def test_work_with_a_final_run_that_nobody_was_alerted_of_alerts(state: str, told: list[str]) -> None:
    plan = worked(a_run(state), retries=5)
    assert (alerts(plan), kinds(plan)) == (told, ["alert"] * len(told))


def test_a_held_run_is_waited_for_until_the_worker_must_be_gone() -> None:
    plan = worked(a_run())
    assert kinds(plan) == []
    assert plan.requeue_after_seconds == 660 + SKEW_SECONDS + 1


@pytest.mark.parametrize(("region", "kind"), [(HOME, "poll"), (STANDBY, "start")])
def test_a_distant_run_whose_lease_has_ended_is_looked_at_before_it_is_started_again(region: str, kind: str) -> None:
    run = msgspec.structs.replace(a_run(), remote_id="i-1", region=HOME)
    request = RunRequest("jobs/one", SLOT, NOON, "retry")
    seen = WorkObservation(request, job(retries=1, on="ssm"), run, None, 1, False, True, region=region)
    [action] = decide.work(seen, NOW + 661 + SKEW_SECONDS).actions
    assert (action.kind, action.details.request.remote_id) == (kind, "i-1" if kind == "poll" else "")


def test_a_vanished_worker_without_retries_means_interrupted_never_twice() -> None:
    assert kinds(worked(a_run(), now=NOW + 661 + SKEW_SECONDS)) == ["interrupt"]


def test_a_vanished_worker_with_retries_left_is_superseded() -> None:
    plan = worked(a_run(), now=NOW + 661 + SKEW_SECONDS, retries=1)
    assert kinds(plan) == ["start"]
    assert plan.actions[0].details.attempt == 2


def test_retries_are_used_up_in_the_end() -> None:
    assert kinds(worked(a_run(attempt=2), now=NOW + 661 + SKEW_SECONDS, retries=1)) == ["interrupt"]


def test_a_retry_waits_for_its_time() -> None:
    assert worked(a_run("retrying", lease=NOW + 30), retries=1).requeue_after_seconds == 31
    assert kinds(worked(a_run("retrying", lease=NOW), retries=1)) == ["start"]


LOCKED = Lock("2026-03-28T11:59Z", NOON - 1, "other", NOW + 600)


@pytest.mark.parametrize(("overlap", "lock", "kind", "state"), [
    ("allow", LOCKED, "start", None),
    ("skip", None, "start", None),
    ("skip", LOCKED, "skip", "overlapped"),
    ("skip", Lock("2026-03-28T11:59Z", NOON - 1, "other", NOW - SKEW_SECONDS - 1), "start", None),
    ("skip", Lock(SLOT, NOON, "other", NOW + 600), "start", None),
    ("queue-one", LOCKED, "wait", None),
    ("queue-one", Lock("2026-03-28T11:58Z", NOON - 2, "o", NOW + 600, "2026-03-28T11:59Z"), "skip", "coalesced"),
    ("replace", LOCKED, "wait", None),
    ("replace", Lock("2026-03-28T11:58Z", NOON - 2, "other", NOW + 600, "2026-03-28T11:59Z"), "wait", None)])
def test_overlap(overlap: str, lock: Lock | None, kind: str, state: str | None) -> None:
    plan = worked(lock=lock, overlap=overlap)
    assert kinds(plan) == [kind]
    assert getattr(plan.actions[0].details, "state", None) == state


AHEAD = [NOW * 1000.0, NOW + 3 * 86_400.0, 1e300, float("inf")]


@pytest.mark.parametrize("lease", AHEAD)
def test_lease_that_no_worker_can_have_holds_nothing(lease: float) -> None:
    """One in milliseconds, or of a clock that was days ahead, would hold a job back for ever."""
    assert kinds(worked(lock=Lock("2026-03-28T11:59Z", NOON - 1, "other", lease), overlap="skip")) == ["start"]
    assert kinds(worked(a_run(lease=lease))) == ["interrupt"]
    assert kinds(worked(a_run(lease=lease), retries=1)) == ["start"]
    assert kinds(worked(a_run("retrying", lease=lease), retries=1)) == ["start"]
    assert "enqueue" in kinds(swept([a_run(lease=lease)]))
    assert "enqueue" in kinds(swept([a_run("retrying", lease=lease)]))


def test_lease_of_the_longest_time_out_still_holds() -> None:
    lease = NOW + policy.LONGEST + RESERVE_SECONDS
    assert kinds(worked(lock=Lock("2026-03-28T11:59Z", NOON - 1, "other", lease), overlap="skip")) == ["skip"]
    assert worked(a_run(lease=lease), on="ecs", timeout=policy.LONGEST).actions == ()


@pytest.mark.parametrize("overlap", ["queue-one", "replace"])
def test_an_older_slot_never_displaces_a_later_run(overlap: str) -> None:
    plan = worked(lock=Lock("2026-03-28T12:01Z", NOON + 1, "other", NOW + 600), overlap=overlap)
    assert plan.actions[0].details.state == "coalesced"


def test_a_slot_that_waits_already_stays_where_it_is() -> None:
    lock = Lock("2026-03-28T11:59Z", NOON - 1, "other", NOW + 600, SLOT)
    assert worked(lock=lock, overlap="queue-one").actions == ()


def test_a_paused_job_runs_only_by_hand() -> None:
    assert kinds(worked(paused=True)) == ["skip"]
    assert kinds(worked(paused=True, wanted=RunRequest("jobs/one", "12:00:01Z#manual", NOON, "manual"))) == ["start"]


def test_an_unknown_job_waits_for_the_next_release_and_is_then_refused() -> None:
    assert worked(known=False, received=4).requeue_after_seconds == 60
    assert "jobs/one" in worked(known=False, received=5).rejected_because


def test_a_slot_outside_the_timetable_runs_but_people_hear_of_it() -> None:
    plan = worked(due=False)
    assert (kinds(plan), alerts(plan)) == (["alert", "start"], ["JobNotInTimetable"])
    assert kinds(worked(due=False, wanted=RunRequest("jobs/one", "12:00:01Z#manual", NOON, "manual"))) == ["start"]


def test_jobs_that_never_run_are_told_of_by_the_first_tick_of_a_release() -> None:
    plan = ticked(never_due_jobs=["jobs/feb-30"])
    assert plan.actions[-1].details.alert.kind == "JobNeverDue"
    assert "jobs/feb-30" in plan.actions[-1].reason


def test_a_distant_run_is_looked_at_and_only_by_its_own_follow_up() -> None:
    run = a_run(remote_id="arn:task")
    assert kinds(worked(run, wanted=RunRequest("jobs/one", SLOT, NOON, "follow-up", "arn:task"))) == ["poll"]
    assert kinds(worked(run)) == []


@pytest.mark.slow
@given(st.text(min_size=1), st.integers(0, 900))
def test_jitter_is_within_bounds_and_repeatable(slot: str, spread: int) -> None:
    one = job(jitter=spread)
    assert 0 <= jitter(one, slot) <= spread
    assert jitter(one, slot) == jitter(one, slot)


def test_retries_back_off() -> None:
    assert [retry_delay(attempt) for attempt in (1, 2, 3, 6, 20)] == [30, 60, 120, 900, 900]
    assert [retry_delay(attempt, "http") for attempt in (1, 2, 10)] == [2, 2, 2]
