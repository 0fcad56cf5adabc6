"""The observations of the operations. The coordination table comes first, then the servers, each within its time-outs.
"""

from concurrent.futures import ThreadPoolExecutor

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach, look, settings_of
from chalicelib.databases.decide import repair
from chalicelib.databases.observation import (
    FleetDatabases,
    PromotionObservation,
    RepairObservation,
    ServerObservation,
    Tunnels,
    WatchObservation,
)
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
from chalicelib.engine.limits import minute_done
from chalicelib.engine.operation import Request
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql.status import ServerStatus
from chalicelib.tunnels import published as tunnel


class RegionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a promotion, which are a region (empty is the most advanced one) and the reason to go on at a
    loss."""

    region: str = ""
    force: str = ""


def around(site: RegionContext, known: PrimaryRecord | None = None) -> FleetDatabases:
    """The declared and the agreed facts. With `known`, a table that does not answer is no error, and that is then the
    primary."""
    settings = settings_of(site)
    order, first = tuple(region.name for region in site.fleet.regions), PrimaryRecord(settings.primary)
    try:
        primary = state.find(site.shared_store, PRIMARY_KEY, PRIMARY)
        stored, unreadable = state.load_many(
            site.shared_store, [("databases", server.region) for server in settings.servers], REPORT)
    except Unavailable:
        if known is None:
            raise
        return FleetDatabases(site.region, settings, order, site.clock(), known, sure=False)
    reports = {region: report.value for (_, region), report in stored.items()}
    if isinstance(primary, Unreadable):
        return FleetDatabases(site.region, settings, order, site.clock(), known or first, sure=False, reports=reports,
                              unreadable=(primary, *unreadable))
    return FleetDatabases(site.region, settings, order, site.clock(), primary.value if primary else first,
                          primary.version if primary else 0, True, reports, unreadable)


def watch(site: RegionContext, request: Request, reach: Reach) -> WatchObservation:
    """One minute of the watch. The server is not asked twice in one."""
    item = site.local_store.get(*MEMORY)
    stored = state.read(site.local_store, item, WATCH) if item else Stored(WatchState(0))
    unreadable = (stored,) if isinstance(stored, Unreadable) else ()
    if isinstance(stored, Unreadable):
        stored = state.instead_of(item, WatchState(0)) if item else Stored(WatchState(0))
    seen = around(site, stored.value.primary or PrimaryRecord(settings_of(site).primary))
    if seen.server is None or minute_done(stored.value.minute, request.now, seen.at):
        return WatchObservation(seen, stored)
    return WatchObservation(seen, stored, look(reach(site, site.region, False)), unreadable)


def sick(site: RegionContext, request: Request, reach: Reach) -> RepairObservation:
    """One minute of healing."""
    stored = state.load(site.local_store, REPAIRS, REPAIR, RepairState(0))
    seen = around(site, PrimaryRecord(settings_of(site).primary))
    if isinstance(stored, Unreadable):
        return RepairObservation(seen, Stored(RepairState(0)), unreadable=(stored,))
    tunnels = site.fleet.tunnels
    tunnelled = tunnels is not None and tunnels.mode != "off" and tunnels.needs_tunnels(site.region)
    if seen.server is None or minute_done(stored.value.minute, request.now, seen.at):
        return RepairObservation(seen, stored)
    # Where there are none any more, what was last said of them stands in the table for ever.
    verdict = _tunnels(site) if tunnelled else None
    own = look(reach(site, site.region, False))
    asked = isinstance(own, ServerStatus) and bool(repair.unapplied_gtids(own))
    primary = look(reach(site, seen.primary.region, False)) if asked else None
    return RepairObservation(seen, stored, own, verdict, tunnelled, primary)


def _tunnels(site: RegionContext) -> Tunnels | None:
    """The state of the tunnels' controller after its last round, with the healthy members, all members, and the time.

    An unreadable record says nothing, as if no controller had looked yet.
    """
    summary = tunnel.read_summary(site.local_store)
    if summary is None or isinstance(summary, Unreadable):
        return None
    return summary.healthy, summary.members, summary.at


def one(site: RegionContext, request: Request, reach: Reach) -> ServerObservation:
    """This region's server, for what is done manually."""
    seen = around(site)
    return ServerObservation(seen, look(reach(site, site.region, False)) if seen.server else None)


def throne(site: RegionContext, request: Request, reach: Reach) -> PromotionObservation:
    """Every server, asked in parallel, because one that hangs must not delay the others."""
    seen, asked = around(site), request.parameters
    regions = [server.region for server in seen.settings.servers]
    with ThreadPoolExecutor(max_workers=len(regions)) as pool:
        looks = dict(zip(regions, pool.map(lambda region: look(reach(site, region, False)), regions), strict=True))
    return PromotionObservation(seen, looks, asked.region, asked.force)
