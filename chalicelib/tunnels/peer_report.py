"""In the primary's region, whether the database answers without any tunnel, reported to all other regions' controllers.

They cannot tell a primary that is down from tunnels that are all broken. Another region's controller can, if it has
tunnels that work. This one needs none.
"""

from chalicelib.config.databases import Server
from chalicelib.context import RegionContext
from chalicelib.engine.operation import Operation, Request
from chalicelib.engine.plan import Action, Plan
from chalicelib.tunnels import act
from chalicelib.tunnels.probe.network import Network
from chalicelib.tunnels.probe.pending import Target
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import PeerReport

# Half of the age at which a report counts for nothing.
EVERY_SECONDS = 5.0
_PROBING_SECONDS = 2.0


def operation(network: Network, server: Server, version: str) -> Operation[tuple[str, ProbeResult]]:
    """`tunnels.peer_report`, for the database `server`, whose version must contain `version`."""
    return Operation("tunnels.peer_report", "tells the other regions whether the database answers",
                     lambda context, request: (context.region, probe(context, network, server, version)), _decide,
                     {"publish-report": act.publish_report})


def probe(context: RegionContext, network: Network, server: Server, version: str) -> ProbeResult:
    """The database's name is looked up each time, since an address may change hands."""
    try:
        address = network.address(server.host, server.port)
    except OSError as error:
        return ProbeResult("local", "no-address", context.clock(), detail=f"{server.host}: {error}")
    target = Target("database", address, server.port, version)
    return network.probe([target], _PROBING_SECONDS)["database"]


def _decide(seen: tuple[str, ProbeResult], request: Request) -> Plan:
    region, result = seen
    report = PeerReport(result.side == "up", result.at, region)
    return Plan((Action("publish-report", "database", f"{result.side}: {result.why}", report, unaudited=True),))


def server(context: RegionContext) -> Server | None:
    """The database of this region, if this is where the tunnels go and fleet.toml says where it is."""
    tunnels, databases = context.fleet.tunnels, context.fleet.databases
    return databases.server(context.region) if tunnels and databases and not tunnels.needs_tunnels(
        context.region) else None
