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
from contextlib import ExitStack, closing, contextmanager

import msgspec
from rich.progress import Progress

from commands.bench.tunnels_report import Row
from testing.servers import haproxy, health, mariadb, network, ssh
from testing.servers.mariadb import MariaDB
from testing.servers.process import Peer, family

PROGRAMS = (*mariadb.PROGRAMS, *ssh.PROGRAMS, *haproxy.PROGRAMS, "autossh", "ip")
_MASTER, _BALANCER, _REPLICA = "10.0.0.1", "10.0.0.2", "10.0.0.3"
_NEAR = {"a": "10.0.0.11", "b": "10.0.0.12"}
_FAR = {"a": "10.0.0.21", "b": "10.0.0.22"}
_PORT, _HEALTH = 3306, 3307
# Longer than the 60 s after which a replica and its retries come as they are installed; who takes longer is given up.
_LIMIT = 75.0
_WRITE, _LOOK = 0.05, 0.01
# Replication is well again when nothing was older than this (s) for so long (s).
_FRESH, _CALM = 0.4, 1.5


class Setup(msgspec.Struct, frozen=True):
    """How tunnels are kept, balanced and used."""

    name: str
    program: str
    options: dict[str, str]
    check: str
    each: str
    deep: bool
    primary: str
    replica: tuple[str, ...]


_ALIVE = {"ServerAliveInterval": "3", "ServerAliveCountMax": "2", "ExitOnForwardFailure": "yes"}
_EACH = "check inter 1s fall 2 rise 2"
_PLAIN = {"ExitOnForwardFailure": "yes"}
SETUPS = (
    Setup("ours", "ssh", ssh.TUNED, "option httpchk GET /", "check inter 1s fastinter 300ms fall 2 rise 2", True,
          ", MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1", ("--slave-net-timeout=4",)),
    Setup("ssh", "ssh", _PLAIN, "", _EACH, False, "", ()),
    Setup("autossh", "autossh", _ALIVE, "", _EACH, False, "", ()),
)
# What happens, and for how long replication of ours may stand still then (s).
FAULTS = {"one killed": 1.0, "one hung": 5.0, "one gateway hung": 5.0, "both killed": 2.0}


class Ended(Exception):
    """The run was ended from outside."""


