"""The observations of the tick, the reconcile and the worker, as frozen values. `observe` makes them, `decide` reads
them."""

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.schedules.state import Lock, MinuteRecord, Run, RunReason, RunRequest


class DueRun(msgspec.Struct, frozen=True):
    """A job and the slot for which it is to run once. `moved` when the clock skipped its own minute."""

    job: Job
    slot: str
    minute: int
    why: RunReason = "due"
    moved: bool = False


class TickObservation(msgspec.Struct, frozen=True):
    """The observation of the tick, with `slots` due now, `backlog` to catch up, and the number of the gap's slots that
    are `lost`.

    `never` names, on the first tick of a release, its jobs that will never run.
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


class ReconcileObservation(msgspec.Struct, frozen=True):
    """The observation of the reconcile, with `record` as stored or as it is to be stored (`recorded` tells which).

    `doubtful` are slots of a gap that are not caught up here, but may have been started by a standby until `judged`
    (epoch seconds).
    """

    minute: int
    attempt: int
    region: str
    record: MinuteRecord
    recorded: bool
    previous_record: MinuteRecord | None
    slots: Sequence[DueRun]
    runs: Mapping[tuple[str, str], Run]
    unconfirmed: Sequence[DueRun] = ()
    confirm_after: int = 0
    missed_count: int = 0
    paused: frozenset[str] = frozenset()
    never_due_jobs: Sequence[str] = ()


class WorkObservation(msgspec.Struct, frozen=True):
    """The observation of the worker about one run request. `due` tells whether this release's timetable has it."""

    errand: RunRequest
    job: Job | None
    run: Run | None
    lock: Lock | None
    received: int
    paused: bool
    due: bool
