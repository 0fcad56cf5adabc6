"""A promotion in another region: real tunnel hosts are led to the new primary by two healers at once."""

import json
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.aws import client
from chalicelib.aws.ports import real_ports
from chalicelib.aws.store import DynamoStore
from chalicelib.config import fleet
from chalicelib.config.databases import Server
from chalicelib.context import RegionContext
from chalicelib.databases import state as databases
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.tunnels import peer_report
from chalicelib.tunnels.controller import Controller
from chalicelib.tunnels.probe.network import SocketNetwork
from chalicelib.tunnels.state import TunnelState
from sandbox.hosts import programs
from sandbox.hosts.host_files import Keyring
from sandbox.hosts.primary_region import Far
from sandbox.hosts.programs import Programs
from sandbox.hosts.tunnels import NAME, STACK, STAGE, Tunnels, image, remembered, tables
from sandbox.server import ACCOUNT
from sandbox.world import Sandbox
from testing.eventually import eventually
from testing.fakes import MemoryTopic
from tests.world.test_tunnel_hosts import ask, folder

pytestmark = [pytest.mark.world, pytest.mark.slow]
HOME, HERE, AWAY = "us-east-1", "eu-west-1", "ap-southeast-1"
COORDINATION = "coordination"


class Town:
    """Two regions that may have the primary, and one with tunnel hosts that know the way to both."""

    def __init__(self, world: Sandbox, folder: Path, used: Programs) -> None:
        self.world = world
        keyring = Keyring(folder, world, used)
        self.home, self.away = (Far(world, region, STACK, keyring, used, 10) for region in (HOME, AWAY))
        image(world, keyring)
        regions = "".join(f'[[regions]]\nname = "{name}"\n' for name in (HOME, HERE, AWAY))
        servers = "".join(f'[[databases.servers]]\nregion = "{far.region}"\nhost = "{far.database_address}"\n'
                          for far in (self.home, self.away))
        self.tunnels = Tunnels(world, self.home, keyring, fleet.parse(
            f'name = "{NAME}"\ncoordination = {{ regions = ["{HOME}"] }}\n{regions}'
            + tables(world, self.home, keyring, [HERE, AWAY], "", self.away)
            + f'[databases]\nflavour = "mariadb"\nprimary = "{HOME}"\nsecret = "s"\n{servers}'), STAGE)
        self.tunnels.begin(HERE)
        for table, region in ((NAME, HERE), (COORDINATION, HOME)):
            world.client("dynamodb", region).create_table(
                TableName=table, BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")])

    def context(self, region: str) -> RegionContext:
        """A region as its Lambdas see it, but without alerts to people."""
        return RegionContext(region, STAGE, self.tunnels.fleet, DynamoStore(COORDINATION, HOME),
                             DynamoStore(NAME, HERE), {}, MemoryTopic(),
                             aws_regions={name: real_ports(name, ACCOUNT) for name in (HOME, HERE, AWAY)})

    @contextmanager
    def healers(self) -> Iterator[None]:
        """Two controllers at once, which no lease keeps apart, and the peer report of the first primary's region."""
        ended = threading.Event()
        reporting = peer_report.operation(SocketNetwork(), Server(HOME, self.home.database_address), "")
        rounds: list[tuple[Operation[Any], str, float]] = [
            *((Controller(self.context(HERE), SocketNetwork()).operation, HERE, every) for every in (2.0, 2.3)),
            (reporting, HOME, peer_report.EVERY_SECONDS)]
        threads = [threading.Thread(target=_repeat, args=(ended, operation, self.context(region), every))
                   for operation, region, every in rounds]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def promote(self, region: str, *fenced: str) -> None:
        """What `databases.promote` leaves in the coordination table."""
        body = {"region": region, "term": 1, "since": 1, "fenced": fenced, "schema": 1, "run_id": ""}
        self.world.client("dynamodb", HOME).put_item(TableName=COORDINATION, Item={
            "pk": {"S": databases.PRIMARY_KEY[0]}, "sk": {"S": databases.PRIMARY_KEY[1]}, "version": {"N": "1"},
            "body": {"S": json.dumps(body)}})

    def memory(self) -> TunnelState:
        """What the healers remember."""
        return remembered(self.world, HERE, NAME)[0]

    def lead(self, region: str) -> bool:
        """Whether both hosts are well, and known to lead there."""
        memory = self.memory()
        return self.tunnels.sound(HERE, memory) and {slot.connected_region for slot in memory.members} == {region}


def _repeat(ended: threading.Event, operation: Operation[Any], context: RegionContext, every_seconds: float) -> None:
    while not ended.wait(every_seconds):
        event = {"detail-type": "Round", "time": datetime.fromtimestamp(context.clock(), UTC).isoformat()}
        with suppress(RunFailed):  # the next round takes over
            engine.run(operation, context, event, uuid.uuid4().hex)


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """By the real programs, where they are found."""
    with Sandbox.start() as world, tempfile.TemporaryDirectory() as place:
        monkeypatch.setattr(client, "client", world.client)
        world.pace(5)
        made = Town(world, Path(place), programs.found())
        with made.healers():
            eventually(lambda: made.lead(HOME))
            yield made


def test_tunnels_follow_the_primary_as_soon_as_its_gateway_lets_them_in(town: Town) -> None:
    tunnels, world = town.tunnels, town.world
    ec2 = world.client("ec2", AWAY)
    ec2.stop_instances(InstanceIds=[town.away.gateway])
    eventually(lambda: _state(ec2, town.away.gateway) == "stopped")
    town.promote(AWAY, HOME)
    eventually(lambda: all(slot.repoint_attempts for slot in town.memory().members))
    eventually(lambda: all(slot.repoint_attempts > 1 for slot in town.memory().members))
    assert not tunnels.healthy(HERE) and ask(tunnels.endpoint(HERE)).side != "up", "the former primary still answers"
    ec2.start_instances(InstanceIds=[town.away.gateway])
    eventually(lambda: town.lead(AWAY))
    # The former primary is gone, and nobody notices.
    for far in (town.home.gateway, town.home.database):
        world.destroy(far)
    assert [ask(tunnels.endpoint(HERE)).side for _ in range(8)] == ["up"] * 8
    one, other = sorted(tunnels.hosts(HERE))
    world.destroy(one)
    eventually(lambda: one not in tunnels.hosts(HERE) and town.lead(AWAY))
    [new] = set(tunnels.hosts(HERE)) - {other}
    assert f"GATEWAY={town.away.gateway_address}" in (folder(tunnels, new) / "run" / "way.env").read_text()
    assert ask(tunnels.endpoint(HERE)).side == "up"


def _state(ec2: Any, instance: str) -> str:
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(found["State"]["Name"])
