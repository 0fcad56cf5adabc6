"""The observations of the tick, the reconcile and the worker, as frozen values. `observe` makes them, `decide` reads
them."""

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.engine.schema import Unreadable
from chalicelib.schedules.state import Lock, MinuteRecord, Run, RunReason, RunRequest, RunState


class DueRun(msgspec.Struct, frozen=True):
    """A job and the slot for which it is to run once. `moved` when the clock skipped its own minute."""

    job: Job
    slot: str
    minute: int
    why: RunReason = "due"
    moved: bool = False


class PreviousMinute(msgspec.Struct, frozen=True):
    """The last minute before another that any region started; `record` is `None` where it cannot be read."""

    minute: int
    record: MinuteRecord | None


class TickObservation(msgspec.Struct, frozen=True):
    """What the tick sees: `slots` due now, `backlog` to catch up, and how many of the gap's slots are `lost`.

    `never` names, on the first tick of a release, its jobs that will never run. `unreadable` are items that cannot be
    read.
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


class ReconcileObservation(msgspec.Struct, frozen=True):
    """What the sweep sees: `record` as somebody wrote it or as it is to be written (`recorded` tells which).

    `doubtful` are slots of a gap that are not caught up here, but may have been started by a standby until `judged`
    (epoch seconds). Of `unreadable` items nothing is concluded. `unreadable_runs` are the slots whose run is one of
    them; they are in none of the other fields.
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


class WorkObservation(msgspec.Struct, frozen=True):
    """What the worker sees of one run request; `due` tells whether this release's timetable has it.

    `unreadable` are those of the run's items that cannot be read: whether it may start is then not known.
    """

    errand: RunRequest
    job: Job | None
    run: Run | None
    lock: Lock | None
    received: int
    paused: bool
    due: bool
    unreadable: tuple[Unreadable, ...] = ()


class Enqueued(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `enqueue`: the run request to send, and after how many seconds it is to arrive."""

    request: RunRequest
    delay: int = 0


class Reminder(msgspec.Struct, frozen=True):
    """Payload of `schedule-reconcile`: look at `minute` again in `delay` seconds, for the `attempt`th time."""

    minute: int
    delay: int
    attempt: int = 0


class Recorded(msgspec.Struct, frozen=True):
    """Payload of `record`: what is to be written down of a minute."""

    minute: int
    record: MinuteRecord


class Settled(msgspec.Struct, frozen=True):
    """Payload of `skip`: the slot is to end in `state` without having run."""

    slot: str
    minute: int
    why: RunReason
    state: RunState


class Execution(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `start`, `poll`, `interrupt` and `wait`: the run request, and which attempt it is."""

    request: RunRequest
    attempt: int = 1
