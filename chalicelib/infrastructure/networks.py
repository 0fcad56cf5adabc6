"""The part of a VPC in which the Lambdas run that must reach tunnels and databases. Pure.

One template serves all regions, so what differs stands behind a condition for each region.
"""

import ipaddress
from collections.abc import Iterator

from chalicelib import registry
from chalicelib.config.databases import address
from chalicelib.config.declared import Fleet, Network
from chalicelib.infrastructure.parts import Json
from chalicelib.tunnels.infrastructure import resources as tunnel_hosts

# Names that only a private zone has: RFC 6762 (G), RFC 8375, and .internal, which ICANN has set aside (2024).
_PRIVATE_SUFFIXES = (".internal", ".local", ".localhost", ".intranet", ".lan", ".corp", ".home", ".private",
                     ".home.arpa")
_NOWHERE: Json = {"Ref": "AWS::NoValue"}


def private(function: str) -> bool:
    """Whether a Lambda must reach what no other may reach, as its capability declares."""
    return any(each.private_network for each in registry.lambdas() if each.function == function)


def declared(fleet: Fleet) -> bool:
    """Whether any region has such a place."""
    return any(region.network for region in fleet.regions) or _hosts(fleet)


def config(fleet: Fleet) -> Json:
    """The property VpcConfig, empty if there is no place in any region."""
    found = _hosted(fleet) if _hosts(fleet) else _NOWHERE
    for region in fleet.regions:
        if region.network:
            found = {"Fn::If": [_condition(region.name), _place(region.network), found]}
    return {"VpcConfig": found} if declared(fleet) else {}


def _hosted(fleet: Fleet) -> Json:
    """The place beside the tunnel hosts, for the regions without one of their own.

    If the primary's region has its own, the branch for it would never be reached, which cfn-lint reports (W1028).
    """
    beside: Json = tunnel_hosts.vpc_config(fleet)
    own = {region.name for region in fleet.regions if region.network}
    inside: Json = beside["Fn::If"][1]
    return inside if fleet.tunnels and fleet.tunnels.primary in own else beside


def conditions(fleet: Fleet) -> Json:
    """The conditions that `config` stands on."""
    return {_condition(region.name): {"Fn::Equals": [{"Ref": "AWS::Region"}, region.name]}
            for region in fleet.regions if region.network}


def warnings(fleet: Fleet) -> Iterator[str]:
    """A line for each region whose Lambdas may have no exit.

    A Lambda in a public subnet has no exit, because it gets no public address ("Giving Lambda functions access to
    resources in an Amazon VPC", developer guide). The file does not tell whether a subnet is public.
    """
    for region in fleet.regions:
        if region.network:
            continue
        if fleet.tunnels and fleet.tunnels.hosts and fleet.tunnels.hosts.place(region.name):
            yield (f"fleet.toml: {region.name}: Lambdas run in the subnets of its tunnel hosts, and have no exit there "
                   "if the subnets are public. Then put private ones in [regions.network], see docs/tunnels-host.md")


def mistakes(fleet: Fleet) -> Iterator[str]:
    """A line for each server of [databases] whose name or address is private, for a region whose Lambdas run outside
    of any VPC and so cannot reach it.
    """
    if fleet.databases is None:
        return
    for region in fleet.regions:
        placed = region.network or (fleet.tunnels and fleet.tunnels.hosts and fleet.tunnels.hosts.place(region.name))
        for server in () if placed else fleet.databases.servers:
            remote = server.remote_address if server.region != region.name else None
            host = address(remote)[0] if remote else server.host
            if _is_private(host) and (remote or server.region == region.name):
                yield (f"fleet.toml: databases.servers: {server.region}: {host} is private, and the Lambdas of "
                       f"{region.name} run in no VPC. Add [regions.network] to {region.name}, or write a public name")


def _is_private(host: str) -> bool:
    """Whether public DNS and the internet do not have `host`."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().endswith(_PRIVATE_SUFFIXES)


def _hosts(fleet: Fleet) -> bool:
    return fleet.tunnels is not None and fleet.tunnels.hosts is not None


def _place(network: Network) -> Json:
    return {"SubnetIds": list(network.subnets), "SecurityGroupIds": list(network.security_groups)}


def _condition(region: str) -> str:
    return "NetworkIn" + "".join(part.capitalize() for part in region.split("-"))
