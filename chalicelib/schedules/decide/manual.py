"""Pure decisions about what people ask for, and about old items."""

from chalicelib.crontab.dst import stamp
from chalicelib.engine.plan import Action, Plan, given
from chalicelib.schedules.observation import Enqueued, JobSeen, PruneSeen
from chalicelib.schedules.state import RunRequest


def pause(saw: JobSeen) -> Plan:
    """The job does not run until somebody resumes it."""
    if saw.paused:
        return Plan(notes=(f"{saw.job.name} is paused already",))
    return Plan((Action("pause", saw.job.name, given(saw.reason)),))


def resume(saw: JobSeen) -> Plan:
    """The job runs again."""
    if not saw.paused:
        return Plan(notes=(f"{saw.job.name} is not paused",))
    return Plan((Action("resume", saw.job.name, given(saw.reason)),))


def run(saw: JobSeen, now: int) -> Plan:
    """The job runs now (epoch seconds). Its slot is the second asked for, so two invokes of one plan within it are one
    run."""
    slot = f"{stamp(now // 60)}:{now % 60:02d}Z#manual"
    return Plan((Action("enqueue", saw.job.name, given(saw.reason),
                        Enqueued(RunRequest(saw.job.name, slot, now // 60, "manual"))),))


def prune(saw: PruneSeen, now: int, *, whole: bool) -> Plan:
    """Each hour a 24th of the table, each day another region, so that each item gets a look once a day. Or the `whole`
    table at once."""
    if not whole and now // 86_400 % saw.regions != saw.rank:
        return Plan(notes=("today another region prunes",))
    parts = 1 if whole else 24
    part = now // 3600 % parts
    return Plan((Action("prune", f"the coordination table, part {part + 1} of {parts}", "items that have outlived "
                                                                                        "their ttl",
                        {"part": part, "parts": parts}, unaudited=parts > 1),))
