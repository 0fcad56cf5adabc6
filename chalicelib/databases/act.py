"""Carries out watch and repair. The state is written first, and only the run whose state is stored acts."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from aws_lambda_powertools import single_metric
from aws_lambda_powertools.metrics import MetricUnit

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Store
from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach
from chalicelib.databases.state import (
    BEATS,
    FRESH,
    MEMORY,
    PRIMARY,
    PRIMARY_KEY,
    READINESS,
    REPAIR,
    REPAIRS,
    WATCH,
    PrimaryRecord,
    RegionReport,
    RepairState,
    ServerStatus,
    WatchState,
    body,
)
from chalicelib.engine import state
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.engine.schema import Schema, Stored, Unreadable
from chalicelib.mysql.connection import DatabaseError

_FASTER = "another run was faster"
Held = TypeVar("Held", WatchState, RepairState)


def remember(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims this minute of the watch."""
    [action] = actions
    return [_claimed(site, request, MEMORY, WATCH, action.details["version"], action.details["memory"])]


def claim(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims this minute of healing."""
    [action] = actions
    return [_claimed(site, request, REPAIRS, REPAIR, action.details["version"], action.details["repairs"])]


def _claimed(
    site: RegionContext, request: Request, key: tuple[str, str], schema: Schema[Held], version: int, new: Held
) -> str:
    before = Stored(new, version) if version else None
    written = state.write(site.local_store, key, schema, before, new, run_id=request.run_id)
    return "remembered" if written else _FASTER


def mine(site: RegionContext, request: Request, key: tuple[str, str], schema: Schema[Held]) -> bool:
    """Whether the minute is this run's."""
    found = state.find(site.local_store, key, schema)
    return isinstance(found, Stored) and found.value.turn == turn_of(request)


def fence(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Closes this region's server, which takes writes that belong elsewhere.

    The primary's record is read again before and after, because a promotion of this very region must not be reverted.
    """
    region, primary = site.region, _primary(site)
    if isinstance(primary, Unreadable):
        return [f"{region}: not fenced, who the primary is cannot be read: {primary}"]
    if primary.may_write(region):
        return [f"{region}: has become the primary meanwhile"]
    server = reach(site, region, True)
    try:
        cut = server.set_read_only()
        primary = _primary(site)
        if not isinstance(primary, Unreadable) and primary.may_write(region):
            server.set_writable()
            return [f"{region}: became the primary meanwhile, and was opened again"]
    except DatabaseError as error:
        count("FenceFailed", region=region)
        return [f"{region}: not fenced, to be tried again in a minute: {error}"]
    count("Fenced", region=region)
    return [f"{region}: read-only now, {cut} connections cut off"]


def rejoin(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Takes this region's fence out of the table, if that is still as it was seen."""
    [action] = actions
    stored = state.find(site.shared_store, PRIMARY_KEY, PRIMARY)
    if not isinstance(stored, Stored) or stored.version != action.details["version"]:
        return [_FASTER]
    fenced = tuple(region for region in stored.value.fenced if region != site.region)
    done = state.write(site.shared_store, PRIMARY_KEY, PRIMARY, stored,
                       msgspec.structs.replace(stored.value, fenced=fenced),
                       run_id=request.run_id)
    return [f"{site.region}: no longer fenced" if done else _FASTER]


def _primary(site: RegionContext) -> PrimaryRecord | Unreadable:
    stored = state.find(site.shared_store, PRIMARY_KEY, PRIMARY)
    return PrimaryRecord("") if stored is None else stored.value if isinstance(stored, Stored) else stored


def ready(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """The readiness item that the application and routing read. Good for three minutes."""
    [action] = actions
    said = dict(action.details) | {"until": action.details["at"] + FRESH}
    put(site.local_store, READINESS, said)
    return ["ready" if said["ready"] else f"not ready: {said['why']}"]


def put(table: Store, key: tuple[str, str], new: dict[str, Any]) -> bool:
    """Writes an item, whatever it was. `False` if somebody else did at the same time."""
    item = table.get(*key)
    return bool(table.compare_and_set(item, new) if item else table.create(*key, new))


def report(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Writes the heartbeat where it belongs, and for other regions what was seen here."""
    [action] = actions
    stored = state.find(site.local_store, MEMORY, WATCH)
    if not isinstance(stored, Stored) or stored.value.turn != turn_of(request):
        return [_FASTER]
    memory, results = stored.value, []
    if action.details["beat"]:
        memory, said = _beat(site, memory, reach)
        results.append(said)
        state.write(site.local_store, MEMORY, WATCH, stored, memory, run_id=request.run_id)
    seen = msgspec.structs.replace(action.details["report"], heartbeats=memory.heartbeats)
    for name, value in action.details["gauges"].items():
        gauge(name, value, site.region)
    return [*results, publish(site, seen)]


def _beat(site: RegionContext, memory: WatchState, reach: Reach) -> tuple[WatchState, str]:
    try:
        at = reach(site, site.region, False).write_heartbeat(site.region)
    except DatabaseError as error:
        count("HeartbeatFailed", region=site.region)
        return memory, f"no heartbeat: {error}"
    return msgspec.structs.replace(memory, heartbeats=(*memory.heartbeats, at)[-BEATS:]), "heartbeat written"


def publish(site: RegionContext, seen: RegionReport) -> str:
    """The report of this region, in the coordination table. Without it a region goes on alone."""
    try:
        put(site.shared_store, ("databases", site.region), body(seen))
    except Unavailable as error:
        count("ReportFailed", region=site.region)
        return f"not reported: {error}"
    return "reported"


def gauge(name: str, value: float, region: str) -> None:
    """A number in CloudWatch (by a log line)."""
    with single_metric(name, MetricUnit.NoUnit, value, namespace="Lamplighter") as one:
        one.add_dimension("region", region)


def restart(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Starts threads again. Nothing is skipped. The result is checked once at once, and again in a minute."""
    [action] = actions
    if not mine(site, request, REPAIRS, REPAIR):
        return [_FASTER]
    server = reach(site, site.region, True)
    try:
        server.start(action.details["threads"])
        after = server.read_status()
    except DatabaseError as error:
        count("HealFailed", region=site.region)
        return [f"not started: {error}"]
    count("ReplicationRestarted", region=site.region)
    return [f"{' and '.join(action.details['threads'])} started; {_threads(after)}"]


def follow(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Points this region's replica at the new primary."""
    [action] = actions
    if not mine(site, request, REPAIRS, REPAIR):
        return [_FASTER]
    server = reach(site, site.region, True)
    try:
        server.change_source(action.details["host"], action.details["port"])
        return [f"replicates from {action.details['host']}:{action.details['port']}; {_threads(server.read_status())}"]
    except DatabaseError as error:
        count("HealFailed", region=site.region)
        return [f"not pointed: {error}"]


def _threads(look: ServerStatus) -> str:
    found = look.replication
    return f"IO {found.io.state}, SQL {found.sql.state}" if found else "it does not replicate"


def turn_of(request: Request) -> str:
    """The name of this run."""
    return request.id or str(request.now)
