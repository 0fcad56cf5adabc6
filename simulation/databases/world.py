"""One timeline of a fleet with a primary and replicas, whose servers, networks, tables and Lambdas fail.

The operations are the product's own, run by the engine: watch and heal each minute in each region, and what people ask
for manually. The servers, the tables, the topic and the clocks are simulated. Each call is a moment in which everything
else goes on, and in which the machine may stall or crash, the request may be lost, or its answer.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from random import Random
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.context import RegionContext
from chalicelib.databases.operations import Databases
from chalicelib.engine import run as engine
from chalicelib.engine import schema
from chalicelib.engine.operation import RunFailed
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.gtid import Engine
from chalicelib.mysql.status import ServerError, ServerStatus
from chalicelib.tunnels import state as tunnels
from simulation.databases.checker import Checker, SimulationResult
from simulation.databases.faults import FaultInjector
from simulation.quiet import quiet
from simulation.scheduler import Crash, Scheduler
from testing.databases import FakeFleet, FakeServer
from testing.fakes import MemoryTable, MemoryTopic, Store
from testing.triggers import RuleTriggers, TriggerModel

REGIONS = ("eu-west-1", "us-east-1", "ap-southeast-1", "sa-east-1")
# 2026-03-28 12:00 UTC. Timelines begin on a full minute.
_BEGAN = 1_774_699_200.0
_PRIMARY_KEY = ("primary", "current")
_TIMEOUT_SECONDS = 3
# So often an application writes, and replication moves on.
_TICK_SECONDS = 2

_FLEET = """
name = "sim"
regions = [%(regions)s]
coordination.regions = ["eu-west-1"]
[databases]
flavour = "%(flavour)s"
primary = "eu-west-1"
secret = "watch"
admin_secret = "admin"
repair = "full"
tls = "off"
servers = [%(servers)s]
"""
_TUNNELS = """
[tunnels]
primary = "eu-west-1"
"""
# So often the controller of the tunnels looks at them.
_TUNNELS_SECONDS = 15


class Scenario(msgspec.Struct, frozen=True):
    """One timeline: how it is set up, how often (s; 0: never) something happens, and how often (a share) a call goes
    wrong.

    With `open_by_itself` the first primary's configuration is not read-only, against the advice of the documentation.
    `tunnelled` replicas reach the primary through tunnels. With `turned` the whole coordination table is now and then
    restored from a backup, clocks are an hour wrong, and events of other years come.
    """

    seed: int
    regions: int = 3
    flavour: Engine = "mariadb"
    minutes: int = 90
    every: float = 300
    rough: float = 0.01
    open_by_itself: bool = False
    tunnelled: bool = False
    turned: bool = False


def simulate(seed: int) -> SimulationResult:
    """One timeline, from its seed to its end, without a word. In each fifth one time turns."""
    with quiet():
        return World(replace(scenario(seed), turned=seed % 5 == 0)).run()


def scenario(seed: int) -> Scenario:
    """The timeline of a seed: most with three regions of MariaDB, a third of them with Lambdas that never fail."""
    chance = Random(seed * 7919)  # noqa: S311 - chance here must be repeatable
    return Scenario(seed, chance.choices((2, 3, 4), (2, 6, 2))[0], chance.choices(("mariadb", "mysql"), (3, 1))[0],
                    rough=chance.choice((0, 0.01, 0.03)), open_by_itself=chance.random() < 0.2,
                    tunnelled=chance.random() < 0.3)


@cache
def _fleet(regions: int, flavour: str, tunnelled: bool) -> Fleet:
    names = REGIONS[:regions]
    return fleet.parse((_FLEET + _TUNNELS * tunnelled) % {
        "regions": ", ".join(f'{{name = "{name}"}}' for name in names), "flavour": flavour,
        "servers": ", ".join(f'{{region = "{name}", host = "{name}.db"}}' for name in names)})


class Invocation:
    """One invocation of a Lambda in a region. `share` is how much of the scenario's roughness it meets right now.

    `minute` is the time of its event (epoch seconds), or of a person's request. `looked_at` is when a server has said
    last how it is. One of a `strange` event must not do anything.
    """

    def __init__(self, operation: str, region: str, skew: float, minute: int, strange: bool = False) -> None:
        self.operation, self.region, self.skew, self.minute = operation, region, skew, minute
        self.strange = strange
        self.share = 1 / 8
        self.looked_at, self.has_lost_answers = 0.0, False


class _WatchedStore(MemoryTable):
    """A region's way to a table. The shared one may be away from a single region."""

    def __init__(self, world: "World", name: str, store: Store | None = None) -> None:
        super().__init__(store, lambda call: world.call(f"{name} {call}", name))
        self._world = world
        # Notices about the items of one table are one.
        self.name, self.region = name.split()

    def _put(self, old: Item | None, new: Item, write_id: str, ttl: int | None) -> Item | None:
        before = self.store.items.get((new.pk, new.sk))
        item = super()._put(old, new, write_id, ttl)
        if item and (before is None or before[0] is not item):
            self._world.checker.written(new, before[0] if before else None)
        return item


