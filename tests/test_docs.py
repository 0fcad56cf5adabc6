"""The pages: their sums add up, their links lead somewhere, and the commands that they name exist."""

import re
from pathlib import Path

import pytest

from commands.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_costs_add_up() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    rows = re.findall(r"^\| .+ \| ([\d,]+) \| \$([\d.]+) (per million|each) \| ([\d.]+) \|$", page, re.M)
    assert len(rows) > 10
    for quantity, price, unit, cost in rows:
        exact = int(quantity.replace(",", "")) * float(price) / (1e6 if unit == "per million" else 1)
        assert round(exact, 2) == float(cost), quantity
    total = re.search(r"^\| \*\*Together\*\* .* \*\*([\d.]+)\*\* \|$", page, re.M)
    assert total and float(total[1]) == round(sum(float(row[3]) for row in rows), 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_a_page_lead_to_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s:]*#[^)\s]+)\)", page.read_text()):
        file, _, heading = link.partition("#")
        text = (page.parent / file).read_text() if file else page.read_text()
        slugs = {_slug(title) for title in re.findall(r"^#+ (.+)$", text, re.M)}
        assert heading in slugs, link


def _slug(title: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    for words in re.findall(r"\./lamp ([a-z]+(?: [a-z]+)?)", page.read_text()):
        first, *second = words.split()
        families = {name.split()[0] for name in COMMANDS if " " in name}
        assert first in COMMANDS or " ".join([first, *second]) in COMMANDS or (first in families and not second), words


def test_every_command_is_told_in_the_readme() -> None:
    page = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"./lamp {name}" not in page] == []
