"""How long replication stands still when tunnels or gateways die or hang, with ours, plain ssh and autossh.

Each set-up is a network of its own with a primary, a replica, two gateways (sshd), a tunnel over each and HAProxy
before them. The same faults hit the tunnel in use. They run side by side, so that a busy machine slows all alike.

- `ours`: ssh that notices a dead path after 6 s and is restarted at once, HAProxy asks the health port of each tunnel
  (a probe through to the database), and the replica is tuned (retry after 1 s, heartbeat 1 s, time-out 4 s).
- `ssh` and `autossh`: HAProxy connects to see whether a tunnel is up, the replica is as it comes. Plain ssh has its own
  defaults, autossh what its manual advises in place of its monitoring port: ServerAliveInterval and CountMax.
"""

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import msgspec

from commands.bench.figures import Figure
from testing.servers import haproxy, health, mariadb, network, ssh
from testing.servers.process import family

PROGRAMS = (*mariadb.PROGRAMS, *ssh.PROGRAMS, *haproxy.PROGRAMS, "autossh", "ip")
_PRIMARY, _BALANCER, _REPLICA = "10.0.0.1", "10.0.0.2", "10.0.0.3"
_NEAR = {"a": ("10.0.0.11", 3306), "b": ("10.0.0.12", 3306)}
_FAR = {"a": "10.0.0.21", "b": "10.0.0.22"}
_HEALTH = 3307
# Longer than the 60 s after which a replica and its retries come as they are installed; who takes longer is given up.
LIMIT_SECONDS = 75.0
# Replication is well again when nothing was older than this (s) for so long (s).
_FRESH, _CALM = 0.4, 1.5


class Setup(msgspec.Struct, frozen=True):
    """How tunnels are kept (`program` and `options` of ssh), balanced and used."""

    name: str
    program: str
    options: dict[str, str]
    tuned: bool = False


SETUPS = (
    Setup("ours", "ssh", ssh.TUNED, tuned=True),
    Setup("ssh", "ssh", {"ExitOnForwardFailure": "yes"}),
    Setup("autossh", "autossh", {"ServerAliveInterval": "3", "ServerAliveCountMax": "2",
                                 "ExitOnForwardFailure": "yes"}),
)
# What happens, and for how long replication of ours may stand still then (s).
FAULTS = {"one killed": 1.0, "one hung": 5.0, "one gateway hung": 5.0, "both killed": 2.0}


class Ended(Exception):
    """The run was ended from outside."""


