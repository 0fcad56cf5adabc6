"""The stored records of schedules, as typed values, and their keys.

The coordination table has five kinds of items. `minutes`/`<minute>` says that a region started the jobs of that minute.
`run#<job>`/`<slot>` is the claim and the history of one run. `lock`/`<job>` blocks overlapping runs. `paused`/`<job>`
pauses a job. `told`/`<key>` marks an alert that some region has taken on. In the regional table
`output#<job>`/`<slot>#<attempt>` is the output of a run, `alert-events#schedules` holds alerts for the next tick to
deliver, and `schedules`/`newest-minute` is the newest minute that the region has seen started.

Each is read through its `Schema`. An item that does not fit is an `Unreadable`, and costs only its own run or job.
"""

import hashlib
from typing import Annotated, Literal

import msgspec

from chalicelib.config.workload import RESERVE_SECONDS
from chalicelib.crontab import policy
from chalicelib.engine.schema import Schema, State

# running: a worker holds the lease. waiting: for the end of an overlapping run. retrying: for its next attempt.
# All others are final.
RunState = Literal["running", "waiting", "retrying", "done", "failed", "timed-out", "interrupted", "replaced",
                "overlapped", "coalesced", "paused"]
RunReason = Literal["due", "late", "caught up", "retry", "manual", "follow-up"]

OPEN_STATES: frozenset[str] = frozenset({"running", "waiting", "retrying"})
# What people are told about runs that end badly: state -> kind of alert.
ALERT_KIND_BY_STATE: dict[str, str] = {"failed": "Failed", "timed-out": "JobTimedOut", "interrupted": "Interrupted"}

# Regions' clocks are trusted to differ by no more than this when a lease is judged.
SKEW_SECONDS = 90
# No lease lasts longer. One that ends later is of a worker whose clock was wrong, and holds nothing.
_LONGEST_LEASE_SECONDS = policy.LONGEST + RESERVE_SECONDS + SKEW_SECONDS


def is_over(lease: float, now: float) -> bool:
    """Whether the worker with this lease (epoch seconds) must be gone, whatever the clocks say."""
    return not lease - _LONGEST_LEASE_SECONDS <= now <= lease + SKEW_SECONDS


# Any minute of the years 1970 to 8999.
Epoch = Annotated[int, msgspec.Meta(ge=0, lt=3_700_000_000)]


class RunRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message on queue `schedule-runs` to run job `job` for `slot`, which was due at `minute` (UTC, epoch minutes).

    `remote_id` names work under way elsewhere (an ECS task, an SSM command) that is to be looked at again.
    """

    job: str
    slot: str
    minute: Epoch
    why: RunReason = "due"
    remote_id: str = ""


class ReconcileRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message on queue `schedule-reconciles` to settle all runs that were due at `minute`."""

    minute: Epoch
    attempt: Annotated[int, msgspec.Meta(ge=0, le=99)] = 0


class MinuteRecord(State, frozen=True):
    """The record that `region` started the due jobs of a minute. `due` is the bitmap (hex) in the timetable with that
    digest.

    `since` is the first of the minutes before this one that no region had started, or the minute itself.
    `job_fingerprints` are those of the due jobs, in order. They tell another release which of its jobs they are.
    """

    timetable: str
    due: str
    region: str
    since: int
    job_fingerprints: str = ""

    def has(self, job: str) -> bool:
        """Whether the job of that name was due."""
        wanted = fingerprint(job)
        return any(self.job_fingerprints[at : at + len(wanted)] == wanted
                   for at in range(0, len(self.job_fingerprints), len(wanted)))


class Run(State, frozen=True, omit_defaults=True):
    """One run of a job for a slot. Times are epoch seconds of the worker's clock. `owner` marks one attempt.

    `printed` means that a job of `alarm_on=output` is done and had output, which raises an alert.
    `throttled_since` is when the runner first refused the present attempt for want of concurrency.
    """

    job: str
    slot: str
    minute: int
    state: RunState
    why: RunReason
    region: str
    owner: str
    attempt: int
    started: float
    lease: float
    ended: float = 0
    exit: int | None = None
    detail: str = ""
    remote_id: str = ""
    alerted: bool = False
    printed: bool = False
    throttled_since: float = 0

    @property
    def final(self) -> bool:
        """Whether nothing more will happen for this slot."""
        return self.state not in OPEN_STATES

    def expired(self, now: float) -> bool:
        """Whether the worker that holds the run must be gone, whatever the clocks say."""
        return self.state == "running" and is_over(self.lease, now)


class Lock(State, frozen=True, omit_defaults=True):
    """The holder of the right to run a job that must not overlap, with its end, and the slot that waits for it.

    It counts only while the run of its slot is open, so nobody has to free the lock of a run that has ended.
    """

    slot: str
    minute: int
    owner: str
    lease: float
    waiting: str = ""
    waiting_minute: int = 0

    def expired(self, now: float) -> bool:
        """Whether the worker that holds the lock must be gone, whatever the clocks say."""
        return is_over(self.lease, now)


class NewestMinute(State, frozen=True):
    """The newest minute that a region has seen started. A coordination table that ends before it has been restored."""

    minute: int = 0


class Pause(State, frozen=True):
    """A job that does not run until it is resumed."""

    since: int
    reason: str


class Output(State, frozen=True):
    """The stored output of an attempt."""

    output: str


class TakenAlert(State, frozen=True):
    """Marks an alert that a region has taken on, so that no other region does, with the kind and the subject."""

    kind: str
    target: str


MINUTE = Schema(MinuteRecord, 1)
RUN = Schema(Run, 3)
LOCK = Schema(Lock, 1)
PAUSE = Schema(Pause, 1)
OUTPUT = Schema(Output, 1)
TAKEN_ALERT = Schema(TakenAlert, 1)
NEWEST = Schema(NewestMinute, 1)
NEWEST_KEY = ("schedules", "newest-minute")


def fingerprint(job: str) -> str:
    """Ten hex digits that stand for a job's name."""
    return hashlib.blake2b(job.encode(), digest_size=5).hexdigest()


def minute_key(minute: int) -> tuple[str, str]:
    """Key of a minute's record. Sorts by time until the year 20000."""
    return "minutes", f"{minute:010d}"


def is_minute(sk: str) -> bool:
    """Whether it is the sort key of a minute's record. Another program may have written any other."""
    return len(sk) == 10 and sk.isascii() and sk.isdigit()


def run_key(job: str, slot: str) -> tuple[str, str]:
    """The key of the run of `job` for `slot`, which is the claim of exactly one worker."""
    return f"run#{job}", slot


def lock_key(job: str) -> tuple[str, str]:
    """Key of the lock of a job that must not overlap."""
    return "lock", job


def pause_key(job: str) -> tuple[str, str]:
    """Key of a job's pause."""
    return "paused", job


def output_key(job: str, slot: str, attempt: int) -> tuple[str, str]:
    """Key of what an attempt printed, in the regional table."""
    return f"output#{job}", f"{slot}#{attempt}"


def taken_alert_key(key: str) -> tuple[str, str]:
    """Key of the mark of an alert."""
    return "taken-alert", key
