"""One region with tunnel hosts, as boto3's clients show it, on a clock that passes only when somebody lets it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation
from chalicelib.tunnels import operations
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import KEY, Endpoint, Member, TunnelState, read
from testing.fakes import MemoryTable, MemoryTopic

FLEET = """
name = "lamplighter"
regions = [{name = "us-east-1"}, {name = "eu-west-1"}, {name = "ap-southeast-1"}]
coordination.regions = ["eu-west-1"]
tunnels = {master = "%s"%s}
"""
NOON = 1_774_699_200.0
A, B, C = "i-0001", "i-0002", "i-0003"


class Yard:
    """`hosts` is what each instance is: state, place in the balancer. `sides` is what its probe says.

    EC2 shows `strangers`, too. `says` is where each host says that it leads.
    """

    def __init__(self, patch: pytest.MonkeyPatch, more: str = "", region: str = "eu-west-1",
                 master: str = "us-east-1") -> None:
        self.now = NOON
        self.hosts: dict[str, dict[str, str]] = {}
        self.says: dict[str, str] = {}
        self.sides: dict[str, tuple[Any, str]] = {}
        self.commands: dict[str, tuple[str, str]] = {}
        self.broken: dict[str, Exception] = {}
        self.strangers: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.table, self.coordination, self.alerts = MemoryTable(), MemoryTable(), MemoryTopic()
        self.site = RegionContext(
            region,
            "test",
            fleet.parse(FLEET % (master, more)),
            self.coordination,
            self.table,
            {},
            self.alerts,
            clock=lambda: self.now,
        )
        self.operations: dict[str, Operation[Any]] = {one.name: one for one in operations.every(self.look)}
        patch.setattr(client, "client", lambda service, region: Client(self, service, region))
        for _ in range(2):
            self.launch()

    def launch(self) -> str:
        """A new instance that works."""
        id = f"i-{len(self.sides) + 1:04d}"
        self.hosts[id], self.sides[id] = {"state": "running", "target": "registered"}, ("up", "answered")
        return id

    def look(self, endpoints: Sequence[Endpoint]) -> Mapping[str, ProbeResult]:
        """The probes."""
        return {one.id: ProbeResult(*self.sides[one.id], self.now, connected_region=self.says.get(one.id, ""))
                for one in endpoints}

    def round(self, wait: float = 2) -> dict[str, Any]:
        """One round of the healer, some time after the last."""
        self.now += wait
        event = {"detail-type": "Scheduled Event", "time": "2026-03-28T12:00:00Z"}
        return engine.run(self.operations["tunnels.heal"], self.site, event, f"request-{self.now}")

    def rounds(self, count: int) -> list[dict[str, Any]]:
        """So many."""
        return [self.round() for _ in range(count)]

    def give(self, coordination: MemoryTable) -> None:
        """Another coordination table."""
        self.coordination = coordination
        self.site = msgspec.structs.replace(self.site, shared_store=coordination)

    def hand(self, name: str, **event: Any) -> dict[str, Any]:
        """An operation by hand."""
        return engine.run(self.operations[f"tunnels.{name}"], self.site, event, "hand")

    @property
    def memory(self) -> TunnelState:
        """What the region remembers."""
        item = self.table.get(*KEY)
        assert item
        return read(item.body)

    def slot(self, instance: str) -> Member:
        """The slot that has the instance."""
        return next(slot for slot in self.memory.slots if slot.instance == instance)

    def changes(self) -> list[tuple[str, str]]:
        """What AWS was asked to change, and of which instance."""
        return [(name, str(_subject(asked))) for name, asked in self.asked if not name.startswith(("describe", "get"))]


def _subject(asked: Mapping[str, Any]) -> object:
    if "Value" in asked:
        return asked["Value"]
    if "Targets" in asked:
        return asked["Targets"][0]["Id"]
    return asked["InstanceIds"][0] if "InstanceIds" in asked else asked["InstanceId"]


class Client:
    """boto3's clients for autoscaling, ec2, elbv2 and ssm."""

    def __init__(self, yard: Yard, service: str, region: str) -> None:
        self._yard, self._service = yard, service
        assert region == yard.site.region

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda **asked: self._call(method, asked)

    def _call(self, method: str, asked: dict[str, Any]) -> Any:
        yard = self._yard
        yard.asked.append((method, asked))
        if method in yard.broken:
            raise yard.broken[method]
        return getattr(self, f"_{method}")(**asked) or {}

    def _describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str]) -> Any:
        assert AutoScalingGroupNames == ["lamplighter-test-tunnels"]
        return {"AutoScalingGroups": [{"Instances": [
            {"InstanceId": id, "LifecycleState": host.get("lifecycle", "InService")}
            for id, host in self._yard.hosts.items()]}]}

    def _describe_instances(self, Filters: list[dict[str, Any]]) -> Any:
        [one] = Filters
        ids = one["Values"] if one["Name"] == "instance-id" else list(self._yard.hosts)
        return {"Reservations": [{"Instances": [
            {"InstanceId": id, "PrivateIpAddress": f"10.0.0.{int(id[2:])}", "State": {
                "Name": self._yard.hosts[id]["state"]}} for id in ids] + self._yard.strangers}]}

    def _describe_target_groups(self, Names: list[str]) -> Any:
        return {"TargetGroups": [{"TargetGroupArn": f"arn:{Names[0]}"}]}

    def _describe_target_health(self, TargetGroupArn: str) -> Any:
        assert TargetGroupArn == "arn:lamplighter-test-tunnels"
        return {"TargetHealthDescriptions": [{"Target": {"Id": id}, "TargetHealth": {"State": "healthy"}}
                                             for id, host in self._yard.hosts.items() if host["target"] != "absent"]}

    def _deregister_targets(self, TargetGroupArn: str, Targets: list[dict[str, str]]) -> Any:
        self._yard.hosts[Targets[0]["Id"]]["target"] = "absent"

    def _register_targets(self, TargetGroupArn: str, Targets: list[dict[str, str]]) -> Any:
        self._yard.hosts[Targets[0]["Id"]]["target"] = "registered"

    def _send_command(self, InstanceIds: list[str], DocumentName: str, Parameters: dict[str, list[str]],
                      TimeoutSeconds: int, Comment: str) -> Any:
        assert (DocumentName, TimeoutSeconds) == ("lamplighter-test-tunnels", 30)
        _, instance, *_, kind = Comment.split("/")
        assert list(Parameters) == (["Action", "Master"] if kind == "repoint" else ["Key"])
        assert instance == InstanceIds[0] and Parameters.get("Key", [Comment]) == [Comment]
        id = f"command-{len(self._yard.commands)}"
        self._yard.commands[id] = ("InProgress", "InProgress")
        return {"Command": {"CommandId": id}}

    def _put_parameter(self, Name: str, Value: str, Type: str, Overwrite: bool) -> Any:
        assert (Name, Type, Overwrite) == ("/lamplighter/lamplighter-test/tunnels/lead", "String", True)

    def _get_command_invocation(self, CommandId: str, InstanceId: str) -> Any:
        status, details = self._yard.commands[CommandId]
        return {"Status": status, "StatusDetails": details}

    def _terminate_instance_in_auto_scaling_group(self, InstanceId: str, ShouldDecrementDesiredCapacity: bool) -> Any:
        assert ShouldDecrementDesiredCapacity is False
        self._yard.hosts[InstanceId]["lifecycle"] = "Terminating"

    def _stop_instances(self, InstanceIds: list[str]) -> Any:
        self._yard.hosts[InstanceIds[0]]["state"] = "stopping"

    def _start_instances(self, InstanceIds: list[str]) -> Any:
        self._yard.hosts[InstanceIds[0]]["state"] = "running"


def refused(code: str, method: str) -> ClientError:
    """What AWS answers when it does not do it."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} it is"},
                        "ResponseMetadata": {"HTTPStatusCode": 400}}, method)  # type: ignore[typeddict-item]


def fails(yard: Yard, rounds: int = 3, id: str = A, side: str = "local", why: str = "refused") -> list[dict[str, Any]]:
    """So many rounds in which the endpoint `id` does not answer."""
    yard.sides[id] = (side, why)
    return yard.rounds(rounds)
