"""One region whose hosts come, drain, die, vanish and leave their addresses to strangers, while the checks rotate.

The decision is production's. The hosts, Route 53 and the calls to it are simulated. The guarantee is that a rotation
never changes the status, and every real outage is detected in time. In smooth worlds, where each minute's turn comes
and each call succeeds, the bounds on gaps and on re-pointing must hold too.

A loss is a host that dies, vanishes or begins to drain. The world never loses more of them at once than the guarantee
allows, within the time that a replacement takes.
"""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from random import Random

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.aws.route53 import HealthCheck, ProbeReport
from chalicelib.config import fleet
from chalicelib.config.declared import HealthChecks
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.operation import RunFailed
from chalicelib.health_checks import operations
from simulation.health_checks.checkers import Checkers, Model, settling_seconds
from simulation.health_checks.others import Others
from simulation.health_checks.tally import LATE, Tally, Verdict
from simulation.quiet import quiet
from simulation.scheduler import Scheduler
from simulation.turning import Backup, event_of_another_year
from testing.aws import FakeAws, FakeInstance
from testing.fakes import MemoryTable, MemoryTopic
from testing.route53 import FakeRoute53
from testing.triggers import RuleTriggers, TriggerModel

_FLEET = fleet.parse("""
name = "sim"
regions = [{name = "eu-west-1"}]
coordination.regions = ["eu-west-1"]
health_checks = {target_groups = ["hosts"]}
""")
REGION = "eu-west-1"
# 2026-03-28 12:00 UTC; worlds begin on a full minute.
_START = 1_774_699_200
_CHANGES = ("route53 create_health_check", "route53 update_health_check")
# Of the changes that Route 53 is asked for in a rough world, so many give no answer: half of these take effect.
_LOST_SHARE = 0.02
# Creations are few, so more of their answers get lost. Somebody deletes half of the checks that nobody knows of then.
_LOST_CREATION_SHARE = 0.15
# In a rough world each trigger comes at another second of its minute, if at all. In a smooth one the rule keeps one.
_ROUGH = TriggerModel("jumping", missed=0.03, doubled=0.02)
_MINUTE = 60
# In a rough world somebody deletes a check in so many of the troubles, most often one that rotates.
_DELETED_SHARE = 0.1
# Before a real outage may begin: every check and the parent must stand.
_START_SECONDS = 1800


