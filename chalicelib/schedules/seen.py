"""What the tick, the sweep and the worker see, as frozen values: made by `observe`, judged by `decide`."""

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.schedules.job import Job
from chalicelib.schedules.records import Errand, Lock, Minute, Run, Why


class Occasion(msgspec.Struct, frozen=True):
    """A job and the slot for which it is to run once; `moved` when the clock skipped its own minute."""

    job: Job
    slot: str
    minute: int
    why: Why = "due"
    moved: bool = False


class TickSeen(msgspec.Struct, frozen=True):
    """What the tick sees: `slots` due now, `backlog` to catch up, and how many of the gap's slots are `lost`.

    `never` names, on the first tick of a release, its jobs that will never run.
    """

    minute: int
    region: str
    rank: int
    patience: int
    record: Minute
    slots: Sequence[Occasion]
    backlog: Sequence[Occasion] = ()
    lost: int = 0
    paused: frozenset[str] = frozenset()
    never: Sequence[str] = ()


class SweepSeen(msgspec.Struct, frozen=True):
    """What the sweep sees: `record` as somebody wrote it or as it is to be written (`recorded` tells which).

    `doubtful` are slots of a gap that are not caught up here, but may have been started by a standby until `judged`
    (epoch seconds).
    """

    minute: int
    turn: int
    region: str
    record: Minute
    recorded: bool
    before: Minute | None
    slots: Sequence[Occasion]
    runs: Mapping[tuple[str, str], Run]
    doubtful: Sequence[Occasion] = ()
    judged: int = 0
    lost: int = 0
    paused: frozenset[str] = frozenset()
    never: Sequence[str] = ()


class WorkSeen(msgspec.Struct, frozen=True):
    """What the worker sees of one errand; `due` tells whether this release's timetable has it."""

    errand: Errand
    job: Job | None
    run: Run | None
    lock: Lock | None
    received: int
    paused: bool
    due: bool
