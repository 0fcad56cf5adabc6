"""The observations of the schedules' operations, which are this release's timetable and the stored records of its jobs.
"""

from collections.abc import Callable, Sequence

import msgspec

from chalicelib.aws.client import AWS_ERRORS
from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.crontab import dst
from chalicelib.crontab.calendar import bits
from chalicelib.engine import state
from chalicelib.engine.operation import Request
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.schedules import release
from chalicelib.schedules.decide.backlog import CATCH_UP_MINUTES, Backlog, plan_backlog
from chalicelib.schedules.observation import (
    DueRun,
    Memory,
    PreviousMinute,
    ReconcileObservation,
    TickObservation,
    WorkObservation,
)
from chalicelib.schedules.state import (
    LOCK,
    MINUTE,
    NEWEST,
    NEWEST_KEY,
    PAUSE,
    RUN,
    Lock,
    MinuteRecord,
    ReconcileRequest,
    Run,
    RunRequest,
    fingerprint,
    is_minute,
    lock_key,
    minute_key,
    pause_key,
    run_key,
)

_PAUSES = 1000
# So often a minute is looked at again of which a restored table does not tell whether it was started.
_UNDECIDED_LOOKS = 2
# Among so many items the next record of a minute is looked for.
_STRAYS = 10


def tick(context: RegionContext, request: Request) -> TickObservation:
    """A standby reads nothing and only sends itself a reminder."""
    minute, patience = request.now // 60, context.fleet.schedules.takeover_delay
    if context.rank:
        return TickObservation(minute, context.region, context.rank, patience,
                               MinuteRecord("", "", context.region, minute), (),
                               at=context.clock())
    memory = _memory(context)
    last, unreadable = before(context, minute)
    memory, last = _compared(memory, last, minute, context.clock())
    record = _new_record(context, minute, last)
    backlog = _backlog(context, record, minute)
    slots = due(context, minute)
    paused: frozenset[str] = frozenset()
    if slots or backlog.occasions:
        paused, unreadable_pauses = paused_jobs(context)
        unreadable += unreadable_pauses
    return TickObservation(minute, context.region, 0, patience, record, slots, backlog.occasions, backlog.lost, paused,
                           _never(context, minute, last), unreadable, context.clock(), memory)


