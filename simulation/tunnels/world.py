"""Ninety minutes of one region's tunnels: the product's own controller and operations, all else simulated.

Each invocation of a Lambda is a process with a clock of its own. Each call takes time, fails, or answers too late or
not at all. The machine under it may stall or crash at any call. All chance comes from one seed.
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
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.tunnels import operations
from chalicelib.tunnels.controller import Controller
from chalicelib.tunnels.probe.pending import Target
from chalicelib.tunnels.probe.result import ProbeResult
from simulation.quiet import quiet
from simulation.scheduler import Crash, Scheduler
from simulation.tunnels.checker import Checker, Shown, SimulationResult
from simulation.tunnels.faults import FaultInjector
from simulation.tunnels.region import HERE, PEER, PRIMARIES, PeerRegion, SimulatedRegion
from testing.aws import FakeAws, denied
from testing.fakes import MemoryTable, MemoryTopic, Store
from testing.network import FakeNetwork
from testing.triggers import TriggerModel

_BEGAN = 1_774_699_200.0  # the first second of a minute
_STATE_KEY, _ALERTS_KEY = ("tunnels", "state"), ("alerts", "tunnels.heal")
_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
_FLEET = """
name = "f"
regions = [%(regions)s]
coordination.regions = ["%(here)s"]
[tunnels]
primary = "%(primary)s"
slots = %(members)d
mode = "%(mode)s"
%(hosts)s
[databases]
flavour = "mariadb"
primary = "%(primary)s"
secret = "s"
servers = [{region = "%(primary)s", host = "db"}, {region = "%(next)s", host = "db"}]
"""
_HOSTS = """
[tunnels.hosts]
gateway = "10.9.0.1"
host_keys = ["%(key)s"]
database = "db"
regions = [%(places)s]
ways = [{region = "%(next)s", gateway = "10.9.0.2", host_keys = ["%(key)s"], database = "db"}]
"""
# Harm that may not happen whatever clocks and tables say.
_WHATEVER_THE_TIME = ("twice: ", "drain of", "i-", "member")
# Hosts of one's own, which nobody replaces: they are stopped and started.
_TAGGED = 'tag = "role=tunnel"\ntarget_group = "f-sim-tunnels"\ndocument = "f-sim-tunnels"'


class Scenario(msgspec.Struct, frozen=True):
    """One timeline: how it is set up, how often (s; 0: never) something happens, and how often (a share) a step of the
    controller goes wrong.

    `tagged` hosts have no Auto Scaling group, nor routes to another primary. With `rewound` the state item is now and
    then what it was a moment ago. With `turned` the coordination table is now and then restored, and clocks are an hour
    wrong. `triggers` says when the rule fires. Without it, that depends on `rough`."""

    seed: int
    members: int = 2
    peers: int = 1
    mode: str = "full"
    minutes: int = 90
    every: float = 240
    rough: float = 0.01
    tagged: bool = False
    rewound: bool = False
    turned: bool = False
    triggers: TriggerModel | None = None


def simulate(seed: int) -> SimulationResult:
    """One timeline, from its seed to its end, without a word. In each tenth one time turns."""
    with quiet():
        return World(replace(scenario(seed), turned=seed % 10 == 0)).run()


def scenario(seed: int) -> Scenario:
    """The timeline of a seed: most with two members and one peer, a third of them with a controller that never fails.
    """
    chance = Random(seed * 7919)  # noqa: S311 - chance here must be repeatable
    return Scenario(seed, chance.choices((2, 3, 4), (6, 3, 1))[0], chance.choices((0, 1, 2), (2, 5, 3))[0],
                    chance.choices(("full", "drain", "observe"), (18, 1, 1))[0], rough=chance.choice((0, 0.01, 0.03)),
                    tagged=chance.random() < 0.1)


@cache
def _fleet(members: int, mode: str, tagged: bool) -> Fleet:
    names = (HERE, *PRIMARIES, PEER)
    places = ", ".join(f'{{name = "{name}", vpc = "vpc-01234567", subnets = ["subnet-01234567"]}}'
                       for name in names if name != PRIMARIES[0])
    values = {"regions": ", ".join(f'{{name = "{name}"}}' for name in names), "here": HERE, "primary": PRIMARIES[0],
              "next": PRIMARIES[1], "members": members, "mode": mode, "key": _HOST_KEY, "places": places}
    return fleet.parse(_FLEET % (values | {"hosts": _TAGGED if tagged else _HOSTS % values}))


class Invocation:
    """One invocation of a Lambda. `share` is how much of the scenario's roughness it meets right now."""

    def __init__(self, name: str, skew: float, manual: str = "") -> None:
        self.name, self.skew, self.shown, self.share = name, skew, Shown(manual), 0.0
        self.is_running = True


