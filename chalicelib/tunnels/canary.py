"""In the primary's region, whether the database answers without any tunnel, reported to the controllers of all other
regions.

They cannot tell a primary's side that is down from tunnels that are all broken. Another region's controller can, if it
has tunnels that work. This one needs none.
"""

import asyncio
import socket
import time
from collections.abc import Callable

import msgspec

from chalicelib.context import RegionContext
from chalicelib.databases.config import Server
from chalicelib.engine.operation import Operation, Request
from chalicelib.engine.plan import Action, Plan
from chalicelib.tunnels import act
from chalicelib.tunnels.probe.pending import PendingProbes, Target
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.probe.sweep import sweep
from chalicelib.tunnels.state import PeerReport

# Half of the age at which a canary's word counts for nothing.
EVERY = 5.0
_PROBING = 2.0

Ask = Callable[[], ProbeResult]


def database(server: Server, version: str, parked: PendingProbes) -> ProbeResult:
    """The result of a probe of the database. Its name is looked up each time, since an address may change hands."""
    try:
        address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        return ProbeResult("local", "no-address", time.time(), detail=f"{server.host}: {error}")
    target = Target("database", str(address), server.port, version)
    return asyncio.run(sweep([target], time.monotonic() + _PROBING, parked))["database"]


def operation(ask: Ask) -> Operation[tuple[str, ProbeResult]]:
    """`tunnels.canary`, with this way to ask the database."""
    return Operation("tunnels.canary", "tells the other regions whether the database answers",
                     lambda site, request: (site.region, ask()), _tell, {"publish-report": act.publish_report})


def _tell(seen: tuple[str, ProbeResult], request: Request) -> Plan:
    region, verdict = seen
    word = PeerReport(verdict.side == "up", verdict.at, region)
    told = Action("publish-report", "database", f"{verdict.side}: {verdict.why}", msgspec.to_builtins(word),
                  unaudited=True)
    return Plan((told,))


def server(site: RegionContext) -> Server | None:
    """The database of this region, if this is where the tunnels lead and fleet.toml says where it is."""
    tunnels, databases = site.fleet.tunnels, site.fleet.databases
    return databases.server(site.region) if tunnels and databases and not tunnels.needs_tunnels(site.region) else None
