"""That the bench measures what it says, and leaves nothing behind; how fast it is, `./lamp bench tunnels` says."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from commands import cli
from commands.bench import tunnels, tunnels_gaps, tunnels_probes
from commands.bench.figures import Figure
from commands.errors import UsageError
from commands.roots import PRODUCT as ROOT
from testing.eventually import SECONDS, eventually
from testing.servers import process, tunnelled


def values(found: Iterable[Figure]) -> dict[str, float]:
    return {figure.name: figure.value for figure in found}


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "tunnels", "--only", "speed"]) == 2
    assert "--only speed is no part. Name one of rate, blocks, gaps" in capsys.readouterr().err


def test_missing_programs_are_named_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"needs no-such-program. Run apt-get install openssh-server"):
        tunnels.need("sh", "no-such-program")


@pytest.mark.slow
def test_the_rate_is_that_of_right_results() -> None:
    found = list(tunnels_probes.rate(endpoints=100, rounds=1))
    assert values(found)["wrong results of probes"] == 0
    # The hung ones cost the first sweep its whole patience, and the second one nothing.
    assert found[0].value >= tunnels_probes.PATIENCE_SECONDS > found[1].value


def test_of_ours_alone_a_limit_is_asked() -> None:
    ours, plain, _ = tunnels_gaps.SETUPS
    assert tunnels_gaps.figure(ours, "one hung", [9.0, 1.0, 3.0]) == Figure(
        "ours, one hung: 1.0 to 9.0", 3.0, "s", "at most", 5.0)
    assert tunnels_gaps.figure(plain, "one hung", [75.0, 75.0, 3.0]) == Figure(
        "ssh, one hung: given up", 75.0, "s or more")


@pytest.mark.world
def test_some_thousand_probes_of_a_real_database_are_not_held_against_anybody() -> None:
    process.need(*tunnels_probes.PROGRAMS, root=True)
    found = list(tunnels_probes.blocks(9_000))
    assert [figure.name for figure in found if not figure.within] == []
    assert values(found)["hangs and thaws of ssh, sshd and the database meanwhile"] >= 1
    assert values(found)["connections that the database counted"] >= 9_000


@pytest.mark.world
@pytest.mark.slow
def test_replication_through_our_tunnels_survives_each_fault() -> None:
    process.need(*tunnelled.PROGRAMS, root=True)
    gaps = tunnels_gaps.gaps(tunnels_gaps.SETUPS[0], 1, threading.Event())
    assert list(gaps) == list(tunnels_gaps.FAULTS)
    assert all(0 < gap < tunnelled.LIMIT_SECONDS for (gap,) in gaps.values())


@pytest.mark.world
@pytest.mark.parametrize("part", ["blocks", "gaps"])
def test_ctrl_c_leaves_nothing_behind(part: str, tmp_path: Path) -> None:
    process.need(*tunnelled.PROGRAMS, root=True)
    words = [sys.executable, "-P", "-m", "commands", "bench", "tunnels", "--only", part]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: started(tmp_path))
        running.send_signal(signal.SIGINT)
        assert running.wait(SECONDS) == 130
    finally:
        running.kill()
        running.wait()
    assert (started(tmp_path), list(tmp_path.glob("lamp-*"))) == ([], [])


def started(folder: Path) -> list[str]:
    """The databases, and whatever else, that run on files in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder).encode() in b" ".join(words) and words[0].endswith((b"mariadbd", b"sshd", b"haproxy", b"ssh")):
            found.append(b" ".join(words).decode(errors="replace"))
    return found
