"""`./lamp simulate tunnels`, no fault of tunnels and controller leads to harm, and every fault leads to an alert."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.develop.timelines import run_all, show, totals
from commands.terminal import Console

if TYPE_CHECKING:
    from simulation.tunnels.checker import SimulationResult


def simulate(
    timelines: Annotated[int, typer.Option(min=1, help="How many timelines of 90 minutes each.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The first seed. Each timeline takes the next.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Endpoints die, hang, flap and come back, hosts and the primary's side are lost, and the controller itself
    crashes, stalls, overlaps and runs twice.

    Exits with 1 if the last healthy endpoint was ever drained, or a repair ran while the primary was down. The same
    holds for a broken budget, cooldown or 'one at a time', an action done twice or on old data, and an outage of an
    endpoint without an alert.
    """
    began = time.monotonic()
    done = run(timelines, seed, Console(stderr=True))
    raise typer.Exit(show(summary(done), began=began, title="tunnels, simulated", as_json=as_json))


def run(timelines: int, seed: int, console: Console) -> list["SimulationResult"]:
    """All timelines, one a core at a time."""
    return run_all(lived, range(seed, seed + timelines), console)


def lived(seed: int) -> "SimulationResult":
    """One timeline, from its seed to its end."""
    from simulation.tunnels.world import simulate as simulate_one

    return simulate_one(seed)


def summary(done: Sequence["SimulationResult"]) -> dict[str, Any]:
    """The totals of all timelines, and for those with harm the seed and the harm."""
    return totals(done, ("rounds", "faults", "crashes", "repaired"))
