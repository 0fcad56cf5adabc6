"""The faults of a simulated region's tunnels, its primary's side, its peers and its controller, and their frequency."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.simulation.tunnel_hosts import NEVER, Host

if TYPE_CHECKING:
    from sandbox.simulation.tunnels import World

# Nothing happens until all are healthy; a moment's failure of several is one only if all was well for so long.
_QUIET, _CALM = 60, 120
# The regions that have the master in turn, each for so long (s) at least.
MASTERS, _SETTLED = ("far-away-1", "far-away-2"), 900


class FaultInjector:
    """Lets trouble happen to `world` from one seed."""

    def __init__(self, world: "World") -> None:
        self.world, self.street, self.chance, self.count = world, world.street, world.chance, 0
        self._kinds: tuple[tuple[Callable[[], None], int], ...] = (
            (self._one, 40), (self._several, 14), (self._blip, 12), (self._flaps, 8), (self._dies, 8), (self._far, 12),
            (self._swap, 8), (self._blocked, 5), (self._drought, 4), (self._silence, 10), (self._blind, 5),
            (self._frozen, 8), (self._absent, 4), (self._spree, 5), (self._eclipse, 3),
            (self._by_hand, 6), (self._promotion, 4), (self._rebalanced, 2))

    def begin(self) -> None:
        """The first trouble, if there is to be any."""
        if self.world.plot.every:
            self.world.at(self.street.now + _QUIET, self._trouble, None)

    def _trouble(self, _: object) -> None:
        calls, weights = zip(*self._kinds, strict=True)
        self.count += 1
        self.chance.choices(calls, weights)[0]()
        # Half of what happens comes on the heels of something else.
        mean = self.world.plot.every * (0.15 if self.chance.random() < 0.5 else 1.85)
        self.world.at(self.street.now + self.chance.expovariate(1 / mean), self._trouble, None)

    def _hosts(self) -> list[Host]:
        return [host for host in self.street.hosts.values() if host.state == "running"]

    def _break(self, host: Host) -> None:
        chance = self.chance
        fault = chance.choices(("dead", "hung", "blocked"), (5, 4, 1))[0]
        lasts = chance.uniform(3, 90) if chance.random() < 0.35 else NEVER
        self.street.breaks(host, fault, lasts, fault == "blocked" or chance.random() < 0.3)

    def _one(self) -> None:
        if hosts := self._hosts():
            self._break(self.chance.choice(hosts))

    def _several(self) -> None:
        for host in self._hosts():
            if self.chance.random() < 0.8:
                self.world.at(self.street.now + self.chance.uniform(0, 8), self._later, host)

    def _later(self, host: object) -> None:
        if isinstance(host, Host):
            self._break(host)

    def _blip(self) -> None:
        """Several, but not all, fail for a moment. If all was well before, no action is allowed."""
        hosts, now = self._hosts(), self.street.now
        if len(hosts) < 3:
            return self._one()
        lasts, calm = self.chance.uniform(8, 45), self._calm(now)
        for host in hosts[:-1]:
            self.street.breaks(host, "dead", lasts, False)
        if calm:
            self.world.judge.blip(lasts)

    def _calm(self, now: float) -> bool:
        slots, hosts = self.world.memory.slots, self.street.hosts.values()
        healthy = all(slot.phase == "healthy" and now - slot.since > _CALM and slot.streak and slot.streak.up
                      and now - slot.streak.at < 4 for slot in slots)
        return healthy and len(hosts) == len(slots) and not self.world.memory.correlated_failure_since and all(
            self.street.serves(host) and host.target == "registered" and now - host.lost > _CALM for host in hosts)

    def _flaps(self) -> None:
        if not (hosts := self._hosts()):
            return
        host, at = self.chance.choice(hosts), self.street.now
        for _ in range(self.chance.randint(4, 25)):
            self.world.at(at, self._flap, host)
            at += self.chance.uniform(20, 120)

    def _flap(self, host: object) -> None:
        if isinstance(host, Host) and host.state == "running" and not host.faulty(self.street.now):
            self.street.breaks(host, self.chance.choice(("dead", "hung")), self.chance.choice((12, 25, NEVER)), False)

    def _dies(self) -> None:
        if hosts := self._hosts():
            # Whoever dies does not come back: from then on it is no longer several that fail for a moment.
            self.world.judge.blip(0)
            self.street.dies(self.chance.choice(hosts))

    def _swap(self) -> None:
        """One fails. As it comes back, the others fail. A controller that still drains it, drains the last."""
        if len(hosts := self._hosts()) < 2:
            return
        first, *others = self.chance.sample(hosts, len(hosts))
        lasts = self.chance.uniform(4, 12)
        self.street.breaks(first, "dead", lasts, False)
        for host in others:
            self.world.at(self.street.now + self.chance.uniform(1, lasts), self._later, host)

    def _far(self) -> None:
        if not self.street.far.up:
            return
        lasts = self.chance.choice((self.chance.uniform(5, 60), self.chance.uniform(60, 900),
                                    self.chance.uniform(60, 2400)))
        if self.chance.random() < 0.4:
            # What takes the far side away takes the canaries, too, right after their last good word.
            for neighbour in self.world.neighbours:
                neighbour.tell()
                neighbour.silent = self.street.now + self.chance.uniform(30, 900)
        self.fall(self.chance.choice(("far", "local", "ambiguous")))
        self.world.at(self.street.now + lasts, self.back, None)

    def fall(self, side: object) -> None:
        """The primary's side goes down, and looks like `side`. Other regions notice."""
        self.street.falls(str(side))
        self._spread()

    def _eclipse(self) -> None:
        """All of ours break, so that they must be replaced. While that goes on, peer reports and primary's side are
        lost."""
        for host in self._hosts():
            self.street.breaks(host, "dead", NEVER, True)
        self.world.at(self.street.now + self.chance.uniform(40, 90), lambda _: self._silence(), None)
        self.world.at(self.street.now + self.chance.uniform(90, 140), lambda _: self._far(), None)

    def _rebalanced(self) -> None:
        """Auto Scaling launches a host in another zone, and some time later takes another away."""
        if len(self.street.hosts) == self.street.wanted:
            self.street.joins()
            self.world.at(self.street.now + self.chance.uniform(60, 900), lambda _: self._dies(), None)

    def _promotion(self) -> None:
        """The primary is closed, and soon another region has it. The former one may go on answering, or be gone."""
        far, now = self.street.far, self.street.now
        if far.fenced or now - far.moved < _SETTLED:
            return
        self.world.judge.blip(0)
        self.street.fences()
        self.world.at(now + self.chance.uniform(5, 60), self._promoted, None)

    def _promoted(self, _: object) -> None:
        far = self.street.far
        former = far.up and self.chance.random() < 0.7
        self.street.moves(next(name for name in MASTERS if name != far.master), former)
        self.world.judge.blip(0)
        for neighbour in self.world.neighbours:
            self.world.at(self.street.now + self.chance.uniform(2, 60), neighbour.follows, None)

    def back(self, _: object) -> None:
        """It returns."""
        self.street.returns()
        self._spread()

    def _spread(self) -> None:
        for neighbour in self.world.neighbours:
            neighbour.changed()

    def _blocked(self) -> None:
        """The primary's side refuses all of ours, and nobody else."""
        lasts = self.chance.uniform(60, 1200)
        for host in self._hosts():
            self.street.breaks(host, "blocked", lasts, True)

    def _drought(self) -> None:
        self.street.drought = self.street.now + self.chance.uniform(300, 2400)

    def _silence(self) -> None:
        """A peer is lost, and its last report stays."""
        for neighbour in self.world.neighbours:
            neighbour.silent = self.street.now + self.chance.uniform(60, 1500)

    def _blind(self) -> None:
        """Another region's own tunnels are down."""
        for neighbour in self.world.neighbours[:1]:
            neighbour.blind = self.street.now + self.chance.uniform(60, 600)
            neighbour.changed()

    def _frozen(self) -> None:
        """For some time the controller sees nothing but old results."""
        now = self.street.now
        old = self.world._look(now).verdicts
        self.world.frozen = (now + self.chance.uniform(15, 120), dict(old))

    def _absent(self) -> None:
        """No controller for some minutes."""
        self.world.away = self.street.now + self.chance.uniform(60, 600)

    def _by_hand(self) -> None:
        """Somebody takes one out, and lets it in again. Or has it replaced."""
        if hosts := self._hosts():
            host = self.chance.choice(hosts)
            if self.chance.random() < 0.3:
                self.world.hand("replace", host.id)
            elif self.world.hand("drain", host.id):
                self.world.at(self.street.now + self.chance.uniform(5, 1200), self._let_in, host)

    def _let_in(self, host: object) -> None:
        if isinstance(host, Host) and host.id in self.street.hosts and not self.world.hand("undrain", host.id):
            self.world.at(self.street.now + 30, self._let_in, host)

    def _spree(self) -> None:
        """A restarted host breaks again. This tests budgets and cooldowns."""
        now = self.street.now
        for number in range(self.chance.randint(5, 14)):
            self.world.at(now + number * self.chance.uniform(40, 150), lambda _: self._one(), None)
