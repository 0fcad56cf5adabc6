"""The worker's actions, which claim a slot, run its command, and record its end.

The order makes a run happen once. The lock (for jobs that must not overlap) comes first, then the claim, then the
command. A worker that fails to write a claim does not run. A superseded worker cannot write an end. An item that cannot
be read is left alone, and so is the run that depends on it. The module decide/execution.py decides the permitted steps.
"""

import uuid
from collections.abc import Callable, Sequence

import msgspec

from chalicelib.aws.client import ClientError, Message, Throttled, Unavailable
from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.engine import state
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Request, RequeueAfter
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.schedules import release
from chalicelib.schedules.act import leave_alert, mark_alerted
from chalicelib.schedules.decide import alerts, execution
from chalicelib.schedules.observation import Execution
from chalicelib.schedules.runners import Attempt, RemoteRun, Result, Runners
from chalicelib.schedules.state import LOCK, OUTPUT, RUN, Lock, Output, Run, RunRequest, lock_key, output_key, run_key

# How often a distant command is looked at.
_LOOK_SECONDS = 20


class Executor(msgspec.Struct, frozen=True):
    """The acts of `schedules.work`. `runners` is a function so that modules load when they are needed."""

    runners: Callable[[], Runners]

    def start(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """Claim, run, settle."""
        return [self._start(context, request, job, asked) for job, asked, _ in _asked(context, actions)]

    def look(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """See how a distant command is doing. End it when its time is over."""
        return [self._look(context, request, job, asked.request) for job, asked, _ in _asked(context, actions)]

    def interrupt(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """Gives up a run whose worker went silent. It may have done its work, so it does not run again."""
        results = []
        for job, asked, reason in _asked(context, actions):
            run = _find_run(context, job, asked.request.slot)
            if run and run.value.expired(context.clock()):
                results.append(_settle(context, request, job, run, "interrupted", Result("failed", detail=reason)))
        return results

    def wait(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """Put a slot behind the run that is going on. At most one waits."""
        return [_wait(context, request, asked.request, job) for job, asked, _ in _asked(context, actions)]

    def _start(self, context: RegionContext, request: Request, job: Job, asked: Execution) -> str:
        owner, slot = uuid.uuid4().hex, asked.request.slot
        if job.policy.overlap != "allow":
            _lock(context, request, job, asked.request, owner)
        claim = _claim(context, request, job, asked, owner)
        if claim is None:
            return f"{job.name} {slot}: another worker was faster"
        logger.info("claimed", job=job.name, slot=slot, token=claim.version)
        attempt = Attempt(job, slot, asked.request.minute, claim.version, owner, lambda: _displaced(context, job),
                          asked.attempt)
        result = self._run(context, attempt)
        if isinstance(result, RemoteRun):
            return _under_way(context, request, asked.request, claim, result)
        if isinstance(result, Throttled):
            return _give_back(context, request, asked.request, job, claim, result)
        return _settle(context, request, job, claim, result.state, result)

    def _run(self, context: RegionContext, attempt: Attempt) -> Result | RemoteRun | Throttled:
        """The result of the runner. Any exception is the run's own failure, and goes out at once and not at the end of
        a lease. `RequeueAfter` if the command may go on, and no other run of the job may begin beside it."""
        job = attempt.job
        try:
            return self.runners().all[job.policy.on].start(context, attempt)
        except Unavailable as error:
            if job.policy.on == "lambda" and isinstance(error, Throttled):
                return error
            if job.policy.on == "lambda" and job.policy.overlap != "allow":
                # The lease outlives its time-out. Until then it keeps the lock.
                raise RequeueAfter(f"{job.name} {attempt.slot}: no answer, it may be going on: {error}", 60) from error
            return Result("failed", detail=f"on={job.policy.on}: no answer, it may have begun all the same: {error}")
        except Exception as error:
            logger.exception("a runner broke", job=job.name, slot=attempt.slot)
            return Result("failed", detail=f"on={job.policy.on}: {type(error).__name__}: {error}")

    def _look(self, context: RegionContext, request: Request, job: Job, wanted: RunRequest) -> str:
        run = _find_run(context, job, wanted.slot)
        if run is None or run.value.remote_id != wanted.remote_id:
            return f"{job.name} {wanted.slot}: no longer under way as {wanted.remote_id}"
        runner = self.runners().distant[job.policy.on]
        try:
            result = runner.poll(context, job, wanted.remote_id)
        except ClientError as error:
            if not run.value.expired(context.clock()):
                raise
            # Its lease has ended, and the place where it ran does not know it any more.
            detail = f"nobody looked at {wanted.remote_id} in time, and its end cannot be had: {error}"
            return _settle(context, request, job, run, "interrupted", Result("failed", detail=detail))
        if result is None and (end := execution.must_end(job, run.value, _displaced(context, job), context.clock())):
            result = Result(end[0], detail=end[1])
        if result is None:
            _send(context, wanted, _LOOK_SECONDS)
            return f"{job.name} {wanted.slot}: still under way as {wanted.remote_id}"
        if result.state in ("timed-out", "replaced"):
            runner.stop(context, job, wanted.remote_id)
        return _settle(context, request, job, run, result.state, result)


def _asked(context: RegionContext, actions: Sequence[Action]) -> list[tuple[Job, Execution, str]]:
    """The job of each action, as this release has it, with the action's payload and reason."""
    book = release.book(context.root)
    numbered = [(book.find(action.target), action) for action in actions]
    return [(book[number], action.details, action.reason) for number, action in numbered if number is not None]


def _find_run(context: RegionContext, job: Job, slot: str) -> Stored[Run] | None:
    """The run of a slot. `None` also when it cannot be read, since then nothing is done about it."""
    run = state.find(context.shared_store, run_key(job.name, slot), RUN)
    return None if isinstance(run, Unreadable) else run


def _lock(context: RegionContext, request: Request, job: Job, wanted: RunRequest, owner: str) -> None:
    """Takes the job's lock. `RequeueAfter` when somebody else took it first, or when it cannot be read."""
    key, now = lock_key(job.name), context.clock()
    held = state.find(context.shared_store, key, LOCK)
    if isinstance(held, Unreadable):
        raise RequeueAfter(f"{job.name} {wanted.slot}: its lock cannot be read: {held}", 60)
    holder = _find_run(context, job, held.value.slot) if held else None
    lock = execution.taken_lock(held.value if held else None,
                                Lock(wanted.slot, wanted.minute, owner, execution.lease_end(job, now)),
                                holder.value if holder else None, now)
    if lock is None or not state.write(context.shared_store, key, LOCK, held, lock, run_id=request.run_id):
        raise RequeueAfter(f"{job.name} {wanted.slot}: another run took the lock", 5)


def _claim(context: RegionContext, request: Request, job: Job, asked: Execution, owner: str) -> Stored[Run] | None:
    now, slot = context.clock(), asked.request.slot
    run = execution.claimed(job, asked.request, context.region, owner, asked.attempt, now)
    key, ttl = run_key(job.name, slot), _ttl(context)
    before: Stored[Run] | Unreadable | None = None
    if asked.attempt > 1 or job.policy.overlap != "allow":
        before = state.find(context.shared_store, key, RUN)
    if before is None:
        if made := state.write(context.shared_store, key, RUN, None, run, run_id=request.run_id, ttl=ttl):
            return made
        before = state.find(context.shared_store, key, RUN)
    if before is None or isinstance(before, Unreadable) or not execution.may_claim(before.value, asked.attempt, now):
        return None
    run = msgspec.structs.replace(run, throttled_since=before.value.throttled_since)
    return state.write(context.shared_store, key, RUN, before, run, run_id=request.run_id, ttl=ttl)


def _under_way(
    context: RegionContext, request: Request, wanted: RunRequest, claim: Stored[Run], started: RemoteRun
) -> str:
    run = msgspec.structs.replace(claim.value, remote_id=started.handle)
    state.write(context.shared_store, run_key(run.job, run.slot), RUN, claim, run, run_id=request.run_id,
                ttl=_ttl(context))
    _send(context, msgspec.structs.replace(wanted, remote_id=started.handle, why="follow-up"), _LOOK_SECONDS)
    return f"{wanted.job} {wanted.slot}: under way as {started.handle}"


def _give_back(
    context: RegionContext, request: Request, wanted: RunRequest, job: Job, claim: Stored[Run], refused: Throttled
) -> str:
    """The run waits for its turn, because nothing of it has begun. After a while of that it has failed."""
    run, now = claim.value, context.clock()
    pause = execution.throttled_pause(run)
    again = execution.given_back(run, now, pause, str(refused))
    if again is None:
        detail = (f"no room for it for {execution.THROTTLED_SECONDS // 60} min: {refused}. Raise the concurrency of "
                  "Lambda in this account and region")
        return _settle(context, request, job, claim, "failed", Result("failed", detail=detail))
    key = run_key(job.name, run.slot)
    if state.write(context.shared_store, key, RUN, claim, again, run_id=request.run_id, ttl=_ttl(context)) is None:
        return f"{job.name} {run.slot}: superseded meanwhile. It has not begun here"
    _unlock(context, job, again)
    _send(context, msgspec.structs.replace(wanted, why=run.why), pause)
    return f"{job.name} {run.slot}: {again.detail}"


def _displaced(context: RegionContext, job: Job) -> bool:
    """Whether a later slot of a job with overlap=replace waits for this run to go."""
    if job.policy.overlap != "replace":
        return False
    lock = state.find(context.shared_store, lock_key(job.name), LOCK)
    return isinstance(lock, Stored) and bool(lock.value.waiting)


def _settle(
    context: RegionContext, request: Request, job: Job, before: Stored[Run], end: execution.EndState, result: Result
) -> str:
    """Writes the end of a run, or of an attempt that will be followed by another. Then output, lock and alert.

    The reconcile makes up for everything that gets lost after the end is written.
    """
    run = execution.after_attempt(job, before.value, end, result.detail, result.exit, now=context.clock(),
                                 output=result.output)
    key = run_key(job.name, run.slot)
    if state.write(context.shared_store, key, RUN, before, run, run_id=request.run_id, ttl=_ttl(context)) is None:
        return f"{job.name} {run.slot}: superseded meanwhile. Its end counts for nothing"
    _keep_output(context, request, job, run, result.output)
    _unlock(context, job, run)
    if run.state == "retrying":
        _send(context, RunRequest(job.name, run.slot, run.minute, "retry"), max(0, round(run.lease - run.ended)))
    elif alert := alerts.run_ended(job, run, result.output):
        leave_alert(context, alert)
        mark_alerted(context, request, key)
    return f"{job.name} {run.slot}: {run.state} {result.detail}".rstrip()


def _keep_output(context: RegionContext, request: Request, job: Job, run: Run, output: str) -> None:
    if not output:
        return
    try:
        state.write(context.local_store, output_key(job.name, run.slot, run.attempt), OUTPUT, None, Output(output),
                    run_id=request.run_id, ttl=_ttl(context))
    except Unavailable as error:
        # The run has ended and everybody knows how; only what it printed is lost here, so it goes to the log.
        logger.warning("output not kept", job=job.name, slot=run.slot, output=output, error=str(error))


def _unlock(context: RegionContext, job: Job, run: Run) -> None:
    """Frees the job's lock and calls the slot that waits for it. Tries again while others change the lock."""
    if job.policy.overlap == "allow":
        return
    while (item := context.shared_store.get(*lock_key(job.name))) is not None:
        lock = state.read(context.shared_store, item, LOCK)
        if isinstance(lock, Unreadable) or lock.value.slot != run.slot:
            return
        if lock.value.waiting:
            _send(context, RunRequest(job.name, lock.value.waiting, lock.value.waiting_minute, "follow-up"), 0)
        if context.shared_store.delete(item):
            return


def _wait(context: RegionContext, request: Request, wanted: RunRequest, job: Job) -> str:
    key = lock_key(job.name)
    lock = state.find(context.shared_store, key, LOCK)
    if lock is None:
        raise RequeueAfter(f"{job.name} {wanted.slot}: the run before has just ended", 1)
    if isinstance(lock, Unreadable):
        raise RequeueAfter(f"{job.name} {wanted.slot}: its lock cannot be read: {lock}", 60)
    run = execution.waiting(job, wanted, context.region, request.id, context.clock())
    state.write(context.shared_store, run_key(job.name, wanted.slot), RUN, None, run, run_id=request.run_id,
                ttl=_ttl(context))
    behind = msgspec.structs.replace(lock.value, waiting=wanted.slot, waiting_minute=wanted.minute)
    if state.write(context.shared_store, key, LOCK, lock, behind, run_id=request.run_id) is None:
        raise RequeueAfter(f"{job.name} {wanted.slot}: the lock changed hands", 1)
    if lock.value.waiting and lock.value.waiting != wanted.slot:
        _coalesce(context, request, job, lock.value.waiting, wanted.slot)
    return f"{job.name} {wanted.slot}: waits for {lock.value.slot}"


def _coalesce(context: RegionContext, request: Request, job: Job, slot: str, by: str) -> None:
    """Ends a slot that waited, since a later one waits in its place."""
    run = _find_run(context, job, slot)
    if run and run.value.state == "waiting":
        ended = msgspec.structs.replace(run.value, state="coalesced", ended=context.clock(),
                                        detail=f"the later slot {by} took its place")
        state.write(context.shared_store, run_key(job.name, slot), RUN, run, ended, run_id=request.run_id,
                    ttl=_ttl(context))


def _send(context: RegionContext, wanted: RunRequest, delay: int) -> None:
    context.queues["schedule-runs"].send([Message(msgspec.json.encode(wanted).decode(), delay)])


def _ttl(context: RegionContext) -> int:
    return int(context.clock()) + context.fleet.schedules.retention
