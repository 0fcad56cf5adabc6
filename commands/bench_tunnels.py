"""`lamp bench tunnels`: how many endpoints a second can be probed, that probing never gets anybody blocked, and for how
long replication stands still when tunnels die or hang, beside plain ssh and autossh in the same run.

Each part stands in a module of its own: `bench_tunnels_rate`, `bench_tunnels_blocks`, `bench_tunnels_gaps`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from commands import show
from commands.errors import Mistake

PARTS = ("rate", "blocks", "gaps")


class Row(msgspec.Struct, frozen=True):
    """One figure. `limit` is what it must keep: at least it, or at most it; none if it is only told."""

    part: str
    what: str
    value: float
    unit: str
    bound: Literal["at least", "at most", ""] = ""
    limit: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the limit is kept."""
        return {"at least": self.value >= self.limit, "at most": self.value <= self.limit}.get(self.bound, True)


def bench(
    only: Annotated[str, typer.Option(help="One part: rate, blocks or gaps.")] = "",
    endpoints: Annotated[int, typer.Option(help="rate: how many endpoints, every twentieth of them hung.")] = 5_000,
    probes: Annotated[int, typer.Option(help="blocks: how many probes.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="rate and gaps: medians of so many.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False,
) -> None:
    """Measure the probe, and replication through tunnels.

    blocks and gaps need root on Linux, and the real servers: apt-get install mariadb-server openssh-server haproxy
    autossh iproute2. Exits with 1 if a limit is not kept.
    """
    parts = _parts(only)
    if min(endpoints, probes, rounds) < 1:
        raise Mistake("--endpoints, --probes and --rounds are numbers from 1 on")
    began = time.monotonic()
    rows = list(_rows(parts, endpoints, probes, rounds, Console(stderr=True)))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        kept = [msgspec.to_builtins(row) | {"within": row.within} for row in rows]
        typer.echo(json.dumps({"rows": kept, "rounds": rounds, "seconds": seconds}, indent=2))
    else:
        _print(rows, seconds)
    raise typer.Exit(int(not all(row.within for row in rows)))


def _parts(only: str) -> tuple[str, ...]:
    if only and only not in PARTS:
        raise Mistake(f"--only {only}: there is no such part; it is one of {', '.join(PARTS)}")
    return (only,) if only else PARTS


def _rows(parts: tuple[str, ...], endpoints: int, probes: int, rounds: int, console: Console) -> Iterator[Row]:
    from commands import bench_tunnels_blocks, bench_tunnels_gaps, bench_tunnels_rate

    # What a part needs and is not there is told before the first one takes its time.
    for part in parts:
        if part != "rate":
            needed(*(bench_tunnels_blocks if part == "blocks" else bench_tunnels_gaps).PROGRAMS)
    with progress(console) as bars:
        if "rate" in parts:
            yield from bench_tunnels_rate.measure(endpoints, rounds, bars)
        if "blocks" in parts:
            yield from bench_tunnels_blocks.measure(probes, bars)
        if "gaps" in parts:
            yield from bench_tunnels_gaps.measure(rounds, bars)


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Bars on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield bars


def needed(*programs: str) -> None:
    """A mistake of the user's if one of `programs`, or root, is missing."""
    import os

    from tests.peers.process import DEBIAN, missing

    if lacking := missing(*programs):
        raise Mistake(f"this part needs {', '.join(lacking)}: apt-get install {DEBIAN}")
    if os.geteuid() != 0:
        raise Mistake("this part needs root, for networks of its own; ./lamp bench tunnels --only rate does not")


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
