"""The observations of the schedules' operations, which are this release's timetable and the stored records of its jobs.
"""

from collections.abc import Iterable, Sequence

import msgspec

from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.crontab import dst
from chalicelib.crontab.calendar import bits
from chalicelib.engine.operation import Request
from chalicelib.schedules import release
from chalicelib.schedules.decide.backlog import Backlog, plan_backlog
from chalicelib.schedules.observation import DueRun, ReconcileObservation, TickObservation, WorkObservation
from chalicelib.schedules.state import (
    Lock,
    MinuteRecord,
    ReconcileRequest,
    Run,
    RunRequest,
    fingerprint,
    lock_key,
    minute_key,
    run_key,
)

# A gap longer than this is caught up for its last day only: nobody wants last week's jobs.
CATCH_UP_MINUTES = 1440
_PAUSES = 1000


def tick(site: RegionContext, request: Request) -> TickObservation:
    """A standby reads nothing and only sends itself a reminder."""
    minute, patience = request.now // 60, site.fleet.schedules.patience
    if site.rank:
        return TickObservation(minute, site.region, site.rank, patience, MinuteRecord("", "", site.region, minute), ())
    last = before(site, minute)
    record = _new_record(site, minute, last)
    backlog = _backlog(site, record, minute)
    slots = due(site, minute)
    paused = paused_jobs(site) if slots or backlog.occasions else frozenset()
    return TickObservation(minute, site.region, 0, patience, record, slots, backlog.occasions, backlog.lost, paused,
                    _never(site, minute, last))


def sweep(site: RegionContext, request: Request) -> ReconcileObservation:
    """The minute's record, or the one to write if there is none, and the run of every slot that was due."""
    said: ReconcileRequest = request.parameters
    item = site.shared_store.get(*minute_key(said.minute))
    earlier = None if item else before(site, said.minute)
    record = msgspec.convert(item.body, MinuteRecord) if item else _new_record(site, said.minute, earlier)
    backlog = _backlog(site, record, said.minute)
    slots = [*due(site, said.minute), *backlog.occasions]
    if record.timetable != release.timetable(site.root).digest:
        # Another release has started that minute: what it did not have due is not ours to start.
        slots, backlog = [slot for slot in slots if record.has(slot.job.name)], Backlog()
    known = runs(site, [*slots, *backlog.doubtful])
    paused = paused_jobs(site) if slots or backlog.doubtful else frozenset()
    return ReconcileObservation(
        said.minute, said.attempt, site.region, record, item is not None, earlier, slots, known, backlog.doubtful,
        (said.minute + _turns(site)) * 60, backlog.lost, paused, () if item else _never(site, said.minute, earlier))


def work(site: RegionContext, request: Request) -> WorkObservation:
    """The run request's job in this release, its run, and whether it may run now."""
    errand: RunRequest = request.parameters
    book = release.book(site.root)
    number = book.find(errand.job)
    job = book[number] if number is not None else None
    keys = [run_key(errand.job, errand.slot), ("paused", errand.job)]
    if job and job.policy.overlap != "allow":
        keys.append(lock_key(errand.job))
    found = {item.pk: item for item in site.shared_store.get_many(keys)}
    run, lock = found.get(f"run#{errand.job}"), found.get("lock")
    return WorkObservation(
        errand, job, msgspec.convert(run.body, Run) if run else None,
        _held(site, errand.job, lock) if lock else None, request.receive_count, "paused" in found,
        number is not None and _is_due(site, number, errand))


def due(site: RegionContext, minute: int) -> list[DueRun]:
    """The slots that this release's timetable has at `minute`."""
    book = release.book(site.root)
    return [DueRun(book[fire.job], fire.slot, minute, moved=fire.moved)
            for fire in release.timetable(site.root).due(minute).fires()]


def before(site: RegionContext, minute: int) -> MinuteRecord | None:
    """The record of the last minute before `minute` that any region started, its `since` replaced by that minute."""
    pk, sk = minute_key(minute)
    newest = site.shared_store.query(pk, limit=1, before=sk)
    if not newest:
        return None
    return msgspec.structs.replace(msgspec.convert(newest[0].body, MinuteRecord), since=int(newest[0].sk))


def runs(site: RegionContext, slots: Sequence[DueRun]) -> dict[tuple[str, str], Run]:
    """The runs that exist for `slots`, by job and slot."""
    keys = dict.fromkeys(run_key(slot.job.name, slot.slot) for slot in slots)
    found: Iterable[Item] = site.shared_store.get_many(list(keys))
    return {(run.job, run.slot): run for run in (msgspec.convert(item.body, Run) for item in found)}


def paused_jobs(site: RegionContext) -> frozenset[str]:
    """The names of all jobs that are paused."""
    return frozenset(item.sk for item in site.shared_store.query("paused", limit=_PAUSES))


def _held(site: RegionContext, job: str, item: Item) -> Lock | None:
    """The lock, if it counts, which is while the run of its slot has not ended."""
    lock = msgspec.convert(item.body, Lock)
    run = site.shared_store.get(*run_key(job, lock.slot))
    return None if run and msgspec.convert(run.body, Run).final else lock


def _is_due(site: RegionContext, number: int, errand: RunRequest) -> bool:
    parts = release.timetable(site.root).due(errand.minute).parts
    return any(part.slot == errand.slot and part.bitmap >> number & 1 for part in parts)


def _never(site: RegionContext, minute: int, last: MinuteRecord | None) -> list[str]:
    """On the first minute of a release, its jobs that will never run."""
    if last and last.timetable == release.timetable(site.root).digest:
        return []
    book = release.book(site.root)
    jobs = (book[number] for number in range(len(book)))
    return [job.name for job in jobs if dst.next_fire(job.expression, job.tz, minute) is None]


def _new_record(site: RegionContext, minute: int, last: MinuteRecord | None) -> MinuteRecord:
    table = release.timetable(site.root)
    since = max(last.since + 1, minute - CATCH_UP_MINUTES) if last else minute
    due_now, book = table.due(minute), release.book(site.root)
    marks = "".join(fingerprint(book[number].name) for number in bits(due_now.bitmap))
    return MinuteRecord(table.digest, f"{due_now.bitmap:x}", site.region, min(since, minute), marks)


def _backlog(site: RegionContext, record: MinuteRecord, minute: int) -> Backlog:
    if record.since >= minute:
        return Backlog()
    return plan_backlog(release.timetable(site.root), release.book(site.root), record.since, minute, _turns(site))


def _turns(site: RegionContext) -> int:
    """Minutes until the last standby has acted, which are its takeover delay and up to a minute for its work."""
    return (len(site.fleet.regions) - 1) * site.fleet.schedules.patience // 60 + 1
