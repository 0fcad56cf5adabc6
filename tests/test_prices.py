"""The tables of costs add up, and what other pages quote of them is the same."""

import re
from pathlib import Path

import pytest

from chalicelib.tunnels.lambdas import LAMBDAS

ROOT = Path(__file__).resolve().parent.parent
MONTH_SECONDS = 730 * 3600


def tables(page: Path) -> list[tuple[list[list[str]], list[str]]]:
    """The rows of each table that has a sum, as cells, and the cells of the sum."""
    found, rows = [], list[list[str]]()
    for line in [*page.read_text().splitlines(), ""]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            rows = []
        elif cells[0] == "**Together**":
            found.append((rows[2:], cells))
        else:
            rows.append(cells)
    return found


def amount(cell: str) -> float:
    """The dollars of a cell. None are a hyphen."""
    return float(re.sub(r"[*$,]", "", cell) or 0) if cell.strip("*") != "-" else 0.0


PAGES = [page for page in sorted(ROOT.glob("docs/*.md")) if tables(page)]


def test_there_are_tables_of_costs() -> None:
    assert {"deploy.md", "tunnels-host.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_table_of_costs_adds_up(page: Path) -> None:
    for rows, together in tables(page):
        for column in range(3, len(together)):
            assert sum(amount(row[column]) for row in rows) == pytest.approx(amount(together[column]), abs=0.005)


def test_the_readme_quotes_the_cost_of_the_page_on_deployment() -> None:
    [(_, together)] = tables(ROOT / "docs/deploy.md")
    [quoted] = re.findall(r"some\s+\$(\d+)\s+a\s+month", (ROOT / "README.md").read_text())
    assert int(quoted) == round(amount(together[3]))


def test_the_controller_that_never_ends_is_in_the_cost_of_the_tunnels() -> None:
    [heal] = [each for each in LAMBDAS if each.name == "tunnels.heal"]
    [(rows, _)] = tables(ROOT / "docs/tunnels-host.md")
    [row] = [row for row in rows if "tunnels.heal" in row[0]]
    seconds = heal.memory_mb / 1024 * MONTH_SECONDS
    assert amount(row[1]) == seconds and amount(row[3]) == pytest.approx(seconds * 16.6667e-6, abs=0.005)
