"""The permitted connections, from clients to the balancer, from balancer and controller to the hosts, and from hosts to
gateway and AWS."""

import ipaddress
from collections.abc import Collection
from typing import Any

from chalicelib.config.tunnel_hosts import Hosts
from chalicelib.config.tunnels import Tunnels

Json = dict[str, Any]

_ANYWHERE = "0.0.0.0/0"


def conditions(hosts: Hosts) -> Json:
    """One condition per region with networks of clients, because their number differs from region to region."""
    return {_condition(place.name): {"Fn::Equals": [{"Ref": "AWS::Region"}, place.name]} for place in hosts.regions
            if place.clients}


def resources(tunnels: Tunnels, hosts: Hosts, vpc: Json, database_ports: Collection[int]) -> Json:
    """The security groups. Traffic to a host goes by its ports alone. Only the host says from whom it takes it.

    The Lambdas of the databases share a group with those that look after the tunnels, so it reaches their ports, too.
    """
    ports = [tunnels.port, tunnels.health_port]
    near = [{"SourceSecurityGroupId": {"Fn::GetAtt": [id, "GroupId"]}} for id in ("TunnelsEntrance", "TunnelsProber")]
    own = _rule(tunnels.port, {"SourceSecurityGroupId": {"Fn::GetAtt": ["TunnelsClients", "GroupId"]}})
    return {
        "TunnelsClients": _group("Clients of the tunnels", vpc, [], [_rule(tunnels.port)]),
        "TunnelsEntrance": _group("The balancer of the tunnels", vpc, [own, *_clients(tunnels.port, hosts)],
                                  [_rule(port) for port in ports]),
        "TunnelsProber": _group("The Lambdas that look after the tunnels", vpc, [],
                                [_rule(port) for port in dict.fromkeys((*ports, *sorted(database_ports), 443))]),
        "TunnelsHosts": _group("The tunnel hosts", vpc, [_rule(port, peer) for port in ports for peer in near],
                               [_rule(443), *_gateways(hosts)]),
    }


def _clients(port: int, hosts: Hosts) -> list[Json]:
    return [{"Fn::If": [_condition(place.name), _rule(port, {"CidrIp": client}), {"Ref": "AWS::NoValue"}]}
            for place in hosts.regions for client in place.clients]


def _gateways(hosts: Hosts) -> list[Json]:
    """One rule for each port and network of a gateway. If regions have gateways of their own, it may be anywhere."""
    first = _ANYWHERE if any(place.gateway for place in hosts.regions) else _network(hosts.gateway)
    ways = [(hosts.gateway_port, first), *((way.gateway_port, _network(way.gateway)) for way in hosts.ways)]
    return [_rule(port, {"CidrIp": network}) for port, network in dict.fromkeys(ways)]


def _network(gateway: str) -> str:
    """The gateway's own address. A name may lead anywhere."""
    try:
        return f"{ipaddress.IPv4Address(gateway)}/32"
    except ValueError:
        return _ANYWHERE


def _group(text: str, vpc: Json, come: list[Json], go: list[Json]) -> Json:
    """With rules for going out of its own. Without any EC2 adds one that lets everything out."""
    return {"Type": "AWS::EC2::SecurityGroup", "Properties": {
        "GroupDescription": text, "VpcId": vpc, "SecurityGroupIngress": come, "SecurityGroupEgress": go}}


def _rule(port: int, peer: Json | None = None) -> Json:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **(peer or {"CidrIp": _ANYWHERE})}


def _condition(region: str) -> str:
    return "TunnelsIn" + "".join(part.capitalize() for part in region.split("-"))
