"""Servers in memory that replicate as MariaDB does with GTIDs, and a fleet of them.

Modelled, each as it was seen of MariaDB 10.11: starting either thread while both stand still empties the relay log and
fetches anew; the IO thread stops for good when the primary does not have the replica's position; read-only lets nobody
write; a server that hangs keeps its state, one that restarts comes up as its configuration says.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.databases.operations import Databases
from chalicelib.databases.state import PRIMARY, PRIMARY_KEY, PrimaryRecord
from chalicelib.engine import run as engine
from chalicelib.engine import schema, state
from chalicelib.engine.operation import RunFailed
from chalicelib.engine.schema import Stored
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.gtid import GtidSet, read
from chalicelib.mysql.server import Server
from chalicelib.mysql.status import ReplicaStatus, ReplicaThread, ServerError, ServerStatus
from chalicelib.tunnels import state as tunnels
from testing.fakes import MemoryTable, MemoryTopic
from tests.databases.crash import Fuse

EU, US, AP = REGIONS = ("eu-west-1", "us-east-1", "ap-southeast-1")
TOML = """
name = "lamplighter"
regions = [{name = "eu-west-1"}, {name = "us-east-1"}, {name = "ap-southeast-1"}]
coordination.regions = ["eu-west-1"]
[databases]
flavour = "mariadb"
primary = "eu-west-1"
secret = "watch"
admin_secret = "admin"
repair = "full"
tls = "off"
servers = [{region = "eu-west-1", host = "eu"}, {region = "us-east-1", host = "us"},
           {region = "ap-southeast-1", host = "ap"}]
"""
FLEET = fleet.parse(TOML)
Row = tuple[int, int]  # server id, sequence number


class Model:
    """One server. `log` is what it has applied, `relay` what it has received and not applied."""

    def __init__(self, world: "World", region: str, number: int) -> None:
        self.world, self.region, self.number = world, region, number
        self.log: list[Row] = []
        self.relay: list[Row] = []
        self.alive, self.read_only, self.configured = True, region != EU, region != EU
        self.source = "" if region == EU else "eu"
        self.io = self.sql = "running"
        self.io_errno = self.sql_errno = 0
        self.beats: dict[str, float] = {}

    def read_status(self) -> ServerStatus:
        replication = None
        if self.source:
            received = self.log + self.relay
            replication = ReplicaStatus(
                ReplicaThread(self._io(), self.io_errno),  # type: ignore[arg-type]
                ReplicaThread(self.sql, self.sql_errno),  # type: ignore[arg-type]
                self.source,
                3306,
                True,
                gtids(received),
                connect_retry=1,
                heartbeat=1.0,
                source=str(self.world.by_host(self.source).number),
            )
        return ServerStatus(
            self.region,
            "mariadb",
            "10.11.0-MariaDB",
            str(self.number),
            self.read_only,
            gtids(self.log),
            self.world.now,
            self.world.now,
            replica_net_timeout=4,
            replication=replication,
            heartbeats=dict(self.beats),
        )

    def _io(self) -> str:
        return "connecting" if self.io == "running" and not self.world.flows(self) else self.io

    def write_heartbeat(self, region: str) -> float:
        if self.read_only:
            raise DatabaseError(ServerError("sql", self.region, "read-only", 1290))
        self.beats[region] = self.world.now
        return self.world.now

    def start(self, threads: Sequence[str]) -> None:
        if self.io == self.sql == "stopped":
            primary = self.world.models[self.world.primary.region]
            there = primary.alive and all(row in primary.log for row in self.relay)
            if self.relay and not self.world.flows(self) and not there:
                self.world.violations.append(f"{self.region} threw away {self.relay}, and its primary is not there")
            self.relay = []
        self.io, self.io_errno = ("running", 0) if "IO" in threads else (self.io, self.io_errno)
        self.sql, self.sql_errno = ("running", 0) if "SQL" in threads else (self.sql, self.sql_errno)

    def stop(self, thread: str = "") -> None:
        self.io = "stopped" if thread in ("", "IO") else self.io
        self.sql = "stopped" if thread in ("", "SQL") else self.sql

    def reset_replica(self) -> None:
        self.stop()
        self.source, self.relay = "", []

    def change_source(self, host: str, port: int) -> None:
        # The new primary has it, or nobody will.
        self.source, self.relay = host, []
        self.start(("IO", "SQL"))

    def tune(self) -> None:
        self.stop()
        self.start(("IO", "SQL"))

    def tolerate_connects(self) -> None:
        """It always does."""

    def set_read_only(self) -> int:
        self.read_only = True
        return 0

    def set_writable(self) -> None:
        self.read_only = False

    def write(self) -> Row:
        """The application commits a row."""
        row = (self.number, max((number for _, number in self.log), default=0) + 1)
        self.log.append(row)
        return row

    def pump(self) -> None:
        """Replication has a moment: some events are fetched, some applied."""
        if self.source and self.io == "running" and self.world.flows(self):
            self._fetch(self.world.by_host(self.source))
        if self.source and self.sql == "running" and not self.sql_errno:
            count = self.world.chance.randint(0, 3)
            self.log, self.relay = self.log + self.relay[:count], self.relay[count:]

    def _fetch(self, source: "Model") -> None:
        have = self.log + self.relay
        if source.log[: len(have)] != have[: len(source.log)] or len(have) > len(source.log):
            self.io, self.io_errno = "stopped", 1236
            return
        self.relay += source.log[len(have) : len(have) + self.world.chance.randint(0, 3)]
        self.beats |= source.beats

    def restart(self) -> None:
        """It comes up again as its configuration says; a replica's relay log is fetched anew."""
        self.alive, self.read_only, self.relay = True, self.configured, []
        self.io, self.sql = "running", "running"


