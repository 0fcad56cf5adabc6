"""Replication through tunnels: a primary, a replica, two gateways, a tunnel over each, and HAProxy before them.

    with tunnelled.replication(Setup("ours", "ssh", ssh.TUNED, tuned=True)) as world:
        world.suffer("one hung")

All of it is in a network of its own, so it needs root.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import msgspec

from testing.servers import haproxy, health, mariadb, network, ssh
from testing.servers.process import family

PROGRAMS = (*mariadb.PROGRAMS, *ssh.PROGRAMS, *haproxy.PROGRAMS, "autossh", "ip")
# Longer than the 60 s after which a replica and its retries come as they are installed; who takes longer is given up.
LIMIT_SECONDS = 75.0
# Replication is well again when nothing was older than this (s) for so long (s).
_FRESH, _CALM = 0.4, 1.5
_PRIMARY, _BALANCER, _REPLICA = "10.0.0.1", "10.0.0.2", "10.0.0.3"
_NEAR = {"a": ("10.0.0.11", 3306), "b": ("10.0.0.12", 3306)}
_FAR = {"a": "10.0.0.21", "b": "10.0.0.22"}
_HEALTH = 3307


class Setup(msgspec.Struct, frozen=True):
    """How tunnels are kept, by `program` and `options` of ssh, and whether balancer and replica are `tuned`.

    If they are, HAProxy asks the health port of each tunnel (a probe through to the database), and the replica retries
    after 1 s, with a heartbeat of 1 s and a time-out of 4 s. Otherwise HAProxy connects to see whether a tunnel is up,
    and the replica is as it comes.
    """

    name: str
    program: str
    options: Mapping[str, str]
    tuned: bool = False


@contextmanager
def replication(setup: Setup, stop: threading.Event | None = None) -> Iterator["World"]:
    """A replica that has caught up. `stop` ends all waiting, from another thread."""
    with ExitStack() as stack:
        yield World(setup, stop or threading.Event(), stack)


class World:
    """The servers and tunnels, until `stack` is closed."""

    def __init__(self, setup: Setup, stop: threading.Event, stack: ExitStack) -> None:
        self._stop = stop
        near = [address for address, _ in _NEAR.values()]
        stack.enter_context(network.namespace(_PRIMARY, _BALANCER, _REPLICA, *near, *_FAR.values()))
        self.primary = primary = stack.enter_context(mariadb.server(
            "--log-bin", "--gtid-strict-mode=ON", "--server-id=1", address=_PRIMARY, port=3306,
            hosts=f"{_PRIMARY} far.test\n"))
        patience = ["--slave-net-timeout=4"] if setup.tuned else []
        self.replica = replica = stack.enter_context(mariadb.server(
            "--server-id=2", *patience, address=_REPLICA, port=3306))
        self._gateways = {name: stack.enter_context(ssh.server(address)) for name, address in _FAR.items()}
        self._tunnels = {name: stack.enter_context(self._gateways[name].kept(
            place, (_PRIMARY, 3306), setup.options, setup.program)) for name, place in _NEAR.items()}
        check: dict[str, Any] = {}
        if setup.tuned:
            for address, port in _NEAR.values():
                stack.enter_context(health.port((address, _HEALTH), (address, port)))
            check = {"check": "option httpchk GET /", "health_ports": dict.fromkeys(_NEAR, _HEALTH),
                     "each": "check inter 1s fastinter 300ms fall 2 rise 2"}
        self._balancer = stack.enter_context(haproxy.balancer((_BALANCER, 3306), _NEAR, **check))
        primary.sql("CREATE USER copy@'%' IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO copy@'%'",
                    "CREATE DATABASE beat", "CREATE TABLE beat.beat (id INT PRIMARY KEY, at DOUBLE)",
                    "INSERT beat.beat VALUES (1, 0)")
        settings = ", MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1" if setup.tuned else ""
        replica.sql(f"CHANGE MASTER TO MASTER_HOST='{_BALANCER}', MASTER_PORT=3306, MASTER_USER='copy', "
                    f"MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos{settings}", "START SLAVE")
        self._until(lambda: bool(replica.sql("SELECT 1 FROM information_schema.tables WHERE table_schema = 'beat'")))
        self._written, self._read = (stack.enter_context(stack.enter_context(closing(server.connect())).cursor())
                                     for server in (primary, replica))

    def suffer(self, fault: str) -> float:
        """The longest time (s) that the replica was behind from the fault on until it is well again.

        `fault` is "one killed", "one hung" or "both killed" of tunnels, or "one gateway hung". It gives up after
        `LIMIT_SECONDS`.
        """
        self._until(lambda: bool(self._used()) and self._age() < _FRESH)
        used = self._used()
        if fault == "one gateway hung":
            hit = family(self._gateways[used].process.pid)
        else:
            hit = [family(self._tunnels[name].pid)[-1] for name in (_NEAR if fault == "both killed" else [used])]
        for pid in hit:
            os.kill(pid, signal.SIGSTOP if fault.endswith("hung") else signal.SIGKILL)
        gap = self._behind()
        for pid in hit:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return gap

    def scan(self, count: int) -> None:
        """Connects through one tunnel, as a port scan does, and leaves without a login. The primary knows each as one
        of the gateway's host."""
        for _ in range(count):
            with socket.create_connection(_NEAR["a"], LIMIT_SECONDS) as connection:
                connection.recv(1)

    def greeting(self) -> bytes:
        """The first words of the primary through a tunnel."""
        with socket.create_connection(_NEAR["a"], LIMIT_SECONDS) as connection:
            return connection.recv(4096)

    def cut(self) -> set[int]:
        """Ends the replica's connections, as the end of its tunnel does. Their ids."""
        ended = self.connections()
        self.primary.sql(*(f"KILL {id}" for id in ended))
        self._until(lambda: not self.connections() & ended)
        return ended

    def await_connection(self) -> None:
        """Returns once the primary sends to the replica."""
        self._until(lambda: bool(self.connections()))

    def await_error(self) -> str:
        """Why the replica cannot connect, once it says so."""
        self._until(lambda: bool(self._error()))
        return self._error()

    def connections(self) -> set[int]:
        """Those by which the primary sends its log."""
        rows = self.primary.sql("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'")
        return {int(row["id"]) for row in rows}

    def _error(self) -> str:
        return str(self.replica.sql("SHOW SLAVE STATUS")[0]["Last_IO_Error"])

    def _behind(self) -> float:
        began = calm = time.monotonic()
        worst = 0.0
        while (now := time.monotonic()) - calm < _CALM:
            age = self._age()
            worst = max(worst, age)
            if age > _FRESH or now - began < 0.5:
                calm = now
            if now - began > LIMIT_SECONDS:
                return LIMIT_SECONDS
            self._pause(0.01)
        return worst

    def _age(self) -> float:
        """Writes the time into the primary. How old the newest one is that the replica has."""
        self._written.execute("UPDATE beat.beat SET at = %s", (time.time(),))
        self._read.execute("SELECT at FROM beat.beat")
        return time.time() - float((self._read.fetchone() or {})["at"])

    def _used(self) -> str:
        """The tunnel through which the replica is connected, once both are up."""
        servers = self._balancer.servers()
        used = [name for name, (_, connections) in servers.items() if connections]
        return used[0] if used and all(up for up, _ in servers.values()) else ""

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * LIMIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"replication never got well; HAProxy's servers: {self._balancer.servers()}")
            self._pause(0.1)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise InterruptedError("ended from outside")
