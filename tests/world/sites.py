"""A balancer before hosts, for the tests of the hypervisor, and connections through it."""

import socket
from typing import Any

from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.hosts import PORT, get

HOME, OTHER = "eu-west-1", "us-east-1"
BALANCED = 9090


class Site:
    """A balancer with one listener and one target group of instances."""

    def __init__(self, world: Sandbox, name: str, kind: str = "network", region: str = HOME, **settings: Any) -> None:
        self.world, self.region = world, region
        self.elb = world.client("elbv2", region)
        protocol = "TCP" if kind == "network" else "HTTP"
        balancer = self.elb.create_load_balancer(Name=name, Type=kind)["LoadBalancers"][0]
        self.arn, self.name = balancer["LoadBalancerArn"], balancer["DNSName"]
        self.group = self.elb.create_target_group(Name=name, **{
            "Protocol": protocol, "Port": PORT, "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/health",
            "HealthCheckIntervalSeconds": 5, "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
            **settings})["TargetGroups"][0]["TargetGroupArn"]
        self.listener = self.elb.create_listener(
            LoadBalancerArn=self.arn, Protocol=protocol, Port=BALANCED,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}])["Listeners"][0]["ListenerArn"]

    def adjust(self, **attributes: str) -> None:
        """Set attributes of the group; `__` stands for a dot."""
        self.elb.modify_target_group_attributes(TargetGroupArn=self.group, Attributes=[
            {"Key": key.replace("__", "."), "Value": value} for key, value in attributes.items()])

    def register(self, *ids: str) -> None:
        """Register instances."""
        self.elb.register_targets(TargetGroupArn=self.group, Targets=[{"Id": one} for one in ids])

    def deregister(self, *ids: str) -> None:
        """Deregister instances."""
        self.elb.deregister_targets(TargetGroupArn=self.group, Targets=[{"Id": one} for one in ids])

    def health(self, *ids: str) -> dict[str, tuple[str, str]]:
        """Target -> state and reason."""
        targets = {"Targets": [{"Id": one} for one in ids]} if ids else {}
        found = self.elb.describe_target_health(TargetGroupArn=self.group, **targets)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: (one["TargetHealth"]["State"], one["TargetHealth"].get("Reason", ""))
                for one in found}

    def becomes(self, one: str, wanted: str) -> str:
        """Wait until the target is in this state; the reason."""
        eventually(lambda: self.health().get(one, ("", ""))[0] == wanted)
        return self.health()[one][1]

    def get(self, path: str = "/") -> str:
        """What a new connection is answered."""
        return get(self.world.addresses()[self.name].host, path, BALANCED)

    def answering(self, count: int = 8) -> set[str]:
        """Who answers `count` new connections."""
        return {self.get() for _ in range(count)}

    def connect(self) -> tuple[socket.socket, str]:
        """A connection that stays open, and who is at its other end."""
        plug = socket.create_connection((self.world.addresses()[self.name].host, BALANCED), 5)
        return plug, ask(plug)


def ask(plug: socket.socket) -> str:
    """Who answers on an open connection; OSError when it is reset, empty when it is closed."""
    plug.settimeout(5)
    plug.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    text = b""
    while not text.partition(b"\r\n\r\n")[2]:  # headers and body come in pieces of their own
        piece = plug.recv(4096)
        if not piece:
            return ""
        text += piece
    return text.partition(b"\r\n\r\n")[2].decode()


def cut(plug: socket.socket) -> bool:
    """Whether the connection is over."""
    try:
        return ask(plug) == ""
    except ConnectionError:
        return True
