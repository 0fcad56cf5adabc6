"""How many endpoints one process probes in a round, a twentieth of them hung.

The endpoints are addresses of 127.0.0.0/8, all of them one process (`sandbox.mysql_stub`) on the other core. Of the
hung ones the kernel takes the connections, and nobody else does, as with a stopped ssh.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing

from chalicelib.tunnels.probe.sweep import PendingProbes, Target, sweep
from commands import roots
from commands.bench.figures import Figure
from testing.servers.process import Peer

_ROUND_SECONDS, PATIENCE_SECONDS = 2.0, 1.5
_HUNG_EVERY = 20


def measure(endpoints: int = 5_000, rounds: int = 5) -> Iterator[Figure]:
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
