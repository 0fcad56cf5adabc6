"""Pure decisions of the tick, the reconcile and the worker about due jobs.

Times are UTC minutes since the epoch where they are called minute, epoch seconds otherwise.
"""

from collections.abc import Iterable

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.engine.plan import Action, Plan
from chalicelib.engine.schema import Stored
from chalicelib.schedules.decide import alerts
from chalicelib.schedules.decide.backoff import SQS_MAX_DELAY, jitter
from chalicelib.schedules.observation import (
    DueRun,
    Enqueued,
    Execution,
    Memory,
    ReconcileObservation,
    Recorded,
    Remembered,
    Reminder,
    Settled,
    TickObservation,
    WorkObservation,
)
from chalicelib.schedules.state import SKEW_SECONDS, Lock, MinuteRecord, Run, RunReason, RunRequest, RunState, is_over

# How long a slot that nobody can settle is looked after before it is given up (and has long been alerted).
GIVE_UP_SECONDS = 86_400
# The first time a sweep looks again; each further look takes twice as long to come.
LOOK_SECONDS = 30
_LAST_TURN = 5
# Tries that a worker gives a message whose job its own package does not have: another release is being deployed.
_UNKNOWN_TRIES = 5


def tick(seen: TickObservation, now: int) -> Plan:
    """Home starts what is due and sends itself a reminder. A standby only sends itself a reminder, for later.

    The standby looks so long after the beginning of the minute, wherever within the minute its own rule has fired.
    """
    if seen.rank:
        look_at = seen.minute * 60 + seen.rank * seen.patience
        return Plan((_remind(seen.minute, min(SQS_MAX_DELAY, max(0, look_at - now))),))
    # Of all acts the reminder is the first: whatever stops the others, somebody looks again.
    remind = _remind(seen.minute, seen.patience // 2)
    return Plan((
        remind,
        _record(seen.minute, seen.record),
        *_starts((*seen.slots, *seen.backlog), seen.paused, now),
        *alerts.records_gone(seen.memory.gone, seen.region, now),
        *_remember(seen.memory, seen.minute, now),
        *alerts.gap(seen.minute, seen.record, seen.missed_count),
        *alerts.never_due(seen.record, seen.never_due_jobs, now),
    ), unreadable=seen.unreadable)


def sweep(seen: ReconcileObservation, now: int) -> Plan:
    """Start what has not started, pass on what was left half done, tell of what went wrong, and come back if needed."""
    open_slots = [slot for slot in seen.slots if not _settled(seen, slot)]
    actions = [*_takeover(seen, now), *_starts(_again(seen, open_slots, now), seen.paused, now),
               *alerts.records_gone(seen.memory.gone, seen.region, now),
               *(_remember(seen.memory, seen.minute, now) if seen.record else ()),
               *_alerts(seen, open_slots, now)]
    age = now - seen.minute * 60
    doubtful = [slot for slot in seen.unconfirmed if (slot.job.name, slot.slot) not in seen.runs]
    if seen.record and doubtful and now >= seen.confirm_after:
        actions.append(alerts.left_out(seen.minute, seen.record.since,
                                       [(slot.job.name, slot.slot) for slot in doubtful]))
    # A run that cannot be read may be mended, by a newer release for one: it is looked at again, and left alone.
    unsettled = open_slots or seen.unreadable_runs or seen.undecided
    if (unsettled or (doubtful and now < seen.confirm_after)) and age < GIVE_UP_SECONDS:
        delay = _next_look(seen, open_slots, now)
        actions.append(_remind(seen.minute, delay, min(seen.attempt + 1, _LAST_TURN), "some runs have not ended. "))
    elif unsettled:
        actions += [alerts.given_up(slot.job, slot.slot, now) for slot in (*open_slots, *seen.unreadable_runs)]
    return Plan(tuple(actions), unreadable=seen.unreadable)


def work(seen: WorkObservation, now: float) -> Plan:
    """The one action for a run request. It starts it, takes it over, polls it, skips it, or does nothing."""
    job, run, wanted = seen.job, seen.run, seen.wanted
    if job is None:
        return _unknown(wanted, seen.received)
    if seen.unreadable:
        # Whether the slot has run, or another one is running, is not known. The sweep sends it again.
        return Plan(unreadable=seen.unreadable,
                    notes=(f"{job.name} {wanted.slot}: not started, since {seen.unreadable[0]}",))
    if run is None and (seen.record_gone or wanted.remote_id or wanted.why in ("retry", "follow-up")):
        return Plan(notes=(f"{job.name} {wanted.slot}: not started, since its record is gone. The request has been "
                           "there before, so the run may have been as well",))
    if run and run.final:
        # Its worker has told people, unless an answer got lost then: the message has come back to see to it.
        return Plan(() if run.alerted else tuple(alerts.ended(job, run)),
                    notes=(f"{job.name} {wanted.slot}: already {run.state}",))
    if run and run.state == "running":
        return _running(job, run, wanted, now, seen.region)
    if seen.paused and wanted.why != "manual":
        return _aside(job, wanted, "paused", "the job is paused")
    if run and run.state == "retrying" and now < run.lease and not is_over(run.lease, now):
        return Plan(requeue_after_seconds=min(int(run.lease - now) + 1, SQS_MAX_DELAY),
                    notes=("its next attempt is not due yet",))
    if job.policy.overlap != "allow" and seen.lock and seen.lock.slot != wanted.slot and not seen.lock.expired(now):
        return _overlap(job, wanted, seen.lock)
    plan = _start(job, wanted, run)
    if seen.due or wanted.why == "manual":
        return plan
    return Plan((alerts.not_in_timetable(job, wanted.slot, now), *plan.actions))


def _running(job: Job, run: Run, wanted: RunRequest, now: float, region: str) -> Plan:
    if wanted.remote_id and wanted.remote_id == run.remote_id:
        return _one("poll", job, wanted, f"under way as {run.remote_id}")
    if not run.expired(now):
        return Plan(requeue_after_seconds=min(int(run.lease + SKEW_SECONDS - now) + 1, SQS_MAX_DELAY),
                    notes=(f"{job.name} {wanted.slot}: a worker in {run.region} holds it",))
    if run.remote_id and run.region == region:
        # Nobody has looked at it in time, since a message got lost or came late. It may have succeeded all the same.
        late = msgspec.structs.replace(wanted, remote_id=run.remote_id)
        return _one("poll", job, late, f"was under way as {run.remote_id} when its lease ended")
    if run.attempt > job.policy.retries:
        return _one("interrupt", job, wanted, f"the worker in {run.region} ended without a word, and no retry remains")
    return _start(job, wanted, run)


def _start(job: Job, wanted: RunRequest, run: Run | None) -> Plan:
    attempt = run.attempt + 1 if run and run.state in ("running", "retrying") else 1
    return _one("start", job, wanted, f"attempt {attempt} of {job.policy.retries + 1}", attempt)


def _overlap(job: Job, wanted: RunRequest, lock: Lock) -> Plan:
    if job.policy.overlap == "skip":
        return _aside(job, wanted, "overlapped", f"the run for {lock.slot} was still going")
    if wanted.minute < lock.minute:
        return _aside(job, wanted, "coalesced", f"the later run for {lock.slot} has begun")
    if lock.waiting == wanted.slot:
        return Plan(notes=(f"{job.name} {wanted.slot}: waits for the run for {lock.slot}",))
    if job.policy.overlap == "queue-one" and lock.waiting:
        return _aside(job, wanted, "coalesced", f"the run for {lock.waiting} already waits for the one for {lock.slot}")
    return _one("wait", job, wanted, f"after the run for {lock.slot}")


def _aside(job: Job, wanted: RunRequest, state: RunState, reason: str) -> Plan:
    return Plan((_skip(job.name, wanted.slot, wanted.minute, wanted.why, state, reason),))


def _skip(job: str, slot: str, minute: int, why: RunReason, state: RunState, reason: str) -> Action:
    return Action("skip", job, reason, Settled(slot, minute, why, state), unaudited=True)


def _one(kind: str, job: Job, wanted: RunRequest, reason: str, attempt: int = 1) -> Plan:
    # The run's own record tells the story; only what nobody asked for is worth a line in the journal.
    return Plan((Action(kind, job.name, reason, Execution(wanted, attempt), unaudited=kind != "interrupt"),))


def _unknown(wanted: RunRequest, received: int) -> Plan:
    if received < _UNKNOWN_TRIES:
        return Plan(requeue_after_seconds=60,
                    notes=(f"this release does not have the job {wanted.job}. Does a deployment run?",))
    return Plan(
        rejected_because=f"this release has no job {wanted.job!r} (slot {wanted.slot}). Does it have another name now?"
    )


def _starts(slots: Iterable[DueRun], paused: frozenset[str], now: int) -> list[Action]:
    return [_skip(slot.job.name, slot.slot, slot.minute, slot.why, "paused", "the job is paused")
            if slot.job.name in paused else _enqueue(slot, now) for slot in slots]


def _enqueue(slot: DueRun, now: int) -> Action:
    reason = f"{slot.why} for {slot.slot}" + (", moved by the clock change" if slot.moved else "")
    request = RunRequest(slot.job.name, slot.slot, slot.minute, slot.why)
    return Action("enqueue", slot.job.name, reason, Enqueued(request, max(0, _moment(slot) - now)),
                  unaudited=slot.why == "due")


def _remind(minute: int, delay: int, attempt: int = 0, because: str = "") -> Action:
    return Action("schedule-reconcile", alerts.utc(minute), f"{because}look again in {delay} s",
                  Reminder(minute, delay, attempt), unaudited=True)


def _remember(memory: Memory, minute: int, now: int) -> list[Action]:
    """The region's own note of the newest minute that was started, once in each. A minute ahead of the clock goes."""
    before = memory.newest
    known = isinstance(before, Stored) and minute <= before.value.minute <= now // 60
    if known or not memory.has_answered:
        return []
    return [Action("remember", alerts.utc(minute), "was started", Remembered(minute), unaudited=True)]


def _record(minute: int, record: MinuteRecord) -> Action:
    return Action("record", alerts.utc(minute), "these jobs were due", Recorded(minute, record), unaudited=True)


def _takeover(seen: ReconcileObservation, now: int) -> list[Action]:
    if seen.recorded or seen.record is None:
        return []
    # The alerts come first. Once the record is written, no other run learns that they are due.
    actions = [*alerts.gap(seen.minute, seen.record, seen.missed_count),
               *alerts.never_due(seen.record, seen.never_due_jobs, now)]
    last = seen.previous.record if seen.previous else None
    if last and last.region != seen.region:
        actions.append(alerts.takeover(seen.minute, last.region, seen.region))
    return [*actions, _record(seen.minute, seen.record)]


def _settled(seen: ReconcileObservation, slot: DueRun) -> bool:
    run = seen.runs.get((slot.job.name, slot.slot))
    return run is not None and run.final and (run.alerted or alerts.run_ended(slot.job, run) is None)


def _again(seen: ReconcileObservation, slots: Iterable[DueRun], now: int) -> Iterable[DueRun]:
    for slot in slots:
        run = seen.runs.get((slot.job.name, slot.slot))
        if run is None and now < _moment(slot):
            continue
        if run is None:
            yield msgspec.structs.replace(slot, why="late" if slot.why == "due" else slot.why)
        elif run.expired(now) or run.state == "waiting" or (run.state == "retrying" and is_over(run.lease, now)):
            yield msgspec.structs.replace(slot, why="retry")


def _alerts(seen: ReconcileObservation, slots: Iterable[DueRun], now: int) -> Iterable[Action]:
    for slot in slots:
        run = seen.runs.get((slot.job.name, slot.slot))
        # After its own try a region gives the workers until its next look.
        if run is None and seen.attempt and now > _moment(slot) + LOOK_SECONDS and slot.job.name not in seen.paused:
            yield alerts.missed(slot.job, slot.slot, seen.region, now)
        elif run and run.final:
            yield from alerts.ended(slot.job, run)


def _next_look(seen: ReconcileObservation, slots: Iterable[DueRun], now: int) -> int:
    """Seconds until the next look. They grow each time, but end when a result can be known."""
    moments = [float(now + LOOK_SECONDS * 2**seen.attempt), float(seen.confirm_after)]
    for slot in slots:
        run = seen.runs.get((slot.job.name, slot.slot))
        if run and run.state in ("running", "retrying"):
            moments.append(run.lease + SKEW_SECONDS + 1)
        elif run is None:
            moments.append(_moment(slot) + LOOK_SECONDS)
    # Not before there is something to know, but never so often that the looking becomes the work.
    soonest = min(moment for moment in moments if moment >= now + 1)
    return min(SQS_MAX_DELAY, max(LOOK_SECONDS, int(soonest - now)))


def _moment(slot: DueRun) -> int:
    """The start of a slot (epoch seconds), which is its minute, delayed by the job's jitter."""
    return slot.minute * 60 + jitter(slot.job, slot.slot)
