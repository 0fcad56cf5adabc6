"""Whether a replication thread that stands still may be started again: the rules, one by one. Pure.

Nothing here skips an event. What made a thread stop and would do so again, or needs an event to be skipped, is told to
people and left alone.
"""

from collections.abc import Iterator

import msgspec

from chalicelib.databases import gtid, watching
from chalicelib.databases.gtid import Gtids
from chalicelib.databases.records import FRESH, Repairs, State, Trouble
from chalicelib.databases.seen import Around, Sick

# Restarts in a window of so many seconds, and the cool-down after each, which doubles.
BUDGET, WINDOW = 4, 600
PAUSE, LONGEST = 60, 1800
# Replication that has run for so long (s) is well: the cool-down begins anew.
WELL = 600
# The tunnels are judged every two seconds: an older verdict (s) is none.
_VERDICT = 120

# Errors of the SQL thread that pass by themselves: a lock was not had in time, a deadlock, the thread was killed, the
# server was shutting down, the disk was full. Any other is about data, and the event would fail again.
PASSING_SQL = frozenset({0, 1021, 1053, 1114, 1205, 1213, 1317, 1927})
# Errors of the IO thread that speak of the way to the master, not of what it has: refused, lost, gone, too many
# connections, shutting down. 1236 (purged logs), 1045 (denied) and 1593 (ids) do not pass.
PASSING_IO = frozenset({0, 1040, 1053, 1158, 1159, 1160, 1161, 1317, 1927, 2002, 2003, 2005, 2006, 2013, 2026, 2055})


class Verdict(msgspec.Struct, frozen=True):
    """The threads to start (`IO`, `SQL`), or why not. `told` is for people: only they can help."""

    threads: tuple[str, ...] = ()
    why: str = ""
    told: str = ""


def judge(sick: Sick, look: State, now: int) -> Verdict:
    """What to do about a replica."""
    threads = stopped(look)
    if not threads:
        return Verdict(why="replication runs")
    for text in hopeless(look):
        return Verdict(why="an error that a restart does not mend", told=text)
    for reason in (left_alone(sick.around), tunnels(sick), purged(sick, look),
                   spent(sick.repairs, now)):
        if reason:
            return Verdict(why=reason)
    return Verdict(threads, "; ".join(text for _, text in _stopped(sick.around.region, look)))


def stopped(look: State) -> tuple[str, ...]:
    """The threads that stand still."""
    if look.replication is None:
        return ()
    both = (("IO", look.replication.io), ("SQL", look.replication.sql))
    return tuple(name for name, thread in both if thread.state == "stopped")


def hopeless(look: State) -> Iterator[str]:
    """What each thread says that stopped for a reason that stays."""
    if look.replication is None:
        return
    for name, thread, passing in (("IO", look.replication.io, PASSING_IO), ("SQL", look.replication.sql, PASSING_SQL)):
        if thread.state == "stopped" and thread.errno not in passing:
            yield (f"the {name} thread in {look.region} stopped with error {thread.errno}: {thread.error}; nothing is "
                   "skipped: compare the data with the master's, or make the replica anew")


def left_alone(around: Around) -> str:
    """Why nobody may touch replication now, if so."""
    if not around.sure:
        return "the coordination table does not answer: who the master is is not known"
    if around.master.promotion:
        return f"{around.master.promotion.to} is being promoted, which stops and starts threads itself"
    if around.region in around.master.fenced:
        return f"{around.region} is fenced"
    if around.region == around.master.region:
        return f"{around.region} is the master"
    return ""


def tunnels(sick: Sick) -> str:
    """Why the way to the master is not known to be there, if so: a restart without it only spends the budget."""
    if sick.tunnels is None:
        return "nobody has judged the tunnels yet" if sick.tunnelled else ""
    up, slots, at = sick.tunnels
    age = sick.around.at - at
    if age > _VERDICT:
        return f"the tunnels were last judged {age:.0f} s ago"
    return "" if up else f"none of the {slots} tunnels is up"


def at_stake(look: State) -> Gtids:
    """What a restart of the threads would throw away.

    With GTIDs, MariaDB empties its relay log when either thread is started while both stand still, and fetches anew
    from the master. If that is gone, whatever was received and not applied is gone, too.
    """
    if look.engine != "mariadb" or look.replication is None or len(stopped(look)) < 2:
        return Gtids()
    return gtid.lacking(look.gtids, look.received)


def purged(sick: Sick, look: State) -> str:
    """Why a restart could lose what was received, if so: the master must be seen to have it still, just now.

    What its region reported a minute ago is not enough: it may have died since.
    """
    unapplied = at_stake(look)
    if not unapplied or (isinstance(sick.master, State) and gtid.contains(sick.master.gtids, look.received)):
        return ""
    why = sick.master if isinstance(sick.master, Trouble) else "it says otherwise"
    return (f"{unapplied} is received and not applied, and a restart would throw it away; the master is not seen to "
            f"have it: {why}")


def spent(repairs: Repairs, now: int) -> str:
    """Why it is too soon for another restart, if so."""
    recent = [when for when in repairs.restarts if when > now - WINDOW]
    if len(recent) >= BUDGET:
        return f"{BUDGET} restarts within {WINDOW // 60} minutes did not help"
    return f"cooling down until {repairs.until}" if now < repairs.until else ""


def restarted(repairs: Repairs, now: int) -> Repairs:
    """The memory with a restart at `now`: the next one waits twice as long as the last."""
    pause = min(LONGEST, repairs.pause * 2) if repairs.pause else PAUSE
    restarts = tuple(when for when in repairs.restarts if when > now - WINDOW)
    return msgspec.structs.replace(repairs, restarts=(*restarts, now), until=now + pause, pause=pause, well=0)


def rested(repairs: Repairs, now: int) -> Repairs:
    """The memory after a minute in which replication ran."""
    well = repairs.well or now
    pause = 0 if now - well >= WELL else repairs.pause
    return msgspec.structs.replace(repairs, well=well, pause=pause)


def may_follow(around: Around, look: State) -> str:
    """Why the replica must not be pointed at the new master, if so: it has what that one lacks."""
    report = around.reports.get(around.master.region)
    if report is None or around.at - report.at > FRESH:
        return f"{around.master.region} has not reported what it has"
    more = gtid.lacking(gtid.union(report.gtids, around.master.position), look.gtids)
    return f"it has {more}, which the master lacks: make the replica anew" if more else ""


def _stopped(region: str, look: State) -> Iterator[tuple[str, str]]:
    if look.replication:
        yield from watching.stopped(region, look.replication)
