"""Ninety minutes of one region's tunnels, with its controller as in production and everything else simulated.

The decision and the fences are production's own. `_carry_out` does, step by step, what act.py does, so that a
controller can crash, stall or be overtaken between any two of them. All chance comes from one seed.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.aws.client import Unavailable
from chalicelib.tunnels import decide, fences
from chalicelib.tunnels.config import Tunnels
from chalicelib.tunnels.config_hosts import Hosts, PrimaryRoute
from chalicelib.tunnels.decide import Decision
from chalicelib.tunnels.decide import manual as hand
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import (
    EFFECTS_PK,
    PRIMARY_REFRESH_SECONDS,
    Alert,
    AlertDelivery,
    Command,
    RepairAction,
    TunnelObservation,
    TunnelState,
)
from sandbox.simulation.tunnel_hosts import PeerRegion, SimulatedRegion
from sandbox.simulation.tunnel_judge import MOVED, Checker, SimulationResult
from sandbox.simulation.tunnel_troubles import MASTERS, FaultInjector
from testing.fakes import MemoryTable

_HOSTS = Hosts("gateway", (), "database", (), ways=(PrimaryRoute(MASTERS[1], "gateway", (), "database"),))
_BEGAN = 1_000_000.0
_END = 56


class Scenario(msgspec.Struct, frozen=True):
    """One timeline with its set-up, the intervals (s, 0 is never) of its events, and the share of controller steps that
    go wrong."""

    seed: int
    slots: int = 2
    neighbours: int = 1
    mode: Any = "full"
    minutes: int = 90
    every: float = 240
    rough: float = 0.01


def plot(seed: int) -> Scenario:
    """The timeline of a seed. Most have two members and one peer, and in a third of them the controller never fails."""
    chance = Random(seed * 7919)  # noqa: S311 - chance here must be repeatable
    return Scenario(seed, chance.choices((2, 3, 4), (6, 3, 1))[0], chance.choices((0, 1, 2), (2, 5, 3))[0],
                chance.choices(("full", "drain", "observe"), (18, 1, 1))[0], rough=chance.choice((0, 0.01, 0.03)))


class Healer:
    """One invocation of the controller's Lambda, with its own idea of the time."""

    def __init__(self, name: str, skew: float, end: float) -> None:
        self.name, self.skew, self.end, self.gone, self.stalled = name, skew, end, False, 0.0


