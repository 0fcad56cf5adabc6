"""The faults of a simulated region's tunnels, its primary, other regions and its controller, and their frequency."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from chalicelib.aws.store import Item
from simulation.tunnels.region import NEVER, PRIMARIES, PRIMARY_KEY, Host
from simulation.turning import WRONG_SECONDS, Backup

if TYPE_CHECKING:
    from simulation.tunnels.world import World

# Nothing happens until all are healthy; a moment's failure of several is one only if all was well for so long (s).
_QUIET, _CALM = 60, 120
_CALLS = ("elb register", "elb deregister", "elb targets", "ec2 instances", "autoscaling members",
          "autoscaling terminate", "ssm send_command", "ssm put_parameter", "ssm invocation")
# Each region has the primary for so long (s) at least.
_SETTLED = 900


class FaultInjector:
    """Lets faults happen to `world` from one seed."""

    def __init__(self, world: "World") -> None:
        self.world, self.region, self.count = world, world.region, 0
        self.scheduler, self.chance = world.scheduler, world.scheduler.chance
        self._kinds: tuple[tuple[Callable[[], None], int], ...] = (
            (self._one, 40), (self._several, 14), (self._brief, 12), (self._flaps, 8), (self._dies, 8),
            (self._primary, 12), (self._swap, 8), (self._blocked, 5), (self._no_capacity, 4), (self._silence, 10),
            (self._peers_blind, 5), (self._frozen, 8), (self._absent, 4), (self._spree, 5), (self._eclipse, 3),
            (self.manual, 6), (self._promotion, 4), (self._rebalanced, 2), (self._denied, 3))
        self._backup: Backup | None = None

    def begin(self) -> None:
        """The first fault, if there is to be any."""
        if self.world.scenario.every:
            self.after(_QUIET, self._fault)
        if self.world.scenario.turned:
            self.after(self.chance.uniform(600, 1200), self._move_and_restore)
            self.after(self.chance.uniform(600, 3600), self._wrong_clock)

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Call `call` in so many seconds."""
        self.scheduler.at(self.scheduler.now + seconds, call)

    def _fault(self) -> None:
        calls, weights = zip(*self._kinds, strict=True)
        self.count += 1
        self.chance.choices(calls, weights)[0]()
        # Half of what happens comes on the heels of something else.
        mean = self.world.scenario.every * (0.15 if self.chance.random() < 0.5 else 1.85)
        self.after(self.chance.expovariate(1 / mean), self._fault)

    def _hosts(self) -> list[Host]:
        return [host for host in self.region.hosts.values() if host.running]

    def _break(self, host: Host) -> None:
        chance = self.chance
        fault = chance.choices(("dead", "hung", "blocked"), (5, 4, 1))[0]
        lasts = chance.uniform(3, 90) if chance.random() < 0.35 else NEVER
        self.region.break_host(host, fault, lasts, fault == "blocked" or chance.random() < 0.3)

    def _one(self) -> None:
        if hosts := self._hosts():
            self._break(self.chance.choice(hosts))

    def _several(self) -> None:
        for host in self._hosts():
            if self.chance.random() < 0.8:
                self.after(self.chance.uniform(0, 8), partial(self._break, host))

    def _brief(self) -> None:
        """Several, but not all, fail for a moment. If all was well before, no action is allowed."""
        hosts = self._hosts()
        if len(hosts) < 3:
            return self._one()
        lasts, calm = self.chance.uniform(8, 45), self._calm()
        for host in hosts[:-1]:
            self.region.break_host(host, "dead", lasts, False)
        if calm:
            self.world.checker.brief(lasts)

    def _calm(self) -> bool:
        """All is well, and has been for some time, as far as world and product can tell."""
        now, state, hosts = self.region.now, self.world.checker.state, self.region.hosts.values()
        if not state or state["correlated_failure_since"] or len(hosts) != len(state["members"]):
            return False
        healthy = all(member["phase"] == "healthy" and now - member["since"] > _CALM and member["streak"]
                      and member["streak"]["up"] and now - member["streak"]["at"] < 4 for member in state["members"])
        return healthy and all(self.region.serves(host) and self.region.registered(host)
                               and now - host.served_until > _CALM for host in hosts)

    def _flaps(self) -> None:
        if not (hosts := self._hosts()):
            return
        host, after = self.chance.choice(hosts), 0.0
        for _ in range(self.chance.randint(4, 25)):
            self.after(after, partial(self._flap, host))
            after += self.chance.uniform(20, 120)

    def _flap(self, host: Host) -> None:
        if host.running and not self.region.faulty(host):
            self.region.break_host(host, self.chance.choice(("dead", "hung")), self.chance.choice((12, 25, NEVER)),
                                   False)

    def _dies(self) -> None:
        if hosts := self._hosts():
            # Who dies does not come back: from then on it is no longer several that fail for a moment.
            self.world.checker.brief(0)
            self.region.lose_host(self.chance.choice(hosts))

    def _swap(self) -> None:
        """One fails. As it comes back, the others fail. A controller that still drains it, drains the last."""
        if len(hosts := self._hosts()) < 2:
            return
        first, *others = self.chance.sample(hosts, len(hosts))
        lasts = self.chance.uniform(4, 12)
        self.region.break_host(first, "dead", lasts, False)
        for host in others:
            self.after(self.chance.uniform(1, lasts), partial(self._break, host))

    def _primary(self) -> None:
        if not self.region.primary.up:
            return
        lasts = self.chance.choice((self.chance.uniform(5, 60), self.chance.uniform(60, 900),
                                    self.chance.uniform(60, 2400)))
        if self.chance.random() < 0.4:
            # What takes the primary away takes other regions' reports, too, right after their last good word.
            for peer in self.world.peers:
                peer.tell()
                peer.silent_until = self.region.now + self.chance.uniform(30, 900)
        self.primary_fails(self.chance.choice(("far", "local", "ambiguous")))
        self.after(lasts, self.primary_returns)

    def primary_fails(self, looks_like: str) -> None:
        """The primary goes down. Other regions notice."""
        self.region.primary_fails(looks_like)
        self._spread()

    def primary_returns(self) -> None:
        """It is there again."""
        self.region.primary_returns()
        self._spread()

    def _spread(self) -> None:
        for peer in self.world.peers:
            peer.changed()

    def _eclipse(self) -> None:
        """All of ours break, so that they must be replaced. While that goes on, peers and primary are lost."""
        for host in self._hosts():
            self.region.break_host(host, "dead", NEVER, True)
        self.after(self.chance.uniform(40, 90), self._silence)
        self.after(self.chance.uniform(90, 140), self._primary)

    def _rebalanced(self) -> None:
        """Auto Scaling launches a host in another zone, and some time later takes another away."""
        if len(self.region.hosts) == self.region.wanted:
            self.region.add_host()
            self.after(self.chance.uniform(60, 900), self._dies)

    def _promotion(self) -> None:
        """The primary is closed, and soon another region has it. The former one may go on answering, or be gone."""
        primary = self.region.primary
        if primary.fenced or self.region.now - primary.moved_at < _SETTLED or self.world.scenario.tagged:
            return
        self.world.checker.brief(0)
        self.region.fence_primary()
        self.after(self.chance.uniform(5, 60), self.promoted)

    def promoted(self) -> None:
        """Another region has the primary."""
        primary = self.region.primary
        former_up = primary.up and self.chance.random() < 0.7
        self.region.move_primary(next(name for name in PRIMARIES if name != primary.region), former_up)
        self.world.checker.brief(0)
        # Now and then the new primary fails while other regions still go to the former one, and report that up.
        late = former_up and self.chance.random() < 0.4
        for peer in self.world.peers:
            self.after(self.chance.uniform(150, 400) if late else self.chance.uniform(2, 60), peer.follow)
        if late:
            self.after(self.chance.uniform(50, 100), self._primary)

    def _move_and_restore(self) -> None:
        """The primary moves, and minutes later the coordination table is what it was before. People put that right."""
        self._backup = Backup(self.world.shared)
        self._promotion()
        self.after(self.chance.uniform(240, 400), self._restore)
        self.after(self.chance.uniform(1500, 2400), self._move_and_restore)

    def _restore(self) -> None:
        if self._backup is None or self.region.primary.fenced:
            return
        newest = self.world.shared.items.get(PRIMARY_KEY)
        self._backup.restore()
        for peer in self.world.peers:
            peer.tell()
        if newest:
            self.after(self.chance.uniform(200, 600), partial(self._put_back, newest[0]))

    def _put_back(self, newest: Item) -> None:
        found = self.world.shared.items.get(PRIMARY_KEY)
        if found is None or found[0].version < newest.version:
            self.world.shared.put(newest, "", None)

    def _wrong_clock(self) -> None:
        """The clocks of the region's Lambdas are an hour ahead or behind for some minutes."""
        self.world.wrong_by = self.chance.choice((-1, 1)) * WRONG_SECONDS
        self.world.wrong_until = self.region.now + self.chance.uniform(60, 600)

    def _blocked(self) -> None:
        """The primary refuses all of ours, and nobody else."""
        lasts = self.chance.uniform(60, 1200)
        for host in self._hosts():
            self.region.break_host(host, "blocked", lasts, True)

    def _no_capacity(self) -> None:
        self.region.no_capacity_until = self.region.now + self.chance.uniform(300, 2400)

    def _denied(self) -> None:
        """Somebody has broken the Lambda's policy, and soon mends it."""
        self.world.deny(self.chance.choice(_CALLS), self.chance.uniform(10, 200))

    def _silence(self) -> None:
        """Other regions' reports are lost: the last ones stay."""
        for peer in self.world.peers:
            peer.silent_until = self.region.now + self.chance.uniform(60, 1500)

    def _peers_blind(self) -> None:
        """Another region's own tunnels are down."""
        for peer in self.world.peers[:1]:
            peer.down_until = self.region.now + self.chance.uniform(60, 600)
            peer.changed()

    def _frozen(self) -> None:
        """For some time the controller sees nothing but old answers of its probes."""
        self.world.freeze_probes(self.chance.uniform(15, 120))

    def _absent(self) -> None:
        """No controller for some minutes. The running one dies."""
        self.world.absent(self.chance.uniform(60, 600))

    def manual(self) -> None:
        """Somebody takes one out, and lets it in again. Or has it replaced."""
        if hosts := self._hosts():
            host = self.chance.choice(hosts)
            if self.chance.random() < 0.3:
                self.world.manual("replace", host.id)
            else:
                let_in = partial(self.after, self.chance.uniform(5, 1200), partial(self._let_in, host))
                self.world.manual("drain", host.id, done=let_in)

    def _let_in(self, host: Host) -> None:
        if host.id in self.region.hosts:
            again = partial(self.after, 30, partial(self._let_in, host))
            self.world.manual("undrain", host.id, failed=again)

    def _spree(self) -> None:
        """A restarted host breaks again. This tests budgets and cooldowns."""
        for number in range(self.chance.randint(5, 14)):
            self.after(number * self.chance.uniform(40, 150), self._one)
