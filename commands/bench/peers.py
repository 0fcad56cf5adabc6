"""The peers' answers to the timetable's question, which jobs are due at a minute, each asked as it answers fastest.

All have their schedules read beforehand. Keeping every job's next time in memory would make the question easier, but a
Lambda is asked about a minute with nothing in memory.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from chalicelib.crontab.job import Job
from chalicelib.crontab.zones import zone

# A question: the numbers of the jobs that are due at a UTC minute.
Ask = Callable[[int], list[int]]
# Whether one job is due, from the local times of the minute before and of the minute.
Due = Callable[[datetime, datetime], bool]
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def ask(peer: str, jobs: Sequence[Job]) -> Ask:
    """The question to `peer` about `jobs`."""
    dues = [PEERS[peer](job) for job in jobs]
    zones = {job.tz: zone(job.tz) for job in jobs}

    def asked(minute: int) -> list[int]:
        now = datetime.fromtimestamp(minute * 60, UTC)
        clocks = {name: ((now - timedelta(minutes=1)).astimezone(info), now.astimezone(info))
                  for name, info in zones.items()}
        return [number for number, (job, due) in enumerate(zip(jobs, dues, strict=True)) if due(*clocks[job.tz])]

    return asked


def cronsim(job: Job) -> Due:
    """The next time after the minute before, from an iterator that is set back to it."""
    from cronsim import CronSim

    iterator = CronSim(job.schedule, _EPOCH.astimezone(zone(job.tz)))

    def due(before: datetime, now: datetime) -> bool:
        # It goes by naive local time for jobs of fixed time.
        iterator.dt = before.replace(tzinfo=None) if iterator.fixup_tz else before
        return bool(next(iterator) == now)

    return due


def croniter(job: Job) -> Due:
    """The next time after the minute before, from an iterator that is set back to it."""
    from croniter import croniter as Croniter

    iterator = Croniter(job.schedule, _EPOCH.astimezone(zone(job.tz)), ret_type=float)
    return lambda before, now: bool(iterator.get_next(float, start_time=before) == now.timestamp())


def apscheduler(job: Job) -> Due:
    """The next time from the minute on."""
    from apscheduler.triggers.cron import CronTrigger

    trigger = CronTrigger.from_crontab(job.schedule, timezone=zone(job.tz))
    return lambda before, now: bool(trigger.get_next_fire_time(None, now) == now)


def celery(job: Job) -> Due:
    """Whether it is due, having run the minute before."""
    from celery.schedules import crontab

    schedule = crontab.from_string(job.schedule)
    schedule.app = _celery_app(job.tz)

    def due(before: datetime, now: datetime) -> bool:
        schedule.nowfun = lambda: now
        return bool(schedule.is_due(before).is_due)

    return due


@cache
def _celery_app(timezone: str) -> Any:
    from celery import Celery

    app = Celery(set_as_current=False)
    app.conf.timezone = ZoneInfo(timezone)
    return app


PEERS: dict[str, Callable[[Job], Due]] = {
    "cronsim": cronsim, "croniter": croniter, "APScheduler": apscheduler, "celery": celery}
