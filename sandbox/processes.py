"""Finding and ending the processes of a run.

Every Lambda carries `LAMPLIGHTER_WORLD=<mark>/<region>` in its environment. What it starts may drop that and make
itself a session of its own, as a job's command does, so descendants are ended too; those whose Lambda is gone already
have been adopted by the server (`adopt`). Where the system shows none of this (macOS), `end` finds nothing.
"""

import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_GRACE_SECONDS = 3.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt() -> None:
    """Let orphans among this process's descendants become its own children instead of the system's (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked(mark: str) -> set[int]:
    """The processes whose LAMPLIGHTER_WORLD begins with `mark`, and all that descend from them; never the caller."""
    needle = f"LAMPLIGHTER_WORLD={mark}".encode()
    family = _family()
    found = {number for numbers in family.values() for number in numbers if needle in _environment(number)}
    return _with_descendants(found, family) - {os.getpid()}


def orphans() -> set[int]:
    """What this process has adopted, with descendants: without a mark, as their Lambda is gone. For the server only."""
    adopted = _unmarked_children()
    if adopted:
        # A Lambda that is just being started shows its mark a moment later.
        time.sleep(0.01)
        adopted &= _unmarked_children()
    return _with_descendants(adopted, _family())


def end(mark: str, *, adopted: bool = False) -> int:
    """Kill every process of `mark`, and with `adopted` every orphan; wait until none is left; how many there were."""
    found: set[int] = set()
    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := marked(mark) | (orphans() if adopted else set())) and time.monotonic() < deadline:
        found |= left
        for number in left:
            _kill(number)
        time.sleep(0.02)
    return len(found)


def _unmarked_children() -> set[int]:
    return {number for number in _family()[os.getpid()] if b"LAMPLIGHTER_WORLD=" not in _environment(number)}


def _family() -> defaultdict[int, list[int]]:
    """Parent -> its living children."""
    family = defaultdict(list)
    for entry in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it ended while we looked
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state == "Z":
                _reap(int(entry.parent.name), int(parent))
            else:
                family[int(parent)].append(int(entry.parent.name))
    return family


def _reap(number: int, parent: int) -> None:
    # Only an adopted one's end nobody waits for; a Lambda's is its pool's business, and that copes with either.
    if parent == os.getpid():
        with suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)


def _with_descendants(roots: set[int], family: defaultdict[int, list[int]]) -> set[int]:
    found, open_ = set(roots), list(roots)
    while open_:
        children = set(family.get(open_.pop(), ())) - found
        found |= children
        open_ += children
    return found


def _environment(number: int) -> bytes:
    try:
        return (_PROC / str(number) / "environ").read_bytes()
    except OSError:
        return b""  # gone meanwhile, or another user's


def _kill(number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(number, signal.SIGKILL)
