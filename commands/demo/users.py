"""The demo's users in twelve countries, while a region dies, one is evacuated, and a third replaces its hosts."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from chalicelib import geography
from chalicelib.config.declared import Fleet, Region
from chalicelib.geography import Order
from commands.demo.part import LOOK_SECONDS, Outage, Part, Section, patient
from commands.deploy.packaging import Package
from commands.operate.show import plain_table
from sandbox.crowd import COUNTRIES, Crowd
from sandbox.sample_app import ALIAS_ZONE, GROUP, HOSTNAME, PORT, Product
from sandbox.users import PATIENCE_SECONDS, Moment
from sandbox.world import Sandbox

TTL, INTERVAL, FAILURES, HOLD = 10, 10, 3, 60
FIXED, THRESHOLD, ROTATING = 3, 2, 3
# Of an alias to a load balancer: Route 53 developer guide, "Choosing between alias and non-alias records".
ALIAS_TTL = 60
# What docs/health-checks.md promises with checks every 10 s, and how often routing.hold looks.
DETECTION, MINUTE = 40, 60
# The region whose hosts are all replaced has twice as many as judge it: each newcomer is probed before one leaves.
REPLACED_HOSTS, OTHER_HOSTS = FIXED + ROTATING, 4
_DEADLINE_SECONDS = 600
# Route 53 takes few requests, and checks settle slowly.
_APPLY_SECONDS = 4.0


class Fate(msgspec.Struct, frozen=True):
    """The results of one user. They are the seconds without answers after the death, until its own region had it back,
    and in all other time, and the number of failed requests."""

    who: str
    nearest: str
    second: str
    down_seconds: float
    back_after: float | None
    otherwise_down: float
    sent: int
    failed: int


def fates(moments: Sequence[Moment], orders: Mapping[str, Order], outage: Outage, end: float) -> list[Fate]:
    """Every user's who asked anything, by its order of regions."""
    asked = {who: [moment for moment in moments if moment.who == who] for who in orders}
    return [_fate(own, orders[who], outage, end) for who, own in asked.items() if own]


def _fate(own: Sequence[Moment], order: Order, outage: Outage, end: float) -> Fate:
    spans = [(moment.at, later, moment.region) for moment, later in zip(
        own, [*(moment.at for moment in own[1:]), end], strict=True)]
    down = [(start, stop) for start, stop, region in spans if not region]
    # Requests go out every 100 ms, so the first that failed may have been sent that much after the death.
    after = sum(stop - start for start, stop in down if outage.died - 1 <= start < outage.returned)
    back = [start for start, _, region in spans if region == order[0] and start >= outage.returned]
    mine = order[0] == outage.region
    return Fate(own[0].who, order[0], order[1], round(after, 1) if mine else 0.0,
                round(min(back) - outage.returned, 1) if mine and back else None,
                round(sum(stop - start for start, stop in down) - (after if mine else 0.0), 1),
                own[-1].sent, own[-1].failed)


def settled(now: Mapping[str, str], orders: Mapping[str, Order], away: Iterable[str] = ()) -> bool:
    """Whether there are users, and each is answered by the first region of its order that is not away."""
    gone = set(away)
    return bool(orders) and all(now.get(who) == next(region for region in order if region not in gone)
                                for who, order in orders.items())


class Outcome(msgspec.Struct, frozen=True):
    """The results of the users. `down_allowed` and `back_allowed` are what the settings allow at worst, in seconds.

    `None` of `evacuated_after` means that the evacuation did not end.
    """

    users: list[Fate]
    down_allowed: float
    back_allowed: float
    evacuated: str
    evacuated_after: float | None
    replaced: str
    hosts: int
    verdict_changes: int


