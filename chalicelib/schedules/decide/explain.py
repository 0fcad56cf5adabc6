"""The answer of `lamp explain JOB TIME`, the one reason why a job ran, or did not run, at a minute. Pure."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from chalicelib import foreign
from chalicelib.crontab.dst import DueExplanation, explain, next_fire, stamp
from chalicelib.crontab.job import Job
from chalicelib.engine.schema import Unreadable
from chalicelib.schedules.decide.backlog import CATCH_UP_MINUTES
from chalicelib.schedules.state import MinuteRecord, Run

Answer = Literal["ran", "late", "caught up", "manual", "coalesced", "overlapped", "replaced", "interrupted", "failed",
                 "timed out", "running", "waiting", "retrying", "DST-moved", "DST-suppressed", "paused", "missed",
                 "not due", "to come", "not yet", "unreadable"]

# A run that starts within this time after its minute is on time: the tick, the queue and a cold start take some of it.
ON_TIME_SECONDS = 60


class Reason(msgspec.Struct, frozen=True):
    """One word for what happened, and one sentence with the particulars."""

    answer: Answer
    sentence: str


class Known(msgspec.Struct, frozen=True):
    """The stored facts of a job at a minute, which are its runs around it, and the region that started that minute or a
    gap's end.

    `regions` look after a minute one by one, home first, each `takeover_delay` seconds after the one before.
    `later` tells whether any region has started a minute after this one.
    """

    runs: Sequence[Run]
    record: MinuteRecord | None
    gap_end: int | None
    paused_since: int | None
    regions: tuple[str, ...] = ()
    takeover_delay: int = 0
    later: bool = False
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
        return Reason("paused", f"the job is paused since {foreign.moment(known.paused_since, '%Y-%m-%dT%H:%M UTC')}")
    if waiting := _not_yet(job, minute, known, now):
        return Reason("not yet", waiting)
    if known.gap_end is not None:
        if _catches_up(job, minute, known.gap_end):
            return Reason("missed", f"no region started jobs from then until {stamp(known.gap_end)} UTC. It was to be "
                                    "caught up, but no worker has claimed it. See the queue schedule-runs and its dead "
                                    "letters")
        text = f"no region started jobs from then until {stamp(known.gap_end)} UTC; catch_up={job.policy.catch_up}"
        if job.policy.catch_up == "one":
            return Reason("coalesced", f"{text}. The last of the missed slots ran for all")
        return Reason("missed", f"{text} left it out")
    if known.record is None:
        return Reason("missed", "no region started any job at that minute. The stack was not there yet, or no region "
                                "was alive")
    return Reason("missed", f"{known.record.region} started that minute's jobs, but no worker has claimed this one. "
                            "See the queue schedule-runs and its dead letters")


def _not_yet(job: Job, minute: int, known: Known, now: int) -> str:
    """The region that may still start a run that has not begun. Empty if none will.

    The last region looks when all takeover delays are over. Like every region, it may take a minute for it.
    """
    # The slots of a gap that are caught up start when it ends, and the others did not start before it.
    gap_end = known.gap_end
    begin = (gap_end if gap_end is not None and _catches_up(job, minute, gap_end) else minute) * 60
    looks = [(begin + rank * known.takeover_delay, region) for rank, region in enumerate(known.regions)]
    if following := next(((at, region) for at, region in looks if now < at), None):
        return f"{following[1]} will look at {_clock(following[0])}"
    if looks and now < (until := looks[-1][0] + ON_TIME_SECONDS + job.policy.jitter):
        return f"{looks[-1][1]} looks now, and may start it until {_clock(until)}"
    if known.record is None and known.gap_end is None and not known.later and _catches_up(job, minute, now // 60):
        return ("no region has started a minute since. The next one that does will catch it up "
                f"(catch_up={job.policy.catch_up})")
    return ""


def _catches_up(job: Job, minute: int, gap_end: int) -> bool:
    """Whether the job's slot of `minute` runs at `gap_end`, before which no region has started any."""
    if job.policy.catch_up == "one":
        following = next_fire(job.expression, job.tz, minute + 1)
        return gap_end - minute <= CATCH_UP_MINUTES and (following is None or following >= gap_end)
    longest = job.policy.catch_up_seconds
    return gap_end - minute <= CATCH_UP_MINUTES and (longest is None or (gap_end - minute) * 60 <= longest)


def _clock(at: int) -> str:
    return f"{stamp(at // 60)[11:]}:{at % 60:02d}Z"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 180 else f"{seconds / 60:.0f} min"
