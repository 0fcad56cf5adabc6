"""Servers in memory that replicate by GTID as MariaDB and MySQL do, for tests and simulations.

Modelled, each as it was seen of MariaDB 10.11:

- Starting either thread while both stand still empties the relay log, and it is fetched anew. MySQL keeps it.
- The IO thread stops for good when its source does not have the replica's position.
- Read-only lets nobody write. A server that hangs keeps its state, and one that restarts comes up as configured.
- A heartbeat is a row like any other, and a replica shows it once it has applied it.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, NamedTuple

from chalicelib.mysql import dialect
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.gtid import Engine, GtidSet, read
from chalicelib.mysql.status import ReplicaStatus, ReplicaThread, ServerError, ServerStatus

# What happens to a server, in the words of `FakeFleet.on_change`.
Change = Literal["read-only", "writable", "relay-emptied", "started", "source-changed", "reset"]


class Row(NamedTuple):
    """A transaction of the server `server`. `beat` is the time in a heartbeat's row, of the region `region`."""

    server: int
    number: int
    region: str = ""
    beat: float = 0.0


class FakeFleet:
    """The servers by region, the first the primary, and the network between their regions.

    `cut` has pairs of regions, of which the first does not reach the second. `on_change` hears each change of a server
    when it has happened, with the rows that a relay log has lost.
    """

    def __init__(self, hosts: dict[str, str], clock: Callable[[], float], chance: Random,
                 flavour: Engine = "mariadb") -> None:
        self.clock, self.chance, self.flavour = clock, chance, flavour
        self.cut: set[tuple[str, str]] = set()
        self.on_change: Callable[[FakeServer, Change, Sequence[Row]], None] = lambda server, change, rows: None
        first = next(iter(hosts))
        self.servers = {region: FakeServer(self, region, host, number, source="" if region == first else hosts[first])
                        for number, (region, host) in enumerate(hosts.items(), 1)}

    def at_host(self, host: str) -> "FakeServer":
        """The server with this address."""
        return next(server for server in self.servers.values() if server.host == host)

    def flows(self, replica: "FakeServer") -> bool:
        """Whether a replica reaches its source, and gets answers."""
        source = self.at_host(replica.source)
        return source.answers and (replica.region, source.region) not in self.cut

    def replicate(self) -> None:
        """Replication has a moment."""
        for server in self.servers.values():
            server.replicate()