def declared(fleet: Fleet, product: Product) -> str:
    """The demo's additions to fleet.toml, the product's endpoints and hostname, in the demo's stage alone."""
    regions = "".join(f'[[stages.demo.regions]]\nname = "{region.name}"\nendpoint = {{{_endpoint(region, product)}, '
                      f'bucket = "lamplighter-demo-marks-{region.name}"}}\n' for region in fleet.regions)
    return f"""
{regions}
[stages.demo.routing]
hostname = "{HOSTNAME}"
zone = "{product.zone}"
ttl = "{TTL}s"
check = "tcp"
port = {PORT}
interval = {INTERVAL}
failures = {FAILURES}
hold_down = "{HOLD}s"
preferences = []
demand = {{}}

[stages.demo.health_checks]
target_groups = ["{GROUP}"]
protocol = "http"
port = {PORT}
path = "/"
interval = {INTERVAL}
failures = {FAILURES}
fixed_checks = {FIXED}
healthy_threshold = {THRESHOLD}
rotating_checks = {ROTATING}
"""


def _endpoint(region: Region, product: Product) -> str:
    """In the way that the fleet's own endpoint is declared, over which it is laid."""
    if region.endpoint and region.endpoint.load_balancer:
        return f'load_balancer = "{product.alias(region.name)}", zone = "{ALIAS_ZONE}"'
    return f'addresses = ["{product.entrances()[region.name]}"]'


def product(world: Sandbox, regions: Sequence[str]) -> Product:
    """The customer's hosts in these regions. Not built yet."""
    return Product(world, {region: REPLACED_HOSTS if region == regions[1] else OTHER_HOSTS for region in regions})


