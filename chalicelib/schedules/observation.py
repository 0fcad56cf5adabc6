"""The observations of the tick, the reconcile and the worker, as frozen values. `observe` makes them, `decide` reads
them."""

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.schedules.state import Lock, MinuteRecord, NewestMinute, Run, RunReason, RunRequest, RunState


class DueRun(msgspec.Struct, frozen=True):
    """A job and the slot for which it is to run once. `moved` when the clock skipped its own minute."""

    job: Job
    slot: str
    minute: int
    why: RunReason = "due"
    moved: bool = False


class PreviousMinute(msgspec.Struct, frozen=True):
    """The last minute before another that any region started. `record` is `None` where it cannot be read."""

    minute: int
    record: MinuteRecord | None


class Memory(msgspec.Struct, frozen=True):
    """The region's own `newest` minute that it has seen started, if its table `has_answered`.

    Records are `gone` from the first to the last of these minutes, both included. A restored table lacks them.
    """

    has_answered: bool = True
    newest: Stored[NewestMinute] | Unreadable | None = None
    gone: tuple[int, int] | None = None


class TickObservation(msgspec.Struct, frozen=True):
    """The observation of the tick, with `slots` due now, `backlog` to catch up, and the number of the gap's slots that
    are lost (`missed_count`).

    `never_due_jobs` names, on the first tick of a release, its jobs that will never run. `unreadable` are items that
    cannot be read. `at` is the region's time (epoch seconds).
    """

    minute: int
    region: str
    rank: int
    patience: int
    record: MinuteRecord
    slots: Sequence[DueRun]
    backlog: Sequence[DueRun] = ()
    missed_count: int = 0
    paused: frozenset[str] = frozenset()
    never_due_jobs: Sequence[str] = ()
    unreadable: tuple[Unreadable, ...] = ()
    at: float = 0
    memory: Memory = Memory()


class ReconcileObservation(msgspec.Struct, frozen=True):
    """The observation of the reconcile, with `record` as stored or as it is to be stored (`recorded` tells which).

    `unconfirmed` are slots of a gap that are not caught up here, but may have been started by a standby until
    `confirm_after` (epoch seconds). Of `unreadable` items nothing is concluded. `unreadable_runs` are the slots whose
    run is one of them. They are in none of the other fields. An `undecided` minute has no record and may have had one
    before the table was restored.
    """

    minute: int
    attempt: int
    region: str
    record: MinuteRecord | None
    recorded: bool
    previous: PreviousMinute | None
    slots: Sequence[DueRun]
    runs: Mapping[tuple[str, str], Run]
    unconfirmed: Sequence[DueRun] = ()
    confirm_after: int = 0
    missed_count: int = 0
    paused: frozenset[str] = frozenset()
    never_due_jobs: Sequence[str] = ()
    unreadable: tuple[Unreadable, ...] = ()
    unreadable_runs: Sequence[DueRun] = ()
    memory: Memory = Memory()
    undecided: bool = False


class WorkObservation(msgspec.Struct, frozen=True):
    """The observation of the worker about one run request. `due` tells whether this release's timetable has it.

    `unreadable` are the unreadable items of the run. Whether it may start is then unknown. `record_gone` means that its
    minute was started, for the request came before, and has no record any more.
    """

    wanted: RunRequest
    job: Job | None
    run: Run | None
    lock: Lock | None
    received: int
    paused: bool
    due: bool
    unreadable: tuple[Unreadable, ...] = ()
    region: str = ""
    record_gone: bool = False


class Enqueued(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `enqueue`, with the run request to send, and its delay in seconds."""

    request: RunRequest
    delay: int = 0


class Reminder(msgspec.Struct, frozen=True):
    """Payload of `schedule-reconcile`, to look at `minute` again in `delay` seconds, for the `attempt`th time."""

    minute: int
    delay: int
    attempt: int = 0


class Remembered(msgspec.Struct, frozen=True):
    """Payload of `remember`, the newest minute that was started."""

    minute: int


class Recorded(msgspec.Struct, frozen=True):
    """Payload of `record`, with the record of a minute."""

    minute: int
    record: MinuteRecord


class Settled(msgspec.Struct, frozen=True):
    """Payload of `skip`. The slot ends in `state` without a run."""

    slot: str
    minute: int
    why: RunReason
    state: RunState


class Execution(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `start`, `poll`, `interrupt` and `wait`, with the run request and the attempt."""

    request: RunRequest
    attempt: int = 1


class JobSeen(msgspec.Struct, frozen=True):
    """A job to act on, and whether it is paused."""

    job: Job
    paused: bool
    reason: str


class PruneSeen(msgspec.Struct, frozen=True):
    """Which of how many regions this is."""

    rank: int
    regions: int
