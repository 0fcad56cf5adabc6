"""The alerts about jobs, with their times and words. Pure.

All of them are events of a slot, a minute or a release. Many of one cause are one notification. `key` marks the alert
in the coordination table, so that only one region takes it on.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.engine import alert_text
from chalicelib.engine.alerts import Alert, hourly
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Unreadable
from chalicelib.schedules.state import ALERT_KIND_BY_STATE, MinuteRecord, Run

# A failure that joins others of its cause is told after so many seconds at the latest.
_REPEAT_SECONDS = 600
_OUTPUT_CHARACTERS = 500
_OUTPUT_REPEAT_SECONDS = 3600
_CAUSE_CHARACTERS = 120


class AlertToTake(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `alert`. `slot` names the run that is marked as alerted, where the alert is about its end."""

    alert: Alert
    key: str
    slot: str = ""


def run_ended(job: Job, run: Run, output: str = "") -> Alert | None:
    """That a run ended badly, or had output that people want. `None` otherwise, or if the job's MAILTO is empty.

    Runs that failed for one reason are one group. They have the same ending, and the same last line of output but for
    numbers.
    """
    tail = output[-_OUTPUT_CHARACTERS:].strip()
    if run.printed and job.mailto != "":
        return _printed(job, run, tail)
    if run.state not in ALERT_KIND_BY_STATE or job.mailto == "":
        return None
    kind = ALERT_KIND_BY_STATE[run.state]
    tried = (f"Workers started it {run.attempt} times." if run.attempt > 1 else
             "A worker started it once, without retries.")
    problem = (f"{job.name} for {run.slot} in {run.region} ended as {run.state}: {run.detail or 'no detail'} "
               f"({job.file}:{job.line}, {job.schedule})")
    return _event(
        kind, job.name, f"{problem}. Its output ends with: {tail}" if tail else problem,
        since=run.ended or run.started, occurrence=run.slot, cause=_cause(run.detail, tail), tried=(tried,),
        steps=(f"Read its output: `lamp explain {job.name} {run.slot.partition('#')[0]}`.",
               "Repair the command, or what it needs.",
               f"""Run it again if it must run: `lamp run schedules.run '{{"job": "{job.name}"}}' --apply`."""))


def _printed(job: Job, run: Run, tail: str) -> Alert:
    """That a run had output, which is cron's own alarm. Each job is a group, told again when it has doubled."""
    problem = (f"{job.name} for {run.slot} in {run.region} had output, and ended as done "
               f"({job.file}:{job.line}, {job.schedule})")
    alert = _event(
        "JobOutput", job.name, f"{problem}. It ends with: {tail}" if tail else problem,
        since=run.ended or run.started, occurrence=run.slot, tried=("The command ran to its end, with status 0.",),
        steps=(f"Read all of it: `lamp explain {job.name} {run.slot.partition('#')[0]}`.",
               "If something is wrong, repair it, and run the job again.",
               "If the output is of no interest, let the command print nothing, or write `# lamp: alarm_on=failure` "
               "above its line."))
    return msgspec.structs.replace(alert, repeat_seconds=_OUTPUT_REPEAT_SECONDS)


def missed(job: Job, slot: str, region: str, now: float) -> Action:
    """A slot that has not started although the workers were asked to."""
    return _action(_event(
        "Missed", job.name, f"{job.name} was due for {slot} and has not started", since=now, occurrence=slot,
        cause=f"not started in {region}", tried=(f"{region} has sent it to its workers twice, and goes on.",),
        steps=("Look at the queue `schedule-runs` and its dead letters with `lamp status`.",
               "Read the log of the Lambda `schedules_work`.")), f"Missed#{job.name}#{slot}")


def given_up(job: Job, slot: str, now: float) -> Action:
    """A slot that nobody could settle within a day."""
    return _action(
        _event(
            "Missed",
            job.name,
            f"{job.name} for {slot} has no known end after a day, and Lamplighter gives it up",
            since=now,
            occurrence=f"{slot}#given-up",
            cause="not settled for a day",
            tried=("The regions have looked after it for a day.",),
            steps=(f"`lamp explain {job.name} {slot.partition('#')[0]}` says how far it came.",),
        ),
        f"Missed#{job.name}#{slot}#given-up",
    )


def gap(minute: int, record: MinuteRecord, lost: int) -> list[Action]:
    """No region started jobs for a while, and `lost` runs are not made up for."""
    if not lost:
        return []
    since = utc(record.since)
    return [_action(_event(
        "Missed", f"missed since {since}",
        f"No region started jobs from {since} until {utc(minute)} UTC. {lost} runs are lost",
        since=record.since * 60, occurrence=f"{record.since}",
        tried=("Each job has got the runs that its catch_up allows.",), steps=_AFTER_A_GAP), f"gap#{record.since}")]


