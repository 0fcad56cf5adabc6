"""The demo's third story: tunnels to a database in another region that are killed, hung, cut off and replaced.

It runs in a thread of its own beside the others, away from the home region, which dies in the middle: the master is in
the last region, the tunnels in the second. The region's healer is the packaged Lambda, and nobody helps it.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chalicelib import fleet
from chalicelib.fleet import Fleet, FleetError
from chalicelib.tunnels.declared import shipped
from chalicelib.tunnels.records import KEY, Memory, read
from commands.demo_rows import Count, Greetings, Replication, Traffic, longest
from commands.packaging import ROOT, Package
from sandbox.hosts import programs
from sandbox.hosts.far import Far
from sandbox.hosts.keyring import Keyring
from sandbox.hosts.programs import Programs
from sandbox.hosts.replica import Replica
from sandbox.hosts.tunnels import PORT, TUNNEL, Tunnels, image, tables
from sandbox.hosts.wires import carrier
from sandbox.world import World

# AWS's limit for a target group's name.
_LONGEST = 32
# What of [tunnels] names things that are there already, which the demo's tunnels are not.
_OWN = ("group", "tag", "target_group", "document", "server")
# What the healer does to a tunnel; the rest of its journal is what it tells people.
_ACTS = frozenset({"drain", "undrain", "restart", "replace", "stop", "start"})
FAR, AWAY_SECONDS = "the far side away", 30.0
# A fault is over by then, or will not be: a replacement takes longest.
_HEALED_SECONDS, _READY_SECONDS, _KEY_SECONDS = 150.0, 240.0, 120.0
# So long after a fault no healer can have seen it yet: between two minutes its rounds pause for six seconds.
_BLIND_SECONDS = 8.0
_LOOK_SECONDS = 0.5


class Deed(msgspec.Struct, frozen=True):
    """One thing that the healer did, `after` so many seconds from the fault, and why, in its journal's words."""

    after: int
    kind: str
    why: str


class Fault(msgspec.Struct, frozen=True):
    """One fault: how long nothing came through the tunnels, when all was well again (s), what the healer saw and did.

    `well_after` is `None` if it was not healed: the story ends there.
    """

    name: str
    nothing_seconds: float
    well_after: float | None
    saw: list[str]
    deeds: list[Deed]


class Told(msgspec.Struct, frozen=True):
    """What became of the tunnels. `measured` is what ran through them: replication, or greetings without MariaDB."""

    master: str
    region: str
    parts: str
    measured: str
    faults: list[Fault]
    rows: int | None
    lost: int | None
    failures: list[str]


class Stage(NamedTuple):
    """What the story needs from before the deployment. `declared` is put below fleet.toml."""

    declared: str
    far: Far
    keyring: Keyring
    programs: Programs
    region: str
    regions: list[str]
    replica: Replica | None


@contextmanager
def stage(world: World, declared: Fleet, name: str, more: str, used: Programs | None = None) -> Iterator[Stage | str]:
    """Database and gateway, and what is to be declared for the stage `name`, where fleet.toml and `more` allow it.

    Else the reason why there will be no such story, in one line.
    """
    if reason := unfit(declared, name):
        yield reason
        return
    with tempfile.TemporaryDirectory(prefix="lamp-demo-") as folder:
        made = _built(world, declared, name, Path(folder), programs.found() if used is None else used)
        try:
            fleet.parse((ROOT / "fleet.toml").read_text() + more + made.declared, "fleet.toml", name)
        except FleetError as error:
            yield f"tunnels of the demo's own do not fit into this fleet: {str(error).splitlines()[0]}"
            return
        yield made


def unfit(declared: Fleet, name: str) -> str:
    """Why a fleet cannot have the story; nothing if it can."""
    if len(declared.regions) < 3:
        return "tunnels need two regions beside the one that dies, and fleet.toml has two in all"
    if named := [key for key in _OWN if declared.tunnels and getattr(declared.tunnels, key)]:
        return f"fleet.toml has tunnels of its own ({', '.join(named)}), over which the demo cannot lay others"
    if len(shipped(f"{declared.name}-{name}")) > _LONGEST:
        return f"a target group cannot be called {shipped(f'{declared.name}-{name}')}: it is too long"
    return ""


def _built(world: World, declared: Fleet, name: str, folder: Path, used: Programs) -> Stage:
    regions = [region.name for region in declared.regions]
    keyring = Keyring(folder, world, used)
    far = Far(world, regions[-1], f"{declared.name}-{name}", keyring, used, 100)
    image(world, keyring)
    replica = Replica(world, regions[1], far, used) if used.mariadbd else None
    text = tables(world, far, keyring, regions[:-1], name)
    return Stage(text, far, keyring, used, regions[1], regions[:-1], replica)


