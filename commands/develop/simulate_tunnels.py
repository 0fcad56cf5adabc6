"""`./lamp simulate tunnels`, no fault of tunnels and controller leads to harm, and every fault leads to an alert."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing import Pool
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

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
    figures = summary(done) | {"seconds": round(time.monotonic() - began, 1)}
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        _print(figures)
    raise typer.Exit(int(bool(figures["harm"])))


def run(timelines: int, seed: int, console: Console) -> list["SimulationResult"]:
    """All timelines, one a core at a time."""
    seeds = range(seed, seed + timelines)
    # Leaving the pool ends its processes at once; Ctrl-C is for this process alone.
    with Progress(console=console, transient=True) as progress, Pool(os.cpu_count() or 1, _quiet_worker) as pool:
        bar = progress.add_task("timelines", total=timelines)
        done = []
        for timeline in pool.imap_unordered(lived, seeds, chunksize=8):
            done.append(timeline)
            progress.advance(bar)
    return done


def lived(seed: int) -> "SimulationResult":
    """One timeline, from its seed to its end."""
    from simulation.tunnels.world import simulate as simulate_one

    return simulate_one(seed)


def _quiet_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def summary(done: Sequence["SimulationResult"]) -> dict[str, Any]:
    """The totals of all timelines, and for those with harm the seed and the harm."""
    actions, alerts = Counter[str](), Counter[str]()
    for timeline in done:
        actions.update(timeline.actions)
        alerts.update(timeline.alerts)
    sums = {name: sum(getattr(timeline, name) for timeline in done)
            for name in ("rounds", "faults", "crashes", "repaired")}
    harmed = sorted((timeline for timeline in done if timeline.harm), key=lambda timeline: timeline.seed)
    return {"timelines": len(done), **sums, "actions": dict(sorted(actions.items())),
            "alerts": dict(sorted(alerts.items())),
            "harm": [{"seed": timeline.seed, "what": list(timeline.harm)} for timeline in harmed]}


def _print(figures: dict[str, Any]) -> None:
    table = Table(title="tunnels, simulated", show_header=False)
    for key, value in figures.items():
        if isinstance(value, dict):
            for kind, number in value.items():
                table.add_row(f"{key}: {kind}", f"{number:,}")
        elif key != "harm":
            table.add_row(key, f"{value:,}")
    table.add_row("timelines with harm", f"{len(figures['harm']):,}")
    console = Console()
    console.print(table)
    for one in figures["harm"]:
        console.print(f"seed {one['seed']}: {'; '.join(one['what'])}", style="bold red", highlight=False)
