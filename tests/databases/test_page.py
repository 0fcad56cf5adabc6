"""docs/databases.md tells what the code knows."""

import ast
import re
from pathlib import Path

import msgspec

from chalicelib.databases import operations
from chalicelib.databases.state import FRESH, PrimaryRecord, Readiness

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "databases.md").read_text()


def rows(first: str) -> list[list[str]]:
    """The rows of the table whose first column is called `first`."""
    table = re.split(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n", PAGE, flags=re.M)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()]


def test_every_alert_is_told_and_no_other() -> None:
    found = {"ReplicationBroken", "IOThreadStopped", "SQLThreadStopped"}
    for node in ast.walk(ast.parse((ROOT / "chalicelib/databases/decide/conditions.py").read_text())):
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            kind = node.value.elts[0]
            found |= {str(kind.value)} if isinstance(kind, ast.Constant) else set()
    assert {row[0].strip("`") for row in rows("kind")} == found and len(found) > 12


def test_every_operation_is_told() -> None:
    assert sorted(row[0].strip("`") for row in rows("operation")) == sorted(one.name for one in operations.ALL)


def test_every_key_of_the_item_that_healers_obey_is_told() -> None:
    told = {key for row in rows("key") for key in re.findall(r"`(\w+)`", row[0])}
    assert told == set(PrimaryRecord.__struct_fields__)


def test_the_costs_add_up() -> None:
    *parts, total = map(float, re.findall(r"^\| .+ \| \**(\d+\.\d\d)\** \|$", PAGE, re.M))
    assert len(parts) == 4 and round(sum(parts), 2) == total


def test_the_item_of_readiness_is_as_the_page_shows_it() -> None:
    [text] = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    shown = msgspec.json.decode(text)
    assert set(shown) == set(Readiness.__struct_fields__)
    assert msgspec.convert(shown, Readiness).until == shown["at"] + FRESH
