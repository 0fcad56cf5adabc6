"""The operations against the strict twin of Route 53, over the wire: it refuses what AWS refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib import geography
from chalicelib.aws.ports import AwsPorts
from chalicelib.aws.route53 import AwsRoute53
from chalicelib.config import fleet as fleets
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.routing import operations
from sandbox.route53.answers import Query
from sandbox.route53.probes import Result
from sandbox.route53.service import Settings
from sandbox.route53.state import Resource
from sandbox.route53.twin import Twin
from testing.aws import FakeAws
from testing.fakes import MemoryTable, MemoryTopic
from tests.route53.conftest import PLENTY, Clock, client_of
from tests.routing.fleets import EIGHT, location, text

THREE = EIGHT[:3]


class Account:
    """A hosted zone in the twin, three load balancers, and buckets; `dead` endpoints do not answer."""

    def __init__(self, twin: Twin, clock: Clock, dead: set[str]) -> None:
        self.twin, self.clock, self.dead = twin, clock, dead
        client = client_of(twin)
        made = client.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]
        self.zone = made.rpartition("/")[2]
        for number, region in enumerate(THREE):
            twin.service.resource(f"app.{region}.elb.amazonaws.com", Resource("ZELB", (f"127.0.1.{number}",)))
            twin.service.resource(f"marks-{region}.s3.{region}.amazonaws.com", Resource("Z", (f"127.0.2.{number}",)))
        fleet = fleets.parse(text().replace('"ZONE"', f'"{self.zone}"'))
        # Of AWS's services only Route 53 is the twin's, over the wire.
        route53 = AwsRoute53(THREE[0], lambda service, region: client, pause_seconds=0)
        ports: dict[str, AwsPorts] = {
            region: msgspec.structs.replace(FakeAws().ports, route53=route53) for region in THREE}
        self.site = RegionContext(
            region=THREE[0],
            stage="test",
            fleet=fleet,
            shared_store=MemoryTable(),
            local_store=MemoryTable(),
            queues={},
            alerts=MemoryTopic(),
            root=Path(),
            clock=clock,
            aws_regions=ports,
        )

    def apply(self) -> list[str]:
        """Applies until nothing is left to do; how each step ended."""
        steps = []
        for _ in range(12):
            outcome = engine.run(operations.APPLY, self.site, {"apply": True})
            steps.append(str(outcome["status"]))
            if outcome.get("message") == "nothing to do":
                return steps
            self.pass_minutes(1)
        raise AssertionError(f"it never ends: {steps}")

    def pass_minutes(self, minutes: int) -> None:
        """The checkers work for so long."""
        for _ in range(minutes * 60):
            self.clock.now += 1
            self.twin.checkers.step()

    def answers(self, place: str) -> str:
        """The region that answers a query from `place`."""
        serving = self.twin.service.serving("app.example.com")
        assert serving is not None
        asked = Query(location(geography.places()[place]), serving.healthy)
        [value] = serving.zone.answer("app.example.com", "A", asked).values
        return value.split(".")[1]


@pytest.fixture
def account() -> Iterator[Account]:
    dead: set[str] = {f"127.0.2.{number}" for number in range(3)}
    clock = Clock()

    def probe(config: Any, address: str) -> Result:
        return Result(address not in dead, "Success" if address not in dead else "Failure")

    with Twin(Settings(rate=PLENTY), clock=clock, probe=probe, checking=False) as twin:
        yield Account(twin, clock, dead)


@pytest.mark.slow
def test_apply_is_taken_by_a_strict_route53_and_answers_right(account: Account) -> None:
    steps = account.apply()
    assert steps[0] == "later" and steps[-1] == "done"
    account.pass_minutes(2)
    orders = geography.orders(THREE)
    assert {place: account.answers(place) for place in ("SE", "US-NY", "SG", "BR", "JP", "default")} == {
        place: orders[place][0] for place in ("SE", "US-NY", "SG", "BR", "JP", "default")}


@pytest.mark.slow
def test_a_dead_region_s_users_go_to_their_second_nearest_and_come_back(account: Account) -> None:
    account.apply()
    account.pass_minutes(2)
    account.dead.add("127.0.1.0")
    account.pass_minutes(1)
    assert (account.answers("SE"), account.answers("SG")) == ("us-east-1", "ap-southeast-1")
    account.dead.remove("127.0.1.0")
    account.pass_minutes(1)
    assert account.answers("SE") == "eu-west-1"


@pytest.mark.slow
def test_an_object_in_another_region_s_bucket_evacuates(account: Account) -> None:
    account.apply()
    account.pass_minutes(2)
    # eu-west-1's mark lies in the bucket of us-east-1, which now has something to serve for it.
    account.dead.remove("127.0.2.1")
    account.pass_minutes(1)
    assert account.answers("SE") == "us-east-1"
    account.dead.add("127.0.2.1")
    account.pass_minutes(1)
    assert account.answers("SE") == "eu-west-1"


@pytest.mark.slow
def test_with_everything_dead_each_gets_its_own_nearest(account: Account) -> None:
    account.apply()
    account.dead |= {f"127.0.1.{number}" for number in range(3)}
    account.pass_minutes(2)
    assert [account.answers(place) for place in ("SE", "US-NY", "SG")] == list(THREE)
