"""How many endpoints one process probes in a round, a twentieth of them hung.

The endpoints are addresses of 127.0.0.0/8, all of them one process (`sandbox.mysql_stub`) on the other core. Of the
hung ones the kernel takes the connections, and nobody else does, as with a stopped ssh.
"""

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from rich.progress import Progress

from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.probe.sweep import PendingProbes, Target, sweep
from commands import roots
from commands.bench.tunnels_report import Row
from testing.servers.process import Peer

_ROUND, _PATIENCE = 2.0, 1.5
_HUNG_EVERY = 20
_STRETCH = 30_000


def measure(endpoints: int, rounds: int, bars: Progress) -> Iterator[Row]:
    """First sweeps, in which the hung ones are waited for, and later ones, in which their probes are pending."""
    bar = bars.add_task("sweeps", total=2 * rounds)
    words = [sys.executable, "-m", "sandbox.mysql_stub", "0.0.0.0"]  # noqa: S104
    with Peer(words, env={"PYTHONPATH": str(roots.PRODUCT)}) as greeter:
        greeting, silent = map(int, greeter.await_line(" ").split())
        targets = [_target(number, greeting, silent) for number in range(endpoints)]
        firsts: list[tuple[float, float]] = []
        laters: list[tuple[float, float]] = []
        spent: list[float] = []
        wrong = 0
        for _ in range(rounds):
            with closing(PendingProbes()) as parked:
                for times in (firsts, laters):
                    begin, cpu = time.time(), time.process_time()
                    seconds, verdicts = _sweep(targets, parked)
                    spent.append(time.process_time() - cpu)
                    wrong += _wrong(targets, verdicts, silent)
                    times.append((seconds, max(v.at - begin for v in verdicts.values() if v.side == "up")))
                    bars.advance(bar)
    sweeps = [seconds for seconds, _ in laters]
    yield Row("rate", f"{endpoints:,} endpoints, {endpoints // _HUNG_EVERY:,} newly hung: a sweep",
              statistics.median(seconds for seconds, _ in firsts), "s", "at most", _ROUND)
    yield Row("rate", "of these, until the last one that is up had answered", statistics.median(
        last for _, last in firsts), "s")
    yield Row("rate", "the same with their probes pending, a sweep", statistics.median(sweeps), "s", "at most", _ROUND)
    yield Row("rate", f"probes a second (in a 2 s round {endpoints // 2:,} are needed, the stretch is {_STRETCH:,})",
              endpoints / statistics.median(sweeps), "1/s", "at least", endpoints / _ROUND)
    yield Row("rate", "probes per second of this process's CPU, whatever else runs here",
              endpoints / statistics.median(spent), "1/s")
    yield Row("rate", "wrong verdicts", float(wrong), "", "at most", 0.0)


def _target(number: int, greeting: int, silent: int) -> Target:
    address = f"127.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"
    return Target(f"e{number}", address, greeting if number % _HUNG_EVERY else silent)


def _sweep(targets: list[Target], parked: PendingProbes) -> tuple[float, dict[str, ProbeResult]]:
    began = time.monotonic()
    verdicts = asyncio.run(sweep(targets, began + _PATIENCE, parked))
    return time.monotonic() - began, verdicts


def _wrong(targets: list[Target], verdicts: dict[str, ProbeResult], silent: int) -> int:
    right = Counter(verdicts[target.id].why == ("hung" if target.port == silent else "answered") for target in targets)
    return right[False]