class _WatchedAws(FakeAws):
    def __init__(self, world: "World") -> None:
        super().__init__(on_change=world.changed)
        self._world = world

    def before(self, call: str, subject: str = "", details: Mapping[str, str] | None = None) -> None:
        if subject:
            self._world.requested(call, subject, details or {})
        self._world.delay(call, bool(subject))
        if call in self.denials:
            raise self.denials[call]

    def after(self, call: str, change: str = "", subject: str = "") -> None:
        if change:
            self._world.changed(change, subject)
        self._world.lose(call, bool(change))


class _WatchedStore(MemoryTable):
    def __init__(self, world: "World", store: Store | None = None) -> None:
        super().__init__(store, world.store_call)
        self._world = world

    def _put(self, old: Item | None, new: Item, write_id: str, ttl: int | None) -> Item | None:
        item = super()._put(old, new, write_id, ttl)
        if item:
            self._world.written((new.pk, new.sk), new.body)
        return item


class _WatchedTopic(MemoryTopic):
    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def publish(self, subject: str, text: str) -> None:
        self._world.delay("publish", True)
        self._world.told(subject, text)
        self._world.lose("publish", True)


class World:
    """The region. `run` lets all of it happen and judges."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.scheduler = Scheduler(scenario.seed, _BEGAN)
        self.chance = self.scheduler.chance
        self.shared = Store()
        self.aws = _WatchedAws(self)
        self.region = SimulatedRegion(self.scheduler, self.aws, self.shared, scenario.members)
        only = ("twice: ",) if scenario.rewound else _WHATEVER_THE_TIME if scenario.turned else ("",)
        self.checker = Checker(self.region, scenario.mode, only=only)
        self.local = _WatchedStore(self)
        self.context = RegionContext(
            HERE, "sim", _fleet(scenario.members, scenario.mode, scenario.tagged), _WatchedStore(self, self.shared),
            self.local, {}, _WatchedTopic(self), aws_regions={HERE: self.aws.ports})
        self.peers = [PeerRegion(self.region, name, self.chance.uniform(-1, 1), every)
                      for (name, every), _ in zip(((PEER, 30), (PRIMARIES[0], 5)), range(scenario.peers), strict=False)]
        self.faults = FaultInjector(self)
        # By how much (s) the clocks of this region's Lambdas are wrong, and until when.
        self.absent_until = self.wrong_by = self.wrong_until = 0.0
        # When the hosts were probed (epoch seconds), and how many of the rule's Lambdas have run at once at most.
        self.looks: list[float] = []
        self.concurrency = 0
        self._triggered_ones: list[Invocation] = []
        self.crashes = 0
        self._most = max(0.1, 4 * scenario.rough)
        self._frozen: tuple[float, dict[str, tuple[str, str, float, str]]] = (0.0, {})
        self._requests = 0
        self.broken: list[BaseException] = []

    def run(self) -> SimulationResult:
        """Faults, rounds and minutes until the end."""
        for at in self._triggers().times(self.chance, _BEGAN, self.scenario.minutes):
            self.scheduler.at(at, self._triggered)
        self.faults.begin()
        self.scheduler.run(_BEGAN + self.scenario.minutes * 60)
        if self.broken:
            raise self.broken[0]
        checker = self.checker
        return SimulationResult(
            self.scenario.seed, tuple(checker.harm), dict(checker.actions), dict(checker.alerts), self.crashes,
            checker.rounds, self.faults.count, checker.repaired, checker.seconds_out)

    # The product's processes.

    def _triggers(self) -> TriggerModel:
        """Once for the timeline, or each minute, another offset. In a rough world also late, twice, or two not at all.
        """
        if self.scenario.triggers:
            return self.scenario.triggers
        rough = self.scenario.rough
        return TriggerModel("jumping" if rough else "uniform", late=rough, missed=rough, missed_in_a_row=2,
                            doubled=2 * rough)

    def _triggered(self) -> None:
        now = self.scheduler.now
        if now < self.absent_until:
            return
        invocation = self._invocation("rule")
        self._triggered_ones = [one for one in self._triggered_ones if one.is_running] + [invocation]
        self.concurrency = max(self.concurrency, len(self._triggered_ones))
        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(now // 60 * 60, UTC).isoformat()}
        self._spawn(invocation, lambda: self.controller(invocation).handle(event, invocation.name))
        if self.chance.random() < 4 * self.scenario.rough:
            self.scheduler.at(now + self.chance.uniform(0, 30), self._impatient)

    def absent(self, seconds: float) -> None:
        """For so long, the rule's Lambda does not run."""
        self.absent_until = self.scheduler.now + seconds
        for invocation in self._triggered_ones:
            self.scheduler.kill(invocation)
        self._triggered_ones.clear()

    def _impatient(self) -> None:
        """Somebody runs rounds manually, one after the other, while the controller is at work."""
        invocation = self._invocation("rounds")
        controller = self.controller(invocation)

        def rounds() -> None:
            for number in range(8):
                controller.handle({"apply": True}, f"{invocation.name}-{number}")
                self.scheduler.wait(self.chance.uniform(0.3, 3))

        self._spawn(invocation, rounds)

    def manual(self, ask: str, host: str, done: Callable[[], object] | None = None,
               failed: Callable[[], object] | None = None) -> None:
        """Somebody asks for it manually, from a machine with its own clock. Now and then the request comes twice."""
        self._requests += 1
        mark = f"manual-{self._requests}"
        copies = 2 if self.scenario.rough and self.chance.random() < 0.3 else 1
        for copy in range(copies):
            invocation = self._invocation(f"{mark}/{copy}", mark)
            work = partial(self._asked, invocation, ask, host, done if copy == 0 else None,
                           failed if copy == 0 else None)
            self.scheduler.at(self.scheduler.now + copy * self.chance.uniform(0, 0.05),
                              partial(self._spawn, invocation, work))

    def _asked(self, invocation: Invocation, ask: str, host: str, done: Callable[[], object] | None,
               failed: Callable[[], object] | None) -> None:
        invocation.share = 1 / 4
        controller = self.controller(invocation)
        every: dict[str, Operation[Any]] = {one.name: one for one in operations.every(controller.probe)}
        engine.run(every["tunnels.status"], controller.context, {}, invocation.name)
        parameters = {"endpoint": host, "apply": True}
        outcome = engine.run(every[f"tunnels.{ask}"], controller.context, parameters, invocation.name)
        result = " ".join(outcome.get("results", ()))
        call = done if outcome["status"] == "done" and "left" not in result else failed
        if call:
            call()

    def controller(self, invocation: Invocation) -> Controller:
        """The controller as this invocation has it."""
        context = replace(self.context, clock=lambda: self.scheduler.now + self._error(invocation))
        return Controller(context, FakeNetwork(partial(self._probe, invocation)), self.scheduler.wait)

    def _error(self, invocation: Invocation) -> float:
        """By how much its clock is wrong now."""
        return invocation.skew + (self.wrong_by if self.scheduler.now < self.wrong_until else 0.0)

    def _invocation(self, name: str, manual: str = "") -> Invocation:
        self._requests += 1
        return Invocation(f"{name}-{self._requests}", self.chance.uniform(-1, 1), manual)

    def _spawn(self, invocation: Invocation, work: Callable[[], object]) -> None:
        self.scheduler.spawn(work, invocation, partial(self._ended, invocation))

    def _ended(self, invocation: Invocation, failure: BaseException | None) -> None:
        """A process that failed for no simulated reason is a mistake of the product, and kept."""
        invocation.is_running = False
        if failure and not isinstance(failure, Crash | RunFailed):
            self.broken.append(failure)

    @property
    def _now(self) -> Invocation:
        found = self.scheduler.current().place
        assert isinstance(found, Invocation)  # noqa: S101 - whoever calls has been spawned
        return found

    # What the processes reach. Each call is a moment in which everything else goes on.

    def _probe(self, invocation: Invocation, targets: Sequence[Target]) -> Mapping[str, ProbeResult]:
        """The probes' answers. Old ones while they are frozen."""
        self.looks.append(self.scheduler.now)
        self.scheduler.wait(self.chance.uniform(0.01, 0.2))
        until, old = self._frozen
        now, skew = self.scheduler.now, self._error(invocation)
        answers = old if now < until else self._answers([one.id for one in targets])
        self.checker.shown(invocation.shown, {id: (side, at) for id, (side, _, at, _) in answers.items()})
        invocation.share = 1 / 300 if all(side == "up" for side, *_ in answers.values()) else 1 / 20
        return {id: ProbeResult(side, why, at + skew, connected_region=region)  # type: ignore[arg-type]
                for id, (side, why, at, region) in answers.items()}

    def _answers(self, hosts: Sequence[str]) -> dict[str, tuple[str, str, float, str]]:
        now, region = self.scheduler.now, self.region
        return {id: (*region.probe(region.hosts[id]), now, region.stated_region(region.hosts[id]))
                for id in hosts if id in region.hosts}

    def freeze_probes(self, seconds: float) -> None:
        """For so long, probes answer what they would answer now."""
        self._frozen = (self.scheduler.now + seconds, self._answers(list(self.region.hosts)))

    def deny(self, call: str, seconds: float) -> None:
        """For so long, AWS refuses this call."""
        self.aws.denials[call] = denied("AccessDenied", call)
        self.scheduler.at(self.scheduler.now + seconds, lambda: self.aws.denials.pop(call, None))

    def requested(self, call: str, subject: str, details: Mapping[str, str]) -> None:
        """AWS gets a request that is to change something."""
        kind = {"elb deregister": "drain", "elb register": "undrain", "autoscaling terminate": "replace",
                "ec2 stop": "stop", "ec2 start": "start",
                "ssm send_command": "repoint" if "Action" in details else "restart"}.get(call)
        if kind:
            self._now.share = 1 / 4
            self.checker.requested(self._now.shown, kind, subject, details.get("Key", ""))
        if kind == "restart" and self.scenario.rewound:
            self.scheduler.at(self.scheduler.now + 1, partial(self._rewind, self.checker.previous))

    def _rewind(self, body: Mapping[str, Any]) -> None:
        """The state item has an earlier value, because somebody has restored it."""
        item, write_id, ttl = self.local.store.items[_STATE_KEY]
        self.local.store.put(Item(*_STATE_KEY, item.version + 1, dict(body)), write_id, ttl)
        self.checker.state = body

    def changed(self, change: str, subject: str) -> None:
        """A request has taken effect."""
        self.region.changed(change, subject)
        if change == "deregistered":
            self.checker.deregistered(self.region.hosts[subject])

    def told(self, subject: str, text: str) -> None:
        """A notice reaches people."""
        self.checker.told(self._now.shown, subject, text)

    def written(self, key: tuple[str, str], body: Mapping[str, Any]) -> None:
        """An item of a store has another body."""
        if key == _STATE_KEY:
            self.checker.state_written(self._now.shown, body)
        elif key == _ALERTS_KEY:
            self.checker.alerts_written(body)

    def store_call(self, call: str) -> None:
        """Before and after each call of a store."""
        self.delay(call, False)

    def delay(self, call: str, changes: bool) -> None:
        """A call is on its way: it takes time, the machine stalls or crashes, or the request is lost."""
        luck = self.chance.random()
        if changes:
            self.scheduler.wait(luck * 1.5)
        elif luck > 0.8:
            self.scheduler.wait((luck - 0.8) * 0.5)
        elif luck > self._most:
            return
        # What is on its way arrives soon: nobody can look once more after the last look.
        self.lose(call, not changes)

    def lose(self, call: str, stalls: bool) -> None:
        """A call has had its effect, or not: the machine crashes, stalls, or no answer comes."""
        luck = self.chance.random()
        if luck > self._most:
            return
        process = self.scheduler.current()
        if process.gone:
            raise Crash
        invocation = process.place
        assert isinstance(invocation, Invocation)  # noqa: S101 - whoever calls has been spawned
        rough = self.scenario.rough * invocation.share
        if luck < rough:
            self.crashes += 1
            process.gone = True
            raise Crash
        if luck < 2 * rough:
            raise Unavailable(f"simulated silence at {call}")
        if luck < 4 * rough and stalls:
            self.scheduler.wait(self.chance.uniform(1, 60))
