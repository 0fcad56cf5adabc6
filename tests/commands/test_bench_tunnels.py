"""That the bench measures what it says, and leaves nothing behind; how fast it is, `./lamp bench tunnels` says."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.progress import Progress

from commands.bench import tunnels, tunnels_blocks, tunnels_gaps, tunnels_rate
from commands.bench.tunnels_report import Row
from commands.errors import UsageError
from commands.roots import PRODUCT as ROOT
from testing.eventually import SECONDS, eventually
from testing.servers import process


def bars() -> Progress:
    return Progress(disable=True)


def figures(rows: list[Row]) -> dict[str, float]:
    return {row.what: row.value for row in rows}


@pytest.mark.parametrize(("value", "bound", "limit", "within"), [
    (1.0, "at most", 1.0, True), (1.1, "at most", 1.0, False), (1.0, "at least", 1.0, True),
    (0.9, "at least", 1.0, False), (99.0, "", 0.0, True),
])
def test_a_limit_is_kept_or_not(value: float, bound: str, limit: float, within: bool) -> None:
    assert Row("part", "what", value, "s", bound, limit).within is within  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [
    {"only": "speed"}, {"rounds": 0}, {"probes": -1}, {"endpoints": 0}, {"faults": 0},
    {"yards": 0}])
def test_what_cannot_be_measured_is_refused(options: dict[str, object]) -> None:
    given = {"only": "", "endpoints": 10, "probes": 10, "rounds": 1, "faults": 1, "seed": 1, "yards": 1,
             "as_json": False, **options}
    with pytest.raises(UsageError, match=r"--only speed is no part|are numbers from 1 on"):
        tunnels.bench(**given)  # type: ignore[arg-type]


def test_missing_programs_are_named_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"needs no-such-program. Run apt-get install openssh-server"):
        tunnels.needed("sh", "no-such-program")


def test_the_rate_is_that_of_right_verdicts() -> None:
    rows = list(tunnels_rate.measure(100, 1, bars()))
    assert figures(rows)["wrong verdicts"] == 0
    assert [row.part for row in rows] == ["rate"] * 6
    # The hung ones cost the first sweep its whole patience, and the second one nothing.
    assert rows[0].value >= tunnels_rate._PATIENCE > rows[2].value


def test_of_ours_alone_a_limit_is_asked() -> None:
    ours, plain, _ = tunnels_gaps.SETUPS
    assert tunnels_gaps._row(ours, "one hung", [9.0, 1.0, 3.0], 5.0) == Row(
        "gaps", "ours, one hung: 1.0 to 9.0", 3.0, "s", "at most", 5.0)
    assert tunnels_gaps._row(plain, "one hung", [75.0, 75.0, 3.0], 5.0) == Row(
        "gaps", "ssh, one hung: given up", 75.0, "s or more")


@pytest.mark.world
def test_some_thousand_probes_of_a_real_database_are_not_held_against_anybody() -> None:
    process.need(*tunnels_blocks.PROGRAMS, root=True)
    rows = list(tunnels_blocks.measure(9_000, bars()))
    assert [row.what for row in rows if not row.within] == []
    assert figures(rows)["hangs and thaws of ssh, sshd and the database"] >= 1
    assert figures(rows)["connections that the database counted"] >= 9_000


@pytest.mark.world
@pytest.mark.slow
def test_replication_through_our_tunnels_survives_each_fault() -> None:
    process.need(*tunnels_gaps.PROGRAMS, root=True)
    gaps = tunnels_gaps._set_up(tunnels_gaps.SETUPS[0], 1, bars(), threading.Event())
    assert list(gaps) == list(tunnels_gaps.FAULTS)
    assert all(0 < gap < tunnels_gaps._LIMIT for (gap,) in gaps.values())


@pytest.mark.world
@pytest.mark.parametrize("part", ["blocks", "gaps", "faults"])
def test_ctrl_c_leaves_nothing_behind(part: str, tmp_path: Path) -> None:
    process.need(*tunnels_gaps.PROGRAMS, root=True)
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
