"""How outcomes and reports look on a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from chalicelib import foreign
from commands import terminal

if TYPE_CHECKING:
    from commands.operate.client import Answer

# A text of so many words may wrap within its column, which has at least so many cells.
_SENTENCE, _NARROWEST = 5, 24
# The blanks between two columns of `plain_table`.
_GAP = 2

STYLES = {
    "done": "green", "planned": "cyan", "later": "yellow", "superseded": "yellow",
    "refused": "bold red", "failed": "bold red",
    "running": "cyan", "retrying": "yellow", "timed-out": "bold red", "interrupted": "bold red",
    "overlapped": "yellow", "coalesced": "yellow", "paused": "yellow", "missed": "bold red",
}  # fmt: skip


def outcome(console: Console, said: Mapping[str, Any]) -> None:
    """An outcome, with its status and message, then the plan, and of a query only its report."""
    said = foreign.plain(said)
    status, plan = str(said.get("status", "")), said.get("plan", {})
    if not plan.get("report"):
        console.print(Text.assemble((status, STYLES.get(status, "bold")), "  ", str(said.get("message", ""))))
    for note in plan.get("notes", ()):
        console.print(Text.assemble(("note: ", "dim"), note))
    for item in said.get("unreadable", ()):
        console.print(Text.assemble(("unreadable: ", "bold red"), item))
    if plan.get("actions"):
        console.print(actions(plan["actions"]), crop=False)
    for result in said.get("results", ()):
        console.print(Text(f"  {result}"))
    console.print(report(plan.get("report", {})), end="", crop=False)
    if status == "planned" and plan.get("actions"):
        console.print(Text(f"this is only the plan {said['digest']}. Add --apply to do it", "dim"))


def passed_over(answer: "Answer") -> None:
    """Says on stderr which regions did not answer, and which one did instead."""
    console = terminal.Console(stderr=True)
    for silence in answer.passed_over:
        console.print(Text(foreign.line(f"{silence}; asked the next region"), "yellow"), soft_wrap=True)
    if answer.passed_over:
        console.print(Text(f"the answer is that of {answer.region}", "yellow"))


def log_line(line: str, outcome: Mapping[str, Any] = MappingProxyType({})) -> str:
    """A line of a Lambda's log for people. Powertools' JSON becomes time, level and message, without metrics.

    It is empty for what the `outcome` says anyway.
    """
    try:
        said = json.loads(line)
    except ValueError:
        return foreign.line(line)
    if not isinstance(said, dict) or "_aws" in said:
        return "" if isinstance(said, dict) else foreign.line(line)
    if said.get("message") and said["message"] in (outcome.get("message"), outcome.get("status")):
        return ""
    at = str(said.get("timestamp", ""))[11:19]
    return foreign.line(f"{at} {said.get('level', '')} {said.get('message', line)}".strip())


class Rows:
    """A table while it fits, and else one block of `key: value` for each row, so that no name or id is ever cut.

    A column of sentences may wrap, but not within a word. All other columns have each value on one line.
    """

    def __init__(self, *columns: str, title: str = "") -> None:
        self.columns = columns
        self.title = title
        self.right: frozenset[str] = frozenset()
        self._rows: list[tuple[list[Text], str]] = []

    def add(self, *cells: str | Text, style: str = "") -> None:
        """One row, which has a cell for each column."""
        self._rows.append(([Text(foreign.line(cell)) if isinstance(cell, str) else cell for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needs = [self._needs(number) for number in range(len(self.columns))]
        if sum(needs) + _GAP * (len(needs) - 1) <= options.max_width:
            yield self._table(needs)
        else:
            yield from self._blocks()

    def _cells(self, number: int) -> Iterator[str]:
        yield self.columns[number]
        yield from (line for cells, _ in self._rows for line in cells[number].plain.splitlines())

    def _needs(self, number: int) -> int:
        """The cells that a column needs at least."""
        texts = list(self._cells(number))
        whole = max(map(cell_len, texts))
        words = max((cell_len(word) for text in texts for word in text.split()), default=0)
        sentences = any(len(text.split()) >= _SENTENCE for text in texts)
        return min(whole, max(words, _NARROWEST)) if sentences else whole

    def _table(self, needs: Sequence[int]) -> Table:
        table = plain_table(*self.columns, title=self.title)
        for column, title, least in zip(table.columns, self.columns, needs, strict=True):
            column.min_width = least
            column.justify = "right" if title in self.right else "left"
        for cells, style in self._rows:
            table.add_row(*cells, style=style)
        return table

    def _blocks(self) -> Iterator[Text]:
        if self.title:
            yield Text(self.title, "bold", no_wrap=True, overflow="ignore")
        for cells, style in self._rows:
            for number, (title, cell) in enumerate(zip(self.columns, cells, strict=True)):
                value = Text(" ").join(cell.split("\n"))
                line = Text.assemble("  " if number else "", (f"{title}: ", "dim"), value, style=style)
                line.no_wrap, line.overflow = True, "ignore"
                yield line


def actions(planned: Sequence[Mapping[str, Any]]) -> Rows:
    """One row an action, with its reason."""
    table = Rows("act", "on", "because")
    for action in planned:
        table.add(action["kind"], action["target"], action["reason"])
    return table


def report(said: Mapping[str, Any]) -> RenderableType:
    """A report as it came, lists of objects as tables, everything else as `key: value`."""
    parts: list[RenderableType] = []
    for key, value in said.items():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            parts.append(rows(key, value))
        else:
            parts.append(Text.assemble((f"{words(key)}: ", "dim"), cell(value), no_wrap=True, overflow="ignore"))
    return Group(*parts)


def rows(title: str, values: Sequence[Mapping[str, Any]]) -> Rows:
    """Equal objects as one table, a column for each key that any of them has."""
    columns = list(dict.fromkeys(key for value in values for key in value))
    table = Rows(*map(words, columns), title=words(title))
    for value in values:
        table.add(*(cell(value.get(column)) for column in columns))
    return table


def plain_table(*columns: str, title: str = "") -> Table:
    """A table without lines, which survives a copy into a message."""
    table = Table(*columns, box=None, pad_edge=False, header_style="dim", title=title or None, title_justify="left")
    table.title_style = "bold"
    return table


def cell(value: object) -> Text:
    """One value of a report. A known state has its colour."""
    if value is None or value == "" or value == []:
        return Text("-", "dim")
    if isinstance(value, list | dict):
        parts = (f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else map(str, value)
        return Text(foreign.line(", ".join(parts)))
    text = ("yes" if value else "no") if isinstance(value, bool) else foreign.line(str(value))
    return Text(text, STYLES.get(text, ""))


def words(key: str) -> str:
    """A key in plain words, such as `last run` for `last_run`."""
    return key.replace("_", " ")