class _WatchedTopic(MemoryTopic):
    def __init__(self, world: "World", region: str) -> None:
        super().__init__()
        self._world, self._region = world, region

    def publish(self, subject: str, text: str) -> None:
        self._world.call("publish", f"topic {self._region}")
        self._world.checker.told(self._region, subject)
        try:
            self._world.call("publish", "")
        except Unavailable:
            self._world.checker.disturbed(self._region, 62)
            raise


class _ReachedServer:
    """A server as an invocation reaches it. A call fails while the server or the way to it is down."""

    def __init__(self, world: "World", server: FakeServer) -> None:
        self._world, self._server = world, server

    def read_status(self) -> ServerStatus:
        invocation = self._world.invocation
        status: ServerStatus = self._call("read_status", ())
        return replace(status, at=status.at + invocation.skew)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        world, server = self._world, self._server
        try:
            world.call(f"server {name}", "")
            world.faults.asked(server, name)
            world.checker.asked(world.invocation)
            if not server.alive:
                raise DatabaseError(ServerError("unreachable", server.region, "cannot connect: refused"))
            if server.hung or (world.invocation.region, server.region) in world.servers.cut:
                world.scheduler.wait(_TIMEOUT_SECONDS)
                raise DatabaseError(ServerError("silent", server.region, "gave no answer in time"))
            world.checker.requested(world.invocation, server, name, arguments)
            answer = getattr(server, name)(*arguments)
            world.call(f"server {name}", "")
        except Unavailable as error:
            world.checker.unanswered(world.invocation, server)
            raise DatabaseError(ServerError("silent", server.region, str(error))) from None
        return answer