class FakeServer:
    """One server, a `chalicelib.mysql.server.Server`. `log` is what it has applied, `relay` what it has only received.

    `configured` is read-only as its configuration says. `poison` is the number of an error that its next event gives.
    """

    def __init__(self, fleet: FakeFleet, region: str, host: str, number: int, *, source: str) -> None:
        self.fleet, self.region, self.host, self.number = fleet, region, host, number
        self.log: list[Row] = []
        self.relay: list[Row] = []
        self.alive, self.hung = True, False
        self.read_only = self.configured = bool(source)
        self.source = source
        self.io: Literal["running", "stopped"] = "running"
        self.sql: Literal["running", "stopped"] = "running"
        self.io_errno = self.sql_errno = self.poison = 0
        self.skew = 0.0
        self.net_timeout, self.connect_retry, self.connect_errors = 4, 1, dialect.CONNECT_ERRORS
        self.heartbeats: dict[str, float] = {}
        self._last: dict[int, int] = {}

    @property
    def answers(self) -> bool:
        """Whether it runs, and does not hang."""
        return self.alive and not self.hung

    @property
    def executed(self) -> GtidSet:
        """Its transactions."""
        return self._gtids(self._last)

    def has(self, row: Row) -> bool:
        """Whether it has applied the row, or another of the same number."""
        return self._last.get(row.server, 0) >= row.number

    def last_of(self, number: int) -> int:
        """The number of the last row of a server that it has applied."""
        return self._last.get(number, 0)

    # The protocol.

    def read_status(self) -> ServerStatus:
        now, replication = self.fleet.clock(), None
        if self.source:
            received = self._last | {row.server: row.number for row in self.relay}
            io: Literal["running", "connecting", "stopped"] = self.io
            if io == "running" and not self.fleet.flows(self):
                io = "connecting"
            replication = ReplicaStatus(
                ReplicaThread(io, self.io_errno, _text(self.io_errno)),
                ReplicaThread(self.sql, self.sql_errno, _text(self.sql_errno)), self.source, 3306, True,
                self._gtids(received), seconds_behind_source=0, connect_retry=self.connect_retry, heartbeat=1.0,
                source=str(self.fleet.at_host(self.source).number))
        version = "10.11.0-MariaDB" if self.fleet.flavour == "mariadb" else "8.0.36"
        return ServerStatus(self.region, self.fleet.flavour, version, str(self.number), self.read_only, self.executed,
                            now, now + self.skew, replica_net_timeout=self.net_timeout, replication=replication,
                            heartbeats=dict(self.heartbeats), max_connect_errors=self.connect_errors)

    def write_heartbeat(self, region: str) -> float:
        at = self.fleet.clock() + self.skew
        self.write(region, at)
        return at

    def start(self, threads: Sequence[str]) -> None:
        self.fleet.on_change(self, "started", ())
        self._start(threads)

    def stop(self, thread: str = "") -> None:
        self.io = "stopped" if thread in ("", "IO") else self.io
        self.sql = "stopped" if thread in ("", "SQL") else self.sql

    def reset_replica(self) -> None:
        self.stop()
        lost, self.source, self.relay = self.relay, "", []
        self.io_errno = self.sql_errno = 0
        self.fleet.on_change(self, "reset", lost)

    def change_source(self, host: str, port: int) -> None:
        lost, self.source, self.relay = self.relay, host, []
        self.fleet.on_change(self, "source-changed", lost)
        self._start(("IO", "SQL"))

    def tune(self) -> None:
        self.stop()
        self.net_timeout, self.connect_retry = 4, 1
        self._start(("IO", "SQL"))

    def tolerate_connects(self) -> None:
        self.connect_errors = dialect.CONNECT_ERRORS

    def set_read_only(self) -> int:
        self.read_only = True
        self.fleet.on_change(self, "read-only", ())
        return 0

    def set_writable(self) -> None:
        self.read_only = False
        self.fleet.on_change(self, "writable", ())

    # What happens to it.

    def write(self, region: str = "", beat: float = 0.0) -> Row:
        """Somebody writes a row. Raises the server's own error if it is read-only."""
        if self.read_only:
            raise DatabaseError(ServerError("sql", self.region, "The server is running with --read-only", 1290))
        # MariaDB numbers the rows of a domain, MySQL those of a server.
        last = max(self._last.values(), default=0) if self.fleet.flavour == "mariadb" else self._last.get(
            self.number, 0)
        row = Row(self.number, last + 1, region, beat)
        self._apply([row])
        return row

    def replicate(self) -> None:
        """A moment passes: some events are fetched, some applied."""
        if not self.source or not self.answers:
            return
        if self.io == "running" and self.fleet.flows(self):
            self._fetch(self.fleet.at_host(self.source))
        if self.sql == "running" and self.relay:
            if self.poison:
                self.sql, self.sql_errno = "stopped", self.poison
                return
            count = self.fleet.chance.randint(1, 4)
            done, self.relay = self.relay[:count], self.relay[count:]
            self._apply(done)

    def restart(self) -> None:
        """It comes up again as its configuration says. A replica's relay log is fetched anew."""
        self.alive, self.hung, self.read_only, self.relay = True, False, self.configured, []
        if self.source:
            self.io = self.sql = "running"
            self.io_errno = self.sql_errno = 0
        if not self.read_only:
            self.fleet.on_change(self, "writable", ())

    def copy_of(self, primary: "FakeServer") -> None:
        """Somebody makes it anew from the primary, and it replicates from there."""
        self.log, self._last, self.heartbeats = list(primary.log), dict(primary._last), dict(primary.heartbeats)
        self.source, self.relay, self.poison, self.read_only = primary.host, [], 0, True
        self.io = self.sql = "running"
        self.io_errno = self.sql_errno = 0

    def _start(self, threads: Sequence[str]) -> None:
        if self.fleet.flavour == "mariadb" and self.io == self.sql == "stopped":
            lost, self.relay = self.relay, []
            self.fleet.on_change(self, "relay-emptied", lost)
        if "IO" in threads:
            self.io, self.io_errno = "running", 0
        if "SQL" in threads:
            self.sql, self.sql_errno = "running", 0

    def _fetch(self, source: "FakeServer") -> None:
        have = len(self.log) + len(self.relay)
        newest = self.relay[-1] if self.relay else self.log[-1] if self.log else None
        # Rows are written once, so an equal newest row has equal rows before it.
        if have > len(source.log) or (newest and source.log[have - 1] != newest):
            self.io, self.io_errno = "stopped", 1236
            return
        self.relay += source.log[have:have + self.fleet.chance.randint(1, 6)]

    def _apply(self, rows: Sequence[Row]) -> None:
        self.log += rows
        for row in rows:
            self._last[row.server] = row.number
            if row.region:
                self.heartbeats[row.region] = row.beat

    def _gtids(self, last: dict[int, int]) -> GtidSet:
        if self.fleet.flavour == "mariadb":
            return read("mariadb", ",".join(f"0-{server}-{number}" for server, number in last.items()))
        return read("mysql", ",".join(f"{server:08x}-0000-0000-0000-000000000000:1-{number}"
                                      for server, number in last.items()))


def _text(errno: int) -> str:
    return f"error {errno}, as the server has it" if errno else ""