class World:
    """The region. `run` lets all of it happen and judges."""

    def __init__(self, plot: Scenario) -> None:
        self.plot, self.settings = plot, Tunnels(master=MASTERS[0], slots=plot.slots, mode=plot.mode, hosts=_HOSTS)
        self.chance = Random(plot.seed)  # noqa: S311 - chance here must be repeatable
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self.street = SimulatedRegion(self.chance, self.at, plot.slots, MASTERS[0])
        self.street.now = _BEGAN
        self.judge = Checker(self.street, plot.mode, plot.slots)
        self.memory, self.version, self.written = TunnelState(), 0, 0.0
        self.claims = MemoryTable(fault=self._ledger)
        self.neighbours = [PeerRegion(self.street, self.chance.uniform(-1, 1), every)
                           for every, _ in zip((30, 5), range(plot.neighbours), strict=False)]
        self.frozen: tuple[float, dict[str, ProbeResult]] = (0.0, {})
        self.away = 0.0
        self.crashes = 0
        self.troubles = FaultInjector(self)

    def at(self, when: float, call: Callable[[Any], None], what: Any = None) -> None:
        """Call `call(what)` at `when`."""
        heapq.heappush(self._queue, (when, next(self._order), call, what))

    def run(self) -> SimulationResult:
        """Trouble, rounds and minutes until the end."""
        end, queue, street = _BEGAN + self.plot.minutes * 60, self._queue, self.street
        self.at(_BEGAN, self._minute)
        self.troubles.begin()
        while queue and queue[0][0] < end:
            street.now, _, call, what = heapq.heappop(queue)
            call(what)
        judge = self.judge
        return SimulationResult(self.plot.seed, tuple(judge.harm), dict(judge.acts), dict(judge.pages), self.crashes,
                        judge.rounds, self.troubles.count, judge.healed, judge.seconds_out)

    # The healer's life.

    def _minute(self, _: object) -> None:
        now, luck = self.street.now, self.chance.random()
        self.at(now + 60, self._minute)
        if now < self.away or luck < self.plot.rough:
            return
        self._invoke(now)
        if luck > 1 - 4 * self.plot.rough:
            # Delivered twice, or the lease was taken for lost.
            self._invoke(now + self.chance.uniform(0, 20))

    def _invoke(self, minute: float) -> None:
        chance = self.chance
        healer = Healer(f"{minute:.1f}", chance.uniform(-1, 1), minute + _END)
        self.at(max(self.street.now, minute) + chance.uniform(0.3, 2), self._round, healer)

    def _round(self, healer: Healer) -> None:
        now, chance = self.street.now, self.chance
        if healer.gone or now > healer.end:
            return
        self.at(max(now, healer.stalled) + 2, self._round, healer)
        if now < healer.stalled:
            return
        seen = self._look(now + healer.skew)
        decision = decide.decide(seen, f"{healer.name}/{now:.2f}")
        if decision.acts or decision.pages or chance.random() < self.plot.rough:
            self._resume((healer, self._carry_out(healer, seen, decision)))
        else:
            self._remember(seen.version, decision.memory)
        self.judge.round(self.memory)

    def _look(self, at: float) -> TunnelObservation:
        street, (until, old) = self.street, self.frozen
        if street.now < until:
            verdicts = old
        else:
            verdicts = {host.id: ProbeResult(*street.side(host), at, connected_region=street.leads(host))
                        for host in street.hosts.values()}
        commands: dict[str, Command] = {}
        for slot in self.memory.slots:
            if slot.phase == "restarting" and (said := self._command(slot.command)):
                commands[slot.command] = said
        canaries = tuple(neighbour.said for neighbour in self.neighbours)
        return TunnelObservation(
            "here",
            self.settings,
            self.memory,
            street.shown(),
            verdicts,
            at,
            canaries,
            commands,
            self.version,
            (),
            *self._throne(at),
        )

    def _throne(self, at: float) -> tuple[str, float, str]:
        """The wanted state as observe.py reads it, with the fence, the time of the read, and the primary's region."""
        memory, far = self.memory, self.street.far
        if not memory.fenced_primary and at - memory.primary_checked_at < PRIMARY_REFRESH_SECONDS:
            return "", memory.primary_checked_at, memory.primary_region
        return far.master if far.fenced else "", at, far.master

    def _command(self, key: str) -> Command | None:
        """The result of a restart is known only if its command was recorded."""
        claim = self.claims.store.items.get((EFFECTS_PK, key))
        if claim is None or "command" not in claim[0].body:
            return None
        return "failed" if claim[0].body["command"] == "" else self.street.said(key)

    def _remember(self, version: int, memory: TunnelState) -> bool:
        if version != self.version:
            return False
        before, self.memory, self.version, self.written = self.memory, memory, self.version + 1, self.street.now
        if before.slots is not memory.slots:
            self.judge.remembered(before, memory)
        return True

    def hand(self, ask: hand.ManualAction, instance: str) -> bool:
        """Somebody asks for it manually, from a machine with a clock of its own. Whether it was done."""
        person = Healer("hand", self.chance.uniform(-1, 1), 0)
        seen = self._look(self.street.now + person.skew)
        plan = hand.plan(seen, ask, instance)
        if not plan.actions:
            return bool(plan.notes)
        asked = hand.done(self.memory, self.settings, instance, ask, plan.actions[0].details["kind"], seen.at)
        if asked is None or not self._remember(self.version, asked.memory):
            return False
        self.judge.blip(0)
        self._resume((person, self._acts(person, Decision(asked.memory, (asked.act,) if asked.act else ()))))
        return True

    # What act.py does, one step after the other. Each `yield` is a moment (s) in which everything else goes on.

    def _resume(self, what: tuple[Healer, Iterator[float]]) -> None:
        healer, steps = what
        chance, now = self.chance, self.street.now
        wait = next(steps, None)
        if wait is None or healer.gone:
            return
        luck = chance.random()
        if luck < self.plot.rough:
            healer.gone, self.crashes = True, self.crashes + 1
            return
        if luck < 2 * self.plot.rough:
            healer.stalled = now + chance.uniform(1, 60)
        self.at(max(now, healer.stalled) + wait, self._resume, what)

    def _carry_out(self, healer: Healer, seen: TunnelObservation, decision: Decision) -> Iterator[float]:
        chance, rough = self.chance, self.plot.rough
        yield chance.uniform(0.005, 0.3)
        if (chance.random() < rough or fences.is_stale(self._standing(healer, decision.memory))
                or not self._remember(seen.version, decision.memory)):
            return
        # Each fourth answer that is lost is asked for again with the same mark, and the round goes on, maybe twice.
        luck = chance.random()
        if luck < 3 * rough:
            return
        if luck < 6 * rough:
            self.at(self.street.now + chance.uniform(0.1, 4), self._resume, (healer, self._acts(healer, decision)))
        yield from self._acts(healer, decision)

    def _acts(self, healer: Healer, decision: Decision) -> Iterator[float]:
        for act in decision.acts:
            yield self.chance.uniform(0.005, 0.1)
            if fences.refusal(self._standing(healer, decision.memory)) or not self._claimed(act.key, healer):
                continue
            yield self.chance.uniform(0.005, 0.1)
            if not fences.refusal(self._standing(healer, decision.memory)):
                yield from self._call(healer, decision.memory, act)
        for page in decision.pages:
            yield self.chance.uniform(0.005, 0.1)
            if self._claimed(f"{page.key}/{decision.memory.at}", healer):
                yield self.chance.uniform(0.01, 0.3)
                if not fences.is_stale(self._standing(healer, decision.memory)):
                    self._page(page)

    def _claimed(self, key: str, healer: Healer) -> bool:
        try:
            return fences.claim(self.claims, key, self.street.now + healer.skew) is not None
        except Unavailable:
            return False

    def _standing(self, healer: Healer, memory: TunnelState) -> fences.EffectContext:
        return fences.EffectContext(memory.at, self.street.now + healer.skew, self.settings.stale, memory.run_id,
                               self.memory.run_id)

    def _call(self, healer: Healer, memory: TunnelState, act: RepairAction) -> Iterator[float]:
        streak = next((slot.streak for slot in memory.slots if slot.name == act.slot), None)
        if act.reason == hand.BY_HAND or act.reason.startswith(MOVED):
            # Who asks has looked by himself, and where the master is the table says; what was probed may be older.
            streak = None
        overtaken = self.street.now - self.written if self.memory.run_id != memory.run_id else 0.0
        self.judge.called(act, healer.skew, streak.at if streak else act.at, memory.all_down_since, overtaken)
        # What is under way arrives, whatever becomes of the healer; or it is lost.
        takes, luck = self.chance.uniform(0.05, 1.5), self.chance.random()
        answer: list[str] = []
        if luck > 2 * self.plot.rough:
            self.at(self.street.now + takes, self._effect, (act, answer))
        yield takes + 0.01
        if answer and act.kind in ("restart", "repoint") and luck > 3 * self.plot.rough:
            item = self.claims.store.items[EFFECTS_PK, act.key][0]
            self.claims.store.put(replace(item, body=item.body | {"command": "" if answer[0] else act.key}), "", None)

    def _effect(self, what: tuple[RepairAction, list[str]]) -> None:
        act, answer = what
        street, host = self.street, self.street.hosts.get(act.instance)
        if act.kind == "drain":
            answer.append(street.deregister(act.instance))
            if host and not answer[0]:
                self.judge.drained(host, act)
        elif act.kind == "undrain":
            answer.append(street.register(act.instance))
        elif act.kind == "restart":
            answer.append(street.command(act.instance, act.key))
        elif act.kind == "repoint":
            answer.append(street.point(act.instance, act.key, act.to))
        else:
            answer.append(street.terminate(act.instance))

    def _page(self, page: Alert) -> None:
        luck = self.chance.random()
        if luck < self.plot.rough:
            return
        sure = luck > 2 * self.plot.rough
        self.judge.told(page, sure)
        told = self.memory.alerts.get(page.key)
        if sure and told:
            self.memory = replace(self.memory, alerts={**self.memory.alerts, page.key: AlertDelivery(told.at, True)})
            self.version += 1

    def _ledger(self, call: str) -> None:
        if self.chance.random() < self.plot.rough / 2:
            raise Unavailable("the ledger")
