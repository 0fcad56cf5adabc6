"""How outcomes and reports look on a terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chalicelib import foreign

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
    if plan.get("actions"):
        console.print(actions(plan["actions"]))
    for result in said.get("results", ()):
        console.print(Text(f"  {result}"))
    console.print(report(plan.get("report", {})), end="")
    if status == "planned" and plan.get("actions"):
        console.print(Text(f"this is only the plan {said['digest']}. Add --apply to do it", "dim"))


def log_line(line: str) -> str:
    """A line of a Lambda's log for people. Powertools' JSON becomes time, level and message, without metrics."""
    try:
        said = json.loads(line)
    except ValueError:
        return foreign.line(line)
    if not isinstance(said, dict) or "_aws" in said:
        return "" if isinstance(said, dict) else foreign.line(line)
    at = str(said.get("timestamp", ""))[11:19]
    return foreign.line(f"{at} {said.get('level', '')} {said.get('message', line)}".strip())


def actions(planned: Sequence[Mapping[str, Any]]) -> Table:
    """One row an action, with its reason."""
    table = plain_table("act", "on", "because")
    for action in planned:
        table.add_row(action["kind"], action["target"], action["reason"])
    return table


def report(said: Mapping[str, Any]) -> RenderableType:
    """A report as it came, lists of objects as tables, everything else as `key: value`."""
    parts: list[RenderableType] = []
    for key, value in said.items():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            parts.append(rows(key, value))
        else:
            parts.append(Text.assemble((f"{words(key)}: ", "dim"), cell(value)))
    return Group(*parts)


def rows(title: str, values: Sequence[Mapping[str, Any]]) -> Table:
    """Equal objects as one table, a column for each key that any of them has."""
    columns = list(dict.fromkeys(key for value in values for key in value))
    table = plain_table(*map(words, columns), title=words(title))
    for value in values:
        table.add_row(*(cell(value.get(column)) for column in columns))
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
