"""The observations of the operations. The coordination table comes first, then the servers, each within its time-outs.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach, look, settings_of
from chalicelib.databases.decide import conditions, repair
from chalicelib.databases.observation import (
    FleetDatabases,
    PromotionObservation,
    RepairObservation,
    ServerObservation,
    Tunnels,
    WatchObservation,
)
from chalicelib.databases.published.primary import position
from chalicelib.databases.state import (
    MEMORY,
    PRIMARY,
    PRIMARY_KEY,
    REPAIR,
    REPAIRS,
    REPORT,
    WATCH,
    PrimaryRecord,
    RepairState,
    WatchState,
)
from chalicelib.engine import state
from chalicelib.engine.limits import decided_at, minute_done, not_ahead
from chalicelib.engine.operation import Request
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql.status import Look, ServerStatus
from chalicelib.tunnels import published as tunnel

# Asks several servers, in the order of the regions.
AskAll = Callable[[Callable[[str], Look], Sequence[str]], list[Look]]


class RegionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a promotion, which are a region (empty is the most advanced one) and the reason to go on at a
    loss."""

    region: str = ""
    force: str = ""


def around(context: RegionContext, remembered: WatchState | None, *, may_be_silent: bool = False) -> FleetDatabases:
    """The declared and the agreed facts. `remembered` has the record that this region has believed last.

    A record in the table that cannot be read, or is an earlier one, is not believed, and that one counts. If it
    `may_be_silent`, the same holds for a table that does not answer.
    """
    settings = settings_of(context)
    known = Stored(PrimaryRecord(settings.primary))
    if remembered and remembered.primary:
        known = Stored(remembered.primary, remembered.primary_version)
    fleet = FleetDatabases(context.region, settings, tuple(region.name for region in context.fleet.regions),
                           context.clock(),
                           known.value, sure=False, believed_version=known.version)
    try:
        # The reports come first: then no report can know of a later term than the record.
        stored, unreadable = state.load_many(
            context.shared_store, [("databases", server.region) for server in settings.servers], REPORT)
        primary = state.find(context.shared_store, PRIMARY_KEY, PRIMARY)
    except Unavailable:
        if not may_be_silent:
            raise
        return fleet
    reports = {region: report.value for (_, region), report in stored.items()}
    if isinstance(primary, Unreadable):
        return msgspec.structs.replace(fleet, reports=reports, unreadable=(primary, *unreadable))
    found = primary or Stored(PrimaryRecord(settings.primary))
    here, newest = position(found), conditions.newest_seen(known, reports)
    believed = known if here < position(known) else found
    return msgspec.structs.replace(
        fleet, primary=believed.value, believed_version=believed.version, version=found.version, sure=here >= newest,
        reports=reports, unreadable=unreadable, newest_term=max(newest, here)[0], went_back=here < newest)


def _remembered(context: RegionContext) -> WatchState | None:
    """The last state that this region's watch has stored, if that can be read."""
    stored = state.find(context.local_store, MEMORY, WATCH)
    return stored.value if isinstance(stored, Stored) else None


def watch(context: RegionContext, request: Request, reach: Reach) -> WatchObservation:
    """One minute of the watch. The server is not asked twice in one."""
    item = context.local_store.get(*MEMORY)
    stored = state.read(context.local_store, item, WATCH) if item else Stored(WatchState(0))
    unreadable = (stored,) if isinstance(stored, Unreadable) else ()
    if isinstance(stored, Unreadable):
        stored = state.instead_of(item, WatchState(0)) if item else Stored(WatchState(0))
    seen = around(context, stored.value, may_be_silent=True)
    if seen.server is None or minute_done(stored.value.minute, decided_at(request.now, seen.at), seen.at):
        return WatchObservation(seen, stored)
    return WatchObservation(seen, stored, look(reach(context, context.region, False)), unreadable)


def heal(context: RegionContext, request: Request, reach: Reach) -> RepairObservation:
    """One minute of healing."""
    stored = state.load(context.local_store, REPAIRS, REPAIR, RepairState(0))
    seen = around(context, _remembered(context), may_be_silent=True)
    if isinstance(stored, Unreadable):
        return RepairObservation(seen, Stored(RepairState(0)), unreadable=(stored,))
    tunnels = context.fleet.tunnels
    tunnelled = tunnels is not None and tunnels.mode != "off" and tunnels.needs_tunnels(context.region)
    if seen.server is None or minute_done(stored.value.minute, decided_at(request.now, seen.at), seen.at):
        return RepairObservation(seen, stored)
    read, stored = stored, msgspec.structs.replace(stored, value=not_ahead(stored.value, seen.at))
    # Where there are none any more, what was last said of them stands in the table for ever.
    verdict = _tunnels(context) if tunnelled else None
    own = look(reach(context, context.region, False))
    asked = isinstance(own, ServerStatus) and bool(repair.unapplied_gtids(own))
    primary = look(reach(context, seen.primary.region, False)) if asked else None
    return RepairObservation(seen, stored, own, verdict, tunnelled, primary, was_ahead=stored.value != read.value)


def _tunnels(context: RegionContext) -> Tunnels | None:
    """The state of the tunnels' controller after its last round, with the healthy members, all members, and the time.

    An unreadable record says nothing, as if no controller had looked yet.
    """
    summary = tunnel.read_summary(context.local_store)
    if summary is None or isinstance(summary, Unreadable):
        return None
    return summary.healthy, summary.members, summary.at


def one(context: RegionContext, request: Request, reach: Reach) -> ServerObservation:
    """This region's server, for what is done manually."""
    seen = around(context, _remembered(context))
    return ServerObservation(seen, look(reach(context, context.region, False)) if seen.server else None)


def in_parallel(ask: Callable[[str], Look], regions: Sequence[str]) -> list[Look]:
    """The answers of all servers, because one that hangs must not delay the others."""
    with ThreadPoolExecutor(max_workers=len(regions)) as pool:
        return list(pool.map(ask, regions))


def promote(context: RegionContext, request: Request, reach: Reach, ask_all: AskAll) -> PromotionObservation:
    """Every server, asked at the same time."""
    seen, asked = around(context, _remembered(context)), request.parameters
    regions = [server.region for server in seen.settings.servers]
    looks = ask_all(lambda region: look(reach(context, region, False)), regions)
    return PromotionObservation(seen, dict(zip(regions, looks, strict=True)), asked.region, asked.force)
