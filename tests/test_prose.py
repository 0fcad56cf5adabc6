"""The prose keeps its bars, and uses the words of docs/glossary.md."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests import prose
from tests.prose import PACKAGES, ROOT, Figures

pytestmark = pytest.mark.slow

# Share of sentences over 25 words, share that begin with a What or Who clause, colons and semicolons by sentence, share
# of passive sentences.
BARS = (0.12, 0.005, 0.2, 0.2)
GLOSSARY = ROOT / "docs" / "glossary.md"
RETIRED = "Words that are no longer used"


@cache
def areas() -> dict[str, dict[str, list[str]]]:
    """All areas, read once."""
    return prose.areas()


def shares(figures: Figures) -> tuple[float, ...]:
    """The four figures that have bars."""
    return tuple(map(figures.per_sentence, (figures.long, figures.clause_first, figures.marks, figures.passive)))


SMALL = ("agent", "lamplighter", "simulation", "testing")


@pytest.mark.parametrize("area", [
    "text of pages", "tables of pages",
    *(f"docstrings of {name}" for name in ("chalicelib", "commands", "sandbox", "simulation", "testing", "agent")),
    *(f"messages of {name}" for name in ("chalicelib", "commands", "sandbox", "+".join(SMALL)))])
def test_an_area_keeps_the_bars(area: str) -> None:
    kind, _, names = area.rpartition(" ")
    figures = sum((prose.total(areas()[f"{kind} {name}"]) for name in names.split("+")), Figures())
    assert figures.sentences > 50
    over = [(share, bar) for share, bar in zip(shares(figures), BARS, strict=True) if share > bar]
    assert not over, f"{prose.HEADER}\n{area:<52} {figures}\nrun: python -m tests.prose --files"


def rows(heading: str) -> list[tuple[str, str]]:
    """The rows of the tables of the glossary under `heading`."""
    section = GLOSSARY.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [(left, right) for left, right in re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.M)][1:]


def headings() -> list[str]:
    """The headings of the glossary that have terms."""
    return [one for one in re.findall(r"^## (.+)$", GLOSSARY.read_text(), re.M) if one != RETIRED]


def test_each_term_of_the_glossary_is_there_once_and_in_order() -> None:
    for heading in headings():
        terms = [term for term, _ in rows(heading)]
        assert terms == sorted(terms, key=str.lower)
    everything = [term for heading in headings() for term, _ in rows(heading)]
    assert len(everything) > 60
    assert len(set(everything)) == len(everything)


def retired() -> list[str]:
    """The words that are no longer used, in small letters."""
    return [word.strip() for old, _ in rows(RETIRED) for word in old.split(",")]


def uses(paragraphs: list[str]) -> list[str]:
    """The retired words in some paragraphs, each with its sentence. Quotations and code are not looked at."""
    found = []
    for sentence in prose.sentences(paragraphs):
        text = re.sub(r"\"[^\"]*\"", "", sentence)
        found += [f"{word!r}: {sentence}" for word in retired() if re.search(rf"\b{re.escape(word)}\b", text, re.I)]
    return found


@pytest.mark.parametrize("area", ["text of pages", "tables of pages", *(f"messages of {name}" for name in PACKAGES)])
def test_retired_words_are_not_used(area: str) -> None:
    assert len(retired()) > 20
    keeps = {"CHANGELOG.md", "docs/glossary.md"}
    found = [f"{file}: {use}" for file, paragraphs in areas()[area].items() if file not in keeps
             for use in uses(paragraphs)]
    assert found == []


@pytest.mark.parametrize(("sentence", "expected"), [
    ("Who runs the slot is decided by a claim.", Figures(1, 0, 1, 0, 1)),
    ("Who runs the slot?", Figures(1, 0, 0, 0, 0)),
    ("The claim decides: one write succeeds; the rest fail.", Figures(1, 0, 0, 2, 0)),
    ("At 12:03:00 the run `a: b; c` ends.", Figures(1, 0, 0, 0, 0)),
    ("The lease is not yet held by anybody.", Figures(1, 0, 0, 0, 1)),
    ("They need speed. It is indeed there now.", Figures(2, 0, 0, 0, 0)),
    (" ".join(["word"] * 25) + ".", Figures(1, 0, 0, 0, 0)),
    (" ".join(["word"] * 26) + ".", Figures(1, 1, 0, 0, 0)),
])
def test_a_sentence_is_measured(sentence: str, expected: Figures) -> None:
    assert prose.measure(list(prose.markdown(sentence))) == expected


def test_code_headings_and_first_rows_are_no_sentences() -> None:
    page = "# A heading of many words\n\n```\ncode: x; y; z and more\n```\n\n| a column of words | b |\n|---|---|\n" \
           "| The cell holds a sentence. | no |\n\n- An item is one, too.\n"
    assert list(prose.sentences(prose.markdown(page))) == ["An item is one, too."]
    assert list(prose.sentences(prose.cells(page))) == ["The cell holds a sentence."]


def test_messages_are_literals_for_people(tmp_path: Path) -> None:
    source = '"""A docstring is no message here."""\nSQL = "SELECT a FROM b WHERE c"\n' \
             'raise E(f"the region {name} does not answer; try again")\nx = "two words"\n'
    assert list(prose.messages(source)) == ["the region CODE does not answer; try again"]
