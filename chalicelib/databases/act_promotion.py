"""Carries out the manual actions, which are a promotion step by step, fencing and tuning.

A compare-and-set in the coordination table records each step under the promotion's term, and each step may repeat
without harm. After a crash anywhere the operation runs again and goes on. A run whose promotion is no longer the one in
the table does nothing more.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import msgspec

from chalicelib.aws.client import AWS_ERRORS, Unavailable
from chalicelib.context import RegionContext
from chalicelib.databases import act_catch_up
from chalicelib.databases.act import publish
from chalicelib.databases.act_catch_up import AGAIN
from chalicelib.databases.connect import Reach, look
from chalicelib.databases.decide import alerts
from chalicelib.databases.state import PRIMARY, PRIMARY_KEY, PrimaryRecord, Promotion, ServerStatus, Steps, reported
from chalicelib.engine import delivery, state
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Rejected, Request, RequeueAfter
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql import gtid
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.server import Server

_ORDER = get_args(Steps)
_NONE = GtidSet()


def claim(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Takes the next term. From now on the old primary is fenced for every controller, and nobody else can claim it."""
    [action] = actions
    primary: PrimaryRecord = action.details["primary"]
    if primary.promotion:
        under_way = msgspec.structs.replace(primary.promotion, began=request.now)
        primary = msgspec.structs.replace(primary, since=request.now, promotion=under_way)
    _swap(site, request, action.details["version"], primary)
    return [f"term {primary.term} claimed for {action.target}"]


