"""`./lamp simulate health-checks`, rotation never changes a region's status, and never hides an outage."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing import Pool
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from commands.terminal import Console, write_json

if TYPE_CHECKING:
    from simulation.health_checks.tally import Verdict
    from simulation.health_checks.world import Plot

_HOURS = 250
_MUST_BE_ZERO = ("flips", "missed", "late", "strangers")


def simulate(
    hours: Annotated[int, typer.Option(help="How many hours to simulate under each of the four models.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The first seed. Each world takes the next.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """One region's hosts come, drain, die, vanish and leave their addresses to strangers while its checks rotate.

    Exits with 1 if the status ever fell without an outage, or an outage was detected late. The same holds if a host was
    too long without a result, or a check stayed too long with a host that is gone.
    """
    began = time.monotonic()
    verdicts = run(hours, seed, Console(stderr=True))
    rows = summary(verdicts)
    if as_json:
        write_json({"models": rows, "seconds": round(time.monotonic() - began, 1)})
    else:
        _print(rows)
    raise typer.Exit(int(any(row[key] for row in rows for key in _MUST_BE_ZERO)))


def run(hours: int, seed: int, console: Console) -> list["Verdict"]:
    """All worlds, one a core at a time."""
    plots = list(_plots(hours, seed))
    # Leaving the pool ends its processes at once; Ctrl-C is for this process alone.
    with Progress(console=console, transient=True) as progress, Pool(os.cpu_count() or 1, _quiet_worker) as pool:
        bar = progress.add_task("hours", total=sum(plot.minutes for plot in plots) / 60)
        done = []
        for verdict in pool.imap_unordered(simulated, plots):
            done.append(verdict)
            progress.update(bar, advance=verdict.hours)
    return done


def simulated(plot: "Plot") -> "Verdict":
    """One world, from its seed to its result."""
    from simulation.health_checks.harsh_region import lived

    return lived(plot)


def _quiet_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _plots(hours: int, seed: int) -> Iterator["Plot"]:
    """Worlds of at most 250 hours, half with checks every 10 s, every third rough, some harsh, most with 20 hosts."""
    from chalicelib.config.declared import HealthChecks
    from simulation.health_checks.checkers import MODELS
    from simulation.health_checks.world import Plot

    for model in MODELS:
        for number, start in enumerate(range(0, hours, _HOURS)):
            settings = HealthChecks(target_groups=("hosts",), interval=10 if number % 2 == 0 else 30)
            hosts = (20, 20, 20, 20, 5, 5, 3, 3)[number % 8]
            yield Plot(seed, model, settings, hosts, 60 * min(_HOURS, hours - start), rough=number % 3 == 2,
                       harsh=number % 3 != 2 and number % 5 == 4)
            seed += 1


def summary(verdicts: Sequence["Verdict"]) -> list[dict[str, Any]]:
    """A row for each model and interval. The worst cases of gaps and re-pointing are those of smooth worlds."""
    groups = sorted({(verdict.model, verdict.interval) for verdict in verdicts})
    return [_row([one for one in verdicts if (one.model, one.interval) == group]) for group in groups]


def _row(some: Sequence["Verdict"]) -> dict[str, Any]:
    smooth = [verdict for verdict in some if not verdict.rough]
    twenty = [verdict.gap for verdict in smooth if verdict.hosts == 20]
    row = {"model": some[0].model, "interval": some[0].interval, "hours": round(sum(one.hours for one in some))}
    sums = {name: sum(getattr(one, name) for one in some) for name in (*_MUST_BE_ZERO, "outages", "swaps", "moves")}
    return row | sums | {
        "slowest_detection": max(one.detection for one in some),
        "longest_gap_20_hosts": max(twenty, default=None),
        "longest_gap_of_bound": max((one.gap_of_bound for one in smooth), default=None),
        "slowest_repointing": max((one.repointed for one in smooth), default=None),
        "slowest_of_many_at_once": max((one.repointed_many for one in smooth), default=None),
        "longest_draining_anchor": max((one.drained for one in smooth), default=None),
        "requests_in_an_hour": max(one.calls for one in some),
        "bad_seeds": sorted(one.seed for one in some if any(getattr(one, name) for name in _MUST_BE_ZERO))}


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="rotated health checks, simulated", show_header=True)
    table.add_column("", style="bold")
    for row in rows:
        table.add_column(f"{row['model']}\n{row['interval']} s", justify="right")
    for key in islice(rows[0], 2, None):
        table.add_row(key.replace("_", " "), *(_cell(row[key]) for row in rows))
    Console().print(table)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value or "-")
