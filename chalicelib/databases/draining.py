"""The part of a promotion that takes time: the chosen replica fetches what is left, and applies what it has."""

from collections.abc import Callable

from chalicelib.control import Later, Refused
from chalicelib.databases import gtid, promotion
from chalicelib.databases.gtid import Gtids
from chalicelib.databases.reach import Reach, look
from chalicelib.databases.records import Promotion, Report, State, read
from chalicelib.databases.server import Server
from chalicelib.plan import Action
from chalicelib.site import Site

# How long a replica may take to fetch the rest from the old master, and to apply what it has (s).
FETCH, APPLY = 60, 300
AGAIN = "run databases.promote again, it goes on from here"


def final(site: Site, action: Action, under_way: Promotion, reach: Reach) -> tuple[Gtids, bool]:
    """What the old master has at last (closed, it gets no more), and whether it answers.

    If not: what it had when it was closed, and what its own region has reported.
    """
    old = action.facts["old"]
    if old == action.target:
        return Gtids(), True
    said = look(reach(site, old, False))
    if not isinstance(said, State):
        item = site.coordination.get("databases", old)
        return gtid.union(under_way.final, read(item.body, Report).gtids if item else Gtids()), False
    if not said.read_only and not action.facts["forced"]:
        raise Refused(f"{old} takes writes again: something opens it; {AGAIN}")
    return said.gtids, True


def catch_up(site: Site, server: Server, final: Gtids, answers: bool, wait: Callable[[float], None]) -> State:
    """The replica once it has fetched what the old master still gives, and applied all that it can."""
    state = _until(site, server, wait, FETCH, lambda state: fetched(state, final, answers))
    if state.replication is None:
        return state
    if state.replication.io.state != "stopped":
        # While the IO thread runs, starting the other one keeps the relay log.
        if state.replication.sql.state == "stopped" and not state.replication.sql.errno:
            server.start(("SQL",))
        server.stop("IO")
    state = _until(site, server, wait, APPLY, lambda state: not gtid.lacking(state.gtids, promotion.usable(state)))
    if gtid.lacking(state.gtids, promotion.usable(state)):
        raise Later(f"{state.region} is still applying what it has received; {AGAIN}", 30)
    return state


def fetched(state: State, final: Gtids, answers: bool) -> bool:
    """Whether all is there, or no more will come: a thread that connects to a master that is gone waits for ever."""
    flows = state.replication is not None and (
        state.replication.io.state == "running" or (answers and state.replication.io.state == "connecting"))
    return not flows or gtid.contains(state.received, final)


def _until(site: Site, server: Server, wait: Callable[[float], None], seconds: int,
           done: Callable[[State], bool]) -> State:
    deadline = site.clock() + seconds
    while True:
        state = server.look()
        if done(state) or site.clock() >= deadline:
            return state
        wait(0.5)