class Users(Part):
    """The part of the users. `ready` says that each is answered by its nearest region, before anything dies."""

    def __init__(self, world: Sandbox, package: Package, product: Product, outage: Outage) -> None:
        super().__init__(world, package, "the health checks find out about the hosts")
        self._product, self._outage, self._ready = product, outage, threading.Event()
        self._regions = [region.name for region in package.fleet.regions]
        self._replaced, self._evacuated = self._regions[1], self._regions[-1]
        self._orders = {who: geography.orders(self._regions)[who] for who in COUNTRIES}
        self.crowd = Crowd(world)
        self._evacuated_after: float | None = None
        self._hosts = self._changes = 0

    def ready(self) -> bool:
        """Whether home may die. Also when this part has ended early, so that nobody waits for it."""
        return self._ready.is_set() or self.over.is_set()

    def _run(self) -> None:
        with ThreadPoolExecutor(len(self._regions)) as pool:
            list(pool.map(lambda region: self.invoke("health_checks_rotate", {"apply": True}, region), self._regions))
        self._wait(self._routed, "there are no records", _APPLY_SECONDS)
        with self.crowd:
            self._follow("not every user has its nearest region")
            self._ready.set()
            self.note = "every user is answered by its nearest region"
            self.beside(self._watch)
            replacing = self.beside(self._replace)
            self._outlive(self._outage)
            self._evacuate()
            self.note = f"the last hosts of {self._replaced} are replaced"
            replacing.join(_DEADLINE_SECONDS)

    def _routed(self) -> bool:
        answer = self.invoke("routing_apply", {"apply": True}, self._replaced)
        return bool(answer.get("message") == "nothing to do")

    def _outlive(self, outage: Outage) -> None:
        home = outage.region
        outage.killed.wait()
        self.note = f"{home} is dead: its users wait for the health checks, then for their resolvers"
        self._follow("not every user has its second region", home)
        self.note = f"{home}'s users are answered by their second closest region"
        outage.revived.wait()
        self.note = f"{home} is back; its users follow when it has been quiet for {HOLD} s"
        self._follow(f"{home} did not get all its users back")

    def _evacuate(self) -> None:
        began, away = time.time(), self._evacuated
        self.note = f"{away} is evacuated manually"
        event = {"region": away, "reason": "the demo", "apply": True}
        self.invoke("routing_evacuate", event, self._replaced)
        if self._follow("not every user has moved", away):
            self._evacuated_after = round(time.time() - began, 1)
        self.note = f"{away} has no users; it is restored"
        self.invoke("routing_restore", event, self._replaced)
        self._follow(f"{away} did not get all its users back")
        self.note = f"{away} has its users back"

    def _replace(self) -> None:
        """Every host by a new one, one after the other, each only when it judges the region no more."""
        fixed = self._fixed()
        for old in sorted(self._product.ids(self._replaced), key=lambda id: id in fixed):
            self._product.add(self._replaced)
            self._product.drain(self._replaced, [old])
            if not patient(lambda host=old: host not in self._fixed(), _DEADLINE_SECONDS):  # type: ignore[misc]
                self.failures.append(f"{old} kept a fixed check of {self._replaced}")
                return
            self._product.terminate(self._replaced, [old])
            self._hosts += 1

    def _fixed(self) -> set[str]:
        report = self.invoke("health_checks_status", {}, self._replaced)["plan"]["report"]
        return {check["host"] for check in report["checks"] if check["as"] == "fixed"}

    def _watch(self) -> None:
        """Counts how often Route 53 changes its mind about the region whose hosts are replaced."""
        report = self.invoke("health_checks_status", {}, self._replaced)["plan"]["report"]
        last = True
        while not self.over.wait(LOOK_SECONDS):
            now = self.world.healthy()[report["parent"]]
            self._changes += now != last
            last = now

    def _follow(self, otherwise: str, *away: str) -> bool:
        """Waits until each user is answered by its nearest region that is not `away`. Whether that came about."""
        return self._wait(lambda: settled(self.crowd.now(), self._orders, away), otherwise)

    def _wait(self, done: Callable[[], bool], otherwise: str, look: float = LOOK_SECONDS) -> bool:
        if not (found := patient(done, _DEADLINE_SECONDS, look)):
            self.failures.append(f"{otherwise} after {_DEADLINE_SECONDS} s")
        return found

    def _section(self) -> Section:
        aliased = any(region.endpoint and region.endpoint.load_balancer for region in self.package.fleet.regions)
        ttl = ALIAS_TTL if aliased else TTL
        found = Outcome(
            fates(self.crowd.moments, self._orders, self._outage, time.time()), DETECTION + ttl + PATIENCE_SECONDS,
            2 * MINUTE + DETECTION + ttl, self._evacuated, self._evacuated_after, self._replaced, self._hosts,
            self._changes)
        table = plain_table("user", "nearest", "second", "no answer", "back after", "else", "failed")
        for user in found.users:
            dead = user.nearest == self._outage.region
            back = "" if user.back_after is None else f"{user.back_after:.0f} of {found.back_allowed:.0f}"
            table.add_row(user.who, user.nearest, user.second, f"{user.down_seconds:.1f} of {found.down_allowed:.0f}"
                          if dead else "", back, f"{user.otherwise_down:.1f}", f"{user.failed:,}")
        sentences = [
            "In seconds, of what is allowed at worst. Else: without an answer at any other time.",
            f"{found.hosts} of {found.replaced}'s hosts were replaced, one by one. Route 53's status of it changed "
            f"{found.verdict_changes} times."]
        if found.evacuated_after is not None:
            sentences.insert(1, f"{found.evacuated} was evacuated manually. All its users were elsewhere after "
                                f"{found.evacuated_after:.0f} s.")
        return Section("The users, a request every 100 ms", table, sentences, found, [*self.failures, *wrong(found)])


def wrong(found: Outcome) -> Iterator[str]:
    """The broken promises. A user of whom nothing is known is a failure."""
    if silent := sorted({*COUNTRIES} - {user.who for user in found.users}):
        yield f"nothing is known of the users in {', '.join(silent)}"
    for user in found.users:
        if user.down_seconds > found.down_allowed:
            yield f"{user.who} had no answer for {user.down_seconds} s; {found.down_allowed} s are allowed"
        if user.back_after is not None and user.back_after > found.back_allowed:
            yield f"{user.who} was back only after {user.back_after} s; {found.back_allowed} s are allowed"
        if user.otherwise_down:
            yield f"{user.who} had no answer for {user.otherwise_down} s while its region lived"
    if found.evacuated_after is None:
        yield f"{found.evacuated} was not evacuated"
    if found.verdict_changes:
        yield f"the status of {found.replaced} changed {found.verdict_changes} times while its hosts were replaced"
    if found.hosts != REPLACED_HOSTS:
        yield f"only {found.hosts} of the {REPLACED_HOSTS} hosts of {found.replaced} were replaced"
