"""`lamp bench tunnels`. It measures how many endpoints a second can be probed, and that probes never block a host. It
measures how long replication stands still when tunnels die or hang, beside plain ssh and autossh in the same run. It
also injects random faults while two controllers work at once.

Each part has a module of its own. They are `tunnels_rate`, `tunnels_blocks`, `tunnels_gaps`, and
`tunnels_faults`, which takes an hour and runs only on request.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from commands.bench.tunnels_report import Row
from commands.errors import UsageError
from commands.operate import show

PARTS = ("rate", "blocks", "gaps", "faults")


def bench(
    only: Annotated[str, typer.Option(help="One part: rate, blocks, gaps, or faults (only if named).")] = "",
    endpoints: Annotated[int, typer.Option(help="Endpoints of the part rate, every twentieth of them hung.")] = 5_000,
    probes: Annotated[int, typer.Option(help="Probes of the part blocks.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Rounds of the parts rate and gaps, which show medians.")] = 5,
    faults: Annotated[int, typer.Option(help="Faults of the part faults, up to some minutes each.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed that draws the faults.")] = 1,
    yards: Annotated[int, typer.Option(help="Regions that suffer faults side by side.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False,
) -> None:
    """Measure the probe, replication through tunnels, and how they are healed.

    Blocks and gaps need root on Linux, and the real servers (apt-get install mariadb-server openssh-server haproxy
    autossh iproute2). faults needs mariadb-server, and openssh-server if real tunnels are to be hurt. Exits with 1 if a
    limit is not kept.
    """
    parts = _parts(only)
    if min(endpoints, probes, rounds, faults, yards) < 1:
        raise UsageError("--endpoints, --probes, --rounds, --faults and --yards are numbers from 1 on")
    began = time.monotonic()
    sizes = {"rate": (endpoints, rounds), "blocks": (probes,), "gaps": (rounds,), "faults": (faults, seed, yards)}
    rows = list(_rows({part: sizes[part] for part in parts}, Console(stderr=True)))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        kept = [msgspec.to_builtins(row) | {"within": row.within} for row in rows]
        typer.echo(json.dumps({"rows": kept, "rounds": rounds, "seconds": seconds}, indent=2))
    else:
        _print(rows, seconds)
    raise typer.Exit(int(not all(row.within for row in rows)))


def _parts(only: str) -> tuple[str, ...]:
    if only and only not in PARTS:
        raise UsageError(f"--only {only} is no part. Name one of {', '.join(PARTS)}")
    return (only,) if only else PARTS[:-1]


def _rows(sizes: dict[str, tuple[int, ...]], console: Console) -> Iterator[Row]:
    from commands.bench import tunnels_blocks, tunnels_faults, tunnels_gaps, tunnels_rate

    measures: dict[str, Callable[..., Iterator[Row]]] = {
        "rate": tunnels_rate.measure, "blocks": tunnels_blocks.measure,
        "gaps": tunnels_gaps.measure, "faults": tunnels_faults.measure}
    programs = {"blocks": tunnels_blocks.PROGRAMS, "gaps": tunnels_gaps.PROGRAMS}
    # What a part needs and is not there is told before the first one takes its time.
    for part in sizes:
        if part in programs:
            needed(*programs[part])
    with progress(console) as bars:
        for part, size in sizes.items():
            yield from measures[part](*size, bars)


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Bars on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield bars


def needed(*programs: str) -> None:
    """A mistake of the user's if one of `programs`, or root, is missing."""
    import os

    from testing.servers.process import DEBIAN, missing

    if lacking := missing(*programs):
        raise UsageError(f"this part needs {', '.join(lacking)}. Run apt-get install {DEBIAN}")
    if os.geteuid() != 0:
        raise UsageError("this part needs root, for networks of its own. Without root, run ./lamp bench tunnels "
                         "--only rate")


def _print(rows: list[Row], seconds: float) -> None:
    table = show.plain_table("part", "what", "measured", "", "limit")
    for row in rows:
        style = "green" if row.bound and row.within else "" if row.within else "bold red"
        value = f"{row.value:,.0f}" if row.value >= 100 or row.value == int(row.value) else f"{row.value:.2f}"
        limit = f"{row.bound} {row.limit:,g}" if row.bound else ""
        table.add_row(row.part, row.what, f"[{style}]{value}[/]" if style else value, row.unit, limit)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\n{seconds:,.0f} s in all.", style="dim")
