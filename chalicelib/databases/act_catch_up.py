"""The slow part of a promotion. The candidate fetches the rest of the events, and applies all that it has."""

from collections.abc import Callable

from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach, look
from chalicelib.databases.decide import promotion
from chalicelib.databases.state import Promotion, RegionReport, ServerStatus, read
from chalicelib.engine.operation import Rejected, RequeueAfter
from chalicelib.engine.plan import Action
from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.server import Server

# How long a replica may take to fetch the rest from the old master, and to apply what it has (s).
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
        item = site.shared_store.get("databases", old)
        return gtid.union(under_way.old_primary_final_gtids,
                          read(item.body, RegionReport).executed_gtids if item else GtidSet()), False
    if not said.read_only and not action.details["forced"]:
        raise Rejected(f"{old} takes writes again: something opens it; {AGAIN}")
    return said.executed_gtids, True


def catch_up(
    site: RegionContext, server: Server, final: GtidSet, answers: bool, wait: Callable[[float], None]
) -> ServerStatus:
    """The replica once it has fetched what the old primary still gives, and applied all that it can."""
    state = _until(site, server, wait, FETCH, lambda state: fetched(state, final, answers))
    if state.replication is None:
        return state
    if state.replication.io.state != "stopped":
        # While the IO thread runs, starting the other one keeps the relay log.
        if state.replication.sql.state == "stopped" and not state.replication.sql.errno:
            server.start(("SQL",))
        server.stop("IO")
    state = _until(site, server, wait, APPLY,
                   lambda state: not gtid.subtract(state.executed_gtids, promotion.gtids_after_promotion(state)))
    if gtid.subtract(state.executed_gtids, promotion.gtids_after_promotion(state)):
        raise RequeueAfter(f"{state.region} is still applying what it has received; {AGAIN}", 30)
    return state


def fetched(state: ServerStatus, final: GtidSet, answers: bool) -> bool:
    """Whether all events are there, or no more will come. A thread that connects to a dead primary waits for ever."""
    flows = state.replication is not None and (
        state.replication.io.state == "running" or (answers and state.replication.io.state == "connecting"))
    return not flows or gtid.is_subset(state.retrieved_gtids, final)


def _until(site: RegionContext, server: Server, wait: Callable[[float], None], seconds: int,
           done: Callable[[ServerStatus], bool]) -> ServerStatus:
    deadline = site.clock() + seconds
    while True:
        state = server.read_status()
        if done(state) or site.clock() >= deadline:
            return state
        wait(0.5)