class Plot(msgspec.Struct, frozen=True):
    """One world with its set-up. In a `rough` one runs get lost and calls fail. In a `harsh` one as many fixed checks
    as allowed get lost at once, as often as allowed. In a `turned` one the coordination table is restored, and events
    of other years come. `triggers` says when the rule fires. Without it, that depends on `rough`."""

    seed: int
    model: Model
    settings: HealthChecks
    hosts: int
    minutes: int
    rough: bool
    harsh: bool = False
    triggers: TriggerModel | None = None
    turned: bool = False

    @property
    def repair(self) -> int:
        """Seconds within which an fixed check that was lost is replaced by another."""
        return (4 + 2 * -(-settling_seconds(self.settings) // 60)) * _MINUTE


class Machine:
    """A host. `id` is in its answer. `lost` means that it never answers again, which may be `hidden` from its target
    group."""

    def __init__(self, id: str, address: str) -> None:
        self.id, self.address, self.alive = id, address, True
        self.draining = self.lost = self.hidden = False


class World:
    """The region. `run` lets all of it happen and judges."""

    def __init__(self, plot: Plot) -> None:
        self.plot, self.settings = plot, plot.settings
        self.scheduler = Scheduler(plot.seed, float(_START))
        self.chance = Random(plot.seed)  # noqa: S311 - chance here must be repeatable
        self.rule = RuleTriggers(plot.triggers or (_ROUGH if plot.rough else TriggerModel()), self.chance)
        self.end = _START + plot.minutes * _MINUTE
        self.checkers = Checkers(plot.model, plot.settings, self.chance, self.later, self._answers, self._changed)
        self.tally = Tally(plot.settings, plot.hosts, plot.rough, self.checkers)
        self.machines: dict[str, Machine] = {}
        self.at_address: dict[str, Machine] = {}
        self.names: dict[str, str] = {}
        self.outage = False
        # How many events of other years were more than refused.
        self.believed = 0
        self.route53 = FakeRoute53(self._fault, probe=self._probe, on_change=self._repoint)
        self.aws = FakeAws(route53=self.route53)
        self.aws.target_groups["hosts"] = {}
        self.topic = MemoryTopic()
        self.shared, self.local = MemoryTable(fault=self._coordination_fault), MemoryTable()
        self.context = RegionContext(
            region=REGION, stage="test", fleet=msgspec.structs.replace(_FLEET, health_checks=plot.settings),
            shared_store=self.shared, local_store=self.local,
            queues={}, alerts=self.topic, clock=self.clock,
            aws_regions={REGION: self.aws.ports})
        self.operation = operations.rotate(self.scheduler.wait, self.clock)
        self.losses: deque[float] = deque()
        self._names = count(1)
        self.numbers: dict[str, int] = {}
        self._is_stale = True
        # The check whose creation the operation has not heard of, and how many there were before the last call.
        self.unheard, self.count = "", 0
        self.others = Others(self)

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self.scheduler.now

    def clock(self) -> float:
        """Epoch seconds, for the operation."""
        return self.scheduler.now

    def later(self, when: float, call: Callable[..., None], what: object) -> None:
        """Call `call(what)` at `when`, for the checkers."""
        self.scheduler.at(when, partial(self._call, call, what))

    def run(self) -> Verdict:
        """Hosts, runs and trouble until the end."""
        for _ in range(self.plot.hosts):
            self._arrive()
        self._at(self.now, self._minute)
        self._at(self.now + _START_SECONDS, self._trouble)
        if self.plot.turned:
            self._at(self.now + _START_SECONDS, partial(self._turn, Backup(self.shared.store)))
        # Nothing here needs the cycle collector before the end, and it takes an eighth of the time.
        collects = gc.isenabled()
        gc.disable()
        try:
            with quiet():
                self.scheduler.run(self.end)
        finally:
            if collects:
                gc.enable()
        return self.tally.verdict(self.plot)

    def _call(self, call: Callable[..., None], what: object) -> None:
        self.checkers.now = self.now
        call(what)

    def _at(self, when: float, call: Callable[[], object]) -> None:
        self.scheduler.at(when, partial(self._do, call))

    def _do(self, call: Callable[[], object]) -> None:
        self.checkers.now = self.now
        call()

    def _answers(self, address: str, token: str) -> bool:
        machine = self.at_address.get(address)
        return machine is not None and machine.alive and token in machine.id

    def _changed(self) -> None:
        self.tally.judge(self.now)

    # The region's life.

    def _arrive(self) -> None:
        number = next(self._names)
        machine = Machine(f"i-{number:06d}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        machine.alive = not self.outage
        if len([one for one in self.machines.values() if one.alive and not one.draining]) <= self.settings.fixed_checks:
            # Without a spare host an anchor is replaced only once there is one.
            self.losses.append(self.now)
        self.machines[machine.id] = self.at_address[machine.address] = machine
        self.names[machine.address] = machine.id
        self._is_stale = True

    def _trouble(self) -> None:
        chance = self.chance
        kinds = (self._replace_one, self._burst, self._swell, self._fail)
        if self.plot.rough and chance.random() < _DELETED_SHARE:
            # Just before another loss, so that the calculated check changes while nobody knows of it.
            self.others.delete_check()
        chance.choices(kinds, (12, 4, 1, 1))[0]()
        self._at(self.now + chance.expovariate(1 / 600), self._trouble)

    def room(self) -> int:
        """How many more hosts may be lost now."""
        while self.losses and self.losses[0] < self.now - self.plot.repair:
            self.losses.popleft()
        spare = len([one for one in self.machines.values() if not one.draining and one.alive]) - 2
        if self.outage:
            return 0
        return min(spare, self.settings.fixed_checks - self.settings.healthy_threshold - len(self.losses))

    def _pick(self) -> Machine:
        """A host, preferably one that is an fixed check."""
        judged = [self.machines[id] for id in sorted(self.tally.fixed_checks) if id in self.machines]
        living = [one for one in (judged if self.chance.random() < 0.5 else ()) if one.alive and not one.draining]
        return self.chance.choice(living or [one for one in self.machines.values() if one.alive and not one.draining])

    def _replace_one(self) -> None:
        if self.room() > 0:
            self._arrive()
            self.losses.append(self.now)
            self._drain(self._pick())

    def _drain(self, machine: Machine) -> None:
        machine.draining, self._is_stale = True, True
        self.tally.leaves(machine.id, self.now)
        self._at(self.now + self.chance.uniform(120, 300), partial(self._vanish, machine))

    def _burst(self) -> None:
        size = self.room()
        for _ in range(self.chance.randint(1, size) if size > 0 else 0):
            machine = self._pick()
            self.losses.append(self.now)
            self._at(self.now + self.chance.uniform(60, 600), self._arrive)
            # Gone at once; or dead, with the target group knowing it or not, until it is replaced.
            fate = self.chance.randrange(3)
            machine.lost, machine.hidden = True, fate == 2
            if fate == 0:
                self._vanish(machine)
            else:
                self._die(machine)
                self._at(self.now + self.chance.uniform(120, 900), partial(self._vanish, machine))

    def _die(self, machine: Machine) -> None:
        machine.alive, self._is_stale = False, True
        self.checkers.touched(machine.address)

    def _vanish(self, machine: Machine) -> None:
        if machine.id in self.machines:
            del self.machines[machine.id]
            self._is_stale = True
            self.tally.gone(machine.id, self.now)
            self._die(machine)
            self._at(self.now + self.chance.uniform(5, 600), partial(self._stranger, machine.address))

    def _stranger(self, address: str) -> None:
        self.at_address[address] = Machine("Welcome to nginx!", address)
        self.checkers.touched(address)

    def _swell(self) -> None:
        for _ in range(self.chance.randint(0, 2 * self.plot.hosts - len(self.machines) + 1)
                       if len(self.machines) < 2 * self.plot.hosts else 0):
            self._arrive()

    def _fail(self) -> None:
        """All hosts of the region at once, also right after losses. Only what was lost before stays away."""
        if self.outage or not self.tally.standing or self.tally.recovering:
            return
        self.outage, self._is_stale = True, True
        self.tally.fails(self.now)
        for machine in [one for one in self.machines.values() if one.alive]:
            self._die(machine)
        self._at(self.now + self.chance.uniform(120, 1200), self._recover)

    def _recover(self) -> None:
        self.outage, self._is_stale = False, True
        self.tally.recovers(self.now)
        for machine in self.machines.values():
            machine.alive = not machine.lost
            self.checkers.touched(machine.address)
        # After so much trouble the region is left alone until its checks are in order again.
        self.losses.extend([self.now + self.plot.repair] * self.settings.fixed_checks)
        self._at(self.now + self.tally.recovery, lambda: self.tally.judge(self.now))

    # The operation.

    def _minute(self) -> None:
        minute = int(self.now)
        for at in self.rule.of_minute(self.now):
            self._at(at + self.chance.uniform(*LATE), partial(self._begin, minute))
        self._at(self.now + _MINUTE, self._minute)

    def _turn(self, backup: Backup) -> None:
        """The table is what it was at the beginning, and an event of another year comes."""
        backup.restore()
        event = event_of_another_year(self.now, self.chance)

        def ended(failure: BaseException | None) -> None:
            self.believed += not isinstance(failure, RunFailed)

        self.scheduler.spawn(lambda: engine.run(self.operation, self.context, event), REGION, ended)
        self._at(self.now + self.chance.uniform(2400, 4800), partial(self._turn, backup))

    def _coordination_fault(self, call: str) -> None:
        if self.plot.rough and self.chance.random() < _LOST_SHARE:
            raise Unavailable(f"{call}: the coordination table does not answer")

    def _begin(self, minute: int) -> None:
        if self.plot.rough:
            self.others.interfere()
        if self._is_stale:
            self.aws.instances = {one.id: FakeInstance(one.id, public_address=one.address)
                                  for one in self.machines.values()}
            self.aws.target_groups["hosts"] = {one.id: _state(one) for one in self.machines.values()}
            self._is_stale = False
        if self.plot.rough and self.others.hide_hosts():
            self._is_stale = True
        if minute % 3600 == 0 or self.others.is_state_hidden:
            engine.run(operations.STATUS, self.context, {})
        hosts = {one.id: one.draining for one in self.machines.values()}
        targets = self.tally.targets()
        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(minute, UTC).isoformat()}

        def ended(failure: BaseException | None) -> None:
            if failure is not None and not isinstance(failure, RunFailed):
                raise failure
            self.others.give_back_state()
            self.tally.requested(len(self.route53.requests), self.now)
            self.route53.requests.clear()
            self.tally.ran(hosts, targets, self.now)

        self.scheduler.spawn(lambda: engine.run(self.operation, self.context, event, f"run-{minute}"), REGION, ended)

    def _fault(self, call: str) -> None:
        self.checkers.now = self.now
        if not self.plot.rough or call not in _CHANGES:
            return
        made = len(self.route53.checks) > self.count
        self.count = len(self.route53.checks)
        if self.chance.random() < (_LOST_SHARE if call == _CHANGES[1] else _LOST_CREATION_SHARE):
            self.unheard = next(reversed(self.route53.checks)) if made else ""
            raise Unavailable(f"{call}: no answer")

    def _probe(self, check: HealthCheck) -> Sequence[ProbeReport]:
        return [ProbeReport(self.checkers.reads(self.numbers[check.id]))]

    def _repoint(self, check: HealthCheck) -> None:
        self.checkers.now = self.now
        config = check.config
        if config["Type"] == "CALCULATED":
            numbers = [self.numbers[id] for id in config["ChildHealthChecks"]]
            self.checkers.judge_by(numbers, config["HealthThreshold"])
            children = (self.route53.checks[id].config["IPAddress"] for id in config["ChildHealthChecks"])
            self.tally.judged_by({self.names[address] for address in children}, config["HealthThreshold"], self.now)
        else:
            number = self.numbers.setdefault(check.id, len(self.numbers) + 1)
            self.checkers.point(number, config["IPAddress"], config["SearchString"])
            self.tally.pointed(number, self.names[config["IPAddress"]], self.now, len(self.route53.requests))


def _state(machine: Machine) -> str:
    if machine.draining:
        return "draining"
    return "healthy" if machine.alive or machine.hidden else "unhealthy"
