"""One region whose hosts come, drain, die, vanish and leave their addresses to strangers, while the checks rotate.

The decision is production's. The hosts, Route 53 and the calls to it are simulated. The guarantee is that a rotation
never changes the status, and every real outage is detected in time. In smooth worlds, where each minute's turn comes
and each call succeeds, the bounds on gaps and on re-pointing must hold too.

A loss is a host that dies, vanishes or begins to drain. The world never loses more of them at once than the guarantee
allows, within the time that a replacement takes.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import msgspec

from chalicelib.config.fleet import HealthChecks
from chalicelib.health_checks import check_config, decide, state
from chalicelib.health_checks.decide import sampling
from chalicelib.health_checks.state import CheckConfig, Host, RotationObservation, RotationState
from sandbox.simulation.checkers import Checkers, Model
from sandbox.simulation.tally import LATE, Tally, Verdict

_MINUTE = 60
# Before a real outage may begin: every check and the parent must stand.
_START_SECONDS = 1800


class Plot(msgspec.Struct, frozen=True):
    """One world with its set-up. In a `rough` one runs get lost and calls fail. In a `harsh` one as many fixed checks
    as allowed get lost at once, as often as allowed."""

    seed: int
    model: Model
    settings: HealthChecks
    hosts: int
    minutes: int
    rough: bool
    harsh: bool = False

    @property
    def repair(self) -> int:
        """Seconds within which an fixed check that was lost is replaced by another."""
        return (4 + 2 * state.dwell_minutes(self.settings)) * _MINUTE


class Machine:
    """A host. `id` is in its answer. `lost` means that it never answers again, which may be `hidden` from its target
    group."""

    def __init__(self, id: str, address: str) -> None:
        self.id, self.address, self.alive = id, address, True
        self.draining = self.lost = self.hidden = False


class World:
    """The region. `run` lets all of it happen and judges."""

    def __init__(self, plot: Plot) -> None:
        self.plot, self.settings, self.now = plot, plot.settings, 0.0
        self.chance = Random(plot.seed)  # noqa: S311 - chance here must be repeatable
        self.end = plot.minutes * _MINUTE
        self.checkers = Checkers(plot.model, plot.settings, self.chance, self.at, self._answers, self._changed)
        self.tally = Tally(plot.settings, plot.hosts, plot.rough, self.checkers)
        self.memory = RotationState()
        self.machines: dict[str, Machine] = {}
        self.at_address: dict[str, Machine] = {}
        self.outage = False
        self.truth: dict[int, CheckConfig] = {}
        self._hosts: dict[str, Host] | None = None
        self._losses: deque[float] = deque()
        self._names = count(1)
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[Any], None], Any]] = []

    def at(self, when: float, call: Callable[[Any], None], what: Any = None) -> None:
        """Call `call(what)` at `when`."""
        heapq.heappush(self._queue, (when, next(self._order), call, what))

    def run(self) -> Verdict:
        """Hosts, turns and trouble until the end."""
        for _ in range(self.plot.hosts):
            self._arrive()
        self.at(0, self._minute)
        self.at(_START_SECONDS, self._trouble)
        while self._queue and self._queue[0][0] < self.end:
            self.now, _, call, what = heapq.heappop(self._queue)
            self.checkers.now = self.now
            call(what)
        return self.tally.verdict(self.plot)

    def _answers(self, address: str, token: str) -> bool:
        machine = self.at_address.get(address)
        return machine is not None and machine.alive and token in machine.id

    def _changed(self) -> None:
        self.tally.judge(self.now)

    # The region's life.

    def _arrive(self, _: object = None) -> None:
        number = next(self._names)
        machine = Machine(f"i-{number:06d}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        machine.alive = not self.outage
        if len([one for one in self.machines.values() if one.alive and not one.draining]) <= self.settings.anchors:
            # Without a spare host an anchor is replaced only once there is one.
            self._losses.append(self.now)
        self.machines[machine.id] = self.at_address[machine.address] = machine
        self._hosts = None

    def _trouble(self, _: object) -> None:
        chance = self.chance
        kinds = (self._replace_one, self._burst, self._swell, self._fail)
        chance.choices(kinds, (12, 4, 1, 1))[0]()
        self.at(self.now + chance.expovariate(1 / 600), self._trouble)

    def _room(self) -> int:
        """How many more hosts may be lost now."""
        while self._losses and self._losses[0] < self.now - self.plot.repair:
            self._losses.popleft()
        spare = len([one for one in self.machines.values() if not one.draining and one.alive]) - 2
        return min(spare, self.settings.anchors - self.settings.threshold - len(self._losses)) if not self.outage else 0

    def _pick(self) -> Machine:
        """A host, preferably one that is an fixed check."""
        anchors = self.memory.parent.children if self.memory.parent else ()
        ids = [check.host for check in self.memory.checks if check.number in anchors]
        judged = [self.machines[id] for id in ids if id in self.machines]
        living = [one for one in (judged if self.chance.random() < 0.5 else ()) if one.alive and not one.draining]
        return self.chance.choice(living or [one for one in self.machines.values() if one.alive and not one.draining])

    def _replace_one(self) -> None:
        if self._room() > 0:
            self._arrive()
            self._losses.append(self.now)
            self._drain(self._pick())

    def _drain(self, machine: Machine) -> None:
        machine.draining, self._hosts = True, None
        self.tally.leaves(machine.id, self.now)
        self.at(self.now + self.chance.uniform(120, 300), self._vanish, machine)

    def _burst(self) -> None:
        size = self._room()
        for _ in range(self.chance.randint(1, size) if size > 0 else 0):
            machine = self._pick()
            self._losses.append(self.now)
            self.at(self.now + self.chance.uniform(60, 600), self._arrive)
            # Gone at once; or dead, with the target group knowing it or not, until it is replaced.
            fate = self.chance.randrange(3)
            machine.lost, machine.hidden = True, fate == 2
            if fate == 0:
                self._vanish(machine)
            else:
                self._die(machine)
                self.at(self.now + self.chance.uniform(120, 900), self._vanish, machine)

    def _die(self, machine: Machine) -> None:
        machine.alive, self._hosts = False, None
        self.checkers.touched(machine.address)

    def _vanish(self, machine: Machine) -> None:
        if machine.id in self.machines:
            del self.machines[machine.id]
            self._hosts = None
            self.tally.gone(machine.id, self.now)
            self._die(machine)
            self.at(self.now + self.chance.uniform(5, 600), self._stranger, machine.address)

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
        self.outage, self._hosts = True, None
        self.tally.fails(self.now)
        for machine in [one for one in self.machines.values() if one.alive]:
            self._die(machine)
        self.at(self.now + self.chance.uniform(120, 1200), self._recover)

    def _recover(self, _: object) -> None:
        self.outage, self._hosts = False, None
        self.tally.recovers(self.now)
        for machine in self.machines.values():
            machine.alive = not machine.lost
            self.checkers.touched(machine.address)
        # After so much trouble the region is left alone until its checks are in order again.
        self._losses.extend([self.now + self.plot.repair] * self.settings.anchors)
        self.at(self.now + self.tally.recovery, lambda _: self.tally.judge(self.now), None)

    # The turns.

    def _minute(self, _: object) -> None:
        minute = round(self.now / _MINUTE)
        luck, late = self.chance.random(), self.chance.uniform(*LATE)
        if self.plot.rough:
            late = self.chance.uniform(0.5, 50)
        if not self.plot.rough or luck > 0.03:
            self.at(self.now + late, self._turn, minute)
        self.at(self.now + _MINUTE, self._minute)

    def _turn(self, minute: int) -> None:
        if self.memory.minute >= minute and self.memory.run_id:
            return
        self.at(sampling.observe_at(self.memory, self.settings, self._seen_hosts(), self.now), self._decide, minute)

    def _decide(self, minute: int) -> None:
        seen = self._look(minute)
        decision = decide.decide(seen, minute, str(minute))
        self.tally.looked(seen, decision, minute)
        self.memory = decision.memory
        self._act(decision)

    def _look(self, minute: int) -> RotationObservation:
        hosts, memory = self._seen_hosts(), self.memory
        found = {number: self.truth.get(number) for number in sampling.unconfirmed(memory)}
        numbers = sampling.checks_to_read(memory, self.settings, hosts, self.now, minute)
        reads = {number: self.checkers.reads(number) for number in numbers}
        return RotationObservation("sim", self.settings, memory, hosts, self.now, reads, found, len(reads) + len(found))

    def _seen_hosts(self) -> dict[str, Host]:
        if self._hosts is None:
            self._hosts = {one.id: Host(one.id, one.address, _state(one)) for one in self.machines.values()}
        return self._hosts

    def _act(self, decision: decide.Decision) -> None:
        """The same as act.py. Each change is tried once, and confirmed if the answer comes."""
        for move in decision.created:
            if not self._done(move.check.number, lambda move=move: self._point(move.check.number, move.host)):  # type: ignore[misc]
                return
        if decision.parent and not self._done(0, lambda: self._judge_by(decision)):
            return
        for move in decision.moves:
            if not self._done(move.check.number, lambda move=move: self._point(move.check.number, move.host)):  # type: ignore[misc]
                return

    def _done(self, number: int, change: Callable[[], None]) -> bool:
        luck = self.chance.random() if self.plot.rough else 1
        if luck < 0.02:
            return False
        change()
        if luck < 0.04:
            return False
        there = self.truth[number]
        self.memory = state.confirmed(self.memory, number, there.id, there.version, self.now)
        return True

    def _point(self, number: int, host: Host) -> None:
        said = check_config.update(host)
        before = self.truth.get(number, CheckConfig(str(number), 0))
        self.truth[number] = CheckConfig(before.id, before.version + 1, host.id, said["IPAddress"])
        self.checkers.point(number, said["IPAddress"], said["SearchString"])
        self.tally.pointed(number, host.id, self.now)

    def _judge_by(self, decision: decide.Decision) -> None:
        parent = decision.parent
        if parent is not None:
            version = self.truth[0].version + 1 if 0 in self.truth else 1
            self.truth[0] = CheckConfig("0", version, children=tuple(map(str, parent.children)),
                                        threshold=parent.threshold)
            self.checkers.judge_by(parent.children, parent.threshold)
            self.tally.judged_by({check.host for check in decision.memory.checks if check.number in parent.children},
                                 parent.threshold, self.now)


def _state(machine: Machine) -> Any:
    if machine.draining:
        return "draining"
    return "healthy" if machine.alive or machine.hidden else "unhealthy"
