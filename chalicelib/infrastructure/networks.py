"""The part of a VPC in which the Lambdas run that must reach tunnels and databases. Pure.

One template serves all regions, so what differs stands behind a condition for each region.
"""

from collections.abc import Iterator

from chalicelib import registry
from chalicelib.config.declared import Fleet, Network
from chalicelib.infrastructure.parts import Json
from chalicelib.tunnels.infrastructure import resources as tunnel_hosts

_NOWHERE: Json = {"Ref": "AWS::NoValue"}


def private(function: str) -> bool:
    """Whether a Lambda must reach what no other may reach, as its capability declares."""
    return any(each.private_network for each in registry.lambdas() if each.function == function)


def declared(fleet: Fleet) -> bool:
    """Whether any region has such a place."""
    return any(region.network for region in fleet.regions) or _hosts(fleet)


def config(fleet: Fleet) -> Json:
    """The property VpcConfig, empty if there is no place in any region."""
    found = tunnel_hosts.vpc_config(fleet) if _hosts(fleet) else _NOWHERE
    for region in fleet.regions:
        if region.network:
            found = {"Fn::If": [_condition(region.name), _place(region.network), found]}
    return {"VpcConfig": found} if declared(fleet) else {}


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


def _hosts(fleet: Fleet) -> bool:
    return fleet.tunnels is not None and fleet.tunnels.hosts is not None


def _place(network: Network) -> Json:
    return {"SubnetIds": list(network.subnets), "SecurityGroupIds": list(network.security_groups)}


def _condition(region: str) -> str:
    return "NetworkIn" + "".join(part.capitalize() for part in region.split("-"))
