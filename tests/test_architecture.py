"""docs/architecture.md and its picture are those of the code."""

import ast
import re
from pathlib import Path

import pytest

from tests import picture
from tests.picture import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
# The rows of the walks: number, file, function.
STEPS = re.findall(r"^\| \d+ \| `([\w./-]+)` \| `(\w+)` \|", PAGE, re.M)
# A walk -> the most files that it may go through.
WALKS = {"A job": 14, "A tunnel repair": 10, "A move of a health check": 8}


def test_the_picture_is_drawn_from_this_repository() -> None:
    assert picture.FILE.read_text() == picture.svg(), "run: python -m tests.picture"


def test_the_picture_shows_every_capability_and_service() -> None:
    text = picture.svg()
    assert len(picture.operations()) > 5 and len(picture.services()) > 4
    for words in (*picture.operations(), *picture.services()):
        assert words in text


def defined(path: Path) -> set[str]:
    """The names of all functions and classes of a module."""
    return {node.name for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "function"), STEPS, ids=[f"{file}:{function}" for file, function in STEPS])
def test_a_step_of_a_walk_is_in_its_file(file: str, function: str) -> None:
    assert function in defined(ROOT / file)


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:chalicelib|commands|sandbox|simulation|testing|tests|agent|docs)/[\w./-]+)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(("heading", "most"), WALKS.items())
def test_a_walk_goes_through_few_files(heading: str, most: int) -> None:
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    files = set(re.findall(r"^\| \d+ \| `([\w./-]+)` \|", section, re.M))
    assert 3 < len(files) <= most