class World:
    """The fleet. `run` lets all of it happen and judges."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.scheduler = Scheduler(scenario.seed, _BEGAN)
        self.chance = self.scheduler.chance
        self.regions = REGIONS[:scenario.regions]
        self.servers = FakeFleet({region: f"{region}.db" for region in self.regions}, lambda: self.scheduler.now,
                                 self.chance, scenario.flavour)
        for server in self.servers.servers.values():
            server.configured, server.skew = True, self.chance.uniform(-20, 20)
        self.servers.servers[self.regions[0]].configured = not scenario.open_by_itself
        self.shared = Store()
        self.absent: dict[str, float] = {}
        # By how much (s) the clocks of a region's Lambdas are wrong.
        self.wrong_by: dict[str, float] = {}
        # Since when and until when a region has no tunnel.
        self.severed: dict[str, tuple[float, float]] = {}
        self.checker = Checker(self)
        self.servers.on_change = self.checker.changed
        self.contexts = {region: self._context(region) for region in self.regions}
        self.operations = Databases(lambda context, region, admin: self._reach(region), self.scheduler.wait,
                                    lambda ask, regions: [ask(region) for region in regions])
        self.faults = FaultInjector(self)
        # A second for each rule of its own, or in a rough world another one each minute, twice, or not at all.
        rough = scenario.rough
        triggers = TriggerModel("jumping" if rough and self.chance.random() < 0.5 else "uniform", missed=rough,
                                doubled=2 * rough)
        self.rules = {(region, operation): RuleTriggers(triggers, self.chance)
                      for region in self.regions for operation in ("watch", "heal")}
        self.crashes = self.runs = 0
        self.broken: list[BaseException] = []
        self._most = max(0.1, 4 * scenario.rough)

    def _context(self, region: str) -> RegionContext:
        settings = _fleet(self.scenario.regions, self.scenario.flavour, self.scenario.tunnelled)
        return RegionContext(region, "sim", settings,
                             _WatchedStore(self, f"shared {region}", self.shared),
                             _WatchedStore(self, f"local {region}"), {}, _WatchedTopic(self, region))

    def _reach(self, region: str) -> Any:
        return _ReachedServer(self, self.servers.servers[region])

    @property
    def now(self) -> float:
        """True time, in epoch seconds."""
        return self.scheduler.now

    @property
    def primary(self) -> Mapping[str, Any]:
        """The body of the primary's record."""
        found = self.shared.items.get(_PRIMARY_KEY)
        return found[0].body if found else {"region": self.regions[0], "term": 0, "fenced": (), "promotion": None}

    def run(self) -> SimulationResult:
        """Faults, minutes, writes and people until the end."""
        self.scheduler.at(_BEGAN, self._minute)
        self.scheduler.at(_BEGAN + 1, self._tick)
        self.faults.begin()
        if self.scenario.tunnelled:
            self.scheduler.at(_BEGAN, self._judge_tunnels)
        self.scheduler.run(_BEGAN + self.scenario.minutes * 60)
        if self.broken:
            raise self.broken[0]
        self.checker.judge()
        checker = self.checker
        return SimulationResult(self.scenario.seed, tuple(checker.harm), dict(checker.actions), dict(checker.alerts),
                                self.crashes, self.runs, self.faults.count, checker.promoted, checker.rows)

    def _tick(self) -> None:
        """Applications write where they may, and replication has a moment."""
        for server in self.servers.servers.values():
            if server.answers and not server.read_only and not server.source:
                self.checker.acknowledged(server, server.write())
        self.servers.replicate()
        self.checker.judge()
        self.scheduler.at(self.now + _TICK_SECONDS, self._tick)

    def has_no_tunnel(self, region: str, seen_at: float) -> bool:
        """Whether a region has no tunnel, and the controller of the tunnels had seen that by then."""
        since, until = self.severed.get(region, (0.0, 0.0))
        return since + 2 * _TUNNELS_SECONDS < seen_at and self.now < until

    def _judge_tunnels(self) -> None:
        """The controllers of the tunnels look, as their own simulation has it."""
        for region in self.regions:
            is_severed = self.now < self.severed.get(region, (0.0, 0.0))[1]
            member = tunnels.Member("i-1", phase="drained" if is_severed else "healthy")
            state = tunnels.TunnelState(at=self.now, members=(member,))
            self.put(region, tunnels.KEY, schema.encode(state, tunnels.SCHEMA))
        self.scheduler.at(self.now + _TUNNELS_SECONDS, self._judge_tunnels)

    # The product's processes.

    def _minute(self) -> None:
        self.scheduler.at(self.now + 60, self._minute)
        # The primary's region watches first, so that it has written a heartbeat when the others look for one.
        for region in self.regions if self.now > _BEGAN else self.regions[:1]:
            for operation in ("watch", "heal"):
                times = self.rules[region, operation].of_minute(self.now)
                if not times:
                    self.checker.missed(region)
                if self.chance.random() < self.scenario.rough:
                    times.append(self.now + self.chance.uniform(60, 400))  # once more, much later
                event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(self.now, UTC).isoformat()}
                for at in times:
                    # A Lambda takes its time to start.
                    self.scheduler.at(at + self.chance.uniform(0.3, 2), partial(self._fire, operation, region, event))

    def _fire(self, operation: str, region: str, event: Mapping[str, Any]) -> None:
        if self.now < self.absent.get(region, 0):
            self.checker.missed(region)
        else:
            self.invoke(operation, region, event)

    def invoke(self, operation: str, region: str, event: Mapping[str, Any],
               ended: Callable[[Mapping[str, Any] | None], None] = lambda answer: None, *,
               strange: bool = False) -> None:
        """An invocation of an operation in a region. `ended` gets its answer, or `None` if it died."""
        self.runs += 1
        minute = datetime.fromisoformat(event["time"]).timestamp() if "time" in event else self.now
        skew = self.chance.uniform(-1, 1) + self.wrong_by.get(region, 0.0)
        invocation = Invocation(operation, region, skew, int(minute), strange)
        self.checker.began(invocation)
        context = replace(self.contexts[region], clock=lambda: self.scheduler.now + invocation.skew)
        answers: list[Mapping[str, Any]] = []

        def work() -> None:
            answers.append(engine.run(getattr(self.operations, operation), context, dict(event), f"run-{self.runs}"))

        def done(failure: BaseException | None) -> None:
            self.checker.ended(invocation, failure, str(answers[0]["status"]) if answers else "")
            if failure and not isinstance(failure, Crash | RunFailed):
                self.broken.append(failure)
            ended(answers[0] if answers else None)

        self.scheduler.spawn(work, invocation, done)

    @property
    def invocation(self) -> Invocation:
        """The one that is running."""
        place = self.scheduler.current().place
        assert isinstance(place, Invocation)  # noqa: S101 - whoever calls has been spawned
        return place

    def call(self, call: str, thing: str) -> None:
        """A call is on its way, or its answer. It takes time, the machine stalls or crashes, or it is lost."""
        if thing and self.faults.is_away(thing):
            self.scheduler.wait(1)
            self.invocation.has_lost_answers = True
            raise Unavailable(f"simulated: {thing} is away")
        luck = self.chance.random()
        if luck > 0.8:
            self.scheduler.wait((luck - 0.8) * 2)
        elif luck > self._most:
            return
        process = self.scheduler.current()
        if process.gone:
            raise Crash
        rough, luck = self.scenario.rough * self.invocation.share, self.chance.random()
        if luck < rough:
            self.crashes += 1
            process.gone = True
            raise Crash
        if luck < 3 * rough:
            self.checker.disturbed(self.invocation.region, 62)
            self.invocation.has_lost_answers = True
            raise Unavailable(f"simulated silence at {call}")
        if luck < 4 * rough:
            seconds = self.chance.uniform(1, 20)
            # Another run may take this one for dead meanwhile, and tell again what it was about to tell.
            self.checker.disturbed(self.invocation.region, seconds)
            self.scheduler.wait(seconds)

    def local(self, region: str, key: tuple[str, str]) -> Mapping[str, Any]:
        """The body of an item in a region's own table."""
        found = self.contexts[region].local_store.store.items.get(key)  # type: ignore[attr-defined]
        return found[0].body if found else {}

    def put(self, name: str, key: tuple[str, str], body: Mapping[str, Any], version: int | None = None) -> None:
        """Somebody writes an item past the product, as its next version or as this one. Version 0 means no item."""
        store = self.shared if name == "shared" else self.contexts[name].local_store.store  # type: ignore[attr-defined]
        found = store.items.get(key)
        if version is None:
            version = found[0].version + 1 if found else 1
        if version:
            store.put(Item(*key, version, dict(body)), "", None)
        elif found:
            store.remove(*key)


def places(world: World) -> Sequence[str]:
    """The names of all tables and topics, as `World.call` has them."""
    return [f"{thing} {region}" for region in world.regions for thing in ("shared", "local", "topic")]
