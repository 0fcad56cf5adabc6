"""The rules of the house that import-linter cannot see: what app.py may import, and that decisions know no clock."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = sorted([*ROOT.glob("chalicelib/**/decide.py"), *ROOT.glob("chalicelib/*/decide/**/*.py")])

# How Python tells the time, makes up numbers, or looks at where it runs.
IMPURE = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "getenv", "environ", "urandom",
          "uuid1", "uuid4", "random", "randint", "choice", "shuffle", "token_hex", "open", "read_text"}  # fmt: skip


def calls(tree: ast.AST) -> Iterator[str]:
    """The last name of everything that is called, and of every attribute of a module that is read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            yield called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.slow
@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT / "chalicelib")))
def test_decisions_ask_neither_clock_nor_chance_nor_machine(path: Path) -> None:
    assert not IMPURE & set(calls(ast.parse(path.read_text())))


def test_there_are_decisions_to_look_at() -> None:
    assert sorted({path.relative_to(ROOT / "chalicelib").parts[0] for path in PURE}) == [
        "databases", "health_checks", "journal", "routing", "schedules", "tasks", "tunnels"]


def test_what_tells_the_time_would_be_found() -> None:
    found = set(calls(ast.parse("import datetime, random\ndatetime.datetime.now()\nrandom.random()\nopen('x')")))
    assert IMPURE & found == {"now", "random", "open"}


def test_app_only_binds() -> None:
    found = {name.split(".")[0] for name in imports(ast.parse((ROOT / "app.py").read_text()))}
    assert found <= {"chalice", "chalicelib", "gc"}


@pytest.mark.parametrize("folder", ["chalicelib", "commands", "sandbox", "testing", "cron", "tasks", "app.py"])
def test_modules_stay_short(folder: str) -> None:
    paths = [ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py")
    assert [str(path) for path in paths if path.read_text().count("\n") > 400] == []


# What serves the repository rather than its users may not outgrow what it serves: lines of Python for each folder.
MOST_LINES = {"commands/bench": 750, "commands/conformance": 500, "commands/demo": 900}


@pytest.mark.parametrize("folder", MOST_LINES)
def test_rooms_keep_to_their_size(folder: str) -> None:
    lines = sum(path.read_text().count("\n") for path in (ROOT / folder).glob("*.py"))
    assert 0 < lines <= MOST_LINES[folder]
