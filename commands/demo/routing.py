"""The demo's other scenario, with users in twelve countries, while a region dies, one is evacuated, and a third
replaces its hosts.

It runs in a thread of its own beside the story of the schedules, which kills the home region and brings it back.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from chalicelib.config.fleet import Fleet, Region
from chalicelib.routing.records import geography
from commands.demo import scenario
from commands.demo.users import COUNTRIES, Crowd, Fate, fates, settled
from commands.deploy.packaging import Package
from sandbox.sample_app import ALIAS_ZONE, GROUP, HOSTNAME, PORT, Product
from sandbox.users import PATIENCE_SECONDS
from sandbox.world import Sandbox

TTL, INTERVAL, FAILURES, HOLD = 10, 10, 3, 60
ANCHORS, THRESHOLD, ROVERS = 3, 2, 3
# Of an alias to a load balancer: Route 53 developer guide, "Choosing between alias and non-alias records".
ALIAS_TTL = 60
# What docs/health-checks.md promises with checks every 10 s, and how often routing.hold_down looks.
DETECTION, MINUTE = 40, 60
# The region whose hosts are all replaced has twice as many as judge it: each newcomer is probed before one leaves.
HOSTS = {"replaced": ANCHORS + ROVERS, "other": 4}
_DEADLINE_SECONDS = 600
# Route 53 takes few requests, and checks settle slowly.
_APPLY_SECONDS = 4.0


class Told(msgspec.Struct, frozen=True):
    """The results of the users. `down_allowed` and `back_allowed` are what the settings allow at worst, in seconds."""

    users: list[Fate]
    down_allowed: float
    back_allowed: float
    evacuated: str
    evacuated_after: float
    replaced: str
    hosts: int
    verdict_changes: int
    failures: list[str]


def declared(fleet: Fleet, product: Product) -> str:
    """The demo's additions to fleet.toml, the product's endpoints and hostname, in the demo's stage alone."""
    regions = "".join(f'[[stages.demo.regions]]\nname = "{region.name}"\nendpoint = {{{_entrance(region, product)}, '
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

[stages.demo.health_checks]
target_groups = ["{GROUP}"]
protocol = "http"
port = {PORT}
path = "/"
interval = {INTERVAL}
failures = {FAILURES}
fixed_checks = {ANCHORS}
healthy_threshold = {THRESHOLD}
rotating_checks = {ROVERS}
"""


def _entrance(region: Region, product: Product) -> str:
    """In the way that the fleet's own endpoint is declared, over which it is laid."""
    if region.endpoint and region.endpoint.load_balancer:
        return f'load_balancer = "{product.alias(region.name)}", zone = "{ALIAS_ZONE}"'
    return f'addresses = ["{product.entrances()[region.name]}"]'


def product(world: Sandbox, regions: Sequence[str]) -> Product:
    """The customer's hosts in these regions. Not built yet."""
    return Product(world, {region: HOSTS["replaced" if region == _replaced(regions) else "other"]
                           for region in regions})


def _replaced(regions: Sequence[str]) -> str:
    return regions[1]


class Story(scenario.Story):
    """The users' story. `killed` and `revived` are set by the one who kills home."""

    def __init__(self, world: Sandbox, package: Package, product: Product) -> None:
        super().__init__(world, package, "the health checks find out about the hosts")
        self.product = product
        self.regions = [region.name for region in package.fleet.regions]
        self.home, self.replaced, self.evacuated = self.regions[0], _replaced(self.regions), self.regions[-1]
        self.orders = {who: geography.orders(self.regions)[who] for who in COUNTRIES}
        self.crowd = Crowd(world)
        self.killed, self.revived = threading.Event(), threading.Event()
        self.died = self.returned = 0.0
        self._evacuated_after, self._hosts = 0.0, 0
        self._changes = 0

    def kill(self) -> None:
        """Home dies."""
        self.died = time.time()
        self.world.stop_region(self.home)
        self.killed.set()

    def revive(self) -> None:
        """Home is there again."""
        self.world.start_region(self.home)
        self.returned = time.time()
        self.revived.set()

    def told(self) -> Told:
        """The end of it. An error in the scenario itself is raised here."""
        self.join()
        users = fates(self.crowd.moments, self.orders, self.home, self.died, self.returned, time.time())
        aliased = any(region.endpoint and region.endpoint.load_balancer for region in self.package.fleet.regions)
        ttl = ALIAS_TTL if aliased else TTL
        down, back = DETECTION + ttl + PATIENCE_SECONDS, 2 * MINUTE + DETECTION + ttl
        found = Told(users, down, back, self.evacuated, self._evacuated_after, self.replaced, self._hosts,
                     self._changes, self.failures)
        return msgspec.structs.replace(found, failures=[*self.failures, *_wrong(found)])

    def _run(self) -> None:
        self._everywhere("health_checks_rotate", {"apply": True})
        self._wait(self._routed, "there are no records", _APPLY_SECONDS)
        with self.crowd:
            self._wait(lambda: settled(self.crowd.now(), self.orders), "not every user has its nearest region")
            self.note = "every user is answered by its nearest region"
            self.beside(self._watch)
            replacing = self.beside(self._replace)
            self._outlive()
            self._evacuate()
            self.note = f"the last hosts of {self.replaced} are replaced"
            replacing.join(_DEADLINE_SECONDS)

    def _routed(self) -> bool:
        answer = self.invoke("routing_apply", {"apply": True}, self.replaced)
        if answer["status"] == "refused":
            raise RuntimeError(answer["message"])
        return bool(answer.get("message") == "nothing to do")

    def _outlive(self) -> None:
        self.killed.wait()
        self.note = f"{self.home} is dead: its users wait for the health checks, then for their resolvers"
        self._wait(lambda: settled(self.crowd.now(), self.orders, [self.home]), "not every user has its second region")
        self.note = f"{self.home}'s users are answered by their second closest region"
        self.revived.wait()
        self.note = f"{self.home} is back; its users follow when it has been quiet for {HOLD} s"
        self._wait(lambda: settled(self.crowd.now(), self.orders), f"{self.home} did not get all its users back")

    def _evacuate(self) -> None:
        began = time.time()
        self.note = f"{self.evacuated} is evacuated by hand"
        event = {"region": self.evacuated, "reason": "the demo", "apply": True}
        self._done(self.invoke("routing_evacuate", event, self.replaced))
        self._wait(lambda: settled(self.crowd.now(), self.orders, [self.evacuated]), "not every user has moved")
        self._evacuated_after = round(time.time() - began, 1)
        self.note = f"{self.evacuated} has no users; it is restored"
        self._done(self.invoke("routing_restore", event, self.replaced))
        self._wait(lambda: settled(self.crowd.now(), self.orders), f"{self.evacuated} did not get all its users back")
        self.note = f"{self.evacuated} has its users back"

    def _replace(self) -> None:
        """Every host by a new one, one after the other, each only when it judges the region no more."""
        for old in self._rovers_first():
            self.product.add(self.replaced)
            self.product.drain(self.replaced, [old])
            if not scenario.patient(lambda host=old: host not in self._anchors(), _DEADLINE_SECONDS):  # type: ignore[misc]
                self.failures.append(f"{old} stayed an anchor of {self.replaced}")
                return
            self.product.terminate(self.replaced, [old])
            self._hosts += 1

    def _rovers_first(self) -> list[str]:
        fixed_checks = self._anchors()
        return sorted(self.product.ids(self.replaced), key=lambda id: id in fixed_checks)

    def _anchors(self) -> set[str]:
        report = self.invoke("health_checks_status", {}, self.replaced)["plan"]["report"]
        return {check["host"] for check in report["checks"] if check["as"] == "anchor"}

    def _watch(self) -> None:
        """Counts how often Route 53 changes its mind about the region whose hosts are replaced."""
        report = self.invoke("health_checks_status", {}, self.replaced)["plan"]["report"]
        last = True
        while not self.over.wait(scenario.LOOK_SECONDS):
            now = self.world.healthy()[report["parent"]]
            self._changes += now != last
            last = now

    def _everywhere(self, function: str, event: dict[str, Any]) -> None:
        with ThreadPoolExecutor(len(self.regions)) as pool:
            for answer in pool.map(lambda region: self.invoke(function, event, region), self.regions):
                self._done(answer)

    def _done(self, answer: dict[str, Any]) -> None:
        if answer["status"] != "done":
            raise RuntimeError(f"{answer['operation']}: {answer['status']}: {answer['message']}")

    def _wait(self, done: Callable[[], bool], otherwise: str, look: float = scenario.LOOK_SECONDS) -> None:
        if not scenario.patient(done, _DEADLINE_SECONDS, look):
            self.failures.append(f"{otherwise} after {_DEADLINE_SECONDS} s")


def _wrong(told: Told) -> Iterator[str]:
    for user in told.users:
        if user.down_seconds > told.down_allowed:
            yield f"{user.who} had no answer for {user.down_seconds} s; {told.down_allowed} s are allowed"
        if user.back_after is not None and user.back_after > told.back_allowed:
            yield f"{user.who} was back only after {user.back_after} s; {told.back_allowed} s are allowed"
        if user.otherwise_down:
            yield f"{user.who} had no answer for {user.otherwise_down} s while its region lived"
    if told.verdict_changes:
        yield f"the verdict about {told.replaced} changed {told.verdict_changes} times while its hosts were replaced"
    if told.hosts != HOSTS["replaced"]:
        yield f"only {told.hosts} of the {HOSTS['replaced']} hosts of {told.replaced} were replaced"
