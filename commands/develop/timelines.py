"""Many simulated timelines at once, one a core, and their figures as a table or as JSON."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing import Pool
from typing import Any, Protocol, TypeVar

from rich.progress import Progress
from rich.table import Table

from commands.terminal import Console, line, write_json


class Timeline(Protocol):
    """The results of one timeline. `harm` must be empty."""

    @property
    def seed(self) -> int: ...

    @property
    def harm(self) -> tuple[str, ...]: ...

    @property
    def actions(self) -> dict[str, int]: ...

    @property
    def alerts(self) -> dict[str, int]: ...


T = TypeVar("T", bound=Timeline)


def run_all(simulate: Callable[[int], T], seeds: Sequence[int], console: Console) -> list[T]:
    """All timelines, one a core at a time. `simulate` must be a function of a module, because processes call it."""
    # Leaving the pool ends its processes at once; Ctrl-C is for this process alone.
    with Progress(console=console, transient=True) as progress, Pool(os.cpu_count() or 1, _quiet_worker) as pool:
        bar = progress.add_task("timelines", total=len(seeds))
        done = []
        for timeline in pool.imap_unordered(simulate, seeds, chunksize=8):
            done.append(timeline)
            progress.advance(bar)
    return done


def _quiet_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def totals(done: Sequence[Timeline], names: Sequence[str]) -> dict[str, Any]:
    """The totals of all timelines, of these fields and of each kind, and for those with harm the seed and the harm."""
    actions, alerts = Counter[str](), Counter[str]()
    for timeline in done:
        actions.update(timeline.actions)
        alerts.update(timeline.alerts)
    sums = {name: sum(getattr(timeline, name) for timeline in done) for name in names}
    harmed = sorted((timeline for timeline in done if timeline.harm), key=lambda timeline: timeline.seed)
    return {"timelines": len(done), **sums, "actions": dict(sorted(actions.items())),
            "alerts": dict(sorted(alerts.items())),
            "harm": [{"seed": timeline.seed, "what": list(timeline.harm)} for timeline in harmed]}


def show(figures: dict[str, Any], *, began: float, title: str, as_json: bool) -> int:
    """Prints the figures with the seconds since `began` (monotonic). The exit code, which is 1 if there was harm."""
    figures = figures | {"seconds": round(time.monotonic() - began, 1)}
    if as_json:
        write_json(figures)
    else:
        _print(figures, title)
    return int(bool(figures["harm"]))


def _print(figures: dict[str, Any], title: str) -> None:
    table = Table(title=title, show_header=False)
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
        console.print(line(f"seed {one['seed']}: {'; '.join(one['what'])}"), style="bold red")
