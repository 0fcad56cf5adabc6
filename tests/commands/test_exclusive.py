"""Two processes that want the same: one waits for the other, and a killed one holds nobody up."""

import subprocess
import sys
from pathlib import Path

from commands.exclusive import exclusive
from commands.roots import PRODUCT as ROOT

HOLDING = """
import sys
from pathlib import Path
from commands.exclusive import exclusive
with exclusive(Path(sys.argv[1]), "testing"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(file: Path) -> "subprocess.Popen[str]":
    """A process that holds the lock until its standard input ends."""
    return subprocess.Popen([sys.executable, "-c", HOLDING, str(file)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
                            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_second_waits_and_says_for_what(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with exclusive(file, "testing"):
        second = holding(file)
        assert second.stderr and second.stdout
        assert second.stderr.readline() == f"lamp: waiting for another process that is testing ({file})\n"
        assert second.poll() is None
    assert second.stdout.readline() == "held\n"
    second.communicate()


def test_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    with holding(tmp_path / "lock") as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        first.kill()
        first.wait()
    with exclusive(tmp_path / "lock", "testing"):
        pass
