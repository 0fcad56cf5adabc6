"""`./lamp simulate databases`, no fault of servers, tables and Lambdas costs a row or makes two primaries."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.develop.timelines import run_all, show, totals
from commands.terminal import Console

if TYPE_CHECKING:
    from simulation.databases.checker import SimulationResult


def simulate(
    timelines: Annotated[int, typer.Option(min=1, help="How many timelines of 90 minutes each.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The first seed. Each timeline takes the next.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Servers die, hang and thaw, threads stop, events fail, networks and tunnels are cut, tables go silent or are
    restored, people promote at the same time, and each operation crashes, stalls, overlaps and runs twice.

    Exits with 1 if an unforced promotion ever lost a confirmed row, or two servers took writes unnoticed. The same
    holds for a primary that was closed, a restart that was forbidden or above its budget, and an outage without an
    alert.
    """
    began = time.monotonic()
    done = run(timelines, seed, Console(stderr=True))
    raise typer.Exit(show(summary(done), began=began, title="databases, simulated", as_json=as_json))


def run(timelines: int, seed: int, console: Console) -> list["SimulationResult"]:
    """All timelines, one a core at a time."""
    return run_all(lived, range(seed, seed + timelines), console)


def lived(seed: int) -> "SimulationResult":
    """One timeline, from its seed to its end."""
    from simulation.databases.world import simulate as simulate_one

    return simulate_one(seed)


def summary(done: Sequence["SimulationResult"]) -> dict[str, Any]:
    """The totals of all timelines, and for those with harm the seed and the harm."""
    return totals(done, ("runs", "faults", "crashes", "promoted", "rows"))
