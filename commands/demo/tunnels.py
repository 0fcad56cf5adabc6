"""The demo's tunnels to a database in another region, which die, hang, lose their gateway or get replaced.

The home region, which dies in the middle, is no part of it. The primary is in the last region, and the tunnels that
suffer are in the second. Its controller is the packaged Lambda, and nobody helps it.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.text import Text

from chalicelib.aws.client import pages
from chalicelib.config.declared import Fleet
from chalicelib.config.tunnels import managed_name
from chalicelib.infrastructure.limits import LIMITS
from chalicelib.tunnels.state import TunnelState
from commands.demo.part import WENT_WRONG, Part, Section, patient
from commands.demo.staged import STAGE
from commands.deploy.packaging import Package
from commands.operate.show import plain_table
from sandbox.hosts import programs
from sandbox.hosts.connections import carrier
from sandbox.hosts.host_files import Keyring
from sandbox.hosts.primary_region import Far
from sandbox.hosts.programs import Programs
from sandbox.hosts.replica import Replica
from sandbox.hosts.traffic import Count, Greetings, Replication, longest
from sandbox.hosts.tunnels import PORT, TUNNEL, Tunnels, image, remembered, tables
from sandbox.world import Sandbox

FAR = "the gateway away"
# A fault is over by then, or will not be: a replacement takes longest (s).
HEALED_SECONDS = 150.0
_AWAY_SECONDS, _READY_SECONDS, _KEY_SECONDS = 30.0, 240.0, 240.0
# So long after a fault no controller can have seen it yet: between two minutes its rounds pause for six seconds.
_BLIND_SECONDS = 8.0
# What the controller does to a tunnel; the rest of its journal is what it tells people.
_ACTS = frozenset({"drain", "undrain", "restart", "replace", "stop", "start"})
# What of [tunnels] names things that are there already, which the demo's tunnels are not.
_OWN = ("group", "tag", "target_group", "document", "server")
# max_connect_errors, as MariaDB has it by default.
_MOST_ERRORS = 100


class Stage(NamedTuple):
    """The resources from before the deployment. `declared` is put below fleet.toml."""

    declared: str
    far: Far
    keyring: Keyring
    programs: Programs
    region: str
    regions: list[str]
    replica: Replica | None


def unfit(declared: Fleet) -> str:
    """Why a fleet cannot have this part. Nothing if it can."""
    if len(declared.regions) < 3:
        return "tunnels need two regions beside the one that dies, and fleet.toml has two in all"
    if named := [key for key in _OWN if declared.tunnels and getattr(declared.tunnels, key)]:
        return f"fleet.toml has tunnels of its own ({', '.join(named)}), over which the demo cannot lay others"
    if declared.databases:
        return "fleet.toml has [databases] of its own, which are not on this machine"
    if len(managed_name(f"{declared.name}-{STAGE}")) > LIMITS["AWS::ElasticLoadBalancingV2::TargetGroup", "Name"].most:
        return f"a target group cannot be called {managed_name(f'{declared.name}-{STAGE}')}: it is too long"
    return ""


@contextmanager
def stage(world: Sandbox, declared: Fleet, used: Programs | None = None) -> Iterator[Stage]:
    """Database, gateway and replica, with the programs of this machine, or our own in their place."""
    used = used or programs.found()
    regions = [region.name for region in declared.regions]
    with tempfile.TemporaryDirectory(prefix="lamp-demo-") as folder:
        keyring = Keyring(Path(folder), world, used)
        far = Far(world, regions[-1], f"{declared.name}-{STAGE}", keyring, used, _MOST_ERRORS)
        image(world, keyring)
        replica = Replica(world, regions[1], far, used) if used.mariadbd else None
        text = tables(world, far, keyring, regions[:-1], STAGE)
        yield Stage(text, far, keyring, used, regions[1], regions[:-1], replica)


class Deed(msgspec.Struct, frozen=True):
    """One thing that the controller did, `after` so many seconds from the fault, and why, in its journal's words."""

    after: int
    kind: str
    why: str


class Fault(msgspec.Struct, frozen=True):
    """One fault, with its time without traffic, the time of full recovery (s), and the controller's actions.

    `well_after` is `None` without a repair, and the part ends there.
    """

    name: str
    nothing_seconds: float
    well_after: float | None
    deeds: list[Deed]


