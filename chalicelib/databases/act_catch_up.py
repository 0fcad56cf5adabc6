"""The slow part of a promotion. The candidate fetches the rest of the events, and applies all that it has."""

from collections.abc import Callable

from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach, look
from chalicelib.databases.decide import promotion
from chalicelib.databases.state import REPORT, Promotion, ServerStatus
from chalicelib.engine import state
from chalicelib.engine.operation import Rejected, RequeueAfter
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Unreadable
from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.server import Server

# How long a replica may take to fetch the rest from the old primary, and to apply what it has (s).
FETCH, APPLY = 60, 300
AGAIN = "run databases.promote again, it goes on from here"


def final(site: RegionContext, action: Action, under_way: Promotion, reach: Reach) -> tuple[GtidSet, bool]:
    """The final transactions of the old primary (fenced, it gets no more), and whether it answers.

    Without an answer, they are those at the time of the fence and those in its own region's report.
    """
    old = action.details["old"]
    if old == action.target:
        return GtidSet(), True
    said = look(reach(site, old, False))
    if not isinstance(said, ServerStatus):
        report = state.find(site.shared_store, ("databases", old), REPORT)
        if isinstance(report, Unreadable):
            # What it had when it was closed is all that it had, if that is known.
            if not action.details["forced"] and not under_way.old_primary_final_gtids:
                raise Rejected(f"{old} does not answer, and what it had cannot be read: {report}. Mend that first, or "
                               f'accept the loss: {{"force": "why"}}')
            report = None
        known = report.value.executed_gtids if report else GtidSet()
        return gtid.union(under_way.old_primary_final_gtids, known), False
    if not said.read_only and not action.details["forced"]:
        raise Rejected(f"{old} takes writes again: something opens it; {AGAIN}")
    return said.executed_gtids, True


def catch_up(
    site: RegionContext, server: Server, final: GtidSet, answers: bool, wait: Callable[[float], None]
) -> ServerStatus:
    """The replica once it has fetched what the old primary still gives, and applied all that it can."""
    status = _until(site, server, wait, FETCH, lambda status: fetched(status, final, answers))
    if status.replication is None:
        return status
    if status.replication.io.state != "stopped":
        # While the IO thread runs, starting the other one keeps the relay log.
        if status.replication.sql.state == "stopped" and not status.replication.sql.errno:
            server.start(("SQL",))
        server.stop("IO")
    status = _until(site, server, wait, APPLY,
                   lambda status: not gtid.subtract(status.executed_gtids, promotion.gtids_after_promotion(status)))
    if gtid.subtract(status.executed_gtids, promotion.gtids_after_promotion(status)):
        raise RequeueAfter(f"{status.region} is still applying what it has received; {AGAIN}", 30)
    return status


def fetched(status: ServerStatus, final: GtidSet, answers: bool) -> bool:
    """Whether all events are there, or no more will come. A thread that connects to a dead primary waits for ever."""
    flows = status.replication is not None and (
        status.replication.io.state == "running" or (answers and status.replication.io.state == "connecting"))
    return not flows or gtid.is_subset(status.retrieved_gtids, final)


def _until(site: RegionContext, server: Server, wait: Callable[[float], None], seconds: int,
           done: Callable[[ServerStatus], bool]) -> ServerStatus:
    deadline = site.clock() + seconds
    while True:
        status = server.read_status()
        if done(status) or site.clock() >= deadline:
            return status
        wait(0.5)
