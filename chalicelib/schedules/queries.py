"""The observations of the queries and manual operations, which are one job's history, all jobs at a glance, and a job
to act on."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.crontab import dst
from chalicelib.crontab.job import Job
from chalicelib.engine import state
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.schedules import release
from chalicelib.schedules.decide.explain import Known
from chalicelib.schedules.observation import JobSeen, PruneSeen
from chalicelib.schedules.observe import before, paused_jobs
from chalicelib.schedules.state import MINUTE, OUTPUT, PAUSE, RUN, MinuteRecord, Run, is_minute, minute_key, pause_key

# How many runs within a day of a minute are read to explain it, how many minutes after a gap its record may stand, and
# among how many of the last slots, whose names are local times or UTC, the last run is looked for.
_RUNS, _PAGE, _LAST = 6000, 200, 3
# Jobs whose last runs are read at the same time. 10,000 jobs are 79 reads one after the other.
AT_ONCE = 128


class WhyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`job` by name, or by `file:line`. `time` in ISO 8601, by default in UTC."""

    job: str
    time: str


class StatusAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`job` is a part of the names to show (empty shows all), and `limit` the largest number of jobs."""

    job: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 500


class JobAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`job` by name, or by `file:line`. `reason` for the journal."""

    job: str
    reason: str = ""


class WhySeen(msgspec.Struct, frozen=True):
    """A job, the minute asked about, what the store knows of both, and what the run printed, if it ran here."""

    job: Job
    minute: int
    known: Known
    output: str = ""
    unreadable: tuple[Unreadable, ...] = ()


class StatusSeen(msgspec.Struct, frozen=True):
    """All that `schedules.status` tells, ready to print."""

    report: dict[str, Any]


def prune(context: RegionContext, request: Request) -> PruneSeen:
    """For whose turn it is."""
    return PruneSeen(context.rank, len(context.fleet.regions))


def why(context: RegionContext, request: Request) -> WhySeen:
    """Reads the runs and the minute's record for `schedules.why`."""
    asked: WhyAsked = request.parameters
    job, minute = find(context, asked.job), _minute(asked.time)
    # Slots of fixed times are local: a day to either side holds every zone.
    after, until = dst.stamp(minute - 1560), dst.stamp(minute + 1560)
    items = [item for name in (job.name, *job.former)
             for item in context.shared_store.query(f"run#{name}", limit=_RUNS, after=after, before=until)]
    stored, bad_runs = state.read_all(context.shared_store, items, RUN)
    runs = [stored[item.pk, item.sk].value for item in items if (item.pk, item.sk) in stored]
    record, gap_end, later, bad_minutes = _record(context, minute)
    pause = state.find(context.shared_store, pause_key(job.name), PAUSE)
    since = pause.value.since if isinstance(pause, Stored) else None
    output, bad_output = _output(context, job, minute, runs)
    bad_pauses = (pause,) if isinstance(pause, Unreadable) else ()
    unreadable = (*(run for run in bad_runs if _may_be_of(run, job, minute)), *bad_minutes, *bad_pauses)
    known = Known(runs, record, gap_end, since, tuple(region.name for region in context.fleet.regions),
                  context.fleet.schedules.takeover_delay, later, unreadable)
    return WhySeen(job, minute, known, output,
                   (*bad_runs, *bad_minutes, *bad_pauses, *bad_output))


def status(context: RegionContext, request: Request) -> StatusSeen:
    """Each job with its last run, outcome and next fire. And the last minute that a region started."""
    asked: StatusAsked = request.parameters
    book, (paused, bad_pauses) = release.book(context.root), paused_jobs(context)
    jobs = [job for job in (book[number] for number in range(len(book))) if asked.job in job.name]
    last, bad_minutes = before(context, request.now // 60 + 1)
    # Far from the coordination table each read takes as long as the way there and back.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        each = pool.map if context.has_threads else map
        shown = list(each(lambda job: _glance(context, job, job.name in paused, request.now), jobs[: asked.limit]))
    unreadable = [*bad_pauses, *bad_minutes, *(item for _, bad in shown for item in bad)]
    return StatusSeen({
        "region": context.region, "home": context.fleet.home, "timetable": release.timetable(context.root).digest,
        "coordination": "strong" if context.fleet.coordination.strong else "one region",
        "last_minute": {"minute": f"{dst.stamp(last.minute)}Z", "region": last.record.region if last.record else None}
        if last else None,
        "jobs": [one for one, _ in shown], "left_out": max(0, len(jobs) - asked.limit),
        "unreadable": [str(item) for item in unreadable]})


def job(context: RegionContext, request: Request) -> JobSeen:
    """The job that somebody wants paused, resumed or run."""
    asked: JobAsked = request.parameters
    found = find(context, asked.job)
    return JobSeen(found, context.shared_store.get("paused", found.name) is not None, asked.reason)


# A place as `cron lint`, `check` and `explain` print it. The column and what follows it say nothing about the job.
_PLACE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+)(?::.*)?", re.DOTALL)


