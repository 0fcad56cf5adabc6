"""The slots to make up for after a time in which no region started any jobs, by each job's `catch_up`."""

import msgspec

from chalicelib.crontab.dst import FireTime
from chalicelib.crontab.job import Job
from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.missed import MissedRuns
from chalicelib.crontab.timetable import Timetable
from chalicelib.schedules.observation import DueRun

# A gap longer than this is caught up for its last day only: nobody wants last week's jobs.
CATCH_UP_MINUTES = 1440


class Backlog(msgspec.Struct, frozen=True):
    """`occasions` to run now, and `doubtful` ones that are not to be run from here but may have been started elsewhere.

    Of all others `lost` are never run, and for `coalesced` ones a later run stands.
    """

    occasions: list[DueRun] = []
    doubtful: list[DueRun] = []
    lost: int = 0
    coalesced: int = 0


def plan_backlog(timetable: Timetable, book: JobFile, since: int, minute: int, still_open: int = 0) -> Backlog:
    """The actions at `minute` for the slots from `since` up to, not including, `minute`.

    Slots of the last `still_open` minutes are not missed yet, because another region may still start them.
    """
    occasions: list[DueRun] = []
    doubtful: list[DueRun] = []
    lost = coalesced = 0
    for missed in timetable.missed(since, minute):
        job = book[missed.job]
        chosen = _chosen(job, missed, minute)
        taken = {slot.slot for slot in chosen}
        recent = [_occasion(job, slot) for slot in missed.slots(minute - still_open)] if still_open else []
        doubtful += [slot for slot in recent if slot.slot not in taken]
        occasions += chosen
        left = missed.count - len(taken | {slot.slot for slot in recent})
        if job.policy.catch_up == "one":
            coalesced += left
        else:
            lost += left
    return Backlog(occasions, doubtful, lost, coalesced)


def _chosen(job: Job, missed: MissedRuns, minute: int) -> list[DueRun]:
    if job.policy.catch_up == "one":
        return [_occasion(job, missed.latest)]
    reach = job.policy.catch_up_seconds
    if reach == 0:
        return []
    # A slot is within reach while no more than so many seconds have passed since its minute began.
    return [_occasion(job, slot) for slot in missed.slots(None if reach is None else minute - reach // 60)]


def _occasion(job: Job, slot: FireTime) -> DueRun:
    return DueRun(job, slot.name, slot.minute, "caught up", slot.moved)
