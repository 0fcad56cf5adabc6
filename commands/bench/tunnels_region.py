"""A region of `bench tunnels --only faults` with two tunnel hosts, a replica, its rows, and two controllers, all of it
real.

The hosts are made by the shipped template. The replica follows the primary through their balancer, and the primary gets
a row each 100 ms. A fault is done, and then both hosts have to be healthy for the controller and in the balancer.
"""

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from chalicelib.config import fleet
from chalicelib.config.tunnels import managed_name
from chalicelib.engine.limits import Cooldown
from chalicelib.engine.metrics import logger
from chalicelib.engine.schema import encode
from chalicelib.tunnels.decide import guards
from chalicelib.tunnels.state import KEY, SCHEMA, TunnelState
from commands.bench import tunnels_aws_calls as asked
from commands.bench import tunnels_report as figures
from commands.bench.tunnels_repairers import Place, at_work, furnish
from commands.bench.tunnels_report import Fault, How
from commands.demo.part import patient
from commands.errors import UsageError
from sandbox.hosts import programs
from sandbox.hosts.host_files import Keyring
from sandbox.hosts.primary_region import Far
from sandbox.hosts.replica import Replica
from sandbox.hosts.traffic import Replication
from sandbox.hosts.tunnels import HEALTH, STAGE, TUNNEL, Tunnels, image, remembered, tables
from sandbox.world import Sandbox, WorldError

PRIMARY, HERE = "us-east-1", "eu-west-1"
_NAME, _COORDINATION = "tunnels", "coordination"
# A fault that is not healed by then is not healed (s).
LIMIT_SECONDS = 300.0
# So long after a fault whoever looks has seen it, the balancer included: two looks of 4 s, 5 s apart.
_BLIND_SECONDS = 10.0
_MOST_ERRORS = 100
_NAMES = ("one ssh killed", "one ssh hung", "one ssh hung, thawed", "both ssh killed", "both ssh hung",
          "both ssh hung, thawed", "a host destroyed", "a host without power", "a health port killed")


class Draw(NamedTuple):
    """A future fault, with the host that it hits first, and the time (s) after which a hung process thaws, if it does.
    """

    name: str
    first: int
    thaw: float


def draws(count: int, seed: int) -> list[Draw]:
    """So many faults. The same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - faults, not secrets
    return [Draw(chance.choice(_NAMES), chance.randrange(2), chance.uniform(3, 25)) for _ in range(count)]


@contextmanager
def opened(seed: str) -> Iterator["BenchRegion"]:
    """A yard at work, healthy so far. Its end ends all of it."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="lamp-faults-")))
        world = held.enter_context(Sandbox.start())
        tunnels, replica = _built(world, folder)
        place = Place(tunnels.fleet, STAGE, HERE, PRIMARY, _NAME, _COORDINATION, tunnels.far.database_address)
        furnish(world, place)
        rows = Replication(tunnels.far, replica, tunnels.endpoint(HERE))
        held.callback(rows.end)
        rows.start()
        counts = held.enter_context(at_work(place, seed, world.environment))
        yard = BenchRegion(world, tunnels, rows, counts)
        if not yard.ready(0.0):
            raise UsageError(f"the tunnels were not ready after {LIMIT_SECONDS:.0f} s. Is this machine very busy?")
        yield yard


def _built(world: Sandbox, folder: Path) -> tuple[Tunnels, Replica]:
    used = programs.found()
    keyring = Keyring(folder, world, used)
    far = Far(world, PRIMARY, f"{_NAME}-{STAGE}", keyring, used, _MOST_ERRORS)
    image(world, keyring)
    head = (f'name = "{_NAME}"\ncoordination = {{ regions = ["{PRIMARY}"] }}\n[[regions]]\nname = "{PRIMARY}"\n'
            f'[[regions]]\nname = "{HERE}"\n')
    tunnels = Tunnels(world, far, keyring, fleet.parse(head + tables(world, far, keyring, [HERE])), STAGE)
    # What the hosts' first key goes through is of no interest, and standard output is for the figures.
    logger.setLevel("WARNING")
    tunnels.begin(HERE)
    return tunnels, Replica(world, HERE, far, used)


