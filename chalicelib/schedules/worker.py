"""The worker's actions, which claim a slot, run its command, and record its end.

The order makes a run happen once. The lock (for jobs that must not overlap) comes first, then the claim, then the
command. A worker that fails to write a claim does not run. A superseded worker cannot write an end.
"""

import uuid
from collections.abc import Callable, Sequence

import msgspec

from chalicelib.aws.client import Message, Unavailable
from chalicelib.aws.store import Item
from chalicelib.config.fleet import RESERVE_SECONDS
from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Request, RequeueAfter
from chalicelib.engine.plan import Action
from chalicelib.schedules import release
from chalicelib.schedules.act import send_alert
from chalicelib.schedules.decide.backoff import retry_delay
from chalicelib.schedules.runners import Attempt, RemoteRun, Result, Runners
from chalicelib.schedules.state import ALERT_KIND_BY_STATE, Lock, Run, RunRequest, body, lock_key, run_key

# How often a distant command is looked at.
_LOOK_SECONDS = 20
_RUN_FACTS = ("job", "slot", "minute", "why", "remote_id")


class Executor(msgspec.Struct, frozen=True):
    """The acts of `schedules.work`. `runners` is a function so that modules load when they are needed."""

    runners: Callable[[], Runners]

    def start(self, site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """Claim, run, settle."""
        return [self._start(site, request, errand, job, attempt) for errand, job, attempt in _errands(site, actions)]

    def look(self, site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """See how a distant command is doing. End it when its time is over."""
        return [self._look(site, request, errand, job) for errand, job, _ in _errands(site, actions)]

    def interrupt(self, site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """Gives up a run whose worker went silent. It may have done its work, so it does not run again."""
        results = []
        for action, (errand, job, _) in zip(actions, _errands(site, actions), strict=True):
            item = site.shared_store.get(*run_key(job.name, errand.slot))
            if item and _run(item).expired(site.clock()):
                results.append(_settle(site, job, item, "interrupted", Result("failed", detail=action.reason)))
        return results

    def wait(self, site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        """Put a slot behind the run that is going on. At most one waits."""
        return [_wait(site, request, errand, job) for errand, job, _ in _errands(site, actions)]

    def _start(self, site: RegionContext, request: Request, errand: RunRequest, job: Job, attempt: int) -> str:
        owner = uuid.uuid4().hex
        lock = _lock(site, job, errand, owner) if job.policy.overlap != "allow" else None
        item = _claim(site, request, errand, job, owner, attempt)
        if item is None:
            return f"{job.name} {errand.slot}: another worker was faster"
        logger.info("claimed", job=job.name, slot=errand.slot, token=item.version)
        told = Attempt(job, errand.slot, errand.minute, item.version, owner, lambda: _displaced(site, job, lock))
        result = self._run(site, told)
        if isinstance(result, RemoteRun):
            return _under_way(site, errand, item, result)
        return _settle(site, job, item, result.state, result)

    def _run(self, site: RegionContext, attempt: Attempt) -> Result | RemoteRun:
        """The result of the runner. Any exception is the run's own failure, and goes out at once and not at the end of
        a lease."""
        job = attempt.job
        try:
            return self.runners().all[job.policy.on].start(site, attempt)
        except Unavailable as error:
            return Result("failed", detail=f"on={job.policy.on}: no answer, it may have begun all the same: {error}")
        except Exception as error:
            logger.exception("a runner broke", job=job.name, slot=attempt.slot)
            return Result("failed", detail=f"on={job.policy.on}: {type(error).__name__}: {error}")

    def _look(self, site: RegionContext, request: Request, errand: RunRequest, job: Job) -> str:
        item = site.shared_store.get(*run_key(job.name, errand.slot))
        if item is None or _run(item).remote_id != errand.remote_id:
            return f"{job.name} {errand.slot}: no longer under way as {errand.remote_id}"
        runner = self.runners().distant[job.policy.on]
        result = runner.poll(site, job, errand.remote_id) or _ended(site, job, _run(item))
        if result is None:
            _send(site, errand, _LOOK_SECONDS)
            return f"{job.name} {errand.slot}: still under way as {errand.remote_id}"
        if result.state in ("timed-out", "replaced"):
            runner.stop(site, job, errand.remote_id)
        return _settle(site, job, item, result.state, result)


def _run(item: Item) -> Run:
    return msgspec.convert(item.body, Run)


def _errands(site: RegionContext, actions: Sequence[Action]) -> list[tuple[RunRequest, Job, int]]:
    book = release.book(site.root)
    found = []
    for action in actions:
        facts = {name: action.details[name] for name in _RUN_FACTS if name in action.details}
        number = book.find(action.target)
        if number is not None:
            found.append((msgspec.convert(facts, RunRequest), book[number], action.details.get("attempt", 1)))
    return found


def _lock(site: RegionContext, job: Job, errand: RunRequest, owner: str) -> Item:
    """The job's lock in our hands. `Later` when somebody else took it first."""
    lock = Lock(errand.slot, errand.minute, owner, _lease(site, job))
    there = site.shared_store.get(*lock_key(job.name))
    if there is None:
        mine = site.shared_store.create(*lock_key(job.name), body(lock))
    else:
        held = msgspec.convert(there.body, Lock)
        holder = site.shared_store.get(*run_key(job.name, held.slot))
        free = held.slot == errand.slot or held.expired(site.clock()) or bool(holder and _run(holder).final)
        # Whoever waits behind a run that vanished keeps its place.
        if held.waiting != errand.slot:
            lock = msgspec.structs.replace(lock, waiting=held.waiting, waiting_minute=held.waiting_minute)
        mine = site.shared_store.compare_and_set(there, body(lock)) if free else None
    if mine is None:
        raise RequeueAfter(f"{job.name} {errand.slot}: another run took the lock", 5)
    return mine


def _claim(
    site: RegionContext, request: Request, errand: RunRequest, job: Job, owner: str, attempt: int
) -> Item | None:
    now = site.clock()
    run = Run(job.name, errand.slot, errand.minute, "running", errand.why, site.region, owner, attempt, now,
              now + job.policy.timeout + RESERVE_SECONDS)
    key, ttl = run_key(job.name, errand.slot), int(now) + site.fleet.schedules.keep
    there = site.shared_store.get(*key) if attempt > 1 or job.policy.overlap != "allow" else None
    if there is None and (made := site.shared_store.create(*key, body(run), ttl=ttl)):
        return made
    there = there or site.shared_store.get(*key)
    if there is None:
        return None
    before = _run(there)
    takable = before.state in ("waiting", "retrying") or before.expired(now)
    if not takable or (before.state != "waiting" and before.attempt >= attempt):
        return None
    return site.shared_store.compare_and_set(there, body(run), ttl=ttl)


def _under_way(site: RegionContext, errand: RunRequest, item: Item, started: RemoteRun) -> str:
    site.shared_store.compare_and_set(item, item.body | {"remote_id": started.handle}, ttl=_ttl(site))
    _send(site, msgspec.structs.replace(errand, remote_id=started.handle, why="follow-up"), _LOOK_SECONDS)
    return f"{errand.job} {errand.slot}: under way as {started.handle}"


def _ended(site: RegionContext, job: Job, run: Run) -> Result | None:
    """Why a distant command that is still going has to end now, if it has."""
    if site.clock() > run.started + job.policy.timeout:
        return Result("timed-out", detail=f"still going after {job.policy.timeout} s: ended")
    if _displaced(site, job, site.shared_store.get(*lock_key(job.name))):
        return Result("replaced", detail="ended to make way for the next run")
    return None


def _displaced(site: RegionContext, job: Job, lock: Item | None) -> bool:
    """Whether a later slot of a job with overlap=replace waits for this run to go."""
    if job.policy.overlap != "replace" or lock is None:
        return False
    now = site.shared_store.get(lock.pk, lock.sk)
    return now is not None and bool(now.body.get("waiting"))


def _settle(site: RegionContext, job: Job, item: Item, state: str, result: Result) -> str:
    """Writes the end of a run, or of an attempt that will be followed by another. Then output, lock and notice."""
    run, now = _run(item), site.clock()
    again = state in ("failed", "timed-out") and run.attempt <= job.policy.retries
    delay = retry_delay(run.attempt)
    ended = msgspec.structs.replace(
        run, state="retrying" if again else state, ended=now, exit=result.exit, detail=result.detail,
        lease=now + delay if again else run.lease, alerted=not again and job.mailto == "")
    settled = site.shared_store.compare_and_set(item, body(ended), ttl=_ttl(site))
    if settled is None:
        return f"{job.name} {run.slot}: superseded meanwhile; its end counts for nothing"
    _unlock(site, job, run)
    if again:
        _send(site, RunRequest(job.name, run.slot, run.minute, "retry"), delay)
    elif state in ALERT_KIND_BY_STATE and job.mailto != "":
        send_alert(site, ALERT_KIND_BY_STATE[state], job.name, _failure(job, ended, result))
        site.shared_store.compare_and_set(settled, settled.body | {"told": True}, ttl=_ttl(site))
    _keep_output(site, job, run, result)
    return f"{job.name} {run.slot}: {ended.state} {result.detail}".rstrip()


def _failure(job: Job, run: Run, result: Result) -> str:
    return (f"{job.name} for {run.slot}: {run.state}: {run.detail}\n{job.file}:{job.line}: {job.schedule}\nregion "
            f"{run.region}, attempt {run.attempt} of {job.policy.retries + 1}, {run.ended - run.started:.1f} s\n\n"
            f"{result.output[-4000:]}")


def _keep_output(site: RegionContext, job: Job, run: Run, result: Result) -> None:
    if not result.output:
        return
    key = f"output#{job.name}", f"{run.slot}#{run.attempt}"
    try:
        site.local_store.create(*key, {"output": result.output}, ttl=_ttl(site))
    except Unavailable as error:
        # The run has ended and everybody knows how; only what it printed is lost here, so it goes to the log.
        logger.warning("output not kept", job=job.name, slot=run.slot, output=result.output, error=str(error))


def _unlock(site: RegionContext, job: Job, run: Run) -> None:
    """Frees the job's lock and calls the slot that waits for it. Tries again while others change the lock."""
    if job.policy.overlap == "allow":
        return
    while (item := site.shared_store.get(*lock_key(job.name))) is not None:
        lock = msgspec.convert(item.body, Lock)
        if lock.slot != run.slot:
            return
        if lock.waiting:
            _send(site, RunRequest(job.name, lock.waiting, lock.waiting_minute, "follow-up"), 0)
        if site.shared_store.delete(item):
            return


def _wait(site: RegionContext, request: Request, errand: RunRequest, job: Job) -> str:
    item = site.shared_store.get(*lock_key(job.name))
    if item is None:
        raise RequeueAfter(f"{job.name} {errand.slot}: the run before has just ended", 1)
    lock = msgspec.convert(item.body, Lock)
    now = site.clock()
    run = Run(job.name, errand.slot, errand.minute, "waiting", errand.why, site.region, request.id, 0, now, now)
    site.shared_store.create(*run_key(job.name, errand.slot), body(run), ttl=_ttl(site))
    behind = msgspec.structs.replace(lock, waiting=errand.slot, waiting_minute=errand.minute)
    if site.shared_store.compare_and_set(item, body(behind)) is None:
        raise RequeueAfter(f"{job.name} {errand.slot}: the lock changed hands", 1)
    if lock.waiting and lock.waiting != errand.slot:
        _coalesce(site, job, lock.waiting, errand.slot)
    return f"{job.name} {errand.slot}: waits for {lock.slot}"


def _coalesce(site: RegionContext, job: Job, slot: str, by: str) -> None:
    item = site.shared_store.get(*run_key(job.name, slot))
    if item and item.body["state"] == "waiting":
        told = {"state": "coalesced", "detail": f"the later slot {by} took its place", "ended": site.clock()}
        site.shared_store.compare_and_set(item, item.body | told, ttl=_ttl(site))


def _send(site: RegionContext, errand: RunRequest, delay: int) -> None:
    site.queues["schedule-runs"].send([Message(msgspec.json.encode(errand).decode(), delay)])


def _lease(site: RegionContext, job: Job) -> float:
    return site.clock() + job.policy.timeout + RESERVE_SECONDS


def _ttl(site: RegionContext) -> int:
    return int(site.clock()) + site.fleet.schedules.keep
