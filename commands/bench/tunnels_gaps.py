"""How long replication stands still when tunnels or gateways die or hang, with ours, plain ssh and autossh.

The same faults hit the tunnel in use of each set-up. They run side by side, so that a busy machine slows all alike.
Ours is ssh that notices a dead path after 6 s and is restarted at once. Plain ssh has its own defaults, autossh what
its manual advises in place of its monitoring port: ServerAliveInterval and ServerAliveCountMax.
"""

import statistics
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from commands.bench.figures import Figure
from testing.servers import ssh, tunnelled
from testing.servers.tunnelled import Setup

SETUPS = (
    Setup("ours", "ssh", ssh.TUNED, tuned=True),
    Setup("ssh", "ssh", {"ExitOnForwardFailure": "yes"}),
    Setup("autossh", "autossh", {"ServerAliveInterval": "3", "ServerAliveCountMax": "2",
                                 "ExitOnForwardFailure": "yes"}),
)
# What happens, and for how long replication of ours may stand still then (s).
FAULTS = {"one killed": 1.0, "one hung": 5.0, "one gateway hung": 5.0, "both killed": 2.0}


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
    if median >= tunnelled.LIMIT_SECONDS:
        return Figure(f"{setup.name}, {fault}: given up", median, "s or more")
    name = f"{setup.name}, {fault}: {min(gaps):.1f} to {max(gaps):.1f}"
    return Figure(name, median, "s", "at most", FAULTS[fault]) if setup.tuned else Figure(name, median, "s")


def gaps(setup: Setup, rounds: int, stop: threading.Event) -> dict[str, list[float]]:
    """The seconds without replication in each round of each fault."""
    with tunnelled.replication(setup, stop) as world:
        measured = [(fault, world.suffer(fault)) for _ in range(rounds) for fault in FAULTS]
    return {fault: [gap for name, gap in measured if name == fault] for fault in FAULTS}