def measure(rounds: int = 5) -> Iterator[Figure]:
    """Medians of so many rounds of each fault in each set-up."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(SETUPS)) as pool:
        try:
            measured = list(pool.map(lambda setup: gaps(setup, rounds, stop), SETUPS))
        finally:
            # Ctrl-C and a mistake in one end the others, and with them all that they started.
            stop.set()
    for fault in FAULTS:
        for setup, seconds in zip(SETUPS, measured, strict=True):
            yield figure(setup, fault, seconds[fault])


def figure(setup: Setup, fault: str, gaps: list[float]) -> Figure:
    """The median of the seconds without replication, with their range. Only that of ours has a limit."""
    median = statistics.median(gaps)
    if median >= LIMIT_SECONDS:
        return Figure(f"{setup.name}, {fault}: given up", median, "s or more")
    name = f"{setup.name}, {fault}: {min(gaps):.1f} to {max(gaps):.1f}"
    return Figure(name, median, "s", "at most", FAULTS[fault]) if setup.tuned else Figure(name, median, "s")


def gaps(setup: Setup, rounds: int, stop: threading.Event) -> dict[str, list[float]]:
    """The seconds without replication in each round of each fault."""
    found: dict[str, list[float]] = {fault: [] for fault in FAULTS}
    with ExitStack() as stack:
        world = _World(setup, stop, stack)
        for _ in range(rounds):
            for fault in FAULTS:
                found[fault].append(world.suffer(fault))
    return found


class _World:
    """Servers, tunnels, and a row that is written all the time, until `stack` is closed."""

    def __init__(self, setup: Setup, stop: threading.Event, stack: ExitStack) -> None:
        self._stop = stop
        near = [address for address, _ in _NEAR.values()]
        stack.enter_context(network.namespace(_PRIMARY, _BALANCER, _REPLICA, *near, *_FAR.values()))
        self._primary = stack.enter_context(mariadb.server(
            "--log-bin", "--gtid-strict-mode=ON", "--server-id=1", address=_PRIMARY, port=3306,
            hosts=f"{_PRIMARY} far.test\n"))
        patience = ["--slave-net-timeout=4"] if setup.tuned else []
        self._replica = stack.enter_context(mariadb.server("--server-id=2", *patience, address=_REPLICA, port=3306))
        self._gateways = {name: stack.enter_context(ssh.server(address)) for name, address in _FAR.items()}
        self._tunnels = {name: stack.enter_context(self._gateways[name].kept(
            place, (_PRIMARY, 3306), setup.options, setup.program)) for name, place in _NEAR.items()}
        check, each, ports = "", "check inter 1s fall 2 rise 2", dict[str, int]()
        if setup.tuned:
            for address, port in _NEAR.values():
                stack.enter_context(health.port((address, _HEALTH), (address, port)))
            check, ports = "option httpchk GET /", dict.fromkeys(_NEAR, _HEALTH)
            each = "check inter 1s fastinter 300ms fall 2 rise 2"
        self._balancer = stack.enter_context(haproxy.balancer(
            (_BALANCER, 3306), _NEAR, check, each=each, health_ports=ports))
        self._replicate(", MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1" if setup.tuned else "")
        ended = threading.Event()
        writer = threading.Thread(target=self._write, args=(ended,))
        writer.start()
        stack.callback(writer.join)
        stack.callback(ended.set)

    def _replicate(self, settings: str) -> None:
        """Everything from the first statement on."""
        self._primary.sql("CREATE USER copy@'%' IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO copy@'%'",
                          "CREATE DATABASE beat", "CREATE TABLE beat.beat (id INT PRIMARY KEY, at DOUBLE)",
                          "INSERT beat.beat VALUES (1, 0)")
        self._until(self._both_up)
        self._replica.sql(f"CHANGE MASTER TO MASTER_HOST='{_BALANCER}', MASTER_PORT=3306, MASTER_USER='copy', "
                          f"MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos{settings}", "START SLAVE")
        self._until(lambda: bool(self._replica.sql(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = 'beat'")))

    def _write(self, ended: threading.Event) -> None:
        with closing(self._primary.connect()) as connection, connection.cursor() as cursor:
            while not ended.wait(0.05):
                cursor.execute("UPDATE beat.beat SET at = %s", (time.time(),))

    def suffer(self, fault: str) -> float:
        """The longest time that the replica was behind from the fault on until it is well again."""
        self._until(self._steady)
        used = self._used()
        if fault == "one gateway hung":
            gateway = self._gateways[used].process
            gateway.stop()
            gap = self._behind()
            gateway.resume()
            return gap
        hit = list(self._tunnels) if fault == "both killed" else [used]
        pids = [family(self._tunnels[name].pid)[-1] for name in hit]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP if fault == "one hung" else signal.SIGKILL)
        gap = self._behind()
        if fault == "one hung":
            # It is of no use any more: whoever keeps it starts another.
            os.kill(pids[0], signal.SIGKILL)
        return gap

    def _behind(self) -> float:
        began = calm = time.monotonic()
        worst = 0.0
        with closing(self._replica.connect()) as connection, connection.cursor() as cursor:
            while (now := time.monotonic()) - calm < _CALM:
                cursor.execute("SELECT at FROM beat.beat")
                age = time.time() - (cursor.fetchone() or {})["at"]
                worst = max(worst, age)
                if age > _FRESH or now - began < 0.5:
                    calm = now
                if now - began > LIMIT_SECONDS:
                    return LIMIT_SECONDS
                self._pause(0.01)
        return worst

    def _steady(self) -> bool:
        rows = self._replica.sql("SELECT at FROM beat.beat")
        fresh = bool(rows) and time.time() - float(rows[0]["at"]) < _FRESH
        return fresh and self._both_up() and self._used() != ""

    def _both_up(self) -> bool:
        return all(up for up, _ in self._balancer.servers().values())

    def _used(self) -> str:
        return next((name for name, (_, count) in self._balancer.servers().items() if count), "")

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * LIMIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"replication never got well; HAProxy's servers: {self._balancer.servers()}")
            self._pause(0.1)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Ended
