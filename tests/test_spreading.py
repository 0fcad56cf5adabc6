"""Who shares a world shares a worker, and nothing is lost by the new order."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from tests.spreading import spread

@pytest.fixture(scope="session")
def fleet():
    return 1

def pytest_collection_modifyitems(items):
    items[:] = spread(items)

def pytest_collection_finish(session):
    for item in session.items:
        print("GROUP", *item.iter_markers("xdist_group").__next__().args, item.originalname or item.name)
"""
WORLD = """
import pytest
pytestmark = pytest.mark.world

@pytest.fixture(scope="module")
def place():
    return 1

def test_one(place): pass
@pytest.mark.slow
def test_two(place): pass
@pytest.mark.slow
def test_alone(): pass
def test_of_fleet(fleet): pass
"""
QUICK = """
def test_one(tmp_path, monkeypatch): pass
def test_of_fleet(fleet): pass
"""
SLOW = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("who", ["a@b", "c"])
def test_of(who, tmp_path): pass
def test_quick(): pass
"""


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Group and name of each test, in the order in which workers get them."""
    folder = tmp_path_factory.mktemp("spread") / "tests"
    folder.mkdir()
    for name, text in {"conftest": CONFTEST, "test_a": QUICK, "test_b": SLOW, "test_c": WORLD}.items():
        (folder / f"{name}.py").write_text(text)
    (folder.parent / "pytest.ini").write_text("[pytest]\nmarkers =\n    world: x\n    slow: x\n")
    root = Path(__file__).parent.parent
    words = [sys.executable, "-m", "pytest", "-qs", "-pno:cacheprovider", "--collect-only", str(folder)]
    done = subprocess.run(words, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True)
    lines = [line.rpartition(" ") for line in done.stdout.splitlines() if line.startswith("GROUP ")]
    assert len(lines) == 9, done.stdout + done.stderr
    return [(group.removeprefix(f"GROUP {folder}/").removeprefix("GROUP tests/").removeprefix("GROUP "), name)
            for group, _, name in lines]


def test_tests_with_a_fixture_of_the_file_or_the_session_are_one_group(order: list[tuple[str, str]]) -> None:
    assert {name for group, name in order if group == "test_c.py"} == {"test_one", "test_two"}
    assert Counter(group for group, _ in order)["session"] == 2


def test_slow_tests_that_share_nothing_are_groups_of_their_own(order: list[tuple[str, str]]) -> None:
    groups = Counter(group for group, _ in order)
    assert [groups[group] for group, name in order if name in ("test_of", "test_alone")] == [1, 1, 1]
    assert not [group for group, _ in order if "@" in group], "pytest-xdist ends a test's name there"


def test_what_waits_and_what_computes_alternate_and_quick_files_come_last(order: list[tuple[str, str]]) -> None:
    groups = list(dict.fromkeys(group for group, _ in order))
    assert groups[-1] == "test_a.py"
    assert groups[0] in ("test_c.py", "session") and "test_b.py" in groups[1]
