"""Who may talk to whom: clients to the balancer, the balancer and the healer to the hosts, hosts to gateway and AWS."""

import ipaddress
from typing import Any

from chalicelib.tunnels.declared import Tunnels
from chalicelib.tunnels.hosts import Hosts

Json = dict[str, Any]

# What must be there before the first host boots.
DOORS = ("TunnelsHostsToAws", "TunnelsHostsToGateway")


def conditions(hosts: Hosts) -> Json:
    """One condition per region: the clients differ in number from region to region."""
    return {_condition(place.name): {"Fn::Equals": [{"Ref": "AWS::Region"}, place.name]} for place in hosts.regions}


def resources(tunnels: Tunnels, hosts: Hosts, vpc: Json) -> Json:
    """The security groups and every rule of theirs. A group with no rule for going out lets nothing out."""
    parts = {id: _group(text, vpc) for id, text in (
        ("TunnelsEntrance", "The balancer of the tunnels"), ("TunnelsHosts", "The tunnel hosts"),
        ("TunnelsProber", "The Lambdas that look after the tunnels"))}
    for port, name in ((tunnels.port, "Tunnel"), (tunnels.health_port, "Health")):
        for source in ("TunnelsEntrance", "TunnelsProber"):
            parts |= {f"{source}To{name}": _out(source, port, "TunnelsHosts"),
                      f"TunnelsHostsFrom{source.removeprefix('Tunnels')}{name}": _in("TunnelsHosts", port, source)}
    parts["TunnelsProberToAws"] = _open("TunnelsProber", 443)
    parts["TunnelsHostsToAws"] = _open("TunnelsHosts", 443)
    parts["TunnelsHostsToGateway"] = _open("TunnelsHosts", hosts.gateway_port, _network(hosts))
    for place in hosts.regions:
        for number, client in enumerate(place.clients):
            rule = _rule("Ingress", "TunnelsEntrance", tunnels.port, {"CidrIp": client})
            parts[f"TunnelsClients{_camel(place.name)}{number}"] = {**rule, "Condition": _condition(place.name)}
    return parts


def _network(hosts: Hosts) -> str:
    """The gateway's own address, if every region goes there by one and the same; a name may lead anywhere."""
    try:
        alone = ipaddress.IPv4Address(hosts.gateway) if not any(place.gateway for place in hosts.regions) else None
    except ValueError:
        alone = None
    return f"{alone}/32" if alone else "0.0.0.0/0"


def _group(text: str, vpc: Json) -> Json:
    # Without a rule of its own EC2 adds one that lets everything out; this one lets out nothing.
    nothing = {"IpProtocol": "icmp", "FromPort": 252, "ToPort": 86, "CidrIp": "255.255.255.255/32",
               "Description": "nothing: keeps the default rule away"}
    return {"Type": "AWS::EC2::SecurityGroup", "Properties": {
        "GroupDescription": text, "VpcId": vpc, "SecurityGroupEgress": [nothing]}}


def _in(group: str, port: int, source: str) -> Json:
    return _rule("Ingress", group, port, {"SourceSecurityGroupId": _id(source)})


def _out(group: str, port: int, target: str) -> Json:
    return _rule("Egress", group, port, {"DestinationSecurityGroupId": _id(target)})


def _open(group: str, port: int, network: str = "0.0.0.0/0") -> Json:
    return _rule("Egress", group, port, {"CidrIp": network})


def _rule(way: str, group: str, port: int, peer: Json) -> Json:
    return {"Type": f"AWS::EC2::SecurityGroup{way}", "Properties": {
        "GroupId": _id(group), "IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peer}}


def _id(group: str) -> Json:
    return {"Fn::GetAtt": [group, "GroupId"]}


def _condition(region: str) -> str:
    return f"TunnelsIn{_camel(region)}"


def _camel(region: str) -> str:
    return "".join(part.capitalize() for part in region.split("-"))
