"""A primary and its replicas, one a region: real MariaDBs on loopback addresses, as docs/databases.md sets them up.

    with replication.town("eu-west-1", "us-east-1", "ap-southeast-1") as town:
        town.run("us-east-1", "watch")
        with town.writing() as writes:
            town.hand("us-east-1", "promote", region="us-east-1", apply=True)

Site, coordination table and regional tables are in memory. Servers, connections and logins are real.
"""

import contextlib
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymysql
import pytest

from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.databases import connect, operations
from chalicelib.databases.observe import RegionAsked
from chalicelib.databases.state import MEMORY, PRIMARY_KEY, READINESS, REPAIRS, PrimaryRecord, read
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action, Plan
from testing.fakes import MemoryTable, MemoryTopic
from testing.servers.mariadb import MariaDB, server
from testing.servers.process import PATIENCE
from testing.servers.way import Way

ROOT = Path(__file__).resolve().parent.parent.parent
LOGINS = {"watch": ("lamplighter_watch", "change-me-1"), "admin": ("lamplighter_admin", "change-me-2")}
_OPTIONS = ("--log-bin=bin", "--log-slave-updates", "--gtid-strict-mode=ON", "--skip-name-resolve")


def documented(flavour: str = "MariaDB") -> list[str]:
    """The statements of docs/databases.md that make users, grants and the heartbeat table of `flavour`."""
    page = (ROOT / "docs" / "databases.md").read_text()
    [block] = re.findall(rf"{flavour}, from [\d.]+:\n\n```sql\n(.*?)```", page, re.S)
    return [statement.strip() for statement in block.split(";\n") if statement.strip()]


def rejoining(host: str, port: int) -> list[str]:
    """The statements of docs/databases.md by which an old primary rejoins, for a primary there."""
    page = (ROOT / "docs" / "databases.md").read_text()
    [block] = re.findall(r"An old primary that has nothing more[^\n]*\n\n```sql\n(.*?)```", page, re.S)
    filled = block.replace("new-primary", host).replace("3306", str(port)).replace("change-me-3", "repl")
    return [statement.strip() for statement in filled.split(";\n") if statement.strip()]


