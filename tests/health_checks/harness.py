"""One region with hosts, a target group and the twin of Route 53, on a clock that passes only when somebody waits."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws.client import Unavailable
from chalicelib.aws.route53 import AwsRoute53, HealthCheck, ProbeReport
from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine import state
from chalicelib.engine.schema import Unreadable
from chalicelib.health_checks import operations
from chalicelib.health_checks.state import KEY, NOTHING_YET, SCHEMA, RotationState
from sandbox.route53.checkers import Checkers
from sandbox.route53.errors import Refusal
from sandbox.route53.probes import Result
from sandbox.route53.service import Service, Settings
from testing.aws import FakeAws, FakeInstance
from testing.fakes import MemoryTable, MemoryTopic
from testing.paging import EmptyFirstPage
from testing.route53 import FakeRoute53

FLEET = fleet.parse("""
name = "lamplighter"
regions = [{name = "eu-west-1"}]
coordination.regions = ["eu-west-1"]
health_checks = {target_groups = ["web"], path = "/health"}
""")
NOON = 1_774_699_200  # 2026-03-28 12:00 UTC
REGION = "eu-west-1"


class Region:
    """Ten hosts behind a target group. `dead`: none of them answers from outside."""

    def __init__(self) -> None:
        self.now, self.dead = float(NOON), False
        self.route53 = FakeRoute53(probe=self._probe)
        aws = FakeAws(route53=self.route53)
        for number in range(1, 11):
            id = f"i-{number:02d}"
            aws.instances[id] = FakeInstance(id, public_address=f"192.0.2.{number}")
        self.targets = aws.target_groups["web"] = dict.fromkeys(aws.instances, "healthy")
        self.topic = MemoryTopic()
        self.local_store = MemoryTable()
        self.context = RegionContext(
            region=REGION, stage="test", fleet=FLEET, shared_store=MemoryTable(), local_store=self.local_store,
            queues={}, alerts=self.topic, clock=lambda: self.now, aws_regions={REGION: aws.ports})
        self.operation = operations.rotate(self._wait, lambda: self.now)

    def run(self, context: RegionContext) -> None:
        """The next minute's run."""
        self.now = (self.now // 60 + 1) * 60 + 1
        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(self.now // 60 * 60, UTC).isoformat()}
        engine.run(self.operation, context, event)

    def delete(self, number: int) -> None:
        """Somebody deletes a check in Route 53 (0 is the calculated check)."""
        state = self.remembered()
        parent = state.parent.id if state.parent else ""
        ids = {0: parent} | {check.number: check.id for check in state.checks}
        self.route53.lose_health_check(ids[number])

    def subjects(self) -> list[str]:
        """The alerts that people have got."""
        return [subject for subject, _ in self.topic.told]

    def remembered(self) -> RotationState:
        """What the operation has written down."""
        stored = state.load(self.context.local_store, KEY, SCHEMA, NOTHING_YET)
        assert not isinstance(stored, Unreadable)
        return stored.value

    def _wait(self, seconds: float) -> None:
        self.now += seconds

    def _probe(self, check: HealthCheck) -> Sequence[ProbeReport]:
        return [ProbeReport(passed=not self.dead)] * 16


class Street:
    """`hosts` is what each instance is: (address, state for its target group, body of its answer or "")."""

    def __init__(self, hosts: int, pause_seconds: float = 0.2) -> None:
        self.now = float(NOON)
        self.hosts = {f"i-{number:017x}": (f"8.8.4.{number}", "healthy") for number in range(1, hosts + 1)}
        self.bodies = {address: id for id, (address, _) in self.hosts.items()}
        self.checkers = Checkers(lambda: self.now, lambda name: None, self._probe)
        self.service = Service(lambda: self.now, self.checkers, Settings(local=False))
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lose_answer_to = ""
        self.table, self.alerts = MemoryTable(), MemoryTopic()
        self.aws = FakeAws()
        route53 = AwsRoute53("eu-west-1", lambda service, region: EmptyFirstPage(service, Client(self)),
                             pause_seconds=pause_seconds, clock=lambda: self.now, wait=self.wait)
        ports = msgspec.structs.replace(self.aws.ports, route53=route53)
        self.site = RegionContext("eu-west-1", "test", FLEET, MemoryTable(), self.table, {}, self.alerts,
                                  clock=lambda: self.now, aws_regions={"eu-west-1": ports})
        self.operation = operations.rotate(self.wait, lambda: self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, and the checkers probe."""
        end = self.now + seconds
        while (due := self.checkers.next_due()) <= end:
            self.now = max(self.now, due)
            self.checkers.step()
        self.now = end
        self.aws.instances = {id: FakeInstance(id, public_address=address) for id, (address, _) in self.hosts.items()}
        self.aws.target_groups["web"] = {id: host_state for id, (_, host_state) in self.hosts.items()}

    def turn(self, **event: Any) -> dict[str, Any]:
        """The turn of this minute, two seconds into it; then the rest of the minute."""
        start = self.now
        self.wait(2)
        said = event or {"detail-type": "Scheduled Event", "time": _stamp(start)}
        try:
            return engine.run(self.operation, self.site, said, f"turn-{start:.0f}")
        finally:
            self.wait(max(0.0, start + 60 - self.now))

    def turns(self, count: int) -> None:
        """So many minutes."""
        for _ in range(count):
            self.turn()

    def drop(self, id: str) -> None:
        """A host is terminated; its address answers no more."""
        address, _ = self.hosts.pop(id)
        self.bodies.pop(address)

    @property
    def memory(self) -> RotationState:
        """What the region remembers."""
        found = state.load(self.table, KEY, SCHEMA, NOTHING_YET)
        assert not isinstance(found, Unreadable)
        return found.value

    def fixed_checks(self) -> set[str]:
        """The hosts under the parent, by what Route 53 itself says."""
        checks = self.service.account.checks
        [parent] = [check for check in checks.values() if check.kind == "CALCULATED"]
        return {str(checks[id].config["SearchString"]) for id in parent.config["ChildHealthChecks"]}

    def verdict(self) -> bool:
        """Whether Route 53 holds the region to be healthy."""
        [parent] = [check.id for check in self.service.account.checks.values() if check.kind == "CALCULATED"]
        return self.service.healthy()[parent]

    def counts(self) -> Counter[str]:
        """How often each operation of Route 53 was asked for."""
        return Counter(name for name, _ in self.asked)

    def _probe(self, config: Any, address: str) -> Result:
        passed = str(config["SearchString"]) in self.bodies.get(address, "")
        return Result(passed, "Success: HTTP Status Code 200, OK" if passed else "Failure: Connection timed out")


class Client:
    """boto3's client for Route 53, over the twin."""

    def __init__(self, street: Street) -> None:
        self._street = street

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda **asked: self._request(method.title().replace("_", ""), asked)

    def _request(self, name: str, asked: dict[str, Any]) -> Any:
        self._street.asked.append((name, asked))
        try:
            answer = self._street.service.call(name, asked)
        except Refusal as refusal:
            raise ClientError({"Error": {"Code": refusal.code, "Message": str(refusal)},
                               "ResponseMetadata": {"HTTPStatusCode": refusal.status}}, name) from None  # type: ignore[typeddict-item]
        if name == self._street.lose_answer_to:
            self._street.lose_answer_to = ""
            raise Unavailable("the answer was lost")
        return answer


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
