"""Figures of the product's prose: long sentences, clauses in front, colons and semicolons, passive voice.

    python -m tests.prose                  the figures of each area
    python -m tests.prose --files          the same for each file, the worst first
    python -m tests.prose docs/fleet.md    the figures of these files, and each sentence that is counted

An area is the pages, the docstrings of a package, or its messages. Inline code, links and numbers count as one word.
Headings, code blocks and the first rows of tables are no sentences. A table cell or a list item of three words or fewer
is none either.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("chalicelib", "commands", "sandbox", "agent", "testing", "simulation", "lamplighter")
WORDS_MAX = 25

_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|approx|No|St|N)\.$")
_CLAUSE = re.compile(r"(?:What|Who|Whom|Whose|Where|Whoever|Whatever|Whichever|Wherever)\b", re.I)
_BE = r"(?:is|are|was|were|be|been|being|isn't|aren't|gets|get|got)"
_BETWEEN = r"(?:\s+(?:\w+ly|not|also|never|always|only|then|already|still|yet|now|once|again|first|so|all|both|each))*"
_IRREGULAR = (
    "born|begun|bound|broken|brought|built|bought|caught|chosen|cut|done|drawn|driven|eaten|fallen|fed|felt|"
    "found|forgotten|frozen|given|gone|got|gotten|grown|heard|held|hidden|hit|hung|kept|known|laid|led|left|"
    "lent|let|lost|made|meant|met|paid|proven|put|read|rebuilt|rerun|resent|reset|rewritten|run|said|seen|"
    "sent|set|shown|shut|sold|spent|split|spoken|spread|stolen|stood|struck|sworn|taken|taught|told|thought|"
    "thrown|torn|understood|undone|upheld|withdrawn|won|worn|written"
)
_NO_PARTICIPLE = frozenset(("need", "feed", "speed", "indeed", "embed", "unchanged", "bed", "red", "shed", "seed",
                            "hundred", "exceed", "proceed", "succeed"))
_PASSIVE = re.compile(rf"\b{_BE}{_BETWEEN}\s+(\w+ed|{_IRREGULAR})\b", re.I)


@dataclass(frozen=True)
class Figures:
    """Counts over sentences; the shares are 0 to 1."""

    sentences: int = 0
    long: int = 0
    clause_first: int = 0
    marks: int = 0
    passive: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(self.sentences + other.sentences, self.long + other.long, self.clause_first + other.clause_first,
                       self.marks + other.marks, self.passive + other.passive)

    def per_sentence(self, count: int) -> float:
        """A count by sentence, 0 if there is none."""
        return count / self.sentences if self.sentences else 0.0

    def __str__(self) -> str:
        long, first, marks, passive = map(self.per_sentence, (self.long, self.clause_first, self.marks, self.passive))
        return f"{self.sentences:6,d} {long:8.1%} {first:8.1%} {marks:8.2f} {passive:8.1%}"


HEADER = f"{'':<52} {'count':>6} {'>25 w.':>8} {'What..':>8} {': and ;':>8} {'passive':>8}"


def is_long(sentence: str) -> bool:
    """Whether a sentence has more than `WORDS_MAX` words."""
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split()) > WORDS_MAX


def is_clause_first(sentence: str) -> bool:
    """Whether a statement begins with a What, Who or Where clause. A question may."""
    return bool(_CLAUSE.match(sentence.lstrip("*_([\"'"))) and not sentence.rstrip("*_)\"'").endswith("?")


def marks(sentence: str) -> int:
    """How many colons and semicolons a sentence has. Those within times, addresses and code are none."""
    return len(re.findall(r"[:;](?=[\s*_)\"']|$)", sentence))


def is_passive(sentence: str) -> bool:
    """Whether a form of 'be' stands before a past participle."""
    return any(found[1].lower() not in _NO_PARTICIPLE for found in _PASSIVE.finditer(sentence))


def measure(paragraphs: Iterator[str] | list[str]) -> Figures:
    """The figures of all sentences of some paragraphs."""
    found = Figures()
    for sentence in sentences(paragraphs):
        found += Figures(1, is_long(sentence), is_clause_first(sentence), marks(sentence), is_passive(sentence))
    return found


def sentences(paragraphs: Iterator[str] | list[str]) -> Iterator[str]:
    """The sentences of plain paragraphs. A paragraph of three words or fewer has none."""
    for paragraph in paragraphs:
        text = " ".join(paragraph.split())
        if len(text.split()) <= 3:
            continue
        begin = 0
        for end in re.finditer(r"[.!?][\"')*_]*(?=\s+[\"'(*_]*[\w$@.-])", text):
            if not _ABBREVIATION.search(text[:end.start() + 1]):
                yield text[begin:end.end()].strip()
                begin = end.end()
        if text[begin:].strip():
            yield text[begin:].strip()


def plain(text: str) -> str:
    """Prose without the signs of markdown: code and addresses become one word."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"``[^`]+``|`[^`]+`", "CODE", text)
    return re.sub(r"https?://\S+[^\s.,;:)]", "ADDRESS", text)


def cells(text: str) -> Iterator[str]:
    """The cells of the tables of a page, without their first rows."""
    for line in re.sub(r"^\|.*\|\n\|[-|: ]+\|$", "", _prose(text), flags=re.M).splitlines():
        if line.startswith("|"):
            yield from (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def _prose(text: str) -> str:
    text = re.sub(r"^ *```.*?^ *```\s*$", "\n", text, flags=re.M | re.S)
    return plain(re.sub(r"<!--.*?-->", "", text, flags=re.S))


def markdown(text: str) -> Iterator[str]:
    """The paragraphs and list items of a page."""
    text = _prose(text)
    block: list[str] = []
    in_list = False
    for line in [*text.splitlines(), ""]:
        item = re.match(r"\s*(?:[-*+]|\d+\.)\s+", line)
        code = line.startswith("    ") and not in_list and not block
        if item or not line.strip() or line.startswith(("#", "|")) or code:
            if block:
                yield " ".join(block)
            block = []
        if item:
            block, in_list = [line[item.end():]], True
        elif line.strip() and not line.startswith(("#", "|")) and not code:
            block.append(line.strip())
        if line.strip() and not line.startswith(" ") and not item:
            in_list = False


def docstrings(source: str) -> Iterator[str]:
    """The paragraphs of all docstrings of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from markdown(ast.get_docstring(node) or "")


def messages(source: str) -> Iterator[str]:
    """The texts for people in a module: literals and f-strings of four words or more that are no docstring or code."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
             if part is not node}
    for node in ast.walk(tree):
        if id(node) in bare or id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "CODE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if len(text.split()) > 3 and _is_prose(text):
            yield from plain(text).split("\n\n")


def _is_prose(text: str) -> bool:
    """Whether a literal is text: mostly plain words, and no statement of SQL, shell or a pattern."""
    words = text.split()
    plain_words = sum(bool(re.fullmatch(r"[\"'(]?[A-Za-z][a-z'-]*[\"').,:;?!]*", word)) for word in words)
    return plain_words > 0.7 * len(words) and not re.search(r"[{}\\=<>|]|\b(?:SELECT|INSERT|GRANT|CREATE|SET)\b", text)


def areas() -> dict[str, dict[str, list[str]]]:
    """Area -> file, from the root -> its paragraphs."""
    pages = {str(path.relative_to(ROOT)): path.read_text()
             for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")))}
    found = {"text of pages": {name: list(markdown(text)) for name, text in pages.items()},
             "tables of pages": {name: list(cells(text)) for name, text in pages.items()}}
    for package in PACKAGES:
        files = {str(path.relative_to(ROOT)): path.read_text() for path in sorted((ROOT / package).rglob("*.py"))}
        if files:
            found[f"docstrings of {package}"] = {name: list(docstrings(text)) for name, text in files.items()}
            found[f"messages of {package}"] = {name: list(messages(text)) for name, text in files.items()}
    return found


def total(area: dict[str, list[str]]) -> Figures:
    """The figures of all files of an area."""
    return sum(map(measure, area.values()), Figures())


def _faults(sentence: str) -> str:
    return " ".join(name for name, there in (
        ("long", is_long(sentence)), ("what", is_clause_first(sentence)), (f"{marks(sentence)}:;", marks(sentence)),
        ("passive", is_passive(sentence))) if there)


def main(arguments: list[str]) -> None:
    """Prints the figures; see the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose")
    parser.add_argument("--files", action="store_true", help="the figures of each file, too")
    parser.add_argument("--only", default="", help="only faults of this kind: long, what, :; or passive")
    parser.add_argument("file", nargs="*", help="files of which each counted sentence is shown")
    options = parser.parse_args(arguments)
    print(HEADER)
    for name, area in areas().items():
        if options.file:
            area = {file: area[file] for file in area if any(file.startswith(one) for one in options.file)}
        if not any(area.values()):
            continue
        print(f"{name:<52} {total(area)}")
        for file, paragraphs in sorted(area.items(), key=lambda item: -measure(item[1]).long):
            if (options.files or options.file) and paragraphs:
                print(f"  {file:<50} {measure(paragraphs)}")
            for sentence in sentences(paragraphs) if options.file else ():
                if (faults := _faults(sentence)) and options.only in faults:
                    print(f"    [{faults}] {sentence}")


if __name__ == "__main__":
    main(sys.argv[1:])