def _in_file(jobs: Sequence[Job], place: str) -> dict[str, int]:
    """The jobs of the file that `place` names, each with its distance in lines. The file may have a path before it."""
    if not (named := _PLACE.fullmatch(place.strip())):
        return {}
    file, line = f"/{named['file']}", int(named["line"])
    return {job.name: abs(job.line - line) for job in jobs
            if file == f"/{job.file}" or file.endswith(f"/cron/{job.file}")}


def find(context: RegionContext, name: str) -> Job:
    """The job that has or had that name, or is at that `file:line[:column]` as findings have it.

    `Rejected` tells of similar ones.
    """
    book = release.book(context.root)
    number = book.find(name)
    if number is not None:
        return book[number]
    jobs = [book[number] for number in range(len(book))]
    beside = _in_file(jobs, name)
    there = [job for job in jobs if name in job.former] or [
        job for job in jobs if beside.get(job.name) == 0 or job.name.rpartition("/")[2] == name]
    if len(there) == 1:
        return there[0]
    like = [job.name for job in there or jobs if there or name.lower() in job.name.lower()]
    like = like or sorted(beside, key=lambda job: beside[job])
    hint = f"; did you mean {', '.join(like[:5])}?" if like else "; `lamp status` lists all"
    raise Rejected(f"{'several jobs are' if there else 'no job is'} called {name!r}{hint}")


def _glance(context: RegionContext, job: Job, paused: bool, now: int) -> tuple[dict[str, Any], tuple[Unreadable, ...]]:
    newest: Sequence[Item] = ()
    for name in (job.name, *job.former):
        newest = newest or context.shared_store.query(f"run#{name}", limit=_LAST)
    stored, unreadable = state.read_all(context.shared_store, newest, RUN)
    run = max((one.value for one in stored.values()), key=lambda run: run.started, default=None)
    following = dst.next_fire(job.expression, job.tz, now // 60 + 1)
    return {
        "job": job.name, "schedule": job.schedule, "tz": job.tz, "on": job.policy.on, "paused": paused,
        "where": f"{job.file}:{job.line}", "next": f"{dst.stamp(following)}Z" if following is not None else None,
        "last": None if run is None else {
            "slot": run.slot, "state": run.state, "why": run.why, "region": run.region, "attempt": run.attempt,
            "started": run.started, "seconds": round(run.ended - run.started, 3) if run.ended else None,
            "exit": run.exit, "detail": run.detail}}, unreadable


def _output(context: RegionContext, job: Job, minute: int, runs: Sequence[Run]) -> tuple[str, tuple[Unreadable, ...]]:
    """The output of the last attempt of the minute's runs, as far as it is kept here."""
    for run in runs:
        if run.minute == minute and run.region == context.region:
            newest = context.local_store.query(f"output#{run.job}", limit=1, after=f"{run.slot}#",
                                               before=f"{run.slot}$")
            stored, unreadable = state.read_all(context.local_store, newest, OUTPUT)
            return next((kept.value.output for kept in stored.values()), ""), unreadable
    return "", ()


def _record(
    context: RegionContext, minute: int
) -> tuple[MinuteRecord | None, int | None, bool, tuple[Unreadable, ...]]:
    """The minute's own record. Or, if it lies in a gap, the minute at which the gap ended, and whether any has begun
    since."""
    pk, sk = minute_key(minute)
    record = state.find(context.shared_store, (pk, sk), MINUTE)
    if record is not None:
        return (None, None, False, (record,)) if isinstance(record, Unreadable) else (record.value, None, False, ())
    later = context.shared_store.query(pk, newest=False, limit=_PAGE, after=sk)
    stored, unreadable = state.read_all(context.shared_store, later, MINUTE)
    over = [int(sk) for (_, sk), one in stored.items() if is_minute(sk) and one.value.since <= minute]
    return None, min(over, default=None), bool(later), unreadable


def _may_be_of(run: Unreadable, job: Job, minute: int) -> bool:
    """Whether an unreadable run is the one of the slot that the job has at a minute."""
    return run.key.sk == dst.explain(job.expression, job.tz, minute).slot


def _minute(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"{text!r} is not a time. Write it as in 2026-03-29T00:55Z") from None
    if not 1970 < when.year < 9000:
        raise Rejected(f"{text!r} lies outside of the years that Lamplighter knows. Write it as in 2026-03-29T00:55Z")
    return int(when.replace(tzinfo=when.tzinfo or UTC).timestamp()) // 60
