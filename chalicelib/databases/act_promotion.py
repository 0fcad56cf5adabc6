"""Carries out the manual actions, which are a promotion step by step, fencing and tuning.

A compare-and-set in the coordination table records each step under the promotion's term, and each step may repeat
without harm. After a crash anywhere the operation runs again and goes on. A run whose promotion is no longer the one in
the table does nothing more.
"""

from collections.abc import Callable, Sequence

from chalicelib.aws.client import AWS_ERRORS, Unavailable
from chalicelib.context import RegionContext
from chalicelib.databases import details
from chalicelib.databases.act import publish
from chalicelib.databases.connect import Reach, look
from chalicelib.databases.decide import alerts, steps
from chalicelib.databases.decide.steps import AGAIN, OldPrimary, UnderWay, Verdict
from chalicelib.databases.state import PRIMARY, PRIMARY_KEY, REPORT, PrimaryRecord, reported
from chalicelib.engine import delivery, state
from chalicelib.engine.alert_text import Origin
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Rejected, Request, RequeueAfter
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.server import Server
from chalicelib.mysql.status import ServerError, ServerStatus
from chalicelib.version import VERSION

Wait = Callable[[float], None]


def claim(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Takes the next term. From now on the old primary is fenced for every controller, and nobody else can claim it."""
    [action] = actions
    step: details.ClaimTerm = action.details
    _swap(context, request, step.version, steps.claimed(step.primary, request.now))
    return [f"term {step.term} claimed for {action.target}"]


def record_fence(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Fences this region in the table, manually."""
    [action] = actions
    record: details.RecordFence = action.details
    _swap(context, request, record.version, record.primary)
    return [f"{action.target} is fenced for every controller"]


def _swap(context: RegionContext, request: Request, version: int, primary: PrimaryRecord) -> None:
    before = Stored(primary, version) if version else None
    if state.write(context.shared_store, PRIMARY_KEY, PRIMARY, before, primary, run_id=request.run_id) is None:
        raise Rejected("another run has changed the record of the primary meanwhile. Look at the plan again")


def fence_writers(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Makes sure that nothing else takes writes. Stops everything if one of them cannot be closed."""
    results, final = [], GtidSet()
    for action in actions:
        step: details.CloseWriter = action.details
        current = _current(context, step)
        verdict = _closed(context, action, step, reach)
        results.append(f"{action.target}: {_obeyed(verdict)}")
        final = verdict.gtids if action.target == current.promotion.old else final
    step = actions[0].details
    current = _current(context, step)
    _record(context, request, current, steps.advanced(current, "fenced", forced=step.forced, final=final))
    return results


def _closed(context: RegionContext, action: Action, step: details.CloseWriter, reach: Reach) -> Verdict:
    if step.how != "set-read-only":
        return Verdict(action.reason)
    cut, outcome = _set_read_only(reach(context, action.target, True))
    return steps.closed(step, outcome, cut, action.target)


def _set_read_only(server: Server) -> tuple[int, ServerStatus | ServerError]:
    try:
        return server.set_read_only(), server.read_status()
    except DatabaseError as error:
        return 0, error.trouble


def fence_local(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Fences this region's server, and reports it as the proof for other regions."""
    [action] = actions
    fence: details.Fence = action.details
    cut, outcome = _set_read_only(reach(context, context.region, True))
    if isinstance(outcome, ServerError):
        raise RequeueAfter(f"{outcome}: not closed; run databases.fence again", 10)
    if not outcome.read_only:
        raise Rejected(f"{context.region} takes writes although it was told not to")
    report = reported(outcome, fence.term, True)
    return [f"read-only, {cut} connections cut off", publish(context, request, report)]


def apply_relay_log(
    context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach, wait: Wait
) -> list[str]:
    """The chosen replica fetches what the closed primary still has, and applies all that it has."""
    [action] = actions
    step: details.ApplyRelayLog = action.details
    current = _current(context, step)
    try:
        old = _old_primary(context, current, step, reach)
        status = _catch_up(context, reach(context, step.to, True), old, wait)
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; {AGAIN}", 10) from None
    verdict = steps.drained(status, old, current, step)
    text = _obeyed(verdict)
    current = _current(context, step)
    _record(context, request, current, steps.advanced(current, "drained", forced=step.forced, lost=verdict.gtids))
    return [text]


def _old_primary(context: RegionContext, current: UnderWay, step: details.ApplyRelayLog, reach: Reach) -> OldPrimary:
    if step.old == step.to:
        return OldPrimary()
    status = look(reach(context, step.old, False))
    silent = isinstance(status, ServerError)
    report = state.find(context.shared_store, ("databases", step.old), REPORT) if silent else None
    old = steps.old_primary(status, report, current, step)
    if old.rejected:
        raise Rejected(old.rejected)
    return old


def _catch_up(context: RegionContext, server: Server, old: OldPrimary, wait: Wait) -> ServerStatus:
    """The candidate once it has fetched what the old primary still gives, and applied all that it can."""
    since, made = context.clock(), set[steps.Move]()
    while True:
        status = server.read_status()
        move = steps.next_move(status, old, context.clock() - since, made)
        made.add(move)
        if move == "done":
            return status
        if move == "later":
            raise RequeueAfter(f"{status.region} is still applying what it has received. {AGAIN}", 30)
        if move == "start-sql":
            server.start(("SQL",))
        elif move == "stop-io":
            server.stop("IO")
            since = context.clock()
        else:
            wait(0.5)


def open_primary(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """The chosen one forgets its primary, is named in the table, and only then takes writes.

    It is closed again if another promotion was claimed in that very moment.
    """
    [action] = actions
    step: details.Promotion = action.details
    try:
        server = reach(context, step.to, True)
        if server.read_status().replication:
            server.reset_replica()
        position = server.read_status().executed_gtids
        current = _current(context, step)
        _record(context, request, current, steps.named(current, position))
        _current(context, step)
        server.set_writable()
        try:
            _current(context, step)
        except Rejected:
            server.set_read_only()
            raise
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; {AGAIN}", 10) from None
    current = _current(context, step)
    _record(context, request, current, steps.advanced(current, "opened", forced=step.forced))
    return [f"{step.to} takes writes, from {position or 'nothing'} on"]


def change_sources(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Points the other replicas at the new primary. One that does not answer is pointed by its own region's controller.
    """
    results = []
    for action in actions:
        step: details.ChangeSource = action.details
        current = _current(context, step)
        try:
            results.append(f"{action.target}: {_change_source(reach(context, action.target, True), step, current)}")
        except DatabaseError as error:
            results.append(f"{action.target}: left for databases.heal there: {error}")
    step = actions[0].details
    current = _current(context, step)
    _record(context, request, current, steps.advanced(current, "pointed", forced=step.forced))
    return results


def _change_source(server: Server, step: details.ChangeSource, current: UnderWay) -> str:
    if why := steps.left_alone(server.read_status(), step.source, current.primary):
        return why
    server.change_source(step.source.host, step.source.port)
    return f"replicates from {step.source.host}:{step.source.port}"


def finish(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """The promotion is over, once the new primary is seen to take writes. People are told."""
    [action] = actions
    step: details.Promotion = action.details
    current = _current(context, step)
    if why := steps.unopened(look(reach(context, step.to, False)), step.to):
        raise RequeueAfter(f"{why}; {AGAIN}", 10)
    _end(context, request, current)
    count("Promoted", region=step.to)
    event = alerts.promoted(current.primary, current.promotion)
    try:
        # Under the watch's name, so that its next minute sends again what does not go out now.
        told = delivery.deliver(context.local_store, context.alerts, "databases.watch", [event], context.clock(),
                                origin=Origin("databases.promote", context.region, context.stage, VERSION),
                                not_judged=("*",))
        untold = "".join(f". The alert did not go out, and the next watch tries again ({why})" for why in told.failed)
    except AWS_ERRORS as error:
        # It is done: to run it again for the notice would move the primary on.
        untold = f"; nobody could be told: {error}"
    return [f"{step.to} has the primary, term {step.term}{alerts.loss(current.primary)}{untold}"]


def _end(context: RegionContext, request: Request, current: UnderWay) -> None:
    """Writes the end. A lost answer is asked for again: the same write is done once.

    To run a promotion again that is over would begin another one.
    """
    new = steps.finished(current.primary, request.now)
    try:
        _record(context, request, current, new)
    except Unavailable:
        try:
            _record(context, request, current, new)
        except Unavailable as error:
            raise Rejected(f"whether the promotion is over is not recorded for sure ({error}). Read `lamp run "
                           "databases.status` before anything is promoted again") from error


def tune(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Sets what makes recovery fast, and looks whether replication runs again."""
    server = reach(context, context.region, True)
    try:
        server.tune()
        replication = server.read_status().replication
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; databases.heal starts what stands still, then run databases.tune again",
                           60) from None
    return [f"set; IO {replication.io.state}, SQL {replication.sql.state}" if replication
            else "set, but it does not replicate"]


def tolerate_connects(
    context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach
) -> list[str]:
    """Lets connections that do not log in block no host."""
    try:
        reach(context, context.region, True).tolerate_connects()
    except DatabaseError as error:
        raise RequeueAfter(f"{error}; run databases.tune again", 60) from None
    return [f"tolerate-connects: {action.target}" for action in actions]


def _current(context: RegionContext, step: details.Promotion) -> UnderWay:
    """The promotion that `step` belongs to, if it is still the one under way."""
    current = steps.under_way(state.find(context.shared_store, PRIMARY_KEY, PRIMARY), step)
    if isinstance(current, str):
        raise Rejected(current)
    return current


def _record(context: RegionContext, request: Request, current: UnderWay, new: PrimaryRecord) -> None:
    if new != current.primary and state.write(context.shared_store, PRIMARY_KEY, PRIMARY, current.stored, new,
                                              run_id=request.run_id) is None:
        raise RequeueAfter(f"another run records the same promotion; {AGAIN}", 5)


def _obeyed(verdict: Verdict) -> str:
    if verdict.rejected:
        raise Rejected(verdict.rejected)
    if verdict.again:
        raise RequeueAfter(verdict.again, 10)
    return verdict.text