class Outcome(msgspec.Struct, frozen=True):
    """The results of the tunnels. `measured` is the traffic, which is replication, or greetings without MariaDB."""

    primary: str
    region: str
    measured: str
    faults: list[Fault]
    written: int | None
    lost: int | None


def deeds(entries: Iterable[Mapping[str, Any]], since: float) -> list[Deed]:
    """The controller's actions since the fault began, by the journal's entries, oldest first.

    An entry's time is its round's, a whole second.
    """
    made = []
    for entry in entries:
        at = datetime.fromisoformat(entry["at"]).timestamp()
        if at >= int(since):
            made += [_deed(round(max(0.0, at - since)), action, entry.get("results", ()))
                     for action in entry.get("actions", ())]
    return sorted(made, key=lambda deed: deed.after)


def _deed(after: int, action: Mapping[str, Any], results: Iterable[str]) -> Deed:
    came = [line for line in results if line.startswith(f"{action['target']}: {action['kind']} of ")]
    # What was not done after all says so itself.
    return Deed(after, action["kind"], "; ".join([action["reason"], *(
        line for line in came if not line.endswith(": done"))]))


class TunnelFaults(Part):
    """The part of the tunnels."""

    def __init__(self, world: Sandbox, package: Package, stage: Stage) -> None:
        super().__init__(world, package, "the tunnel hosts get their keys")
        self._stage, self._region = stage, stage.region
        self._tunnels = Tunnels(world, stage.far, stage.keyring, package.fleet, package.stage)
        self._traffic: Replication | Greetings | None = None
        self._faults: list[Fault] = []
        self._count: Count | None = None
        self._began = 0.0

    def _run(self) -> None:
        for region in self._stage.regions:
            if region != self._region:  # its hosts are idle, and the region may die before they have a key
                threading.Thread(target=self._idle_key, args=(region,), daemon=True).start()
        self._key(self._region)
        self.note = "the tunnels come up, and the controller gets to know them"
        entrance, replica = self._tunnels.endpoint(self._region), self._stage.replica
        self._traffic = Replication(self._stage.far, replica, entrance) if replica else Greetings(entrance)
        try:
            self._traffic.start()
            if not patient(lambda: self._well(0.0), _READY_SECONDS):
                self.failures.append(f"the tunnels of {self._region} were not ready after {_READY_SECONDS:.0f} s")
            elif all(self._suffer(name, act) for name, act in self._acts()):
                self._count = self._traffic.count()
                self.note = "all tunnels are well"
        finally:
            self._traffic.end()

    def _idle_key(self, region: str) -> None:
        with suppress(*WENT_WRONG):
            self._key(region)

    def _key(self, region: str) -> None:
        """The first key, by the package's own operation."""
        self._tunnels.identify(region)
        if not patient(lambda: self.invoke("tunnels_rotate_keys", {"apply": True}, region)["status"] == "done",
                       _KEY_SECONDS):
            raise RuntimeError(f"tunnels.rotate_keys in {region} has not ended after {_KEY_SECONDS:.0f} s")

    def _acts(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """The events, one after the other. Each returns the host that must be gone for all to be well."""
        yield "one ssh killed", lambda: self._each(self.world.kill, self._carrier())
        yield "one ssh hung", lambda: self._each(self.world.hang, self._carrier())
        yield "both killed", lambda: self._each(self.world.kill, *self._tunnels.hosts(self._region))
        yield FAR, self._take_far
        yield "a host destroyed", self._destroy

    def _each(self, do: Callable[[str, str], None], *hosts: str) -> str:
        """To all at once."""
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(lambda one: do(one, TUNNEL), hosts))
        return ""

    def _take_far(self) -> str:
        """The gateway loses its power, and gets it back."""
        gateway, ec2 = self._stage.far.gateway, self.world.client("ec2", self._stage.far.region)

        def stopped() -> bool:
            [instance] = [one for page in pages(ec2, "describe_instances", InstanceIds=[gateway])
                          for reservation in page["Reservations"] for one in reservation["Instances"]]
            return bool(instance["State"]["Name"] == "stopped")

        self.world.power_off(gateway)
        patient(lambda: self._memory().at > self._began + _AWAY_SECONDS, HEALED_SECONDS)
        ec2.stop_instances(InstanceIds=[gateway])
        patient(stopped, HEALED_SECONDS)
        ec2.start_instances(InstanceIds=[gateway])
        return ""

    def _destroy(self) -> str:
        self.world.destroy(victim := self._carrier())
        return victim

    def _carrier(self) -> str:
        """The host through which the replica is connected now. Any where nobody stays connected."""
        hosts = {self._tunnels.address(self._region, one): one for one in self._tunnels.hosts(self._region)}
        return hosts[carrier(list(hosts), PORT)]

    def _suffer(self, name: str, act: Callable[[], str]) -> bool:
        """One fault, from its beginning until all is well. Whether it is."""
        self.note = f"{name}; nobody helps the controller of {self._region}"
        self._began = began = time.time()
        gone, done = act(), time.time()
        well = patient(lambda: self._well(done, gone), HEALED_SECONDS)
        ended = time.time()
        nothing = longest(tuple(self._traffic.marks if self._traffic else ()), began, ended)
        wanted = {"operation": "tunnels", "since": f"{round(ended - began) + 2}s", "limit": 100}
        entries = self.invoke("journal_read", wanted, self._region)["plan"]["report"]["entries"]
        self._faults.append(Fault(name, round(nothing, 1), round(ended - began, 1) if well else None,
                                  deeds(entries, began)))
        return well

    def _well(self, since: float, gone: str = "") -> bool:
        """Whether both tunnels carry, by the balancer and by what the controller has seen well after `since`."""
        memory = self._memory()
        if gone in self._tunnels.hosts(self._region) or memory.at < since + _BLIND_SECONDS:
            return False
        flows = self._traffic is not None and any(mark > since for mark in self._traffic.marks[-1:])
        return flows and self._tunnels.sound(self._region, memory)

    def _memory(self) -> TunnelState:
        return remembered(self.world, self._region, self.package.stack)[0]

    def _section(self) -> Section:
        count = self._count or Count(None, None)
        found = Outcome(self._stage.far.region, self._region, "replication" if self._stage.replica else "greetings",
                        self._faults, *count)
        table = plain_table("what happened", f"no {found.measured}", "well after", "the controller did")
        for fault in found.faults:
            well = "never" if fault.well_after is None else f"{fault.well_after:.0f} s"
            done = [Text.assemble(f"{deed.after:3} s ", (deed.kind, "bold"), f": {deed.why}") for deed in fault.deeds]
            why = "no tunnel is to blame" if fault.name == FAR else "all was well again without it"
            table.add_row(fault.name, f"{fault.nothing_seconds:.1f} s", well,
                          Text("\n").join(done or [Text(f"nothing: {why}", "dim")]))
        return Section(f"The tunnels from {found.region} to the database in {found.primary}", table,
                       [f"{self._stage.programs.said()}.", counted(found)], found, [*self.failures, *wrong(found)])


def counted(found: Outcome) -> str:
    """The fate of the rows, in a sentence."""
    if found.measured != "replication":
        return "Nothing was written. A client had the database greet it every 100 ms, for want of MariaDB."
    if found.written is None:
        return "Rows were not counted, because the last fault was not repaired."
    lost = f"{found.lost} are not on the replica" if found.lost else "all of them are on the replica"
    return f"{found.written:,} rows were written, one every 100 ms, and {lost}."


def wrong(found: Outcome) -> Iterator[str]:
    """The guarantees that did not hold. Without a fault, or without a row, nothing is proved."""
    if not found.faults:
        yield f"no tunnel of {found.region} was broken"
    for fault in found.faults:
        if fault.well_after is None:
            yield f"{fault.name}: the tunnels of {found.region} were not well after {HEALED_SECONDS:.0f} s"
        if acts := [deed.kind for deed in fault.deeds if fault.name == FAR and deed.kind in _ACTS]:
            yield f"{fault.name}, the controller did something to tunnels that were whole: {', '.join(acts)}"
    if found.measured == "replication" and not found.written:
        yield "no row was counted"
    if found.lost:
        yield f"{found.lost} of {found.written} rows are not on the replica"