def sweep(context: RegionContext, request: Request) -> ReconcileObservation:
    """The minute's record, or the one to write if there is none, and the run of every slot that was due.

    Of a minute with an unreadable record only slots with a run are looked after, because the other due slots are
    unknown.
    """
    asked: ReconcileRequest = request.parameters
    minute, unreadable = asked.minute, tuple[Unreadable, ...]()
    memory = _memory(context)
    stored = state.find(context.shared_store, minute_key(minute), MINUTE)
    previous, record, undecided = None, None, False
    if isinstance(stored, Unreadable):
        unreadable = (stored,)
    elif stored:
        record = stored.value
    else:
        previous, unreadable = before(context, minute)
        later = _after(context, minute)
        if later is None:
            memory, previous = _compared(memory, previous, int(context.clock()) // 60 + 1, context.clock())
        # In a restored table a minute that came after all that this region remembers may have been started as well. A
        # region that has started it tells with its next record. Without one nobody else lives.
        undecided = later is None and memory.gone is not None and asked.attempt < _UNDECIDED_LOOKS
        if not undecided and not _is_gone(minute, later, memory):
            record = _new_record(context, minute, previous)
    backlog = _backlog(context, record, minute) if record else Backlog()
    slots = [*due(context, minute), *backlog.occasions]
    if record and record.timetable != release.timetable(context.root).digest:
        # Another release has started that minute: what it did not have due is not ours to start.
        slots, backlog = [slot for slot in slots if record.has(slot.job.name)], Backlog()
    known, bad = runs(context, [*slots, *backlog.doubtful])
    bad_keys = {(item.key.pk, item.key.sk) for item in bad}
    unreadable_runs = [slot for slot in (*slots, *backlog.doubtful) if run_key(slot.job.name, slot.slot) in bad_keys]
    slots, doubtful = ([slot for slot in some if slot not in unreadable_runs] for some in (slots, backlog.doubtful))
    if record is None:
        slots = [slot for slot in slots if (slot.job.name, slot.slot) in known]
    paused, bad_pauses = paused_jobs(context) if slots or doubtful else (frozenset[str](), ())
    return ReconcileObservation(
        minute, asked.attempt, context.region, record, stored is not None, previous, slots, known, doubtful,
        (minute + _turns(context)) * 60, backlog.lost, paused, () if stored else _never(context, minute, previous),
        (*unreadable, *bad, *bad_pauses), unreadable_runs, memory, undecided)


def work(context: RegionContext, request: Request) -> WorkObservation:
    """The job of the run request in this release, its run, and whether it may run now."""
    wanted: RunRequest = request.parameters
    book = release.book(context.root)
    number = book.find(wanted.job)
    job = book[number] if number is not None else None
    own_key, own_pause, own_lock = run_key(wanted.job, wanted.slot), pause_key(wanted.job), lock_key(wanted.job)
    locks = job is not None and job.policy.overlap != "allow"
    # The record of a minute is written before its requests are sent, but for those of a gap and those of people.
    recorded = request.receive_count > 1 and wanted.why in ("due", "late")
    items = {(item.pk, item.sk): item for item in context.shared_store.get_many(
        [own_key, own_pause, *([own_lock] if locks else []), *([minute_key(wanted.minute)] if recorded else [])])}
    run = state.read(context.shared_store, items[own_key], RUN) if own_key in items else None
    lock = state.read(context.shared_store, items[own_lock], LOCK) if own_lock in items else None
    own_minute = items.get(minute_key(wanted.minute)) if recorded else None
    if own_minute:
        # That it is there is enough. If it cannot be read, people are told.
        state.read(context.shared_store, own_minute, MINUTE)
    held = lock.value if isinstance(lock, Stored) and not _ended(context, wanted.job, lock.value) else None
    return WorkObservation(
        wanted, job, run.value if isinstance(run, Stored) else None, held, request.receive_count,
        own_pause in items, number is not None and _is_due(context, number, wanted),
        tuple(item for item in (run, lock) if isinstance(item, Unreadable)), context.region,
        recorded and own_minute is None)


def _ended(context: RegionContext, job: str, lock: Lock) -> bool:
    """Whether the run that holds a lock is known to have ended, so that its lock counts no more."""
    holder = state.find(context.shared_store, run_key(job, lock.slot), RUN)
    return isinstance(holder, Stored) and holder.value.final


def due(context: RegionContext, minute: int) -> list[DueRun]:
    """The slots that this release's timetable has at `minute`."""
    book = release.book(context.root)
    return [DueRun(book[fire.job], fire.slot, minute, moved=fire.moved)
            for fire in release.timetable(context.root).due(minute).fires()]


def before(context: RegionContext, minute: int) -> tuple[PreviousMinute | None, tuple[Unreadable, ...]]:
    """The last minute before `minute` that any region started, and its record if that cannot be read.

    That the minute was started its key says already.
    """
    pk, sk = minute_key(minute)
    return _first(context, lambda limit: context.shared_store.query(pk, limit=limit, before=sk))


def _first(
    context: RegionContext, query: Callable[[int], Sequence[Item]]
) -> tuple[PreviousMinute | None, tuple[Unreadable, ...]]:
    """The first item of a query that is a minute. Others under its key say nothing of any minute."""
    items = query(1)
    if items and not is_minute(items[0].sk):
        items = query(_STRAYS)
    found = next((item for item in items if is_minute(item.sk)), None)
    strays = items[:items.index(found)] if found else items
    _, unreadable = state.read_all(context.shared_store, strays, MINUTE)
    if found is None:
        return None, unreadable
    record = state.read(context.shared_store, found, MINUTE)
    if isinstance(record, Unreadable):
        return PreviousMinute(int(found.sk), None), (*unreadable, record)
    return PreviousMinute(int(found.sk), record.value), unreadable


def runs(
    context: RegionContext, slots: Sequence[DueRun]
) -> tuple[dict[tuple[str, str], Run], tuple[Unreadable, ...]]:
    """The runs that exist for `slots`, by job and slot, and those that cannot be read."""
    keys = [run_key(slot.job.name, slot.slot) for slot in slots]
    found, unreadable = state.load_many(context.shared_store, keys, RUN)
    return {(pk.removeprefix("run#"), sk): stored.value for (pk, sk), stored in found.items()}, unreadable


def _after(context: RegionContext, minute: int) -> PreviousMinute | None:
    """The first minute after `minute` that any region started."""
    pk, sk = minute_key(minute)
    return _first(context, lambda limit: context.shared_store.query(pk, newest=False, limit=limit, after=sk))[0]


def _memory(context: RegionContext) -> Memory:
    """What the region remembers. It is read before the coordination table, whose records were written before it."""
    try:
        return Memory(True, state.find(context.local_store, NEWEST_KEY, NEWEST))
    except AWS_ERRORS:
        return Memory(False)


def _compared(
    memory: Memory, last: PreviousMinute | None, before: int, clock: float
) -> tuple[Memory, PreviousMinute | None]:
    """The minutes that have gone, and the last one that was started.

    `last` is the last minute before `before` that has a record. A minute from there on was noted by an earlier run for
    the same event. One ahead of the clock is of a run whose clock was ahead.
    """
    seen = memory.newest.value.minute if isinstance(memory.newest, Stored) else 0
    known = last.minute if last else 0
    if seen <= known or seen * 60 > clock:
        return memory, last
    if seen >= before:
        return memory, PreviousMinute(before - 1, None)
    gone = (known + 1 if last else seen, seen)
    return msgspec.structs.replace(memory, gone=gone), PreviousMinute(seen, None)


def _is_gone(minute: int, later: PreviousMinute | None, memory: Memory) -> bool:
    """Whether a minute without a record was started all the same, so that nothing of it is started again.

    The first record after a minute that nobody started has it in its gap.
    """
    if later:
        return later.record is None or later.record.since > minute
    return memory.gone is not None and memory.gone[1] >= minute


def paused_jobs(context: RegionContext) -> tuple[frozenset[str], tuple[Unreadable, ...]]:
    """The names of all paused jobs, and the unreadable pauses, which hold the job all the same."""
    items = context.shared_store.query("paused", limit=_PAUSES)
    _, unreadable = state.read_all(context.shared_store, items, PAUSE)
    return frozenset(item.sk for item in items), unreadable


def _is_due(context: RegionContext, number: int, wanted: RunRequest) -> bool:
    parts = release.timetable(context.root).due(wanted.minute).parts
    return any(part.slot == wanted.slot and part.bitmap >> number & 1 for part in parts)


def _never(context: RegionContext, minute: int, last: PreviousMinute | None) -> list[str]:
    """On the first minute of a release, its jobs that will never run."""
    if last and (last.record is None or last.record.timetable == release.timetable(context.root).digest):
        return []
    book = release.book(context.root)
    jobs = (book[number] for number in range(len(book)))
    return [job.name for job in jobs if dst.next_fire(job.expression, job.tz, minute) is None]


def _new_record(context: RegionContext, minute: int, last: PreviousMinute | None) -> MinuteRecord:
    table = release.timetable(context.root)
    since = max(last.minute + 1, minute - CATCH_UP_MINUTES) if last else minute
    due_now, book = table.due(minute), release.book(context.root)
    marks = "".join(fingerprint(book[number].name) for number in bits(due_now.bitmap))
    return MinuteRecord(table.digest, f"{due_now.bitmap:x}", context.region, min(since, minute), marks)


def _backlog(context: RegionContext, record: MinuteRecord, minute: int) -> Backlog:
    if record.since >= minute:
        return Backlog()
    since = max(record.since, minute - CATCH_UP_MINUTES)
    return plan_backlog(release.timetable(context.root), release.book(context.root), since, minute, _turns(context))


def _turns(context: RegionContext) -> int:
    """Minutes until the last standby has acted, which are its takeover delay and up to a minute for its work."""
    return (len(context.fleet.regions) - 1) * context.fleet.schedules.takeover_delay // 60 + 1
