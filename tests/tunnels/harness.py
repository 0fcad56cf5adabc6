"""One region with tunnel hosts on fakes of AWS, on a clock that passes only when somebody lets it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.lease import LEASE, Lease
from chalicelib.engine.operation import Operation
from chalicelib.engine.schema import encode
from chalicelib.tunnels import operations
from chalicelib.tunnels.controller import LEASE_KEY, Controller
from chalicelib.tunnels.probe.pending import Target
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import KEY, Member, TunnelState
from testing.aws import FakeAws, FakeInstance
from testing.fakes import MemoryTable, MemoryTopic
from testing.network import FakeNetwork

FLEET = """
name = "lamplighter"
regions = [{name = "us-east-1"}, {name = "eu-west-1"}, {name = "ap-southeast-1"}]
coordination.regions = ["eu-west-1"]
tunnels = {primary = "%s"%s}
"""
NOON = 1_774_699_200.0
A, B, C = "i-0001", "i-0002", "i-0003"
GROUP = "lamplighter-test-tunnels"


class Yard:
    """`aws` has the instances. `sides` is what the probe of each says, `says` where each says that it goes."""

    def __init__(self, more: str = "", region: str = "eu-west-1", primary: str = "us-east-1") -> None:
        self.now = NOON
        self.says: dict[str, str] = {}
        self.sides: dict[str, tuple[Any, str]] = {}
        self.aws = FakeAws()
        self.aws.groups[GROUP], self.aws.target_groups[GROUP] = [], {}
        self.local, self.shared, self.topic = MemoryTable(), MemoryTable(), MemoryTopic()
        self.network = FakeNetwork(self.answers)
        self.context = RegionContext(region, "test", fleet.parse(FLEET % (primary, more)), self.shared, self.local, {},
                                     self.topic, clock=lambda: self.now, aws_regions={region: self.aws.ports})
        for _ in range(2):
            self.launch()

    def launch(self) -> str:
        """A new instance that works, in the balancer."""
        id = f"i-{len(self.sides) + 1:04d}"
        self.aws.instances[id] = FakeInstance(id, f"10.0.0.{len(self.sides) + 1}", tags={"Role": "tunnel"})
        self.aws.groups[GROUP].append(id)
        self.aws.target_groups[GROUP][id] = "healthy"
        self.sides[id] = ("up", "answered")
        return id

    def remove(self, id: str) -> None:
        """An instance is gone."""
        del self.aws.instances[id]
        self.aws.groups[GROUP].remove(id)
        self.aws.target_groups[GROUP].pop(id, None)

    def answers(self, targets: Sequence[Target]) -> Mapping[str, ProbeResult]:
        """The probes."""
        return {one.id: ProbeResult(*self.sides[one.id], self.now, connected_region=self.says.get(one.id, ""))
                for one in targets if one.id in self.sides}

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @property
    def controller(self) -> Controller:
        """The controller as a Lambda has it."""
        return Controller(self.context, self.network, self.wait)

    @property
    def operations(self) -> dict[str, Operation[Any]]:
        """All operations, by name."""
        return {one.name: one for one in operations.every(self.controller.probe)}

    def minute(self, controller: Controller | None = None, seconds: float = 60) -> dict[str, Any]:
        """The rounds of a Lambda that the rule starts now. After `seconds` the next one asks for the lease, and dies.
        """
        end = self.now + seconds

        def wait(seconds: float) -> None:
            self.now += seconds
            if self.now < end:
                return
            item = self.local.get(*LEASE_KEY)
            if item and item.body.get("holder") and not item.body["successor"]:
                self.local.compare_and_set(item, encode(Lease(item.body["holder"], "next"), LEASE))

        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(self.now, UTC).isoformat()}
        controller = controller or self.controller
        return Controller(controller.context, controller.network, wait).handle(event, "r")

    def round(self, wait: float = 2, context: RegionContext | None = None) -> dict[str, Any]:
        """One round of the controller, some time after the last."""
        self.now += wait
        event = {"detail-type": "Round", "time": datetime.fromtimestamp(self.now, UTC).isoformat()}
        return engine.run(self.operations["tunnels.heal"], context or self.context, event, f"request-{self.now}")

    def rounds(self, count: int) -> list[dict[str, Any]]:
        """So many."""
        return [self.round() for _ in range(count)]

    def give(self, shared: MemoryTable) -> None:
        """Another shared store."""
        self.shared = shared
        self.context = replace(self.context, shared_store=shared)

    def hand(self, name: str, context: RegionContext | None = None, **event: Any) -> dict[str, Any]:
        """An operation by hand."""
        return engine.run(self.operations[f"tunnels.{name}"], context or self.context, event, "manual")

    @property
    def state(self) -> TunnelState:
        """What the region remembers."""
        item = self.local.get(*KEY)
        assert item
        body = {name: value for name, value in item.body.items() if name not in ("schema", "run_id")}
        return msgspec.convert(body, TunnelState)

    def member(self, instance: str) -> Member:
        """The member that has the instance."""
        return next(member for member in self.state.members if member.instance == instance)

    def target(self, instance: str) -> str:
        """Where the balancer has it."""
        return "registered" if instance in self.aws.target_groups[GROUP] else "absent"

    def targets(self) -> dict[str, str]:
        """Where the balancer has each."""
        return {id: self.target(id) for id in self.aws.instances}

    def changes(self) -> list[tuple[str, str]]:
        """What AWS was asked to change, and of which instance."""
        return self.aws.changes

    def names(self, since: int = 0) -> list[str]:
        """The same without the instances."""
        return [name for name, _ in self.aws.changes[since:]]

    def told(self) -> list[str]:
        """The subjects of what people were told, without what is over."""
        return [subject for subject, _ in self.topic.told if not subject.startswith("Recovered: ")]

    def publish(self, pk: str, sk: str, **body: Any) -> None:
        """Another region writes this into the shared store."""
        body |= {"schema": 1, "run_id": "other"}
        there = self.shared.get(pk, sk)
        _ = self.shared.compare_and_set(there, body) if there else self.shared.create(pk, sk, body)


def fails(yard: Yard, rounds: int = 3, id: str = A, side: str = "local", why: str = "refused") -> list[dict[str, Any]]:
    """So many rounds in which the endpoint `id` does not answer."""
    yard.sides[id] = (side, why)
    return yard.rounds(rounds)