def record_fence(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Fences this region in the table, manually."""
    [action] = actions
    _swap(site, request, action.details["version"], action.details["primary"])
    return [f"{action.target} is fenced for every healer"]


def _swap(site: RegionContext, request: Request, version: int, primary: PrimaryRecord) -> None:
    before = Stored(primary, version) if version else None
    if state.write(site.shared_store, PRIMARY_KEY, PRIMARY, before, primary, run_id=request.run_id) is None:
        raise Rejected("somebody else has changed who the primary is meanwhile: look at the plan again")


def _current(site: RegionContext, action: Action) -> tuple[Stored[PrimaryRecord], PrimaryRecord, Promotion]:
    """The promotion that `action` belongs to, if it is still the one under way."""
    stored = state.find(site.shared_store, PRIMARY_KEY, PRIMARY)
    if isinstance(stored, Unreadable):
        raise Rejected(f"who the primary is cannot be read any more, and nothing more is done: {stored}")
    primary = stored.value if stored else PrimaryRecord("")
    if stored is None or primary.promotion is None or (primary.term, primary.promotion.to) != (
            action.details["term"], action.details["to"]):
        raise Rejected(f"term {action.details['term']} is over: the primary is {primary.region or 'unknown'}, term "
                      f"{primary.term}; nothing more is done")
    return stored, primary, primary.promotion


def _step(
    site: RegionContext, request: Request, action: Action, step: Steps, final: GtidSet = _NONE, **changes: Any
) -> None:
    """Records that `step` is done, and what the old primary had at last. A run behind another one changes no step."""
    stored, primary, under_way = _current(site, action)
    later = _ORDER.index(step) > _ORDER.index(under_way.step)
    promotion = msgspec.structs.replace(
        under_way,
        step=step if later else under_way.step,
        old_primary_final_gtids=gtid.union(under_way.old_primary_final_gtids, final),
    )
    new = msgspec.structs.replace(primary, promotion=promotion, **(changes if later else {}))
    if new != primary and not state.write(site.shared_store, PRIMARY_KEY, PRIMARY, stored, new, run_id=request.run_id):
        raise RequeueAfter(f"another run records the same promotion; {AGAIN}", 5)


def fence_writers(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Makes sure that nothing else takes writes. Stops everything if one of them cannot be closed."""
    results, final = [], _NONE
    for action in actions:
        _, _, under_way = _current(site, action)
        said, has = _closed(site, action, reach)
        results.append(f"{action.target}: {said}")
        final = has if action.target == under_way.old else final
    _step(site, request, actions[0], "fenced", final)
    return results


def _closed(site: RegionContext, action: Action, reach: Reach) -> tuple[str, GtidSet]:
    """The result, and the final transactions of the server."""
    if action.details["how"] != "set-read-only":
        return action.reason, _NONE
    try:
        server = reach(site, action.target, True)
        cut, status = server.set_read_only(), server.read_status()
        if not status.read_only:
            raise Rejected(f"{action.target} takes writes although it was told not to: {AGAIN}")
    except DatabaseError as error:
        if action.details["forced"]:
            return f"not closed ({error}), as forced", _NONE
        raise RequeueAfter(f"{error}: it may still be written to; {AGAIN}", 10) from None
    return f"read-only, {cut} connections cut off", status.executed_gtids


def fence_local(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Fences this region's server, and reports it as the proof for other regions."""
    [action] = actions
    server = reach(site, site.region, True)
    try:
        cut, status = server.set_read_only(), server.read_status()
    except DatabaseError as error:
        raise RequeueAfter(f"{error}: not closed; run databases.fence again", 10) from None
    if not status.read_only:
        raise Rejected(f"{site.region} takes writes although it was told not to")
    return [f"read-only, {cut} connections cut off", publish(site, reported(status, action.details["term"], True))]


def apply_relay_log(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach,
          wait: Callable[[float], None]) -> list[str]:
    """The chosen replica fetches what the closed primary still has, and applies all that it has."""
    [action] = actions
    _, _, under_way = _current(site, action)
    forced, to = action.details["forced"], action.target
    try:
        final, answers = act_catch_up.final(site, action, under_way, reach)
        status = act_catch_up.catch_up(site, reach(site, to, True), final, answers, wait)
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; {AGAIN}", 10) from None
    lost = gtid.subtract(status.executed_gtids, gtid.union(final, status.retrieved_gtids))
    if lost and not forced:
        raise Rejected(
            f"{to} lacks {lost} ({lost.count} transactions) that the old primary or its own relay log has. To "
            f'go back, promote {action.details["old"]}; to accept the loss, say why: {{"force": "..."}}'
        )
    _step(site, request, action, "drained", lost=lost)
    return [f"{to} has applied what it can" + (f"; lost: {lost}, {lost.count} transactions" if lost else ", all of it")]


def open_primary(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """The chosen one forgets its primary, is named in the table, and only then takes writes."""
    [action] = actions
    to = action.target
    try:
        server = reach(site, to, True)
        if server.read_status().replication:
            server.reset_replica()
        position = server.read_status().executed_gtids
        _name(site, request, action, position)
        _opened(site, action, server)
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; {AGAIN}", 10) from None
    _step(site, request, action, "opened")
    return [f"{to} takes writes, from {position or 'nothing'} on"]


def _name(site: RegionContext, request: Request, action: Action, position: GtidSet) -> None:
    """Names the new primary in the table, and takes its fence away, be it one that was put up manually meanwhile."""
    stored, primary, under_way = _current(site, action)
    first = _ORDER.index(under_way.step) < _ORDER.index("opening")
    if not first and action.target not in primary.fenced:
        return
    new = msgspec.structs.replace(
        primary, region=action.target, fenced=tuple(region for region in primary.fenced if region != action.target),
        position=position if first else primary.position,
        promotion=msgspec.structs.replace(under_way, step="opening") if first else under_way)
    if not state.write(site.shared_store, PRIMARY_KEY, PRIMARY, stored, new, run_id=request.run_id):
        raise RequeueAfter(f"another run records the same promotion; {AGAIN}", 5)


def _opened(site: RegionContext, action: Action, server: Server) -> None:
    """Opens the server. Closes it again if another promotion was claimed in that very moment."""
    _current(site, action)
    server.set_writable()
    try:
        _current(site, action)
    except Rejected:
        server.set_read_only()
        raise


def change_sources(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Points the other replicas at the new primary. One that does not answer is pointed by its own region's controller.
    """
    results = []
    for action in actions:
        _, primary, _ = _current(site, action)
        try:
            results.append(f"{action.target}: {_pointed(reach(site, action.target, True), action, primary)}")
        except DatabaseError as error:
            results.append(f"{action.target}: left for databases.heal there: {error}")
    _step(site, request, actions[0], "pointed")
    return results


def _pointed(server: Server, action: Action, primary: PrimaryRecord) -> str:
    status, host, port = server.read_status(), action.details["host"], action.details["port"]
    if more := gtid.subtract(primary.position, status.executed_gtids):
        return f"left alone: it has {more}, which the primary lacks; make it anew"
    replication = status.replication
    there = replication and (replication.host, replication.port, replication.source) == (host, port,
                                                                                         action.details["id"])
    if replication and there and replication.io.state == "running":
        return f"replicates from {host}:{port} already"
    server.change_source(host, port)
    return f"replicates from {host}:{port}"


def finish(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """The promotion is over, once the new primary is seen to take writes. People are told."""
    [action] = actions
    stored, primary, under_way = _current(site, action)
    status = look(reach(site, action.target, False))
    if not isinstance(status, ServerStatus) or status.read_only:
        raise RequeueAfter(
            f"{status if not isinstance(status, ServerStatus) else action.target + ' is read-only'}; {AGAIN}", 10
        )
    new = msgspec.structs.replace(primary, promotion=None, since=request.now)
    if not _finished(site, request, stored, new):
        raise RequeueAfter(f"another run records the same promotion; {AGAIN}", 5)
    lost = f"; lost: {primary.lost} ({primary.lost.count} transactions)" if primary.lost else ""
    forced = f"; forced: {under_way.forced}" if under_way.forced else ""
    count("Promoted", region=action.target)
    event = alerts.promoted(action.target, under_way.old, primary.term, lost, forced)
    try:
        # Under the watch's name, so that its next minute sends again what does not go out now.
        told = delivery.deliver(site.local_store, site.alerts, "databases.watch", [event], site.clock(),
                                origin=f"databases.promote in {site.region}", not_judged=("*",))
        untold = "".join(f"; nobody could be told, the next watch tries again: {why}" for why in told.failed)
    except AWS_ERRORS as error:
        # It is done: to run it again for the notice would move the primary on.
        untold = f"; nobody could be told: {error}"
    return [f"{action.target} has the primary, term {primary.term}{lost}{untold}"]


def _finished(site: RegionContext, request: Request, stored: Stored[PrimaryRecord], new: PrimaryRecord) -> bool:
    """Whether the end is written. A lost answer is asked for again: the same write is done once.

    To run a promotion again that is over would begin another one.
    """
    for attempt in (1, 2):
        try:
            return state.write(site.shared_store, PRIMARY_KEY, PRIMARY, stored, new, run_id=request.run_id) is not None
        except Unavailable as error:
            if attempt == 2:
                raise Rejected(f"whether the promotion is over is not recorded for sure ({error}). Read `lamp run "
                               "databases.status` before anything is promoted again") from error
    return False


def tune(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Sets what makes recovery fast, and looks whether replication runs again."""
    server = reach(site, site.region, True)
    try:
        server.tune()
        found = server.read_status().replication
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; databases.heal starts what stands still, then run databases.tune again",
                           60) from None
    return [f"set; IO {found.io.state}, SQL {found.sql.state}" if found else "set, but it does not replicate"]

