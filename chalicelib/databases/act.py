"""Carries out watch and repair. The engine writes the state first, and only the run whose state is stored acts."""

from collections.abc import Sequence

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.databases import details
from chalicelib.databases.connect import Reach
from chalicelib.databases.decide import conditions
from chalicelib.databases.state import (
    BEATS,
    MEMORY,
    PRIMARY,
    PRIMARY_KEY,
    READINESS,
    READY,
    REPAIR,
    REPAIRS,
    REPORT,
    WATCH,
    PrimaryRecord,
    Readiness,
    RegionReport,
)
from chalicelib.engine import state
from chalicelib.engine.metrics import count, gauge
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.status import ServerStatus


def fence(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Closes this region's server, which takes writes that belong elsewhere.

    The primary's record is read again before and after, because a promotion of this very region must not be reverted.
    """
    [action] = actions
    decided: details.Fence = action.details
    region = context.region
    if why := conditions.fence_refused(_primary(context), region, decided):
        return [why]
    server = reach(context, region, True)
    try:
        cut = server.set_read_only()
        if conditions.became_primary(_primary(context), region):
            server.set_writable()
            return [f"{region} became the primary meanwhile, and takes writes again"]
    except DatabaseError as error:
        count("FenceFailed", region=region)
        return [f"{region}: not fenced, next try in a minute ({error})"]
    count("Fenced", region=region)
    return [f"{region} is read-only now, {cut} connections cut off"]


def _primary(context: RegionContext) -> Stored[PrimaryRecord] | Unreadable | None:
    return state.find(context.shared_store, PRIMARY_KEY, PRIMARY)


def rejoin(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Takes this region's fence out of the table, if that is still as it was seen."""
    [action] = actions
    seen: details.Rejoin = action.details
    stored = state.find(context.shared_store, PRIMARY_KEY, PRIMARY)
    if not isinstance(stored, Stored) or stored.version != seen.version:
        return ["another run was faster"]
    new = conditions.without_fence(stored.value, context.region)
    done = state.write(context.shared_store, PRIMARY_KEY, PRIMARY, stored, new, run_id=request.run_id)
    return [f"{context.region}: no longer fenced" if done else "another run was faster"]


def ready(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Publishes the readiness item that the application and routing read. Good for three minutes."""
    [action] = actions
    readiness: Readiness = action.details
    state.publish(context.local_store, READINESS, READY, readiness, run_id=request.run_id)
    return ["ready" if readiness.ready else f"not ready: {readiness.why}"]


def report(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Writes the heartbeat where it belongs, and for other regions what was seen here."""
    [action] = actions
    wanted: details.PublishReport = action.details
    stored = state.current(context.local_store, MEMORY, WATCH, run_id=request.run_id)
    heartbeats, results = stored.value.heartbeats, []
    if wanted.beat:
        try:
            beat = reach(context, context.region, False).write_heartbeat(context.region)
        except DatabaseError as error:
            count("HeartbeatFailed", region=context.region)
            results.append(f"no heartbeat: {error}")
        else:
            heartbeats = (*heartbeats, beat)[-BEATS:]
            state.claim(context.local_store, MEMORY, WATCH, stored,
                        msgspec.structs.replace(stored.value, heartbeats=heartbeats), run_id=request.run_id)
            results.append("heartbeat written")
    for name, value in wanted.gauges.items():
        gauge(name, value, region=context.region)
    return [*results, publish(context, request, msgspec.structs.replace(wanted.report, heartbeats=heartbeats))]


def publish(context: RegionContext, request: Request, report: RegionReport) -> str:
    """Writes the report of this region into the coordination table. Without it a region goes on alone."""
    try:
        done = state.publish(context.shared_store, ("databases", context.region), REPORT, report, run_id=request.run_id,
                             replaces=lambda old: conditions.report_replaces(report, old))
    except Unavailable as error:
        count("ReportFailed", region=context.region)
        return f"not reported: {error}"
    return "reported" if done else "not reported: another run has reported meanwhile"


def restart(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Starts threads again. Nothing is skipped. The result is checked once at once, and again in a minute."""
    [action] = actions
    wanted: details.Restart = action.details
    state.current(context.local_store, REPAIRS, REPAIR, run_id=request.run_id)
    server = reach(context, context.region, True)
    try:
        server.start(wanted.threads)
        after = server.read_status()
    except DatabaseError as error:
        count("HealFailed", region=context.region)
        return [f"not started: {error}"]
    count("ReplicationRestarted", region=context.region)
    return [f"{' and '.join(wanted.threads)} started; {_threads(after)}"]


def follow(context: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Points this region's replica at the new primary."""
    [action] = actions
    source: details.ReplicationSource = action.details
    state.current(context.local_store, REPAIRS, REPAIR, run_id=request.run_id)
    server = reach(context, context.region, True)
    try:
        server.change_source(source.host, source.port)
        return [f"replicates from {source.host}:{source.port}; {_threads(server.read_status())}"]
    except DatabaseError as error:
        count("HealFailed", region=context.region)
        return [f"not pointed: {error}"]


def _threads(status: ServerStatus) -> str:
    replication = status.replication
    return f"IO {replication.io.state}, SQL {replication.sql.state}" if replication else "it does not replicate"