def gtids(rows: Sequence[Row]) -> GtidSet:
    """As MariaDB's gtid_binlog_state has it."""
    return read("mariadb", ",".join(f"0-{server}-{number}" for server, number in dict(rows).items()))


class Guarded:
    """A server seen from a region: calls fail while it is dead, hung, or not reachable from there."""

    def __init__(self, world: "World", model: Model, site: str) -> None:
        self._world, self._model, self._site = world, model, site

    def __getattr__(self, name: str) -> Any:
        if not self._model.alive or (self._site, self._model.region) in self._world.cut:
            def silent(*_: object) -> Any:
                raise DatabaseError(ServerError("silent", self._model.region, "gave no answer in time"))
            return silent
        return getattr(self._model, name)


class World:
    """A fleet, and what may not happen to it. `acked` are rows that an application was told are committed."""

    def __init__(self, seed: int) -> None:
        self.chance, self.now = random.Random(seed), 1_800_000_000.0
        self.models = {region: Model(self, region, number) for number, region in enumerate(REGIONS, 1)}
        self.fleet = FLEET
        self.cut: set[tuple[str, str]] = set()
        self.acked: list[Row] = []
        self.violations: list[str] = []
        self.forced = False
        self.fuse = Fuse(self._reach, MemoryTable())
        self.alerts = {region: MemoryTopic() for region in REGIONS}
        self.tables = {region: MemoryTable() for region in REGIONS}
        self.operations = Databases(self.fuse.reach, self.wait)
        self.promoted = 0
        # Regions whose server came up open by its configuration, until their next watch.
        self.open_by_itself: set[str] = set()
        # How many promotions are under way, one within the other.
        self.busy = 0

    def by_host(self, host: str) -> Model:
        return next(self.models[server.region] for server in FLEET.databases.servers if server.host == host)  # type: ignore[union-attr]

    def host(self, region: str) -> str:
        """Where a region's server is reached."""
        return next(server.host for server in FLEET.databases.servers if server.region == region)  # type: ignore[union-attr]

    def flows(self, replica: Model) -> bool:
        """Whether the way from a replica to its primary is open."""
        source = self.by_host(replica.source)
        return source.alive and (replica.region, source.region) not in self.cut

    def site(self, region: str) -> RegionContext:
        site = RegionContext(region, "test", self.fleet, MemoryTable(), self.tables[region], {}, self.alerts[region],
                    clock=lambda: self.now)
        return self.fuse.site(site)

    def _reach(self, site: RegionContext, region: str, admin: bool) -> Server:
        guarded: Any = Guarded(self, self.models[region], site.region)
        return guarded  # type: ignore[no-any-return]

    def wait(self, seconds: float) -> None:
        """Time passes, and replication goes on."""
        self.now += seconds
        for model in self.models.values():
            if model.alive:
                model.pump()

    @property
    def primary(self) -> PrimaryRecord:
        stored = state.find(self.fuse.site(self.site(EU)).shared_store, PRIMARY_KEY, PRIMARY)
        return stored.value if isinstance(stored, Stored) else PrimaryRecord(EU)

    def scheduled(self, region: str, name: str, late: float = 0) -> None:
        """A minute's run in a region, whose event is so late (s). `Failed` is one that Lambda would count."""
        event = {"detail-type": "Scheduled Event", "time": _stamp(self.now - late)}
        try:
            engine.run(getattr(self.operations, name), self.site(region), event, f"{region} {self.now}")
        except RunFailed as failure:
            self.violations.append(f"{name}: {failure}")
        if name == "watch":
            self._watched(region)

    def _watched(self, region: str) -> None:
        model, primary = self.models[region], self.primary
        if not model.alive:
            return
        if model.read_only or primary.may_write(region):
            self.open_by_itself.discard(region)
        if not model.read_only and primary.term and not primary.may_write(region) and not self.busy:
            self.violations.append(f"{region} was watched and still takes writes")

    def promote(self, where: str, **event: Any) -> dict[str, Any]:
        """By hand, from a region that lives; it may die in the middle, and leaves then what it has done."""
        answer = engine.run(self.operations.promote, self.site(where), {"apply": True, **event}, "hand")
        if answer["status"] == "done":
            self._promoted(answer)
        return answer

    def _promoted(self, answer: dict[str, Any]) -> None:
        self.promoted += 1
        new = self.models[self.primary.region]
        lost = [row for row in self.acked if row not in new.log]
        if lost and not self.forced:
            self.violations.append(f"{new.region} was promoted without {lost}, and nobody forced it")
        self.acked = [row for row in self.acked if row in new.log]
        if new.read_only or new.source:
            self.violations.append(f"{new.region} was promoted and is {'read-only' if new.read_only else 'a replica'}")

    def judged(self, region: str, up: int, slots: int, age: int) -> None:
        """What the tunnels' controller of a region leaves after a round."""
        phases = ["healthy"] * up + ["drained"] * (slots - up)
        state = tunnels.TunnelState(at=self.now - age, members=tuple(
            tunnels.Member(str(number), phase=phase) for number, phase in enumerate(phases)))  # type: ignore[arg-type]
        self.tables[region].create(*tunnels.KEY, schema.encode(state, tunnels.SCHEMA))

    def check(self) -> None:
        """One writer at most, unless somebody forced it."""
        writers = [model.region for model in self.models.values()
                   if not model.read_only and model.region not in self.open_by_itself]
        if len(writers) > 1 and not self.forced:
            self.violations.append(f"{' and '.join(writers)} take writes at the same time")


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat()


def in_step() -> World:
    """A fleet in step: five rows everywhere, and each region watched."""
    found = World(1)
    found.acked += [found.models[EU].write() for _ in range(5)]
    found.wait(0)
    for _ in range(20):
        found.wait(0.1)
    for region in REGIONS:
        found.scheduled(region, "watch")
    assert found.violations == [] and len(found.models[AP].log) == 5
    return found
