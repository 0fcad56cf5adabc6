"""The figures of a benchmark and their limits. All benchmarks print them alike, and a broken limit ends in exit code 1.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec
import typer
from rich.text import Text

from commands.operate import show
from commands.terminal import Console, line, write_json


class Figure(msgspec.Struct, frozen=True):
    """One figure. `limit` is its bound, a lower or an upper one, or none if it is only reported."""

    name: str
    value: float
    unit: str = ""
    bound: Literal["at least", "at most", ""] = ""
    limit: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the limit is kept."""
        return {"at least": self.value >= self.limit, "at most": self.value <= self.limit}.get(self.bound, True)


def cpu_ms(work: Callable[[], object]) -> float:
    """Milliseconds of CPU that `work` takes. Whatever else runs on the machine must not break a limit."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def report(measured: Iterable[Figure], *, as_json: bool) -> None:
    """Print the figures. Those that take long to measure name the last one meanwhile, on standard error."""
    figures: list[Figure] = []
    with Console(stderr=True).status("measuring ...") as status:
        for figure in measured:
            figures.append(figure)
            status.update(f"measuring ... {figure.name}: {_short(figure.value)} {figure.unit}")
    if as_json:
        rows = [msgspec.to_builtins(figure) | {"within": figure.within} for figure in figures]
        write_json(rows)
    else:
        _print(figures)
    if not all(figure.within for figure in figures):
        raise typer.Exit(1)


def _print(figures: Sequence[Figure]) -> None:
    table = show.plain_table("figure", "measured", "", "limit")
    for figure in figures:
        style = "bold red" if not figure.within else "green" if figure.bound else "default"
        limit = f"{figure.bound} {figure.limit:,g}" if figure.bound else ""
        table.add_row(line(figure.name), Text(_short(figure.value), style), line(figure.unit), limit)
    Console().print(table)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
