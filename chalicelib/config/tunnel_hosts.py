"""The section of fleet.toml for the shipped tunnel hosts, with their regions and the gateway.

A fleet without `[tunnels.hosts]` keeps instances of its own, which `[tunnels]` names, and none of this is made.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from chalicelib.config.workload import Path_, Port

# A host name or an IPv4 address. It becomes a word of ssh's command line, so it never begins with a hyphen.
Address = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")]
User = Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_-]{0,31}\Z")]
Vpc = Annotated[str, msgspec.Meta(pattern=r"^vpc-[0-9a-f]{8,17}\Z")]
Subnet = Annotated[str, msgspec.Meta(pattern=r"^subnet-[0-9a-f]{8,17}\Z")]
Instance = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+\Z")]

_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
# AWS's own: t4g, c7gn, m6gd, but not g4dn, whose g stands before the number. a1 was the first.
_ARM = re.compile(r"(a1|[a-z]+\d+[a-z]*g[a-z]*)\.")


class HostRegion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tunnel hosts of one region, with their network and their clients. `gateway` is this region's way to it.

    Instances with the security group TunnelsClients are clients as well. Networks come on top of them, none by default,
    since whoever connects reaches the primary's database.
    """

    name: str
    vpc: Vpc
    subnets: Annotated[tuple[Subnet, ...], msgspec.Meta(min_length=1, max_length=6)]
    clients: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)] = ()
    gateway: Address | None = None


class PrimaryRoute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway of one `region` and the database behind it, the target of the tunnels while the primary is there.

    `host_keys` are the gateway's public keys, as in its /etc/ssh/ssh_host_*_key.pub. No other gateway is talked to.
    """

    region: str
    gateway: Address
    host_keys: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=8)]
    database: Address
    gateway_port: Port = 22
    gateway_user: User = "tunnel"
    database_port: Port = 3306

    @property
    def alias(self) -> str:
        """The name of the gateway's host keys in known_hosts. One gateway's key is not valid for another."""
        return f"lamplighter-gateway-{self.region}"


class Hosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shipped tunnel hosts, with a gateway in the primary's region, the database behind it, and the other regions.

    `gateway` to `database_port` are as in `PrimaryRoute`, of the primary's region. `ways` are those of regions that may
    become the primary's, to which the tunnels are pointed then.
    """

    gateway: Address
    host_keys: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=8)]
    database: Address
    regions: tuple[HostRegion, ...]
    gateway_port: Port = 22
    gateway_user: User = "tunnel"
    database_port: Port = 3306
    instance: Instance = "t4g.nano"
    ways: tuple[PrimaryRoute, ...] = ()

    @property
    def machine(self) -> str:
        """The architecture of `instance`, as AWS names it in the parameters of its images."""
        return "arm64" if _ARM.match(self.instance) else "x86_64"

    def place(self, region: str) -> HostRegion | None:
        """The network of the hosts of `region`, if it has any."""
        return next((place for place in self.regions if place.name == region), None)


def primary_routes(hosts: Hosts, primary: str) -> tuple[PrimaryRoute, ...]:
    """All of them, that of the primary's region first."""
    own = PrimaryRoute(primary, hosts.gateway, hosts.host_keys, hosts.database, hosts.gateway_port, hosts.gateway_user,
              hosts.database_port)
    return (own, *hosts.ways)


def private_key_secret(stack: str) -> str:
    """The name of the secret that holds the private key of a region's tunnel hosts."""
    return f"{stack}-tunnels-key"


def known_hosts_parameter(stack: str) -> str:
    """The name of the parameter that holds the gateway's host keys, as lines of a known_hosts file."""
    return f"/lamplighter/{stack}/tunnels/known-hosts"


def primary_region_parameter(stack: str) -> str:
    """The name of the parameter that tells a region's hosts in which region the primary is now.

    The controller makes and writes it (`repoint`). Until then there is none, and a host leads to the primary's region
    of its launch. It is no resource of the stack, since CloudFormation writes the template's value back when only a tag
    of the stack changes (UpdateHandler of aws-cloudformation-resource-providers-ssm).
    """
    return f"/lamplighter/{stack}/tunnels/primary-region"


def public_keys_parameter(stack: str, region: str = "") -> str:
    """The name of the parameter, in the primary's region, that holds a region's public keys. The folder without one."""
    return f"/lamplighter/{stack}/tunnels/public-keys/{region}".rstrip("/")


def errors(hosts: Hosts, primary: str, regions: Sequence[str]) -> Iterator[tuple[Path_, str]]:
    """Everything wrong with `hosts` in a fleet of `regions`, as key path below `tunnels.hosts` and remedy."""
    names = [place.name for place in hosts.regions]
    for number, place in enumerate(hosts.regions):
        if place.name == primary:
            yield ("regions", number, "name"), f"{primary!r} is the primary's region, which needs no tunnels. Remove it"
        elif place.name not in regions:
            yield ("regions", number, "name"), f"{place.name!r} is no region of this fleet ({', '.join(regions)})"
        elif place.name in names[:number]:
            yield ("regions", number, "name"), f"{place.name!r} is there twice. Keep one"
        yield from _clients(number, place)
    for missing in [name for name in regions if name not in (*names, primary)]:
        yield ("regions",), f"{missing!r} has no place for its tunnel hosts. Add it with vpc and subnets"
    yield from ((("host_keys",), what) for what in map(_key_mistake, hosts.host_keys) if what)
    yield from _ways(hosts, primary, regions)


def _ways(hosts: Hosts, primary: str, regions: Sequence[str]) -> Iterator[tuple[Path_, str]]:
    names = [way.region for way in hosts.ways]
    for number, way in enumerate(hosts.ways):
        at: Path_ = ("ways", number, "region")
        if way.region == primary:
            yield at, f"{primary!r} is the primary's region, and [tunnels.hosts] itself is the way there. Remove it"
        elif way.region not in regions:
            yield at, f"{way.region!r} is no region of this fleet ({', '.join(regions)})"
        elif way.region in names[:number]:
            yield at, f"{way.region!r} is there twice. Keep one"
        yield from ((("ways", number, "host_keys"), what) for what in map(_key_mistake, way.host_keys) if what)


def _clients(number: int, place: HostRegion) -> Iterator[tuple[Path_, str]]:
    for client in place.clients:
        try:
            ipaddress.IPv4Network(client)
        except ValueError as error:
            yield ("regions", number, "clients"), f"{client!r} is no network ({error}). Write it as in 10.1.0.0/16"


def _key_mistake(line: str) -> str:
    """The fault of a public key. The comment at its end, if any, is free text on the same line."""
    kind, _, rest = line.partition(" ")
    if kind not in _KEY_TYPES or not line.isprintable():
        return f"{line[:40]!r} is no public key of a host. Copy /etc/ssh/ssh_host_ed25519_key.pub of the gateway"
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error:
        blob = b""
    fields = list(_fields(blob))
    if len(fields) < 2 or fields[0] != kind.encode():
        return f"{line[:40]!r} is incomplete or damaged. Copy the whole line"
    return ""


def _fields(blob: bytes) -> Iterator[bytes]:
    """The fields of a public key, its type first. None if the last one is cut off. RFC 4253, section 6.6."""
    found: list[bytes] = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return
        found, blob = [*found, blob[4:4 + size]], blob[4 + size:]
    yield from found
