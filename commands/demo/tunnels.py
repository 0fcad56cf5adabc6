"""The demo's tunnels to a database in another region, which die, hang, lose their gateway or get replaced.

The home region, which dies in the middle, is no part of it. The primary is in the last region, and the tunnels that
suffer are in the second. Its controller is the packaged Lambda, and nobody helps it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import msgspec
from rich.text import Text

from chalicelib.config.declared import Fleet
from chalicelib.config.tunnels import managed_name
from chalicelib.infrastructure.limits import LIMITS
from chalicelib.tunnels.state import TunnelState
from commands.demo.part import WENT_WRONG, Part, Section, patient
from commands.demo.staged import STAGE
from commands.operate.show import plain_table
from sandbox.hosts.deeds import Deed, deeds
from sandbox.hosts.replica import Replica
from sandbox.hosts.traffic import Count, Greetings, Replication, longest
from sandbox.hosts.tunnels import TUNNEL, Tunnels, primary_region, remembered, tables

FAR = "the gateway away"
# A fault is over by then, or will not be: a replacement takes longest (s).
HEALED_SECONDS = 150.0
_AWAY_SECONDS, _READY_SECONDS, _KEY_SECONDS = 30.0, 240.0, 240.0
# A controller that has looked so long after a fault has seen it: two of its looks are 5 s apart at most.
_BLIND_SECONDS = 8.0
# What the controller does to a tunnel; the rest of its journal is what it tells people.
_ACTS = frozenset({"drain", "undrain", "restart", "replace", "stop", "start"})
# What of [tunnels] names things that are there already, which the demo's tunnels are not.
_OWN = ("group", "tag", "target_group", "document", "server")
# max_connect_errors, as MariaDB has it by default.
_MOST_ERRORS = 100


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


class Fault(msgspec.Struct, frozen=True):
    """One fault, with its time without traffic, that of full recovery (`None` ends the part), and what was done."""

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


class TunnelFaults(Part):
    """The part of the tunnels, which suffer in the second region."""

    def prepare(self, held: ExitStack) -> str:
        self._region = self.regions[1]
        self._far = held.enter_context(primary_region(self.world, self.regions[-1], self.stack, most=_MOST_ERRORS))
        real = self._far.programs
        self._replica = Replica(self.world, self._region, self._far, real) if real.mariadbd else None
        self._faults: list[Fault] = []
        self._count = Count(None, None)
        return tables(self.world, self._far, self._far.keyring, self.regions[:-1], STAGE)

    def _run(self) -> None:
        self.note = "the tunnel hosts get their keys"
        self._tunnels = Tunnels(self.world, self._far, self._far.keyring, self.fleet, STAGE)
        for region in self.regions[:-1]:
            if region != self._region:  # its hosts are idle, and the region may die before they have a key
                threading.Thread(target=self._idle_key, args=(region,), daemon=True).start()
        self._key(self._region)
        self.note = "the tunnels come up, and the controller gets to know them"
        endpoint = self._tunnels.endpoint(self._region)
        self._traffic = Replication(self._far, self._replica, endpoint) if self._replica else Greetings(endpoint)
        try:
            self._traffic.start()
            self.wait(lambda: self._well(0.0), f"the tunnels of {self._region} were not ready", _READY_SECONDS)
            if all(self._suffer(name, act) for name, act in self._acts()):
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
        self.wait(lambda: bool(self.invoke("tunnels.rotate_keys", {"apply": True}, region)["status"] == "done"),
                  f"tunnels.rotate_keys in {region} has not ended", _KEY_SECONDS)

    def _acts(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """The faults, one after the other. Of a destroyed host, which must be gone for all to be well, its id."""
        def each(do: Callable[[str, str], None], *hosts: str) -> None:
            with ThreadPoolExecutor(len(hosts)) as pool:
                list(pool.map(lambda one: do(one, TUNNEL), hosts))

        def destroy() -> str:
            world.destroy(victim := tunnels.carrier(region))
            return victim

        world, tunnels, region = self.world, self._tunnels, self._region
        yield "one ssh killed", lambda: each(world.kill, tunnels.carrier(region))
        yield "one ssh hung", lambda: each(world.hang, tunnels.carrier(region))
        yield "both killed", lambda: each(world.kill, *tunnels.hosts(region))
        began = time.time()
        yield FAR, lambda: self._far.power_cycle(
            lambda: patient(lambda: self._memory().at > began + _AWAY_SECONDS, HEALED_SECONDS))
        yield "a host destroyed", destroy

    def _suffer(self, name: str, act: Callable[[], object]) -> bool:
        """One fault, from its beginning until all is well. Whether it is."""
        self.note = f"{name}; nobody helps the controller of {self._region}"
        began = time.time()
        gone, done = act(), time.time()
        well = patient(lambda: self._well(done, gone), HEALED_SECONDS)
        ended = time.time()
        wanted = {"operation": "tunnels", "since": f"{round(ended - began) + 2}s", "limit": 100}
        entries = self.invoke("journal.read", wanted, self._region)["plan"]["report"]["entries"]
        self._faults.append(Fault(name, round(longest(tuple(self._traffic.marks), began, ended), 1),
                                  round(ended - began, 1) if well else None, deeds(entries, began)))
        return well

    def _well(self, since: float, gone: object = None) -> bool:
        """Whether both tunnels carry, by the balancer and by what the controller has seen well after `since`."""
        memory = self._memory()
        if gone in self._tunnels.hosts(self._region) or memory.at < since + _BLIND_SECONDS:
            return False
        return any(mark > since for mark in self._traffic.marks[-1:]) and self._tunnels.sound(self._region, memory)

    def _memory(self) -> TunnelState:
        return remembered(self.world, self._region, self.stack)[0]

    def _section(self) -> Section:
        found = Outcome(self._far.region, self._region, "replication" if self._replica else "greetings", self._faults,
                        *self._count)
        table = plain_table("what happened", f"no {found.measured}", "well after", "the controller did")
        for fault in found.faults:
            well = "never" if fault.well_after is None else f"{fault.well_after:.0f} s"
            done = [Text.assemble(f"{deed.after:3} s ", (deed.kind, "bold"), f": {deed.why}") for deed in fault.deeds]
            why = "no tunnel is to blame" if fault.name == FAR else "all was well again without it"
            table.add_row(fault.name, f"{fault.nothing_seconds:.1f} s", well,
                          Text("\n").join(done or [Text(f"nothing: {why}", "dim")]))
        return Section(f"The tunnels from {found.region} to the database in {found.primary}", table,
                       [f"{self._far.programs.said()}.", counted(found)], found, [*self.failures, *wrong(found)])


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
