"""The peers' answers to the timetable's question, which jobs are due at a minute, each asked as it answers fastest.

All have their schedules read beforehand. Keeping every job's next time in memory would make the question easier, but a
Lambda is asked about a minute with nothing in memory.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from chalicelib.crontab.job import Job
from chalicelib.crontab.zones import zone

# A question: the numbers of the jobs that are due at a UTC minute.
Ask = Callable[[int], list[int]]


def cronsim(jobs: Sequence[Job]) -> Ask:
    """The next time after the minute before, from an iterator that is set back to it."""
    from cronsim import CronSim

    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    iterators = [CronSim(job.schedule, epoch.astimezone(zone(job.tz))) for job in jobs]

    def ask(minute: int) -> list[int]:
        clocks = _Clocks(minute)
        found = []
        for number, (job, iterator) in enumerate(zip(jobs, iterators, strict=True)):
            before, now = clocks[job.tz]
            # It goes by naive local time for jobs of fixed time.
            iterator.dt = before.replace(tzinfo=None) if iterator.fixup_tz else before
            if next(iterator) == now:
                found.append(number)
        return found

    return ask


def croniter(jobs: Sequence[Job]) -> Ask:
    """The next time after the minute before, from an iterator that is set back to it."""
    from croniter import croniter as Croniter

    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    iterators = [Croniter(job.schedule, epoch.astimezone(zone(job.tz)), ret_type=float) for job in jobs]

    def ask(minute: int) -> list[int]:
        clocks, now = _Clocks(minute), minute * 60.0
        return [number for number, (job, iterator) in enumerate(zip(jobs, iterators, strict=True))
                if iterator.get_next(float, start_time=clocks[job.tz][0]) == now]

    return ask


def apscheduler(jobs: Sequence[Job]) -> Ask:
    """The next time from the minute on."""
    from apscheduler.triggers.cron import CronTrigger

    triggers = [CronTrigger.from_crontab(job.schedule, timezone=zone(job.tz)) for job in jobs]

    def ask(minute: int) -> list[int]:
        clocks = _Clocks(minute)
        return [number for number, (job, trigger) in enumerate(zip(jobs, triggers, strict=True))
                if trigger.get_next_fire_time(None, now := clocks[job.tz][1]) == now]

    return ask


def celery(jobs: Sequence[Job]) -> Ask:
    """Whether it is due, having run the minute before."""
    from celery import Celery
    from celery.schedules import crontab

    clock: dict[str, datetime] = {}
    apps = {tz: Celery(set_as_current=False) for tz in {job.tz for job in jobs}}
    for tz, app in apps.items():
        app.conf.timezone = ZoneInfo(tz)
    schedules = [crontab.from_string(job.schedule) for job in jobs]
    for job, schedule in zip(jobs, schedules, strict=True):
        schedule.app, schedule.nowfun = apps[job.tz], lambda: clock["now"]

    def ask(minute: int) -> list[int]:
        clocks = _Clocks(minute)
        found = []
        for number, (job, schedule) in enumerate(zip(jobs, schedules, strict=True)):
            before, clock["now"] = clocks[job.tz]
            if schedule.is_due(before).is_due:
                found.append(number)
        return found

    return ask


PEERS: dict[str, Callable[[Sequence[Job]], Ask]] = {
    "cronsim": cronsim, "croniter": croniter, "APScheduler": apscheduler, "celery": celery,
}  # fmt: skip


def version(peer: str) -> str | None:
    """The release of `peer` that is installed. None if it is not."""
    try:
        return importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        return None


class _Clocks(dict[str, tuple[datetime, datetime]]):
    """By zone name, the local time a minute before `minute`, and at it, computed once per zone."""

    def __init__(self, minute: int) -> None:
        super().__init__()
        self._now = datetime.fromtimestamp(minute * 60, UTC)

    def __missing__(self, name: str) -> tuple[datetime, datetime]:
        info: tzinfo = zone(name)
        times = (self._now - timedelta(minutes=1)).astimezone(info), self._now.astimezone(info)
        return self.setdefault(name, times)


def differing(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many jobs only one of two answers holds."""
    return len(set(ours) ^ set(theirs))
