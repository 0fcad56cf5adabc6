"""The answer of `lamp explain JOB TIME`, the one reason why a job ran, or did not run, at a minute. Pure."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from chalicelib.crontab.dst import DueExplanation, explain, stamp
from chalicelib.crontab.job import Job
from chalicelib.engine.schema import Unreadable
from chalicelib.schedules.state import MinuteRecord, Run

Answer = Literal["ran", "late", "caught up", "manual", "coalesced", "overlapped", "replaced", "interrupted", "failed",
                 "timed out", "running", "waiting", "retrying", "DST-moved", "DST-suppressed", "paused", "missed",
                 "not due", "to come", "unreadable"]

# A run that starts within this time after its minute is on time: the tick, the queue and a cold start take some of it.
ON_TIME_SECONDS = 60


class Reason(msgspec.Struct, frozen=True):
    """One word for what happened, and one sentence with the particulars."""

    answer: Answer
    sentence: str


class Known(msgspec.Struct, frozen=True):
    """The stored facts of a job at a minute, which are its runs around it, and the region that started that minute or a
    gap's end."""

    runs: Sequence[Run]
    record: MinuteRecord | None
    gap_end: int | None
    paused_since: int | None
    unreadable: tuple[Unreadable, ...] = ()


def why(job: Job, minute: int, known: Known, now: int) -> Reason:
    """Why `job` did what it did at UTC minute `minute`. `now` in epoch seconds."""
    verdict = explain(job.expression, job.tz, minute)
    by_hand = next((run for run in known.runs if run.why == "manual" and run.minute == minute), None)
    if verdict.kind in ("not due", "suppressed"):
        return _of_run(job, by_hand, verdict) if by_hand else _not_due(job, minute, verdict)
    run = next((run for run in known.runs if run.slot == verdict.slot), None)
    if run:
        return _of_run(job, run, verdict)
    return _never(job, minute, verdict, known, now)


def _not_due(job: Job, minute: int, verdict: DueExplanation) -> Reason:
    local = f"{stamp(verdict.local).replace('T', ' ')} in {job.tz}"
    if verdict.kind == "suppressed":
        return Reason("DST-suppressed", f"{local} comes twice as the clock goes back; {job.schedule!r} names a fixed "
                                        "time and ran the first time, as under cron")
    field = {"day": "day of month and day of week"}.get(verdict.field, verdict.field)
    return Reason("not due", f"{job.schedule!r} does not match {local}: the {field} differs ({job.file}:{job.line})")


_ENDINGS: dict[str, Answer] = {
    "failed": "failed", "timed-out": "timed out", "interrupted": "interrupted", "replaced": "replaced",
    "overlapped": "overlapped", "coalesced": "coalesced", "paused": "paused", "running": "running",
    "waiting": "waiting", "retrying": "retrying"}


def _of_run(job: Job, run: Run, verdict: DueExplanation) -> Reason:
    late = run.started - run.minute * 60
    told = f"for {run.slot} in {run.region}"
    if run.state in ("overlapped", "coalesced", "paused", "waiting"):
        return Reason(_ENDINGS[run.state], f"{told}: {run.detail or run.state}")
    ran = (f"{told}, started {_ago(late)} after its minute, attempt {run.attempt}"
           + (f", took {run.ended - run.started:.1f} s" if run.ended else ""))
    if run.state != "done":
        return Reason(_ENDINGS[run.state], f"{ran}: {run.detail or run.state}")
    if run.why in ("manual", "caught up"):
        return Reason(run.why, ran)
    if verdict.kind == "moved":
        return Reason("DST-moved", f"{ran}. The clock skipped {stamp(verdict.local).replace('T', ' ')} in {job.tz}")
    if run.why == "late" or late > ON_TIME_SECONDS + job.policy.jitter:
        return Reason("late", f"{ran}. Its own region had not started it in time" if run.why == "late" else ran)
    return Reason("ran", ran)


def _never(job: Job, minute: int, verdict: DueExplanation, known: Known, now: int) -> Reason:
    if minute * 60 > now:
        return Reason("to come", f"it will run for {verdict.slot}")
    if known.unreadable:
        return Reason("unreadable", f"Lamplighter cannot read an item that may tell ({known.unreadable[0]})")
    if known.paused_since is not None and known.paused_since <= minute * 60:
        return Reason("paused", f"the job is paused since {stamp(known.paused_since // 60)} UTC")
    if known.gap_end is not None:
        text = f"no region started jobs from then until {stamp(known.gap_end)} UTC; catch_up={job.policy.catch_up}"
        if job.policy.catch_up == "one":
            return Reason("coalesced", f"{text}. The last of the missed slots ran for all")
        return Reason("missed", f"{text} left it out")
    if known.record is None:
        return Reason("missed", "no region started any job at that minute. The stack was not there yet, or no region "
                                "was alive")
    return Reason("missed", f"{known.record.region} started that minute's jobs, but no worker has claimed this one. "
                            "See the queue schedule-runs and its dead letters")


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 180 else f"{seconds / 60:.0f} min"