def records_gone(gone: tuple[int, int] | None, region: str, now: float) -> list[Action]:
    """The coordination table no longer has the records of minutes that were started."""
    if gone is None:
        return []
    first, last = gone
    return [_action(_event(
        "ScheduleRecordsGone", f"records from {utc(first)} on",
        f"The coordination table has no records from {utc(first)} until {utc(last)} UTC, in which {region} has seen "
        "jobs start. Was it restored from a backup?", since=now, occurrence=f"{last}",
        tried=("Nothing of that time is started again. The jobs go on from now.",),
        steps=("If the table was restored, look whether other state has gone back, too: `lamp status`.",
               "Runs of that time are missing in `lamp explain`. Their output is in the log of `schedules_work`.",
               "Run what must run again with `lamp run schedules.run`.")), f"gone#{last}")]


def left_out(minute: int, since: int, slots: Sequence[tuple[str, str]]) -> Action:
    """Slots (job, slot) of a gap that no standby has made up for in its turn."""
    names = ", ".join(sorted({f"{job} for {slot}" for job, slot in slots})[:10])
    return _action(_event(
        "Missed", f"missed since {utc(since)}",
        f"No region started jobs from {utc(since)} until {utc(minute)} UTC. None has made up for {len(slots)} runs: "
        f"{names}", since=since * 60, occurrence=f"{since}#{minute}",
        tried=("Each job has got the runs that its catch_up allows.",), steps=_AFTER_A_GAP), f"left#{since}#{minute}")


def never_due(record: MinuteRecord, jobs: Sequence[str], now: float) -> list[Action]:
    """A release has jobs that will never run."""
    if not jobs:
        return []
    names = ", ".join(jobs[:20]) + (", ..." if jobs[20:] else "")
    return [_action(_event(
        "JobNeverDue", "never runs", f"This release has jobs that will never run ({names})", since=now,
        occurrence=record.timetable, steps=("`lamp check` says why, with file and line.", "Correct them, and deploy.")),
        f"never#{record.timetable}")]


def takeover(minute: int, silent: str, region: str) -> Action:
    """Another region starts the jobs of a minute. Told once an hour."""
    return _action(_event(
        "RegionTakeover", f"{region} takes over", f"{silent} started no jobs at {utc(minute)} UTC", since=minute * 60,
        occurrence=f"{silent}#{minute // 60}", tried=(f"{region} starts them now, so that nothing is lost.",),
        steps=(f"Look at the Lambda `schedules_tick` of {silent}, and at its rule `every-minute`.",)),
        f"takeover#{silent}#{minute // 60}")


def not_in_timetable(job: Job, slot: str, now: float) -> Action:
    """A run starts that this release's timetable does not have."""
    return _action(_event(
        "JobNotInTimetable", job.name,
        f"{job.name} starts for {slot}, for which this release's timetable does not have it", since=now,
        occurrence=slot, cause="another timetable", tried=("The worker starts it all the same.",),
        steps=("If a release has just changed its schedule, do nothing.",
               "If not, see whether an old release or another stage sends to the queue `schedule-runs`.")),
        f"JobNotInTimetable#{job.name}#{slot}")


def unreadable(items: Sequence[Unreadable], now: float) -> list[Action]:
    """Items that cannot be read. Told once an hour for as long as somebody needs them."""
    events = [hourly(alert_text.unreadable_alert(item), now) for item in items]
    return [_action(event, f"unreadable#{item.key.pk}#{item.key.sk}#{event.occurrence}")
            for event, item in zip(events, items, strict=True)]


def ended(job: Job, run: Run) -> list[Action]:
    """The alert about a run whose worker could not leave it."""
    alert = run_ended(job, run)
    return [] if alert is None else [_action(alert, f"{alert.kind}#{job.name}#{run.slot}", run.slot)]


def utc(minute: int) -> str:
    """A minute as people read it."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%d %H:%M")


_AFTER_A_GAP = ("`lamp explain JOB TIME` tells of each job and minute.",
                "`lamp run schedules.run` starts a job manually, where its run is needed.",
                "See why no region ran. Look at the alarm on `schedules_tick` and at the deployments of that time.")


def _event(
    kind: str, target: str, problem: str, *, since: float, occurrence: str, cause: str = "",
    tried: tuple[str, ...] = (), steps: tuple[str, ...] = (),
) -> Alert:
    return Alert(kind, target, problem, since=since, tried=tried, steps=steps, cause=cause, event=True,
                 repeat_seconds=_REPEAT_SECONDS, occurrence=occurrence)


def _action(alert: Alert, key: str, slot: str = "") -> Action:
    return Action("alert", alert.target, alert.problem, AlertToTake(alert, key, slot))


def _cause(detail: str, output: str) -> str:
    """The common part of failures for one reason, without numbers and marks of single runs."""
    lines = output.splitlines()
    words = f"{detail}: {lines[-1].strip()}" if lines else detail or "no detail"
    return re.sub(r"\d+", "#", re.sub(r"\b[0-9a-fA-F-]{12,}\b", "#", words))[:_CAUSE_CHARACTERS]
