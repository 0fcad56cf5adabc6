"""What the operations see: the coordination table first, then the servers, each within its time-outs."""

from concurrent.futures import ThreadPoolExecutor

import msgspec

from chalicelib.cloud import Unreachable
from chalicelib.control import Request
from chalicelib.databases import healing
from chalicelib.databases.reach import Reach, look, settings_of
from chalicelib.databases.records import (
    MASTER,
    MEMORY,
    REPAIRS,
    Master,
    Memory,
    Repairs,
    Report,
    State,
    read,
)
from chalicelib.databases.seen import Around, One, Sick, Throne, Tunnels, Watched
from chalicelib.ledger import Item
from chalicelib.site import Site
from chalicelib.tunnels import records as healer


class RegionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a promotion may be told: which region (empty: the one that has most), and why to go on at a loss."""

    region: str = ""
    force: str = ""


def around(site: Site, known: Master | None = None) -> Around:
    """What is declared and agreed. With `known` a table that does not answer is borne: that is then the master."""
    settings = settings_of(site)
    order, first = tuple(region.name for region in site.fleet.regions), Master(settings.master)
    try:
        item = site.coordination.get(*MASTER)
        keys = [("databases", server.region) for server in settings.servers]
        reports = {found.sk: read(found.body, Report) for found in site.coordination.get_many(keys)}
    except Unreachable:
        if known is None:
            raise
        return Around(site.region, settings, order, site.clock(), known, sure=False)
    master = read(item.body, Master) if item else first
    return Around(site.region, settings, order, site.clock(), master, item.rev if item else 0, True, reports)


def watch(site: Site, request: Request, reach: Reach) -> Watched:
    """One minute of the watch; the server is not asked twice in one."""
    item = site.regional.get(*MEMORY)
    memory, rev = (read(item.body, Memory), item.rev) if item else (Memory(), 0)
    seen = around(site, memory.master or Master(settings_of(site).master))
    if seen.server is None or memory.minute >= request.now // 60:
        return Watched(seen, memory, rev)
    return Watched(seen, memory, rev, look(reach(site, site.region, False)))


def sick(site: Site, request: Request, reach: Reach) -> Sick:
    """One minute of healing."""
    item = site.regional.get(*REPAIRS)
    repairs, rev = (read(item.body, Repairs), item.rev) if item else (Repairs(), 0)
    seen = around(site, Master(settings_of(site).master))
    tunnels = site.fleet.tunnels
    tunnelled = tunnels is not None and tunnels.mode != "off" and tunnels.lives_in(site.region)
    if seen.server is None or repairs.minute >= request.now // 60:
        return Sick(seen, repairs, rev)
    # Where there are none any more, what was last said of them stands in the table for ever.
    verdict = _tunnels(site.regional.get(*healer.KEY)) if tunnelled else None
    own = look(reach(site, site.region, False))
    asked = isinstance(own, State) and bool(healing.at_stake(own))
    master = look(reach(site, seen.master.region, False)) if asked else None
    return Sick(seen, repairs, rev, own, verdict, tunnelled, master)


def _tunnels(item: Item | None) -> Tunnels | None:
    """What the tunnels' healer remembers of its last round: how many slots are healthy, of how many, and when."""
    memory = healer.read(item.body) if item else None
    return (sum(slot.phase == "healthy" for slot in memory.slots), len(memory.slots), memory.at) if memory else None


def one(site: Site, request: Request, reach: Reach) -> One:
    """This region's server, for what is done by hand."""
    seen = around(site)
    return One(seen, look(reach(site, site.region, False)) if seen.server else None)


def throne(site: Site, request: Request, reach: Reach) -> Throne:
    """Every server, asked side by side: one that hangs must not hold up the others."""
    seen, asked = around(site), request.parameters
    regions = [server.region for server in seen.settings.servers]
    with ThreadPoolExecutor(max_workers=len(regions)) as pool:
        looks = dict(zip(regions, pool.map(lambda region: look(reach(site, region, False)), regions), strict=True))
    return Throne(seen, looks, asked.region, asked.force)
