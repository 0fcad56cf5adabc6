"""The faults of a simulated fleet of databases, and the people who look after it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from chalicelib.aws.store import Item
from simulation.turning import WRONG_SECONDS, Backup, event_of_another_year
from testing.databases import FakeServer

if TYPE_CHECKING:
    from simulation.databases.world import World

_PRIMARY_KEY = ("primary", "current")
_BODIES: tuple[dict[str, Any], ...] = (
    {}, {"region": "mars", "minute": "three", "at": 1.0}, {"schema": 99, "run_id": "newer", "shards": {"at": 1}},
    {"schema": 1, "run_id": "x", "region": 7, "minute": [], "at": "x", "groups": 3},
    {"schema": 1, "run_id": "x", "lumps": "x" * 50_000},
)
# Errors that pass by themselves, of either thread, and those of the SQL thread that are about data.
_PASSING = {"IO": (0, 2003, 2013), "SQL": (0, 1205, 1213)}
_ABOUT_DATA = (1062, 1032, 1452)


class FaultInjector:
    """Brings faults upon a world, and people who ask for promotions and make good what only they can."""

    def __init__(self, world: "World") -> None:
        self.world, self.chance = world, world.chance
        self.count = 0
        self._away: dict[str, float] = {}
        self._ambushed: set[str] = set()
        self._backups: list[Backup] = []
        self._faults: list[tuple[Callable[[], None], int]] = [
            (self.kill, 5), (self.hang, 5), (self.ambush, 5), (self.stop_thread, 10), (self.poison, 3), (self.cut, 5),
            (self.sever, 5), (self.silence, 5), (self.lambdas_fail, 2), (self.promote, 8), (self.promote_cut, 3),
            (self.force, 3), (self.fence, 1), (self.tune, 2), (self.garbage, 4), (self.restore_table, 2)]

    def begin(self) -> None:
        """Faults from the fifth minute on, and people from the first."""
        self.after(30, self._people)
        self.after(600, self._ask_status)
        if self.world.scenario.every:
            self.after(300, self._next)
        if self.world.scenario.turned:
            self.after(600, self._back_up)
            self.after(self.chance.uniform(300, 1200), self._wrong_clock)
            self.after(self.chance.uniform(60, 300), self._strange_event)

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Do it then."""
        self.world.scheduler.at(self.world.now + seconds, call)

    def is_away(self, thing: str) -> bool:
        """Whether a table or a topic does not answer in its region."""
        return self.world.now < self._away.get(thing, 0)

    def _next(self) -> None:
        self.count += 1
        faults = [fault for fault, _ in self._faults]
        self.chance.choices(faults, [weight for _, weight in self._faults])[0]()
        self.after(self.chance.expovariate(1 / self.world.scenario.every), self._next)

    def _one(self) -> FakeServer:
        return self.world.servers.servers[self.chance.choice(self.world.regions)]

    @property
    def _primary(self) -> FakeServer | None:
        return self.world.servers.servers.get(str(self.world.primary.get("region")))

    # Servers and networks.

    def kill(self, server: FakeServer | None = None, seconds: float = 0) -> None:
        """A server is gone, and comes back as it is configured."""
        server = server or self._one()
        server.alive = False
        self.world.checker.down(server)
        self.after(seconds or self.chance.uniform(20, 900), partial(self._boot, server))

    def _boot(self, server: FakeServer) -> None:
        if not server.alive:
            self.world.checker.up(server)
            server.restart()

    def hang(self, server: FakeServer | None = None, seconds: float = 0) -> None:
        """A server gives no answers, until it thaws with all its state, or is started anew."""
        server = server or self._one()
        server.hung = True
        self.world.checker.down(server)
        self.after(seconds or self.chance.uniform(20, 900), partial(self._thaw, server))

    def _thaw(self, server: FakeServer) -> None:
        if server.hung:
            server.hung = False
            if server.alive:
                self.world.checker.up(server)

    def ambush(self) -> None:
        """A server dies or hangs in the very moment when it is next to change something."""
        self._ambushed.add(self._one().region)

    def asked(self, server: FakeServer, name: str) -> None:
        """A request is about to reach a server."""
        if server.region in self._ambushed and name not in ("read_status", "write_heartbeat"):
            self._ambushed.remove(server.region)
            self.chance.choice((self.kill, self.hang))(server)

    def stop_thread(self, server: FakeServer | None = None) -> None:
        """A replica's threads stop: by a person, for a reason that passes, or again and again."""
        server = server or self._one()
        times = self.chance.choice((1, 1, 1, 12))
        for number in range(times):
            self.after(number * 45, partial(self._stop, server, self.chance.choice(("IO", "SQL", ""))))

    def _stop(self, server: FakeServer, thread: str) -> None:
        if server.source and server.answers and not self.world.primary.get("promotion"):
            server.stop(thread)
            if thread == "IO":
                server.io_errno = self.chance.choice(_PASSING["IO"])
            elif thread == "SQL":
                server.sql_errno = self.chance.choice(_PASSING["SQL"])

    def poison(self, server: FakeServer | None = None) -> None:
        """The next event fails, and would fail again, until people have compared the data."""
        server = server or self._one()
        if server.source and not server.poison:
            server.poison = self.chance.choice(_ABOUT_DATA)
            self.after(self.chance.uniform(240, 900), partial(self._cure, server))

    def _cure(self, server: FakeServer) -> None:
        server.poison = 0
        if server.source and server.sql_errno in _ABOUT_DATA:
            server.sql, server.sql_errno = "running", 0

    def cut(self) -> None:
        """A region does not reach another one, in one direction or both."""
        one, other = self.chance.sample(self.world.regions, 2)
        pairs = {(one, other)} | ({(other, one)} if self.chance.random() < 0.5 else set())
        self._cut(pairs, self.chance.uniform(10, 600))

    def _cut(self, pairs: set[tuple[str, str]], seconds: float) -> None:
        self.world.servers.cut |= pairs
        self.after(seconds, partial(self.world.servers.cut.difference_update, pairs))

    def sever(self) -> None:
        """A region loses all its tunnels. Without tunnels it is as if it lost its network."""
        region, seconds = self.chance.choice(self.world.regions), self.chance.uniform(60, 600)
        pairs = {(region, other) for other in self.world.regions if other != region}
        self.world.severed[region] = (self.world.now, self.world.now + seconds)
        self._cut(pairs, seconds)
        if self.chance.random() < 0.5:
            self.stop_thread(self.world.servers.servers[region])

    # AWS.

    def silence(self) -> None:
        """A region's way to a table, or its topic, is away."""
        thing = f"{self.chance.choice(('shared', 'local', 'topic'))} {self.chance.choice(self.world.regions)}"
        seconds = self.chance.uniform(5, 400)
        self._away[thing] = self.world.now + seconds
        self.world.checker.disturbed(thing.split()[1], seconds)

    def lambdas_fail(self) -> None:
        """No Lambda of a region runs on schedule."""
        region, seconds = self.chance.choice(self.world.regions), self.chance.uniform(60, 400)
        self.world.absent[region] = self.world.now + seconds
        self.world.checker.disturbed(region, seconds)

    def garbage(self) -> None:
        """An item has a body that nobody can read. People repair those that the product does not replace by itself."""
        world, region, body = self.world, self.chance.choice(self.world.regions), self.chance.choice(_BODIES)
        name, key = self.chance.choice([
            ("shared", _PRIMARY_KEY), ("shared", ("databases", region)), (region, ("databases", "watch")),
            (region, ("databases", "heal")), (region, ("alerts", "databases.watch")),
            (region, ("alerts", "databases.heal")), (region, ("readiness", "database"))])
        seconds = self.chance.uniform(60, 600)
        world.checker.forgot(region if name == region else "", seconds if key == _PRIMARY_KEY else 0, key)
        world.put(name, key, body)
        if key == _PRIMARY_KEY:
            self.after(seconds, partial(self._put_back, world.checker.records[-1], body))
        elif key[1] == "heal":
            self.after(seconds, partial(world.put, name, key, {"schema": 1, "run_id": "person", "minute": 0}))
            world.checker.disturbed(region, seconds)

    def _has_seen(self, region: str, good: Item) -> bool:
        return self.world.local(region, ("databases", "watch")).get("primary_version") == good.version

    def _put_back(self, good: Item, bad: Mapping[str, Any]) -> None:
        """Somebody puts the last good record back as it was."""
        if self.world.primary == bad:
            self.world.put("shared", _PRIMARY_KEY, good.body, good.version)

    def restore_table(self) -> None:
        """The coordination table is restored, and the primary's record is an earlier one, of the same term or not.

        People put it back. To restore a table takes minutes. By then each region's watch has seen the record.
        """
        *earlier, good = self.world.checker.records
        if not earlier or good.body["promotion"] or not all(
                self._has_seen(region, good) for region in self.world.regions):
            return
        old = self.chance.choice(earlier)
        seconds = self.chance.uniform(120, 600)
        self.world.checker.forgot("", seconds, _PRIMARY_KEY)
        self.world.put("shared", _PRIMARY_KEY, old.body, old.version)
        self.after(seconds, partial(self._put_back, good, self.world.primary))

    # Time turns.

    def _back_up(self) -> None:
        """Each ten minutes somebody makes a backup, and now and then one is restored. People put the record right."""
        self.after(600, self._back_up)
        good, world = self.world.checker.records[-1], self.world
        known = good.version == 0 or all(self._has_seen(region, good) for region in world.regions)
        if self._backups and known and not good.body["promotion"] and self.chance.random() < 0.7:
            seconds = self.chance.uniform(120, 500)
            world.checker.forgot("", seconds, _PRIMARY_KEY)
            self.chance.choice(self._backups).restore()
            if good.version:
                self.after(seconds, partial(self._put_back, good, world.primary))
        self._backups.append(Backup(world.shared))

    def _wrong_clock(self) -> None:
        """The clocks of a region's Lambdas are an hour ahead or behind for some minutes."""
        region, seconds = self.chance.choice(self.world.regions), self.chance.uniform(60, 500)
        self.world.wrong_by[region] = self.chance.choice((-1, 1)) * WRONG_SECONDS
        self.world.checker.wrong_clock(region, seconds)
        self.after(seconds, partial(self._right_clock, region))
        self.after(self.chance.uniform(1200, 1800), self._wrong_clock)

    def _right_clock(self, region: str) -> None:
        self.world.wrong_by[region] = 0.0
        self.world.checker.right_clock(region)

    def _strange_event(self) -> None:
        """The event of another year comes to Lambdas with right clocks."""
        region, operation = self.chance.choice(self.world.regions), self.chance.choice(("watch", "heal"))
        if not self.world.wrong_by.get(region):
            event = event_of_another_year(self.world.now, self.chance)
            self.world.invoke(operation, region, event, strange=True)
        self.after(self.chance.expovariate(1 / 300), self._strange_event)

    # People.

    def promote(self, to: str | None = None, force: str = "") -> None:
        """Somebody promotes a replica, at times from two regions at once, and goes on until it is done or refused."""
        to = self.chance.choice(("", *self.world.regions)) if to is None else to
        for copy in range(2 if self.chance.random() < 0.2 else 1):
            where = self.chance.choice(self.world.regions)
            other = self.chance.choice((to, "", *self.world.regions)) if copy else to
            self.after(copy * self.chance.uniform(0, 10), partial(self._promote, where, other, force, 6))

    def promote_cut(self) -> None:
        """Somebody promotes a replica that has been cut off from the primary for a while."""
        primary = self._primary
        if primary:
            to = self.chance.choice([region for region in self.world.regions if region != primary.region])
            self._cut({(to, primary.region)}, self.chance.uniform(60, 300))
            self.after(self.chance.uniform(5, 60), partial(self.promote, to))

    def _promote(self, where: str, to: str, force: str, tries: int) -> None:
        event: dict[str, Any] = {"apply": True, "region": to}
        if force:
            self.world.checker.forced(to)
            event["force"] = force

        def ended(answer: Mapping[str, Any] | None) -> None:
            if tries and (answer is None or answer["status"] in ("later", "failed")):
                again = self.chance.choice(self.world.regions)
                # Whoever died may have claimed the term: the next run goes on with that.
                self.after(self.chance.uniform(5, 60), partial(
                    self._promote, again, "" if self.world.primary.get("promotion") else to, force, tries - 1))

        self.world.invoke("promote", where, event, ended)

    def force(self) -> None:
        """The primary is gone for good as far as people know, and they accept the loss."""
        server = self._primary
        if server is None:
            return
        (self.kill if self.chance.random() < 0.5 else self.hang)(server, self.chance.uniform(400, 1500))
        self.after(200, lambda: self.promote("", "burnt down") if not server.answers else None)

    def fence(self) -> None:
        """Somebody fences the primary in its own region, and promotes another one."""
        server = self._primary
        if server:
            self.world.invoke("fence", server.region, {"apply": True})
            self.after(90, self.promote)

    def tune(self) -> None:
        """A replica has slow settings, and somebody tunes it."""
        server = self._one()
        server.connect_retry = 60
        self.world.invoke("tune", server.region, {"apply": True})

    def _ask_status(self) -> None:
        self.world.invoke("status", self.chance.choice(self.world.regions), {})
        self.after(1200, self._ask_status)

    def _people(self) -> None:
        """Every two minutes: old primaries rejoin, what diverged is made anew, what was left half done is gone on with.
        """
        self.after(120, self._people)
        world, primary, promotion = self.world, self._primary, self.world.primary.get("promotion")
        if promotion:
            if world.now - float(promotion["began"] or world.now) > 200:
                self._promote(self.chance.choice(world.regions), "", "", 2)
            return
        if primary is None or not primary.answers or world.checker.is_confused:
            return
        if primary.read_only and self.chance.random() < 0.7:
            self._promote(self.chance.choice(world.regions), primary.region, "", 2)
            return
        for server in world.servers.servers.values():
            if server is primary or not server.answers or not server.read_only or primary.read_only:
                continue
            diverged = server.io_errno == 1236 or not all(map(primary.has, server.log[-1:]))
            if diverged and self.chance.random() < 0.3:
                server.copy_of(primary)
            elif not server.source and not diverged:
                server.change_source(primary.host, 3306)
