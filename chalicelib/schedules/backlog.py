"""After a time in which no region started any jobs: which slots are made up for, as each job's `catch_up` says."""

import msgspec

from chalicelib.schedules.jobbook import JobBook
from chalicelib.schedules.missed import Missed
from chalicelib.schedules.seen import Occasion
from chalicelib.schedules.timetable import Timetable


class Backlog(msgspec.Struct, frozen=True):
    """`occasions` to run now; how many slots are `lost` (never to run) or `coalesced` (a later run stands for them)."""

    occasions: list[Occasion] = []
    lost: int = 0
    coalesced: int = 0


def plan_backlog(timetable: Timetable, book: JobBook, since: int, minute: int, still_open: int = 0) -> Backlog:
    """What to do at `minute` about the slots from `since` up to, not including, `minute`.

    Slots of the last `still_open` minutes are not lost yet: it may still be another region's turn to start them.
    """
    occasions: list[Occasion] = []
    lost = coalesced = 0
    for missed in timetable.missed(since, minute):
        chosen = _chosen(missed, book, minute)
        occasions += chosen
        settled = {slot.slot for slot in chosen} | {slot.name for slot in missed.slots(minute - still_open)}
        if chosen and chosen[0].job.policy.catch_up == "one":
            coalesced += missed.count - len(settled)
        else:
            lost += missed.count - len(settled)
    return Backlog(occasions, lost, coalesced)


def _chosen(missed: Missed, book: JobBook, minute: int) -> list[Occasion]:
    job = book[missed.job]
    if job.policy.catch_up == "one":
        slots = [missed.latest]
    else:
        reach = job.policy.catch_up_seconds
        # A slot is within reach while no more than so many seconds have passed since its minute began.
        slots = list(missed.slots(None if reach is None else minute - reach // 60)) if reach != 0 else []
    return [Occasion(job, slot.name, slot.minute, "caught up", slot.moved) for slot in slots]