class Town:
    """The servers by region, the first the primary. Each region's site, and what was told to people."""

    def __init__(self, servers: dict[str, MariaDB], settings: str = "", way: Way | None = None) -> None:
        self.servers, self.regions, self.way = servers, list(servers), way
        self.fleet = fleet.parse(_toml(servers, settings, way))
        self.coordination = MemoryTable()
        self.alerts = {region: MemoryTopic() for region in servers}
        self.tables = {region: MemoryTable() for region in servers}
        self.sites = {region: self._site(region) for region in servers}
        self._run_ids = itertools.count()
        self.operations = operations.Databases(connect.reach, time.sleep)

    def _site(self, region: str) -> RegionContext:
        return RegionContext(region, "test", self.fleet, self.coordination, self.tables[region], {},
                             self.alerts[region])

    def run(self, region: str, name: str) -> dict[str, Any]:
        """A scheduled run of `watch` or `heal`. It is the first of its minute, however little time has passed."""
        table = self.tables[region]
        for key in (MEMORY, REPAIRS):
            if item := table.get(*key):
                table.compare_and_set(item, {**item.body, "minute": 0})
        event = {"detail-type": "Scheduled Event", "time": datetime.now(UTC).isoformat()}
        return engine.run(getattr(self.operations, name), self.sites[region], event,
                          f"{region} {next(self._run_ids)}")

    def hand(self, where: str, name: str, **event: Any) -> dict[str, Any]:
        """An invoke manually in a region."""
        return engine.run(getattr(self.operations, name), self.sites[where], event, "manual")

    def plan(self, where: str, **asked: Any) -> Plan:
        """The plan of a promotion from `region`."""
        request = Request("manual", int(time.time()), _asked(**asked), apply=True)
        promote = self.operations.promote
        return promote.decide(promote.observe(self.sites[where], request), request)

    def act(self, region: str, action: Action) -> list[str]:
        """One act of a promotion."""
        request = Request("manual", int(time.time()), _asked(), apply=True)
        return list(self.operations.promote.act[action.kind](self.sites[region], request, [action]))

    @property
    def primary(self) -> PrimaryRecord:
        """The primary's record in the coordination table."""
        item = self.coordination.get(*PRIMARY_KEY)
        return read(item.body, PrimaryRecord) if item else PrimaryRecord(self.regions[0])

    def ready(self, region: str) -> dict[str, Any]:
        """The readiness item for the application of `region`."""
        item = self.tables[region].get(*READINESS)
        assert item
        return item.body

    def told(self, region: str) -> list[str]:
        """The kinds of what people were told by `region`."""
        return [subject.split(":")[0] for subject, _ in self.alerts[region].told]

    def journalled(self, region: str, text: str) -> bool:
        """Whether the journal of `region` holds `text`."""
        store = self.tables[region].store.items
        return any(text in str(item.body) for (pk, _), (item, _, _) in store.items() if pk.startswith("journal#"))

    def replica(self, region: str) -> dict[str, Any]:
        """SHOW SLAVE STATUS of a region's server."""
        return (self.servers[region].sql("SHOW SLAVE STATUS") or [{}])[0]

    def rows(self, region: str) -> set[int]:
        """The rows that a server has."""
        return {row["id"] for row in self.servers[region].sql("SELECT id FROM shop.orders")}

    def writable(self) -> set[str]:
        """The regions whose living servers take writes."""
        alive = {region: one for region, one in self.servers.items() if one.process.alive}
        return {region for region, one in alive.items() if not one.sql("SELECT @@read_only AS r")[0]["r"]}

    def write(self, region: str, *ids: int) -> None:
        """Rows by the application's user."""
        with contextlib.closing(self.application(region)) as connection, connection.cursor() as cursor:
            for id in ids:
                cursor.execute("INSERT INTO shop.orders VALUES (%s)", (id,))

    def application(self, region: str) -> Any:
        """A connection of the application."""
        return self.servers[region].connect(user="shop", password="shop", connect_timeout=2, read_timeout=2)

    def in_step(self, *regions: str) -> None:
        """Waits until the replicas have applied all that the primary has."""
        want = self.servers[self.primary.region].sql("SELECT @@gtid_binlog_pos AS p")[0]["p"]
        for region in regions or self.regions:
            if region != self.primary.region:
                [done] = self.servers[region].sql(f"SELECT MASTER_GTID_WAIT('{want}', {PATIENCE}) AS w")
                assert done["w"] == 0, f"{region} never had {want}"

    def rejoin(self, region: str) -> None:
        """An old primary that lost nothing becomes a replica again, as docs/databases.md says."""
        new = self.servers[self.primary.region]
        self.servers[region].sql(*rejoining(new.address, new.port))

    def until(self, what: Callable[[], bool]) -> None:
        """Waits for something that a server does by itself."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, "it never came to that"
            time.sleep(0.02)

    @contextlib.contextmanager
    def writing(self, first: int = 1_000_000) -> Iterator["Writes"]:
        """The application writes all the time, wherever the fleet says that the primary is."""
        writes = Writes(self, first)
        writes.thread.start()
        try:
            yield writes
        finally:
            writes.ended.set()
            writes.thread.join(PATIENCE)


class Writes:
    """Rows 1,000,000, 1,000,001, ... one after another. `confirmed`: (region, id) that the server said it committed."""

    def __init__(self, town: Town, first: int) -> None:
        self.town, self.first = town, first
        self.confirmed: list[tuple[str, int]] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._write, daemon=True)

    def enough(self, more: int = 20) -> None:
        """Waits until so many more rows are confirmed."""
        want = len(self.confirmed) + more
        self.town.until(lambda: len(self.confirmed) >= want)

    def _write(self) -> None:
        for id in itertools.count(self.first):
            if self.ended.is_set():
                return
            region = self.town.primary.region
            try:
                with contextlib.closing(self.town.application(region)) as connection, connection.cursor() as cursor:
                    for more in range(id * 10, id * 10 + 10):
                        cursor.execute("INSERT INTO shop.orders VALUES (%s)", (more,))
                        self.confirmed.append((region, more))
            except (pymysql.MySQLError, OSError):
                # The primary is away, closed or hung: an application tries again.
                self.ended.wait(0.05)


@contextlib.contextmanager
def town(*regions: str, patch: pytest.MonkeyPatch, settings: str = "", options: tuple[str, ...] = (),
         tunnelled: str = "") -> Iterator[Town]:
    """A primary in the first region and a replica in each other, in step. That of `tunnelled` through a `Way`."""
    patch.setattr(client, "client", lambda service, region: Secrets())
    connect._secrets.cache_clear()
    with contextlib.ExitStack() as stack:
        servers = {region: stack.enter_context(server(f"--server-id={number}", *_OPTIONS, *options))
                   for number, region in enumerate(regions, 1)}
        way = Way(tunnelled) if tunnelled else None
        if way:
            stack.callback(way.close)
            way.lead(servers[regions[0]])
        found = Town(servers, settings, way)
        _set_up(found)
        yield found


def _set_up(town: Town) -> None:
    primary, *replicas = town.servers.values()
    direct = (primary.address, primary.port)
    for replica in replicas:
        replica.sql("SET GLOBAL read_only = 1")
    primary.sql(*documented(), "CREATE USER repl@'%' IDENTIFIED BY 'repl'",
                "GRANT REPLICATION SLAVE ON *.* TO repl@'%'",
               "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
               "CREATE USER shop@'%' IDENTIFIED BY 'shop'", "GRANT ALL ON shop.* TO shop@'%'")
    for replica in replicas:
        host, port = town.way.address if town.way and replica is town.servers[town.way.region] else direct
        replica.sql(f"CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='repl', "
                    "MASTER_PASSWORD='repl', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, "
                    "MASTER_HEARTBEAT_PERIOD=1", "START SLAVE")
    town.in_step()


def _asked(**asked: Any) -> Any:
    return RegionAsked(**asked)


def _toml(servers: dict[str, MariaDB], settings: str, way: Way | None) -> str:
    regions = "\n".join(f'[[regions]]\nname = "{region}"' for region in servers)
    places = "\n".join(f'[[databases.servers]]\nregion = "{region}"\nhost = "{one.address}"\nport = {one.port}'
                       + (f'\nreplication_source = "{way.address[0]}:{way.address[1]}"' if way
                          and way.region == region else "")
                       for region, one in servers.items())
    more = settings or 'tls = "off"'
    return f"""name = "lamplighter"
{regions}
[coordination]
regions = ["eu-west-1"]
[databases]
flavour = "mariadb"
primary = "{next(iter(servers))}"
secret = "watch"
admin_secret = "admin"
repair = "full"
timeout = "1s"
{more}
{places}
"""


class Secrets:
    """boto3's client for Secrets Manager, with the documented users."""

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        user, password = LOGINS[SecretId]
        return {"SecretString": json.dumps({"username": user, "password": password}), "VersionId": "1"}
