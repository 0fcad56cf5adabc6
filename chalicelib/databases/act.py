"""Carries out watch and repair. The state is written first, and only the run whose state is stored acts."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from aws_lambda_powertools import single_metric
from aws_lambda_powertools.metrics import MetricUnit

from chalicelib.aws.client import AWS_ERRORS, Unavailable
from chalicelib.aws.store import Store
from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach
from chalicelib.databases.state import (
    BEATS,
    FRESH,
    MASTER,
    MEMORY,
    READINESS,
    REPAIRS,
    PrimaryRecord,
    RegionReport,
    RepairState,
    ServerStatus,
    WatchState,
    body,
    read,
)
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.mysql.connection import DatabaseError

_FASTER = "another run was faster"
Held = TypeVar("Held", WatchState, RepairState)


def remember(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims this minute of the watch."""
    [action] = actions
    return [_claimed(site.local_store, MEMORY, action.details["version"], action.details["memory"])]


def claim(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims this minute of healing."""
    [action] = actions
    return [_claimed(site.local_store, REPAIRS, action.details["version"], action.details["repairs"])]


def _claimed(table: Store, key: tuple[str, str], version: int, new: dict[str, Any]) -> str:
    item = table.get(*key)
    if (item.version if item else 0) != version:
        return _FASTER
    return "remembered" if (table.compare_and_set(item, new) if item else table.create(*key, new)) else _FASTER


def mine(site: RegionContext, request: Request, key: tuple[str, str], kind: type[Held]) -> bool:
    """Whether the minute is this run's."""
    item = site.local_store.get(*key)
    return item is not None and read(item.body, kind).turn == turn_of(request)


def fence(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Closes this region's server, which takes writes that belong elsewhere.

    The primary's record is read again before and after, because a promotion of this very region must not be reverted.
    """
    region = site.region
    if _master(site).may_write(region):
        return [f"{region}: has become the master meanwhile"]
    server = reach(site, region, True)
    try:
        cut = server.set_read_only()
        if _master(site).may_write(region):
            server.set_writable()
            return [f"{region}: became the master meanwhile, and was opened again"]
    except DatabaseError as error:
        count("FenceFailed", region=region)
        return [f"{region}: not fenced, to be tried again in a minute: {error}"]
    count("Fenced", region=region)
    return [f"{region}: read-only now, {cut} connections cut off"]


def rejoin(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Takes this region's fence out of the table, if that is still as it was seen."""
    [action] = actions
    item = site.shared_store.get(*MASTER)
    if item is None or item.version != action.details["version"]:
        return [_FASTER]
    master = read(item.body, PrimaryRecord)
    fenced = tuple(region for region in master.fenced if region != site.region)
    done = site.shared_store.compare_and_set(item, body(msgspec.structs.replace(master, fenced=fenced)))
    return [f"{site.region}: no longer fenced" if done else _FASTER]


def _master(site: RegionContext) -> PrimaryRecord:
    item = site.shared_store.get(*MASTER)
    return read(item.body, PrimaryRecord) if item else PrimaryRecord("")


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


def alert(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people what the watch found, once for all runs of a minute. An alert that did not go out is due in the next
    minute."""
    if not mine(site, request, MEMORY, WatchState):
        return [_FASTER]
    untold, results = _tell(site, actions)
    item = site.local_store.get(*MEMORY) if untold else None
    if item:
        memory = read(item.body, WatchState)
        due = {kind: msgspec.structs.replace(one, told=0) if kind in untold else one
               for kind, one in memory.episodes.items()}
        site.local_store.compare_and_set(item, body(msgspec.structs.replace(memory, episodes=due)))
    return results


def alert_of_healing(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people what healing cannot mend. An alert that did not go out is due again in the next minute."""
    if not mine(site, request, REPAIRS, RepairState):
        return [_FASTER]
    untold, results = _tell(site, actions)
    item = site.local_store.get(*REPAIRS) if untold else None
    if item:
        site.local_store.compare_and_set(item, body(msgspec.structs.replace(read(item.body, RepairState), told={})))
    return results


def _tell(site: RegionContext, actions: Sequence[Action]) -> tuple[set[str], list[str]]:
    """Publishes each action as a notice. The kinds that did not go out, and what came of each."""
    untold, results = set(), []
    for action in actions:
        kind = action.details["kind"]
        try:
            site.alerts.publish(f"{kind}: database in {action.target}", action.reason)
        except AWS_ERRORS as error:
            untold.add(kind)
            results.append(f"{kind}: not told, to be tried again: {error}")
        else:
            count("Alert", kind=kind)
            results.append(f"{kind}: told")
    return untold, results


def report(site: RegionContext, request: Request, actions: Sequence[Action], reach: Reach) -> list[str]:
    """Writes the heartbeat where it belongs, and for other regions what was seen here."""
    [action] = actions
    item = site.local_store.get(*MEMORY)
    if item is None or read(item.body, WatchState).turn != turn_of(request):
        return [_FASTER]
    memory, results = read(item.body, WatchState), []
    if action.details["beat"]:
        memory, said = _beat(site, memory, reach)
        results.append(said)
        site.local_store.compare_and_set(item, body(memory))
    seen = msgspec.structs.replace(read(action.details["report"], RegionReport), heartbeats=memory.heartbeats)
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
    if not mine(site, request, REPAIRS, RepairState):
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
    if not mine(site, request, REPAIRS, RepairState):
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
