"""A file's tests run on one worker, in an order that keeps all workers busy, and none is lost."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

CONFTEST = """
import os
from pathlib import Path
from tests.spreading import spread

def pytest_collection_modifyitems(items):
    items[:] = spread(items)

def pytest_collection_finish(session):
    (Path(__file__).parent / "order").write_text(" ".join(dict.fromkeys(item.path.stem for item in session.items)))

def pytest_runtest_logfinish(nodeid):
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        with open(Path(__file__).parent / "ran", "a") as log:
            log.write(f"{nodeid.partition('::')[0]} {worker}\\n")
"""
WORLD = "import pytest\npytestmark = pytest.mark.world\n" + "\n".join(f"def test_{n}(): pass" for n in range(9))
SLOW = "import pytest\n@pytest.mark.slow\ndef test_slow(): pass\ndef test_quick(): pass\n"
QUICK = "\n".join(f"def test_{number}(): pass" for number in range(20))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on two workers with the words of `lamp test`."""
    folder = tmp_path_factory.mktemp("spread")
    files = {"conftest": CONFTEST, "test_a": QUICK, "test_b": SLOW, "test_c": WORLD, "test_d": SLOW, "test_e": WORLD}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    world: x\n    slow: x\n")
    words = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-n", "2", "--dist", "loadfile",
             "--no-loadscope-reorder", str(folder)]
    done = subprocess.run(words, cwd=folder, env={"PYTHONPATH": str(Path(__file__).parent.parent)},
                          capture_output=True, text=True)
    assert done.returncode == 0 and "42 passed" in done.stdout, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_tests_of_a_file_run_on_one_worker_and_both_workers_have_some(ran: Path) -> None:
    workers = defaultdict(set)
    for line in (ran / "ran").read_text().splitlines():
        file, _, worker = line.rpartition(" ")
        workers[file].add(worker)
    assert len(workers) == 5 and all(len(some) == 1 for some in workers.values())
    assert len(set.union(*workers.values())) == 2


def test_what_waits_and_what_computes_alternate_and_quick_files_come_last(ran: Path) -> None:
    assert (ran / "order").read_text().split() == ["test_c", "test_b", "test_e", "test_d", "test_a"]
