"""A promotion in another region: real tunnel hosts are led to the new primary by two healers at once."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config import fleet
from chalicelib.databases import state as databases
from chalicelib.tunnels.state import TunnelState
from commands.bench.tunnels_repairers import Place, at_work, furnish
from sandbox.hosts import programs
from sandbox.hosts.host_files import Keyring
from sandbox.hosts.primary_region import Far
from sandbox.hosts.programs import Programs
from sandbox.hosts.tunnels import NAME, STACK, STAGE, Tunnels, image, remembered, tables
from sandbox.world import Sandbox
from testing.eventually import eventually
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
        self.place = Place(self.tunnels.fleet, STAGE, HERE, HOME, NAME, COORDINATION, self.home.database_address)
        furnish(world, self.place)

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


@pytest.fixture
def town() -> Iterator[Town]:
    """By the real programs, where they are found."""
    with Sandbox.start() as world, tempfile.TemporaryDirectory() as place:
        world.pace(5)
        made = Town(world, Path(place), programs.found())
        with at_work(made.place, "1", world.environment):
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
