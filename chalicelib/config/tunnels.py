"""The tunnels section of fleet.toml, and its checks."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec

from chalicelib.config import tunnel_hosts as host
from chalicelib.config.durations import Duration
from chalicelib.config.tunnel_hosts import Hosts
from chalicelib.config.workload import Path_, Port

# An Auto Scaling group, a target group (32 characters, AWS's own limit) and a document, by what AWS allows in each.
Group = Annotated[str, msgspec.Meta(pattern=r"^[^\s:]{1,255}\Z")]
TargetGroup = Annotated[str, msgspec.Meta(pattern=r"^(?!-)[A-Za-z0-9-]{1,32}(?<!-)\Z")]
# Text within the version that a server tells in its handshake. It becomes a word on a host's command line.
Version = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._+~:()-]{1,60}\Z")]
Document = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{3,128}\Z")]
Tag = Annotated[str, msgspec.Meta(pattern=r"^[^=\s]{1,128}=\S{1,256}\Z")]

# A healer's round has to fit in, probes of hung endpoints included.
_FASTEST, _SLOWEST = 1, 20


class Tunnels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SSH tunnels of each region but the primary's, `slots` endpoints behind a load balancer, and their controller.

    `group`, `target_group` and `document` are the shipped ones, called `<stack>-tunnels`, unless others are named.
    """

    primary: str
    slots: Annotated[int, msgspec.Meta(ge=2, le=9)] = 2
    mode: Literal["off", "observe", "drain", "full"] = "full"
    port: Port = 3306
    health_port: Port = 3307
    server: Version | None = None
    every: Duration = Duration(2)
    fall: Annotated[int, msgspec.Meta(ge=2, le=10)] = 3
    rise: Annotated[int, msgspec.Meta(ge=2, le=20)] = 5
    stale: Duration = Duration(10)
    group: Group | None = None
    tag: Tag | None = None
    target_group: TargetGroup | None = None
    document: Document | None = None
    hosts: Hosts | None = None

    def effective_primary(self, primary: str) -> str:
        """The region to which the tunnels can connect while `primary` has the primary. It is that one if there is a
        route, else the one of fleet.toml."""
        known = self.hosts.ways if self.hosts else ()
        return primary if any(way.region == primary for way in known) else self.primary

    def needs_tunnels(self, region: str) -> bool:
        """Whether `region` reaches the primary through tunnels, which all regions but the primary's own do."""
        return region != self.primary


def managed_name(stack: str) -> str:
    """The name of the group, the target group and the document that come with the stack `stack`."""
    return f"{stack}-tunnels"


def errors(tunnels: Tunnels | None, regions: Sequence[str]) -> Iterator[tuple[Path_, str]]:
    """Everything wrong with `tunnels` in a fleet of `regions`, as key path and remedy."""
    if tunnels is None:
        return
    if tunnels.primary not in regions:
        known = ", ".join(regions)
        yield ("tunnels", "primary"), f"{tunnels.primary!r} is no region of this fleet. Name one of {known}"
    if tunnels.port == tunnels.health_port:
        yield ("tunnels", "health_port"), "must not be the port of the tunnel itself"
    if not _FASTEST <= tunnels.every <= _SLOWEST:
        yield ("tunnels", "every"), f"must lie between {_FASTEST}s and {_SLOWEST}s"
    elif not 3 * tunnels.every <= tunnels.stale <= 60:
        # The healer needs some rounds before what it saw first is stale.
        yield ("tunnels", "stale"), f"must lie between three rounds ({3 * tunnels.every}s) and 1m"
    if tunnels.group and tunnels.tag:
        yield ("tunnels", "tag"), "give a group (replaced by Auto Scaling) or a tag (stopped and started), not both"
    if tunnels.hosts:
        yield from _hosts(tunnels, tunnels.hosts, regions)


def _hosts(tunnels: Tunnels, hosts: Hosts, regions: Sequence[str]) -> Iterator[tuple[Path_, str]]:
    for name in ("group", "tag", "target_group", "document"):
        if getattr(tunnels, name):
            yield ("tunnels", name), "names what is there already, [tunnels.hosts] makes it. Keep one of the two"
    for path, what in host.errors(hosts, tunnels.primary, regions):
        yield ("tunnels", "hosts", *path), what
