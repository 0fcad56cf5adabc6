"""The rules that allow a restart of a stopped replication thread, one by one. Pure.

Nothing here skips an event. A permanent error, or one that needs a skipped event, raises an alert and stays untouched.
"""

from collections.abc import Iterator

import msgspec

from chalicelib.databases.decide import conditions
from chalicelib.databases.observation import FleetDatabases, RepairObservation
from chalicelib.databases.state import FRESH, RepairState
from chalicelib.engine.limits import Backoff, Budget
from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.status import ServerError, ServerStatus

RESTARTS = Budget(4, 600)
# After each restart a wait that doubles, until replication has run for so long.
COOLDOWN = Backoff(min_seconds=60, max_seconds=1800, reset_after_seconds=600)
# The tunnels are judged every two seconds: an older verdict (s) is none.
_VERDICT = 120

# Errors of the SQL thread that pass by themselves: a lock was not had in time, a deadlock, the thread was killed, the
# server was shutting down, the disk was full. Any other is about data, and the event would fail again.
PASSING_SQL = frozenset({0, 1021, 1053, 1114, 1205, 1213, 1317, 1927})
# Errors of the IO thread that speak of the way to the primary, not of what it has: refused, lost, gone, too many
# connections, shutting down. 1236 (purged logs), 1045 (denied) and 1593 (ids) do not pass.
PASSING_IO = frozenset({0, 1040, 1053, 1158, 1159, 1160, 1161, 1317, 1927, 2002, 2003, 2005, 2006, 2013, 2026, 2055})


class Verdict(msgspec.Struct, frozen=True):
    """The threads to start (`IO`, `SQL`), or why not. `told` is for people, because only they can help."""

    threads: tuple[str, ...] = ()
    why: str = ""
    told: str = ""


def judge(seen: RepairObservation, look: ServerStatus, now: int) -> Verdict:
    """The decision about a replica."""
    threads = stopped(look)
    if not threads:
        return Verdict(why="replication runs")
    for text in permanent_errors(look):
        return Verdict(why="an error that a restart does not repair", told=text)
    for reason in (repair_forbidden(seen.around), tunnels(seen), relay_log_loss_risk(seen, look),
                   budget_exhausted(seen.stored.value, now)):
        if reason:
            return Verdict(why=reason)
    return Verdict(threads, "; ".join(text for _, text in _stopped(seen.around.region, look)))


def stopped(look: ServerStatus) -> tuple[str, ...]:
    """The threads that stand still."""
    if look.replication is None:
        return ()
    both = (("IO", look.replication.io), ("SQL", look.replication.sql))
    return tuple(name for name, thread in both if thread.state == "stopped")


def permanent_errors(look: ServerStatus) -> Iterator[str]:
    """The errors of threads that stopped for a permanent reason."""
    if look.replication is None:
        return
    for name, thread, passing in (("IO", look.replication.io, PASSING_IO), ("SQL", look.replication.sql, PASSING_SQL)):
        if thread.state == "stopped" and thread.errno not in passing:
            yield (f"the {name} thread in {look.region} stopped with error {thread.errno}: {thread.error}. Lamplighter "
                   "skips nothing. Compare the data with the primary's, or make the replica anew")


def repair_forbidden(around: FleetDatabases) -> str:
    """Why nobody may touch replication now, if so."""
    if not around.sure:
        return ("the primary is unknown, since the coordination table does not answer, or its item is unreadable or "
                "has gone back to an earlier term")
    if around.primary.promotion:
        return f"{around.primary.promotion.to} goes through a promotion, which stops and starts threads itself"
    if around.region in around.primary.fenced:
        return f"{around.region} is fenced"
    if around.region == around.primary.region:
        return f"{around.region} is the primary"
    return ""


def tunnels(seen: RepairObservation) -> str:
    """The reason why the path to the primary is not known to work. A restart without it only spends the budget."""
    if seen.tunnels is None:
        return "nobody has judged the tunnels yet" if seen.tunnelled else ""
    up, slots, at = seen.tunnels
    age = seen.around.at - at
    if age > _VERDICT:
        return f"the tunnels were last judged {age:.0f} s ago"
    return "" if up else f"none of the {slots} tunnels is up"


def unapplied_gtids(look: ServerStatus) -> GtidSet:
    """The events that a restart of the threads would lose.

    With GTIDs, MariaDB empties its relay log when either thread is started while both stand still, and fetches anew
    from the primary. If that is gone, whatever was received and not applied is gone, too.
    """
    if look.engine != "mariadb" or look.replication is None or len(stopped(look)) < 2:
        return GtidSet()
    return gtid.subtract(look.executed_gtids, look.retrieved_gtids)


def relay_log_loss_risk(seen: RepairObservation, look: ServerStatus) -> str:
    """The reason why a restart could lose received events. Only a primary that still has them just now excludes that.

    Its region's report of a minute ago is not enough, because the primary may have died since.
    """
    unapplied = unapplied_gtids(look)
    if not unapplied or (
        isinstance(seen.primary, ServerStatus) and gtid.is_subset(seen.primary.executed_gtids, look.retrieved_gtids)
    ):
        return ""
    why = seen.primary if isinstance(seen.primary, ServerError) else "it says otherwise"
    return (f"{unapplied} waits in the relay log, and a restart would throw it away. No report shows that the primary "
            f"has it ({why})")


def budget_exhausted(repairs: RepairState, now: int) -> str:
    """Why it is too soon for another restart, if so."""
    if not RESTARTS.left(repairs.restarts, now):
        return f"{RESTARTS.limit} restarts within {RESTARTS.window_seconds // 60} minutes did not help"
    wait = COOLDOWN.wait_seconds(repairs.cooldown, now)
    return f"cooling down for {wait:.0f} s more" if wait else ""


def record_restart(repairs: RepairState, now: int) -> RepairState:
    """The state after a restart at `now`. The next one waits twice as long as the last."""
    return msgspec.structs.replace(repairs, restarts=RESTARTS.spend(repairs.restarts, now),
                                   cooldown=COOLDOWN.failed(repairs.cooldown, now), healthy_since=0)


def record_healthy(repairs: RepairState, now: int) -> RepairState:
    """The state after a minute in which replication ran."""
    since = min(repairs.healthy_since or now, now)
    return msgspec.structs.replace(repairs, healthy_since=since,
                                   cooldown=COOLDOWN.healthy(repairs.cooldown, now - since))


def may_follow(around: FleetDatabases, look: ServerStatus) -> str:
    """The reason why the replica must not follow the new primary. It has transactions that the new primary lacks."""
    report = around.reports.get(around.primary.region)
    if report is None or around.at - report.at > FRESH:
        return f"{around.primary.region} has not reported what it has"
    more = gtid.subtract(gtid.union(report.executed_gtids, around.primary.position), look.executed_gtids)
    return f"it has {more}, which the primary lacks. Make the replica anew" if more else ""


def _stopped(region: str, look: ServerStatus) -> Iterator[tuple[str, str]]:
    if look.replication:
        yield from conditions.stopped(region, look.replication)