class Story:
    """The tunnels' story. `run` tells it in a thread."""

    def __init__(self, world: World, package: Package, stage: Stage) -> None:
        self.world, self.package, self.stage, self.region = world, package, stage, stage.region
        self.tunnels = Tunnels(world, stage.far, stage.keyring, package.fleet, package.stage)
        self.over = threading.Event()
        self.note = "the tunnel hosts get their keys"
        self._traffic: Traffic | None = None
        self._faults: list[Fault] = []
        self._failures: list[str] = []
        self._count: Count | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def told(self) -> Told:
        """The end of it; what went wrong in the story itself is raised here."""
        self._thread.join()
        if self._error:
            raise self._error
        rows, lost = self._count or (None, None)
        found = Told(self.stage.far.region, self.region, self.stage.programs.said(),
                     "replication" if self.stage.replica else "greetings", self._faults, rows, lost, self._failures)
        return msgspec.structs.replace(found, failures=[*self._failures, *wrong(found)])

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:  # told by `told`, in the thread that asks
            self._error = error
        finally:
            if self._traffic:
                self._traffic.end()
            self.over.set()

    def _run(self) -> None:
        with ThreadPoolExecutor(len(self.stage.regions)) as pool:
            list(pool.map(self._key, self.stage.regions))
        self.note = "the tunnels come up, and the healer gets to know them"
        entrance = self.tunnels.entrance(self.region)
        replica = self.stage.replica
        self._traffic = Replication(self.stage.far, replica, entrance) if replica else Greetings(entrance)
        self._traffic.start()
        if not self._patient(lambda: self._well(0.0), _READY_SECONDS):
            self._failures.append(f"the tunnels of {self.region} were not ready after {_READY_SECONDS:.0f} s")
            return
        if all(self._suffer(name, act) for name, act in self._acts()):
            self._count = self._traffic.count()
            self.note = "all tunnels are well"

    def _key(self, region: str) -> None:
        """The first key, by the package's own operation."""
        self.tunnels.identify(region)

        def done() -> bool:
            answer = self._invoke("tunnels_rotate_keys", region)
            if answer["status"] not in ("later", "done"):
                raise RuntimeError(f"tunnels.rotate_keys in {region}: {answer['status']}: {answer['message']}")
            return bool(answer["status"] == "done")

        if not self._patient(done, _KEY_SECONDS):
            raise RuntimeError(f"tunnels.rotate_keys in {region} has not ended after {_KEY_SECONDS:.0f} s")

    def _acts(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """What happens, one after the other; each returns the host that must be gone for all to be well."""
        yield "one ssh killed", self._kill
        yield "one ssh hung", self._hang
        yield "both killed", self._kill_both
        yield FAR, self._take_far
        yield "a host destroyed", self._destroy

    def _kill(self) -> str:
        self.world.kill(self._carrier(), TUNNEL)
        return ""

    def _hang(self) -> str:
        self.world.hang(self._carrier(), TUNNEL)
        return ""

    def _kill_both(self) -> str:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: self.world.kill(one, TUNNEL), self.tunnels.hosts(self.region)))
        return ""

    def _take_far(self) -> str:
        """The gateway loses its power, and gets it back."""
        gateway, ec2 = self.stage.far.gateway, self.world.client("ec2", self.stage.far.region)
        self.world.power_off(gateway)
        time.sleep(AWAY_SECONDS)
        ec2.stop_instances(InstanceIds=[gateway])
        self._patient(lambda: self._state(ec2, gateway) == "stopped", _HEALED_SECONDS)
        ec2.start_instances(InstanceIds=[gateway])
        return ""

    def _state(self, ec2: Any, instance: str) -> str:
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    def _destroy(self) -> str:
        self.world.destroy(victim := self._carrier())
        return victim

    def _carrier(self) -> str:
        """The host through which the replica is connected now; any where nobody stays connected."""
        hosts = {self.tunnels.address(self.region, one): one for one in self.tunnels.hosts(self.region)}
        return hosts[carrier(list(hosts), PORT)]

    def _suffer(self, name: str, act: Callable[[], str]) -> bool:
        """One fault, from its beginning until all is well; whether it is."""
        self.note, known = f"{name}; nobody helps the healer of {self.region}", {one for one, _ in self._journal()}
        began, saw, enough = time.time(), dict[str, None](), threading.Event()
        watching = threading.Thread(target=self._watch, args=(began, saw, enough), daemon=True)
        watching.start()
        try:
            gone, done = act(), time.time()
            well = self._patient(lambda: self._well(done, gone), _HEALED_SECONDS)
        finally:
            enough.set()
            watching.join()
        ended = time.time()
        nothing = longest(tuple(self._traffic.marks if self._traffic else ()), began, ended)
        self._faults.append(Fault(name, round(nothing, 1), round(ended - began, 1) if well else None, list(saw),
                                  deeds(self._journal(), known, began)))
        return well

    def _watch(self, began: float, saw: dict[str, None], enough: threading.Event) -> None:
        """Collects what the healer's probes say that is not well."""
        while not enough.wait(_LOOK_SECONDS):
            memory = self._memory()
            saw.update({f"{slot.streak.side}: {slot.streak.why}": None for slot in memory.slots
                        if slot.streak and not slot.streak.up and slot.streak.at > began})

    def _well(self, since: float, gone: str = "") -> bool:
        """Whether both tunnels carry, by the balancer and by what the healer has seen well after `since`."""
        memory, hosts = self._memory(), set(self.tunnels.hosts(self.region))
        if gone in hosts or memory.at < since + _BLIND_SECONDS:
            return False
        rise = self.package.fleet.tunnels.rise if self.package.fleet.tunnels else 1
        sound = {slot.instance for slot in memory.slots if slot.phase == "healthy" and slot.streak and slot.streak.up
                 and slot.streak.count >= rise}
        flows = self._traffic is not None and any(mark > since for mark in self._traffic.marks[-1:])
        return flows and len(hosts) > 1 and sound == hosts == self.tunnels.healthy(self.region)

    def _memory(self) -> Memory:
        answer = self._table().get_item(TableName=self.package.stack, ConsistentRead=True,
                                        Key={name: {"S": value} for name, value in zip(("pk", "sk"), KEY, strict=True)})
        return read(json.loads(answer["Item"]["body"]["S"])) if "Item" in answer else Memory()

    def _journal(self) -> list[tuple[str, dict[str, Any]]]:
        """Times and bodies of what the healer's region has done, today and, just after midnight, yesterday."""
        now = time.time()
        days = (f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}" for when in (now - _HEALED_SECONDS, now))
        return [entry for day in dict.fromkeys(days) for entry in self._day(day)]

    def _day(self, day: str) -> Iterator[tuple[str, dict[str, Any]]]:
        pages = self._table().get_paginator("query").paginate(
            TableName=self.package.stack, KeyConditionExpression="pk = :pk", ConsistentRead=True,
            ExpressionAttributeValues={":pk": {"S": f"journal#{day}"}})
        return ((f"{day}T{item['sk']['S']}", json.loads(item["body"]["S"])) for page in pages for item in page["Items"])

    def _table(self) -> Any:
        return self.world.client("dynamodb", self.region)

    def _invoke(self, function: str, region: str) -> dict[str, Any]:
        answer = self.world.client("lambda", region).invoke(
            FunctionName=f"{self.package.stack}-{function}", Payload=json.dumps({"apply": True}))
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        if "errorMessage" in found:
            raise RuntimeError(f"{function}: {found['errorMessage']}")
        return found

    def _patient(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (found := done()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        return found


def deeds(journal: Iterable[tuple[str, dict[str, Any]]], known: Container[str], since: float) -> list[Deed]:
    """What the healer did, by those items of the journal that are not `known`; `since` is when the fault began.

    An item is its name, "2026-11-24T12:34:56#tunnels.heal#...", and its body. Its time is its round's, a whole second.
    """
    found = []
    for name, body in journal:
        if body["operation"] == "tunnels.heal" and name not in known:
            at = datetime.fromisoformat(f"{name[:19]}+00:00").timestamp()
            found += [_deed(round(max(0.0, at - since)), action, body.get("results", ())) for action in body["actions"]]
    return found


def _deed(after: int, action: dict[str, Any], results: Sequence[str]) -> Deed:
    came = [line for line in results if line.startswith(f"{action['target']}: {action['kind']} of ")]
    # What was not done after all says so itself.
    undone = [line for line in came if not line.endswith(": asked for")]
    return Deed(after, action["kind"], "; ".join([action["reason"], *undone]))


def wrong(told: Told) -> Iterator[str]:
    """What did not hold."""
    for fault in told.faults:
        if fault.well_after is None:
            yield f"{fault.name}: the tunnels of {told.region} were not well after {_HEALED_SECONDS:.0f} s"
        if acts := [deed.kind for deed in fault.deeds if fault.name == FAR and deed.kind in _ACTS]:
            yield f"{fault.name}, the healer did something to tunnels that were whole: {', '.join(acts)}"
    if told.lost:
        yield f"{told.lost} of {told.rows} rows are not on the replica"
