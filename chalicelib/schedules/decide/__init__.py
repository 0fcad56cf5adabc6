"""Pure decisions of the tick, the reconcile and the worker about due jobs.

Times are UTC minutes since the epoch where they are called minute, epoch seconds otherwise.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.engine.plan import Action, Plan
from chalicelib.schedules.decide.backoff import SQS_MAX_DELAY, jitter
from chalicelib.schedules.observation import DueRun, ReconcileObservation, TickObservation, WorkObservation
from chalicelib.schedules.state import ALERT_KIND_BY_STATE, SKEW_SECONDS, Lock, MinuteRecord, Run, RunRequest

# How long a slot that nobody can settle is looked after before it is given up (and has long been alerted).
GIVE_UP_SECONDS = 86_400
# The first time a sweep looks again; each further look takes twice as long to come.
LOOK_SECONDS = 30
_LAST_TURN = 5
# Tries that a worker gives a message whose job its own package does not have: another release is being deployed.
_UNKNOWN_TRIES = 5


def tick(seen: TickObservation, now: int) -> Plan:
    """Home starts what is due and sends itself a reminder. A standby only sends itself a reminder, for later."""
    delay = seen.rank * seen.patience or seen.patience // 2
    # Of all acts the reminder is the first: whatever stops the others, somebody looks again.
    remind = Action(
        "schedule-reconcile",
        _utc(seen.minute),
        f"look again in {delay} s",
        {"minute": seen.minute, "delay": delay},
        unaudited=True,
    )
    if seen.rank:
        return Plan((remind,))
    return Plan(
        (
            remind,
            _record(seen.minute, seen.record),
            *_starts((*seen.slots, *seen.backlog), seen.paused, now),
            *_gap_alert(seen.minute, seen.record, seen.missed_count),
            *_never_alert(seen.record, seen.never_due_jobs),
        )
    )


def sweep(seen: ReconcileObservation, now: int) -> Plan:
    """Start what has not started, pass on what was left half done, tell of what went wrong, and come back if needed."""
    open_slots = [slot for slot in seen.slots if not _settled(seen, slot)]
    actions = [*_takeover(seen), *_starts(_again(seen, open_slots, now), seen.paused, now),
               *_alerts(seen, open_slots, now)]
    age = now - seen.minute * 60
    doubtful = [slot for slot in seen.unconfirmed if (slot.job.name, slot.slot) not in seen.runs]
    if doubtful and now >= seen.confirm_after:
        actions.append(_left_out(seen, doubtful))
    if (open_slots or (doubtful and now < seen.confirm_after)) and age < GIVE_UP_SECONDS:
        delay = _next_look(seen, open_slots, now)
        actions.append(Action("schedule-reconcile", _utc(seen.minute), f"not all is settled: look again in {delay} s",
                              {"minute": seen.minute, "delay": delay, "attempt": min(seen.attempt + 1, _LAST_TURN)},
                              unaudited=True))
    elif open_slots:
        actions += [_given_up(slot) for slot in open_slots]
    return Plan(tuple(actions))


def work(seen: WorkObservation, now: float) -> Plan:
    """The one action for a run request. It starts the run, takes it over, polls it, skips it, or leaves it alone."""
    job, run, errand = seen.job, seen.run, seen.errand
    if job is None:
        return _unknown(errand, seen.received)
    if run and run.final:
        return Plan(notes=(f"{job.name} {errand.slot}: already {run.state}",))
    if run and run.state == "running":
        return _running(job, run, errand, now)
    if seen.paused and errand.why != "by hand":
        return _aside(job, errand, "paused", "the job is paused")
    if run and run.state == "retrying" and now < run.lease:
        return Plan(requeue_after_seconds=int(run.lease - now) + 1, notes=("its next attempt is not due yet",))
    if job.policy.overlap != "allow" and seen.lock and seen.lock.slot != errand.slot and not seen.lock.expired(now):
        return _overlap(job, errand, seen.lock)
    plan = _start(job, errand, run)
    return plan if seen.due or errand.why == "by hand" else Plan((_extra(job, errand), *plan.actions))


def _extra(job: Job, errand: RunRequest) -> Action:
    text = (f"{job.name} is started for {errand.slot}, for which this release's timetable does not have it: a release "
            f"has just changed its schedule, or another stage or an old release sends to the same queue")
    return _alert(job, errand.slot, "JobNotInTimetable", text)


def _running(job: Job, run: Run, errand: RunRequest, now: float) -> Plan:
    if errand.remote_id and errand.remote_id == run.remote_id:
        return _one("poll", job, errand, f"under way as {run.remote_id}")
    if not run.expired(now):
        return Plan(requeue_after_seconds=min(int(run.lease + SKEW_SECONDS - now) + 1, SQS_MAX_DELAY),
                    notes=(f"{job.name} {errand.slot}: a worker in {run.region} holds it",))
    if run.attempt > job.policy.retries:
        return _one("interrupt", job, errand, f"the worker in {run.region} ended without a word; retries are used up")
    return _start(job, errand, run)


def _start(job: Job, errand: RunRequest, run: Run | None) -> Plan:
    attempt = run.attempt + 1 if run and run.state in ("running", "retrying") else 1
    return _one("start", job, errand, f"attempt {attempt} of {job.policy.retries + 1}", {"attempt": attempt})


def _overlap(job: Job, errand: RunRequest, lock: Lock) -> Plan:
    if job.policy.overlap == "skip":
        return _aside(job, errand, "overlapped", f"the run for {lock.slot} was still going")
    if errand.minute < lock.minute:
        return _aside(job, errand, "coalesced", f"the later run for {lock.slot} has begun")
    if lock.waiting == errand.slot:
        return Plan(notes=(f"{job.name} {errand.slot}: waits for the run for {lock.slot}",))
    if job.policy.overlap == "queue-one" and lock.waiting:
        return _aside(job, errand, "coalesced", f"the run for {lock.waiting} already waits for the one for {lock.slot}")
    return _one("wait", job, errand, f"after the run for {lock.slot}")


def _aside(job: Job, errand: RunRequest, state: str, reason: str) -> Plan:
    return _one("skip", job, errand, reason, {"state": state})


def _one(kind: str, job: Job, errand: RunRequest, reason: str, facts: Mapping[str, object] | None = None) -> Plan:
    # The run's own record tells the story; only what nobody asked for is worth a line in the journal.
    facts = {**msgspec.structs.asdict(errand), **(facts or {})}
    return Plan((Action(kind, job.name, reason, facts, unaudited=kind != "interrupt"),))


def _unknown(errand: RunRequest, received: int) -> Plan:
    if received < _UNKNOWN_TRIES:
        return Plan(requeue_after_seconds=60,
                    notes=(f"this release does not have the job {errand.job}: is another being deployed?",))
    return Plan(
        rejected_because=f"no job is named {errand.job!r} in this release (slot {errand.slot}); was it renamed?"
    )


def _starts(slots: Iterable[DueRun], paused: frozenset[str], now: int) -> list[Action]:
    return [_aside_slot(slot) if slot.job.name in paused else _enqueue(slot, now) for slot in slots]


def _enqueue(slot: DueRun, now: int) -> Action:
    reason = f"{slot.why} for {slot.slot}" + (", moved by the clock change" if slot.moved else "")
    facts: dict[str, object] = {"slot": slot.slot, "minute": slot.minute, "why": slot.why}
    facts["delay"] = max(0, _moment(slot) - now)
    return Action("enqueue", slot.job.name, reason, facts, unaudited=slot.why == "due")


def _aside_slot(slot: DueRun) -> Action:
    facts = {"job": slot.job.name, "slot": slot.slot, "minute": slot.minute, "why": slot.why, "state": "paused"}
    return Action("skip", slot.job.name, "the job is paused", facts, unaudited=True)


def _record(minute: int, record: MinuteRecord) -> Action:
    return Action("record", _utc(minute), "these jobs were due", {"minute": minute, **msgspec.to_builtins(record)},
                  unaudited=True)


def _gap_alert(minute: int, record: MinuteRecord, lost: int) -> list[Action]:
    if not lost:
        return []
    since = _utc(record.since)
    text = (f"no region started jobs from {since} until {_utc(minute)} UTC: {lost} runs are missed for good (their "
            f"catch_up says so); `lamp why JOB TIME` tells of each; `lamp run schedules.run` starts one by hand")
    return [Action("alert", f"missed since {since}", text, {"kind": "Missed", "once": f"gap#{record.since}"})]


def _given_up(slot: DueRun) -> Action:
    text = f"{slot.job.name} for {slot.slot} is given up: after a day it is still not settled; `lamp why` tells more"
    return _alert(slot.job, f"{slot.slot}#given-up", "Missed", text)


def _left_out(seen: ReconcileObservation, slots: Sequence[DueRun]) -> Action:
    names = ", ".join(sorted({f"{slot.job.name} for {slot.slot}" for slot in slots})[:10])
    text = (f"no region started jobs from {_utc(seen.record.since)} until {_utc(seen.minute)} UTC, and none has made "
            f"up for {len(slots)} runs (their catch_up says so): {names}; `lamp run schedules.run` starts one by hand")
    return Action("alert", f"missed since {_utc(seen.record.since)}", text,
                  {"kind": "Missed", "once": f"left#{seen.record.since}#{seen.minute}"})


def _never_alert(record: MinuteRecord, never: Sequence[str]) -> list[Action]:
    if not never:
        return []
    names = ", ".join(never[:20]) + (", ..." if never[20:] else "")
    text = (f"this release has jobs that will never run: {names}; "
            f"`lamp check` says why, with file and line")
    return [Action("alert", "never runs", text, {"kind": "JobNeverDue", "once": f"never#{record.timetable}"})]


def _takeover(seen: ReconcileObservation) -> list[Action]:
    if seen.recorded:
        return []
    actions = [_record(seen.minute, seen.record), *_gap_alert(seen.minute, seen.record, seen.missed_count),
               *_never_alert(seen.record, seen.never_due_jobs)]
    if seen.previous_record and seen.previous_record.region != seen.region:
        text = (
            f"{seen.previous_record.region} started no jobs at {_utc(seen.minute)} UTC; {seen.region} does it now. "
            f"Nothing is lost; see why {seen.previous_record.region} is silent"
        )
        actions.append(
            Action(
                "alert",
                f"{seen.region} takes over",
                text,
                {"kind": "RegionTakeover", "once": f"takeover#{seen.previous_record.region}#{seen.minute // 60}"},
            )
        )
    return actions


def _settled(seen: ReconcileObservation, slot: DueRun) -> bool:
    run = seen.runs.get((slot.job.name, slot.slot))
    return run is not None and run.final and (run.alerted or run.state not in ALERT_KIND_BY_STATE
                                              or slot.job.mailto == "")


def _again(seen: ReconcileObservation, slots: Iterable[DueRun], now: int) -> Iterable[DueRun]:
    for slot in slots:
        run = seen.runs.get((slot.job.name, slot.slot))
        if run is None and now < _moment(slot):
            continue
        if run is None:
            yield msgspec.structs.replace(slot, why="late" if slot.why == "due" else slot.why)
        elif run.expired(now) or run.state == "waiting" or (run.state == "retrying" and now > run.lease + SKEW_SECONDS):
            yield msgspec.structs.replace(slot, why="retry")


def _alerts(seen: ReconcileObservation, slots: Iterable[DueRun], now: int) -> Iterable[Action]:
    for slot in slots:
        run = seen.runs.get((slot.job.name, slot.slot))
        # After its own try a region gives the workers until its next look.
        if run is None and seen.attempt and now > _moment(slot) + LOOK_SECONDS and slot.job.name not in seen.paused:
            text = (f"{slot.job.name} was due for {slot.slot} and has not started, though {seen.region} has asked its "
                    f"workers to; see the queue schedule-runs, its dead letters, and the log of schedules_work")
            yield _alert(slot.job, slot.slot, "Missed", text)
        elif run and run.final and run.state in ALERT_KIND_BY_STATE:
            text = f"{slot.job.name} for {slot.slot}: {run.state}: {run.detail}"
            yield _alert(slot.job, slot.slot, ALERT_KIND_BY_STATE[run.state], text)


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


def _alert(job: Job, slot: str, kind: str, text: str) -> Action:
    return Action("alert", job.name, text, {"kind": kind, "once": f"{kind}#{job.name}#{slot}", "slot": slot})


def _utc(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%d %H:%M")