def measure(rounds: int, bars: Progress) -> Iterator[Row]:
    """Medians of so many rounds of each fault in each set-up."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(SETUPS)) as pool:
        try:
            running = [pool.submit(_set_up, setup, rounds, bars, stop) for setup in SETUPS]
            found = [one.result() for one in running]
        finally:
            # Ctrl-C and a mistake in one end the others, and with them all that they started.
            stop.set()
    for fault, bound in FAULTS.items():
        for setup, gaps in zip(SETUPS, found, strict=True):
            yield _row(setup, fault, gaps[fault], bound)


def _row(setup: Setup, fault: str, gaps: list[float], bound: float) -> Row:
    median = statistics.median(gaps)
    told = f"{setup.name}, {fault}: {min(gaps):.1f} to {max(gaps):.1f}"
    if median >= _LIMIT:
        return Row("gaps", f"{setup.name}, {fault}: given up", median, "s or more")
    return Row("gaps", told, median, "s", *(("at most", bound) if setup.name == "ours" else ()))


def _set_up(setup: Setup, rounds: int, bars: Progress, stop: threading.Event) -> dict[str, list[float]]:
    gaps: dict[str, list[float]] = {fault: [] for fault in FAULTS}
    bar = bars.add_task(f"gaps: {setup.name}", total=rounds * len(FAULTS))
    with _world(setup, stop) as world:
        for _ in range(rounds):
            for fault in FAULTS:
                gaps[fault].append(world.suffer(fault))
                bars.advance(bar)
    return gaps


@contextmanager
def _world(setup: Setup, stop: threading.Event) -> Iterator["_World"]:
    log = ("--log-bin", "--gtid-strict-mode=ON", f"--server-id={1}")
    with ExitStack() as stack:
        stack.enter_context(network.namespace(_MASTER, _BALANCER, _REPLICA, *_NEAR.values(), *_FAR.values()))
        primary = stack.enter_context(mariadb.server(*log, address=_MASTER, port=_PORT, hosts=f"{_MASTER} far.test\n"))
        replica = stack.enter_context(mariadb.server("--server-id=2", *setup.replica, address=_REPLICA, port=_PORT))
        gateways = {name: stack.enter_context(ssh.server(address)) for name, address in _FAR.items()}
        tunnels = {name: stack.enter_context(gateways[name].kept(
            (address, _PORT), (_MASTER, _PORT), setup.options, setup.program)) for name, address in _NEAR.items()}
        if setup.deep:
            for address in _NEAR.values():
                stack.enter_context(health.port((address, _HEALTH), (address, _PORT)))
        ports = dict.fromkeys(_NEAR, _HEALTH) if setup.deep else {}
        balancer = stack.enter_context(haproxy.balancer(
            (_BALANCER, _PORT), {name: (address, _PORT) for name, address in _NEAR.items()}, setup.check,
            each=setup.each, health_ports=ports))
        world = stack.enter_context(closing(_World(replica, gateways, tunnels, balancer, stop)))
        world.replicate(primary, setup.primary)
        yield world


class _World:
    def __init__(
        self, replica: MariaDB, gateways: dict[str, ssh.Sshd], tunnels: dict[str, Peer], balancer: haproxy.Balancer,
        stop: threading.Event,
    ) -> None:
        self.replica, self.balancer, self.stop = replica, balancer, stop
        self.gateways, self.tunnels = gateways, tunnels
        self.ended = threading.Event()
        self.writer = threading.Thread()

    def replicate(self, primary: MariaDB, more: str) -> None:
        """Everything from the first statement on. Then a row that is written all the time."""
        primary.sql("CREATE USER copy@'%' IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO copy@'%'",
                   "CREATE DATABASE beat", "CREATE TABLE beat.beat (id INT PRIMARY KEY, at DOUBLE)",
                   "INSERT beat.beat VALUES (1, 0)")
        self._until(self._both_up)
        self.replica.sql(f"CHANGE MASTER TO MASTER_HOST='{_BALANCER}', MASTER_PORT={_PORT}, MASTER_USER='copy', "
                         f"MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos{more}", "START SLAVE")
        self._until(lambda: bool(self.replica.sql(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = 'beat'")))
        self.writer = threading.Thread(target=self._write, args=(primary,))
        self.writer.start()

    def close(self) -> None:
        """Ends the writing."""
        self.ended.set()
        if self.writer.ident:
            self.writer.join()

    def _write(self, primary: MariaDB) -> None:
        with closing(primary.connect()) as connection, connection.cursor() as cursor:
            while not self.ended.wait(_WRITE):
                cursor.execute("UPDATE beat.beat SET at = %s", (time.time(),))

    def suffer(self, fault: str) -> float:
        """The longest time that the replica was behind from the fault on until it is well again."""
        self._until(self._steady)
        used = self._used()
        if fault == "one gateway hung":
            gateway = self.gateways[used].process
            gateway.stop()
            gap = self._behind()
            gateway.resume()
            return gap
        pids = [family(self.tunnels[name].pid)[-1] for name in (self.tunnels if fault == "both killed" else [used])]
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
        with closing(self.replica.connect()) as connection, connection.cursor() as cursor:
            while (now := time.monotonic()) - calm < _CALM:
                cursor.execute("SELECT at FROM beat.beat")
                age = time.time() - (cursor.fetchone() or {})["at"]
                worst = max(worst, age)
                if age > _FRESH or now - began < 0.5:
                    calm = now
                if now - began > _LIMIT:
                    return _LIMIT
                self._pause(_LOOK)
        return worst

    def _steady(self) -> bool:
        rows = self.replica.sql("SELECT at FROM beat.beat")
        fresh = bool(rows) and time.time() - float(rows[0]["at"]) < _FRESH
        return fresh and self._both_up() and self._used() != ""

    def _both_up(self) -> bool:
        return all(up for up, _ in self.balancer.servers().values())

    def _used(self) -> str:
        return next((name for name, (_, count) in self.balancer.servers().items() if count), "")

    def _until(self, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * _LIMIT
        while not look():
            if time.monotonic() > deadline:
                raise TimeoutError(f"replication never got well; HAProxy's servers: {self.balancer.servers()}")
            self._pause(0.1)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Ended
