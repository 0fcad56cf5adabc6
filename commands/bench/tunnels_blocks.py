"""A million polite probes of a real MariaDB that blocks a host at its first error, hangs and thaws included.

The database, sshd and two tunnels live in a network of their own. Most probes go straight to the database, some through
the tunnels. Every so often ssh, sshd or the database is stopped for some sweeps and then goes on.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

from rich.progress import Progress

from chalicelib.tunnels.probe.sweep import PendingProbes, Target, sweep
from commands.bench.tunnels_report import Row
from testing.servers import mariadb, network, ssh
from testing.servers.mariadb import MariaDB
from testing.servers.process import Peer

PROGRAMS = (*mariadb.PROGRAMS, *ssh.PROGRAMS, "ip")
_DATABASE, _FAR, _NEAR, _PROBER = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
_DIRECT, _THROUGH = 180, 10
_HANG_EVERY = 40  # sweeps
_HUNG_SWEEPS = 4
_PATIENCE, _SHORT = 30.0, 0.1
_OPTIONS = ("--max-connect-errors=1", "--max-connections=2000", "--back-log=1000", "--thread-cache-size=400",
            "--performance-schema=ON", "--log-warnings=1")  # fmt: skip


def measure(probes: int, bars: Progress) -> Iterator[Row]:
    """The probes, and what the database then holds against the hosts that they came from."""
    hosts = "".join(f"{address} host{number}.test\n" for number, address in enumerate((_DATABASE, _PROBER)))
    with ExitStack() as stack:
        stack.enter_context(network.namespace(_DATABASE, _FAR, _NEAR, _PROBER))
        db = stack.enter_context(mariadb.server(*_OPTIONS, address=_DATABASE, port=3306, hosts=hosts))
        db.sql("CREATE USER app@'%' IDENTIFIED BY 'secret'")
        far = stack.enter_context(ssh.server(_FAR))
        quiet = {"ServerAliveInterval": "0", "ExitOnForwardFailure": "yes"}
        tunnels = [stack.enter_context(far.tunnel((_NEAR, port), (_DATABASE, 3306), quiet)) for port in (3301, 3302)]
        run = _Run(probes, [*tunnels, far.process, db.process], stack.enter_context(closing(PendingProbes())), bars)
        before, began = db.status("Connections"), time.monotonic()
        run.go()
        seconds, made = time.monotonic() - began, db.status("Connections") - before
        yield from _rows(run, db, made, seconds)


class _Run:
    """`seen` counts results by their reason."""

    def __init__(self, probes: int, peers: Sequence[Peer], parked: PendingProbes, bars: Progress) -> None:
        self.probes, self.parked, self.bars = probes, parked, bars
        self.peers = itertools.cycle(peers)
        self.seen: Counter[str] = Counter()
        self.hangs = 0
        direct = [Target(f"d{number}", _DATABASE, 3306) for number in range(_DIRECT)]
        through = [Target(f"t{number}", _NEAR, 3301 + number % 2) for number in range(_THROUGH)]
        self.targets = [*direct, *through]

    def go(self) -> None:
        """Until so many have been answered."""
        bar = self.bars.add_task("probes at max_connect_errors=1", total=self.probes)
        for number in itertools.count(1):
            if number % _HANG_EVERY == 0:
                self.hang()
            self.look(_PATIENCE)
            self.bars.update(bar, completed=min(self.seen["answered"], self.probes))
            if self.seen["answered"] >= self.probes or self.seen["blocked"]:
                return

    def hang(self) -> None:
        peer = next(self.peers)
        peer.stop()
        for _ in range(_HUNG_SWEEPS):
            self.look(_SHORT)
        peer.resume()
        self.hangs += 1

    def look(self, seconds: float) -> None:
        verdicts = asyncio.run(sweep(self.targets, time.monotonic() + seconds, self.parked, source=_PROBER))
        self.seen.update(verdict.why for verdict in verdicts.values())


def _rows(run: _Run, db: MariaDB, made: int, seconds: float) -> Iterator[Row]:
    cache = {row["IP"]: row for row in db.sql("SELECT * FROM performance_schema.host_cache")}
    rows = [cache[address] for address in (_DATABASE, _PROBER)]
    yield Row("blocks", "probes answered", float(run.seen["answered"]), "", "at least", float(run.probes))
    yield Row("blocks", "connections that the database counted", float(made), "")
    yield Row("blocks", "hangs and thaws of ssh, sshd and the database", float(run.hangs), "")
    hung = run.seen["hung"] + run.seen["mute"]
    yield Row("blocks", "results of a probe that hung", float(hung), "")
    # A sweep of a tenth of a second may have no time left on a busy machine.
    yield Row("blocks", "results of probes that did not begin for want of time", float(run.seen["not-probed"]), "")
    others = sum(run.seen.values()) - run.seen["answered"] - hung - run.seen["not-probed"]
    yield Row("blocks", "results of any other kind", float(others), "", "at most", 0.0)
    yield Row("blocks", "errors held against a host", float(sum(
        row["SUM_CONNECT_ERRORS"] + row["COUNT_HANDSHAKE_ERRORS"] for row in rows)), "", "at most", 0.0)
    blocked = sum(row["COUNT_HOST_BLOCKED_ERRORS"] for row in rows)
    yield Row("blocks", "connections refused since a host was blocked", float(blocked), "", "at most", 0.0)
    yield Row("blocks", "seconds for all of it", seconds, "s")
