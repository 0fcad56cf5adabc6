"""The endpoints that one process probes in a round, a twentieth of them hung, and a million probes that block no host.

The endpoints of the rate are addresses of 127.0.0.0/8, all of them one process (`sandbox.mysql_stub`) on the other
core. Of the hung ones the kernel takes the connections, and nobody else does, as with a stopped ssh.

The million is of a real MariaDB that blocks a host at its first error. The database, sshd and two tunnels live in a
network of their own. Most probes go straight to the database, some through the tunnels. Every so often ssh, sshd or the
database is stopped for some sweeps and then goes on.
"""

import asyncio
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

from chalicelib.tunnels.probe.sweep import PendingProbes, Target, sweep
from commands import roots
from commands.bench.figures import Figure
from testing.servers import mariadb, network, ssh
from testing.servers.process import Peer

_ROUND_SECONDS, PATIENCE_SECONDS = 2.0, 1.5
_HUNG_EVERY = 20

PROGRAMS = (*mariadb.PROGRAMS, *ssh.PROGRAMS, "ip")
_DATABASE, _FAR, _NEAR, _PROBER = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
_TARGETS = [*(Target(f"d{number}", _DATABASE, 3306) for number in range(180)),
            *(Target(f"t{number}", _NEAR, 3301 + number % 2) for number in range(10))]
_HANG_EVERY, _HUNG = 40, 4  # sweeps
_SWEEP_SECONDS, _HUNG_SECONDS = 30.0, 0.1
_OPTIONS = ("--max-connect-errors=1", "--max-connections=2000", "--back-log=1000", "--thread-cache-size=400",
            "--performance-schema=ON", "--log-warnings=1")  # fmt: skip


def rate(endpoints: int = 5_000, rounds: int = 5) -> Iterator[Figure]:
    """First sweeps, in which the hung ones are waited for, and later ones, in which their probes are pending."""
    words = [sys.executable, "-m", "sandbox.mysql_stub", "0.0.0.0"]  # noqa: S104
    first, later, spent, wrong = list[float](), list[float](), list[float](), 0
    with Peer(words, env={"PYTHONPATH": str(roots.PRODUCT)}) as greeter:
        greeting, silent = map(int, greeter.await_line(" ").split())
        targets = [Target(f"e{number}", f"127.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}",
                          greeting if number % _HUNG_EVERY else silent) for number in range(endpoints)]
        for _ in range(rounds):
            with closing(PendingProbes()) as pending:
                for sweeps in (first, later):
                    began, cpu = time.monotonic(), time.process_time()
                    results = asyncio.run(sweep(targets, began + PATIENCE_SECONDS, pending))
                    sweeps.append(time.monotonic() - began)
                    spent.append(time.process_time() - cpu)
                    wrong += sum(results[target.id].why != ("hung" if target.port == silent else "answered")
                                 for target in targets)
    seconds = statistics.median(later)
    yield Figure(f"{endpoints:,} endpoints, {endpoints // _HUNG_EVERY:,} newly hung: a sweep",
                 statistics.median(first), "s", "at most", _ROUND_SECONDS)
    yield Figure("the same with their probes pending: a sweep", seconds, "s", "at most", _ROUND_SECONDS)
    yield Figure("probes a second", endpoints / seconds, "1/s", "at least", endpoints / _ROUND_SECONDS)
    yield Figure("probes a second of this process's CPU", endpoints / statistics.median(spent), "1/s")
    yield Figure("wrong results of probes", wrong, "", "at most", 0)


def blocks(probes: int = 1_000_000) -> Iterator[Figure]:
    """So many answered probes, and what the database then holds against the hosts that they came from."""
    hosts = "".join(f"{address} host{number}.test\n" for number, address in enumerate((_DATABASE, _PROBER)))
    results, hangs, began = Counter[str](), 0, time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(network.namespace(_DATABASE, _FAR, _NEAR, _PROBER))
        database = stack.enter_context(mariadb.server(*_OPTIONS, address=_DATABASE, port=3306, hosts=hosts))
        database.sql("CREATE USER app@'%' IDENTIFIED BY 'secret'")
        far = stack.enter_context(ssh.server(_FAR))
        quiet = {"ServerAliveInterval": "0", "ExitOnForwardFailure": "yes"}
        tunnels = [stack.enter_context(far.tunnel((_NEAR, port), (_DATABASE, 3306), quiet)) for port in (3301, 3302)]
        hanging = itertools.cycle([*tunnels, far.process, database.process])
        pending = stack.enter_context(closing(PendingProbes()))
        before = database.status("Connections")

        def probe(seconds: float) -> None:
            found = asyncio.run(sweep(_TARGETS, time.monotonic() + seconds, pending, source=_PROBER))
            results.update(result.why for result in found.values())

        for number in itertools.count(1):
            if number % _HANG_EVERY == 0:
                (hung := next(hanging)).stop()
                for _ in range(_HUNG):
                    probe(_HUNG_SECONDS)
                hung.resume()
                hangs += 1
            probe(_SWEEP_SECONDS)
            if results["answered"] >= probes or results["blocked"]:
                break
        made = database.status("Connections") - before
        cache = {row["IP"]: row for row in database.sql("SELECT * FROM performance_schema.host_cache")}
    rows = [cache[address] for address in (_DATABASE, _PROBER)]
    yield Figure("probes at max_connect_errors=1 that were answered", results["answered"], "", "at least", probes)
    yield Figure("connections that the database counted", made)
    yield Figure("hangs and thaws of ssh, sshd and the database meanwhile", hangs)
    # Those of a hung tunnel, and of a sweep of a tenth of a second on a busy machine, which may not even begin.
    others = results.total() - sum(results[why] for why in ("answered", "hung", "mute", "not-probed"))
    yield Figure("probes with any other result than an answer or silence", others, "", "at most", 0)
    yield Figure("errors held against a host", sum(
        row["SUM_CONNECT_ERRORS"] + row["COUNT_HANDSHAKE_ERRORS"] for row in rows), "", "at most", 0)
    yield Figure("connections refused since a host was blocked", sum(
        row["COUNT_HOST_BLOCKED_ERRORS"] for row in rows), "", "at most", 0)
    yield Figure("all of it", time.monotonic() - began, "s")
