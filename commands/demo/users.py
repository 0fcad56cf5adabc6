"""The demo's users in twelve countries, while a region dies, one is evacuated, and a third replaces its hosts."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from string import Template

import msgspec

from chalicelib.config.declared import Fleet
from commands.demo.part import DEADLINE_SECONDS, LOOK_SECONDS, Part, Section
from commands.operate import show
from sandbox.crowd import COUNTRIES, Crowd, Fate, Outage, fates, orders, settled
from sandbox.sample_app import ALIAS_ZONE, GROUP, HOSTNAME, PORT, Product
from sandbox.users import PATIENCE_SECONDS
from sandbox.world import Sandbox

# Of an alias to a load balancer: Route 53 developer guide, "Choosing between alias and non-alias records".
ALIAS_TTL = 60
# What docs/health-checks.md promises with checks every 10 s, and how often routing.hold looks.
DETECTION, MINUTE = 40, 60
# The region whose hosts are all replaced has as many as it has checks: each newcomer is probed before one leaves.
REPLACED_HOSTS, OTHER_HOSTS = 6, 4
# Route 53 takes few requests, and checks settle slowly.
_APPLY_SECONDS = 4.0


class Outcome(msgspec.Struct, frozen=True):
    """The results of the users, in seconds, and what is allowed at worst. An evacuation without an end has no time."""

    users: list[Fate]
    down_allowed: float
    back_allowed: float
    evacuated: str
    evacuated_after: float | None
    replaced: str
    hosts: int
    verdict_changes: int


def declared(fleet: Fleet, product: Product) -> str:
    """The demo's additions to fleet.toml. A region's endpoint has the form that the fleet's own has."""
    regions = ""
    for region in fleet.regions:
        place = f'addresses = ["{product.entrances()[region.name]}"]'
        if region.endpoint and region.endpoint.load_balancer:
            place = f'load_balancer = "{product.alias(region.name)}", zone = "{ALIAS_ZONE}"'
        regions += (f'[[stages.demo.regions]]\nname = "{region.name}"\n'
                    f'endpoint = {{{place}, bucket = "lamplighter-demo-marks-{region.name}"}}\n')
    template = Template(Path(__file__).with_name("files").joinpath("fleet.toml").read_text())
    return template.substitute(regions=regions, zone=product.zone, hostname=HOSTNAME, port=PORT, group=GROUP)


class Users(Part):
    """The part of the users. It allows the outage once each user is answered by its nearest region."""

    def __init__(self, world: Sandbox, fleet: Fleet, outage: Outage) -> None:
        super().__init__(world, fleet, outage)
        self._replaced, self._evacuated = self.regions[1], self.regions[-1]
        self._product = Product(world, dict.fromkeys(self.regions, OTHER_HOSTS) | {self._replaced: REPLACED_HOSTS})
        self._orders, self.crowd = orders(self.regions), Crowd(world)
        self._evacuated_after: float | None = None
        self._hosts = self._changes = 0

    def prepare(self, held: ExitStack) -> str:
        self._product.build()
        return declared(self.fleet, self._product)

    def _run(self) -> None:
        self.note = "the health checks find out about the hosts"
        try:
            apply = {"apply": True}
            with ThreadPoolExecutor(len(self.regions)) as pool:
                list(pool.map(lambda region: self.invoke("health_checks.rotate", apply, region), self.regions))
            self.wait(lambda: self.invoke("routing.apply", apply, self._replaced).get("message") == "nothing to do",
                      "there are no records", look=_APPLY_SECONDS)
            with self.crowd:
                self._serve()
        finally:
            self.outage.allowed = True  # also at an early end, so that nobody waits for it

    def _serve(self) -> None:
        home, away = self.outage.region, self._evacuated
        self._follow("not every user has its nearest region")
        self.outage.allowed = True
        self.note = "every user is answered by its nearest region"
        self.beside(self._watch)
        replacing = self.beside(self._replace)
        self.wait(lambda: bool(self.outage.died), f"{home} did not die")
        self.note = f"{home} is dead: its users wait for the health checks, then for their resolvers"
        self._follow("not every user has its second region", home)
        self.note = f"{home}'s users are answered by their second closest region"
        self.wait(lambda: bool(self.outage.returned), f"{home} did not return")
        self.note = f"{home} is back; its users follow when it has been quiet for a minute"
        self._follow(f"{home} did not get all its users back")
        began, event = time.time(), {"region": away, "reason": "the demo", "apply": True}
        self.note = f"{away} is evacuated manually"
        self.invoke("routing.evacuate", event, self._replaced)
        self._follow("not every user has moved", away)
        self._evacuated_after = round(time.time() - began, 1)
        self.note = f"{away} has no users; it is restored"
        self.invoke("routing.restore", event, self._replaced)
        self._follow(f"{away} did not get all its users back")
        self.note = f"{away} has its users back; the last hosts of {self._replaced} are replaced"
        replacing.join(DEADLINE_SECONDS)

    def _replace(self) -> None:
        """Every host by a new one, one after the other, each only when it judges the region no more."""
        fixed = self._fixed()
        for old in sorted(self._product.ids(self._replaced), key=lambda id: id in fixed):
            self._product.add(self._replaced)
            self._product.drain(self._replaced, [old])
            self.wait(lambda host=old: host not in self._fixed(),  # type: ignore[misc]
                       f"{old} kept a fixed check of {self._replaced}")
            self._product.terminate(self._replaced, [old])
            self._hosts += 1

    def _fixed(self) -> set[str]:
        report = self.invoke("health_checks.status", {}, self._replaced)["plan"]["report"]
        return {check["host"] for check in report["checks"] if check["as"] == "fixed"}

    def _watch(self) -> None:
        """Counts how often Route 53 changes its mind about the region whose hosts are replaced."""
        parent = self.invoke("health_checks.status", {}, self._replaced)["plan"]["report"]["parent"]
        last = True
        while not self.over:
            time.sleep(LOOK_SECONDS)
            now = self.world.healthy()[parent]
            self._changes += now != last
            last = now

    def _follow(self, otherwise: str, *away: str) -> None:
        """Waits until each user is answered by its nearest region that is not `away`."""
        self.wait(lambda: settled(self.crowd.now(), self._orders, away), otherwise)

    def _section(self) -> Section:
        aliased = any(region.endpoint and region.endpoint.load_balancer for region in self.fleet.regions)
        ttl = ALIAS_TTL if aliased else self.fleet.routing.ttl if self.fleet.routing else 0
        found = Outcome(
            fates(self.crowd.moments, self._orders, self.outage, time.time()), DETECTION + ttl + PATIENCE_SECONDS,
            2 * MINUTE + DETECTION + ttl, self._evacuated, self._evacuated_after, self._replaced, self._hosts,
            self._changes)
        sentences = [
            f"After the death of its region a user may have no answer for {found.down_allowed:.0f} s, and must have "
            f"its own region back {found.back_allowed:.0f} s after that returns. Otherwise it always has an answer.",
            f"{found.hosts} hosts of {found.replaced} were replaced. Its status changed {found.verdict_changes} times."]
        if found.evacuated_after is not None:
            sentences.insert(1, f"All users of {found.evacuated} had left after {found.evacuated_after:.0f} s.")
        rows = [{"user": one.who, "nearest": one.nearest, "second": one.second, "down, s": one.down_seconds, "back, s":
                 one.back_after, "else, s": one.otherwise_down, "failed": one.failed} for one in found.users]
        title = "The users, a request every 100 ms"
        return Section(title, show.rows("", rows), sentences, found, [*self.failures, *wrong(found)])


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
