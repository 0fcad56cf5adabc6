"""The permitted steps of a worker with a run, which are to lock, claim, continue after an attempt, and end it. Pure.

Times are epoch seconds of the worker's clock.
"""

from typing import Literal

from msgspec.structs import replace

from chalicelib.config.declared import RESERVE_SECONDS
from chalicelib.crontab.job import Job
from chalicelib.schedules.decide.backoff import retry_delay
from chalicelib.schedules.state import Lock, Run, RunRequest, fingerprint

# For so long a run that finds no runner free is tried again.
THROTTLED_SECONDS = 900

EndState = Literal["done", "failed", "timed-out", "replaced", "interrupted"]
_Cut = Literal["timed-out", "replaced"]


def claimed(job: Job, request: RunRequest, region: str, owner: str, attempt: int, now: float) -> Run:
    """The run as its worker claims it, with a lease that outlives the job's time-out."""
    return Run(job.name, request.slot, request.minute, "running", request.why, region, owner, attempt, now,
               lease_end(job, now))


def may_claim(before: Run, attempt: int, now: float) -> bool:
    """Whether attempt `attempt` may take over a run as it is, because nobody runs it and it is the next one."""
    if before.state == "waiting":
        return True
    return (before.state == "retrying" or before.expired(now)) and before.attempt < attempt


def taken_lock(held: Lock | None, wanted: Lock, holder: Run | None, now: float) -> Lock | None:
    """The lock to write, or `None` while another run holds it. `holder` is the run of the held lock's slot."""
    if held is None:
        return wanted
    if held.slot != wanted.slot and not held.expired(now) and not (holder and holder.final):
        return None
    # Whoever waits behind a run that vanished keeps its place.
    if held.waiting == wanted.slot:
        return wanted
    return replace(wanted, waiting=held.waiting, waiting_minute=held.waiting_minute)


def lease_end(job: Job, now: float) -> float:
    """Until when a worker that begins now is to be at it."""
    return now + job.policy.timeout + RESERVE_SECONDS


def must_end(job: Job, run: Run, displaced: bool, now: float) -> tuple[_Cut, str] | None:
    """The reason to end a distant command now, as state and detail, or `None` if it may go on."""
    if now > run.started + job.policy.timeout:
        return "timed-out", f"ended, since it still ran after {job.policy.timeout} s"
    return ("replaced", "ended to make way for the next run") if displaced else None


def after_attempt(job: Job, run: Run, end: EndState, detail: str, exit: int | None, *, now: float,
                  output: str = "") -> Run:
    """The run after an attempt that ended as `end`, `retrying` while there are retries left, final otherwise.

    Of a run that is to be tried again `lease` is when its next attempt is due.
    """
    again = end in ("failed", "timed-out") and run.attempt <= job.policy.retries
    return replace(run, state="retrying" if again else end, ended=now, exit=exit, detail=detail, throttled_since=0,
                   lease=now + retry_delay(run.attempt, job.policy.on) if again else run.lease,
                   alerted=not again and job.mailto == "",
                   printed=end == "done" and job.policy.alarm_on == "output" and bool(output.strip()))


def throttled_pause(run: Run) -> int:
    """The seconds until a refused run is tried again, other ones for each. So many that were refused at once do not
    come back at once."""
    return 5 + int(fingerprint(f"{run.job} {run.slot}"), 16) % 16


def given_back(run: Run, now: float, pause: int, reason: str) -> Run | None:
    """The run whose attempt has not begun for want of a free runner, so that it does not count. `None` if it has
    waited long enough."""
    since = run.throttled_since or now
    if now - since > THROTTLED_SECONDS:
        return None
    return replace(run, state="retrying", attempt=run.attempt - 1, ended=now, lease=now + pause, throttled_since=since,
                   detail=f"no runner was free, and it is tried again: {reason}")


def waiting(job: Job, request: RunRequest, region: str, owner: str, now: float) -> Run:
    """The run of a slot that waits for the end of another."""
    return Run(job.name, request.slot, request.minute, "waiting", request.why, region, owner, 0, now, now)
