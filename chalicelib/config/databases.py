"""The databases section of fleet.toml, and its checks."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Annotated, Literal

import msgspec

from chalicelib.config.durations import Duration
from chalicelib.config.workload import Path_, Port

Host = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.:-]+\Z", max_length=253)]
# Beats are a minute apart, and missed after three: a shorter age would condemn replicas for a heart that stumbles.
SHORTEST_STALE = 180


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one server of `region`, as its Lambda reaches it (`host`, `port`).

    `remote_address` is the address for Lambdas of other regions. `replication_source` is the address of
    the current primary for its replica, such as the balancer of the tunnels. Both have the form `host:port`.
    """

    region: str
    host: Host
    port: Port = 3306
    remote_address: str | None = None
    replication_source: str | None = None
    tls_name: Host | None = None


class Databases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One primary and its replicas. `primary` holds until the first promotion.

    From then on the coordination table does.

    `secret` and `admin_secret` are names in each region's Secrets Manager. `heartbeat` is `database.table`.
    """

    flavour: Literal["mariadb", "mysql", "rds"]
    primary: str
    secret: str
    servers: tuple[Server, ...]
    admin_secret: str | None = None
    repair: Literal["off", "observe", "full"] = "observe"
    heartbeat: Annotated[str, msgspec.Meta(pattern=r"^\w{1,64}\.\w{1,64}\Z")] = "lamplighter.heartbeat"
    lag_alarm: Duration = Duration(60)
    stale: Duration = Duration(300)
    tls: Literal["required", "preferred", "off"] = "required"
    ca: str | None = None
    timeout: Duration = Duration(3)

    def server(self, region: str) -> Server | None:
        """The server of a region, if it has one."""
        return next((server for server in self.servers if server.region == region), None)


def address(text: str) -> tuple[str, int]:
    """`host:port` as its two parts. `ValueError` says what it should look like."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"{text!r} is no address. Write host:port, as in db.example.org:3306")
    return host.strip("[]"), int(port)


def mistakes(
    databases: Databases | None, regions: Collection[str], tunnels_to: str | None
) -> Iterator[tuple[Path_, str]]:
    """Everything wrong with `databases` for a fleet of `regions` whose tunnels lead to one, as key path and remedy."""
    if databases is None:
        return
    if databases.server(databases.primary) is None:
        yield ("databases", "primary"), f"{databases.primary!r} has no [[databases.servers]]. Add one"
    if tunnels_to not in (None, databases.primary):
        yield ("databases", "primary"), f"the tunnels lead to {tunnels_to}. Name the same region in both"
    if databases.repair == "full" and databases.admin_secret is None:
        yield ("databases", "repair"), "full needs admin_secret, since the watcher's user may not start replication"
    yield from _spans(databases)
    yield from _servers(databases.servers, regions)


def _spans(databases: Databases) -> Iterator[tuple[Path_, str]]:
    if not 5 <= databases.lag_alarm <= 86_400:
        yield ("databases", "lag_alarm"), "must lie between 5s and 1d"
    if not SHORTEST_STALE <= databases.stale <= 86_400:
        yield ("databases", "stale"), "must lie between 3m and 1d, since heartbeats are a minute apart"
    if not 1 <= databases.timeout <= 10:
        yield ("databases", "timeout"), "must lie between 1s and 10s, since a hung server costs it more than once"
    if databases.ca is not None and databases.tls != "required":
        yield ("databases", "ca"), 'only used with tls = "required": nothing else looks at certificates'


def _servers(servers: tuple[Server, ...], regions: Collection[str]) -> Iterator[tuple[Path_, str]]:
    count = Counter(server.region for server in servers)
    for number, server in enumerate(servers):
        at: Path_ = ("databases", "servers", number)
        if server.region not in regions:
            yield (*at, "region"), f"{server.region!r} is no region of this fleet"
        if count[server.region] > 1:
            yield (*at, "region"), f"{server.region} has more than one server. Name the one that counts"
        for key in ("remote_address", "replication_source"):
            yield from (((*at, key), wrong) for wrong in _address(getattr(server, key)))


def _address(text: str | None) -> Iterator[str]:
    try:
        if text is not None:
            address(text)
    except ValueError as error:
        yield str(error)