class BenchRegion:
    """The region, its faults so far (`told`), and its rows."""

    def __init__(self, world: Sandbox, tunnels: Tunnels, rows: Replication, counts: Callable[[], list[int]]) -> None:
        self.world, self.tunnels, self.rows, self.counts = world, tunnels, rows, counts
        self.told: list[Fault] = []
        self._flights: set[str] = set()
        # Set when all is to end at once, whatever is under way.
        self.over = threading.Event()

    def suffer(self, draw: Draw) -> Fault:
        """One fault, until all is well again or it is too late."""
        self._refresh()
        hosts, began = sorted(self.tunnels.hosts(HERE)), time.time()
        self._flights = set()
        gone, done = self._do(draw, hosts[draw.first:] + hosts[:draw.first]), time.time()
        well = self.ready(done, gone)
        seconds = round(time.time() - began, 1) if well else None
        self.told.append(self._judged(draw.name, began, seconds, set(hosts)))
        return self.told[-1]

    def _judged(self, name: str, began: float, seconds: float | None, before: set[str]) -> Fault:
        group = managed_name(self.tunnels.stack)
        restarts = list(asked.restarts(self.world.client("ssm", HERE), began))
        removals = list(asked.removals(self.world.client("autoscaling", HERE), group, began))
        how: How = "replacement" if before - set(self.tunnels.hosts(HERE)) else "restart" if restarts else "alone"
        return Fault(name, seconds, how, (*figures.doubles(restarts, removals), *sorted(self._flights)))

    def _do(self, draw: Draw, hosts: Sequence[str]) -> str:
        """The fault. The host that must be gone for all to be well."""
        if draw.name == "a host destroyed":
            self.world.destroy(hosts[0])
            return hosts[0]
        if draw.name == "a host without power":
            self.world.power_off(hosts[0])
            return hosts[0]
        if draw.name == "a health port killed":
            self.world.kill(hosts[0], HEALTH)
            return ""
        hit = hosts if draw.name.startswith("both") else hosts[:1]
        _each(self.world.kill if "killed" in draw.name else self.world.hang, hit)
        if draw.name.endswith("thawed"):
            self.over.wait(draw.thaw)
            _each(self._thawed, hit)
        return ""

    def _thawed(self, instance: str, service: str) -> None:
        try:
            self.world.thaw(instance, service)
        except WorldError:
            # Meanwhile the healer may have replaced it.
            if instance in self.tunnels.hosts(HERE):
                raise

    def mended(self) -> bool:
        """After a fault without a repair, all hosts are made anew and the state is empty. Whether that helped."""
        self._write(lambda memory: TunnelState(memory.at))
        for instance in self.tunnels.hosts(HERE):
            self.world.client("autoscaling", HERE).terminate_instance_in_auto_scaling_group(
                InstanceId=instance, ShouldDecrementDesiredCapacity=False)
        return self.ready(time.time())

    def ready(self, since: float, gone: str = "") -> bool:
        """Whether all is well within the limit."""
        found = patient(lambda: self.over.is_set() or self._well(since, gone), LIMIT_SECONDS)
        return found and not self.over.is_set()

    def _well(self, since: float, gone: str) -> bool:
        memory, _ = remembered(self.world, HERE, _NAME)
        flying = [slot.name for slot in memory.members if guards.under_repair(slot, memory.at)]
        if len(flying) > 1:
            self._flights.add(f"members {' and '.join(flying)} were in flight at once")
        if gone in self.tunnels.hosts(HERE) or memory.at < since + _BLIND_SECONDS:
            return False
        return any(mark > since for mark in self.rows.marks[-1:]) and self.tunnels.sound(HERE, memory)

    def _refresh(self) -> None:
        """Budgets and cool-downs as if nothing had ever been healed."""
        self._write(lambda memory: replace(memory, repairs=(), replacements=(), members=tuple(
            replace(member, cooldown=Cooldown()) for member in memory.members)))

    def _write(self, change: Callable[[TunnelState], TunnelState]) -> None:
        """By compare-and-set, as everybody."""
        dynamo = self.world.client("dynamodb", HERE)
        while True:
            memory, version = remembered(self.world, HERE, _NAME)
            item = {
                "pk": {"S": KEY[0]},
                "sk": {"S": KEY[1]},
                "version": {"N": str(version + 1)},
                "write_id": {"S": "bench"},
                "body": {"S": msgspec.json.encode(encode(change(memory), SCHEMA, run_id="bench")).decode()},
            }
            try:
                dynamo.put_item(TableName=_NAME, Item=item, ConditionExpression="version = :version",
                                ExpressionAttributeValues={":version": {"N": str(version)}})
                return
            except dynamo.exceptions.ConditionalCheckFailedException:
                continue


def _each(do: Callable[[str, str], None], hosts: Sequence[str]) -> None:
    """To all at once."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(lambda one: do(one, TUNNEL), hosts))
