"""Finding and ending the processes of a run.

Every Lambda carries `LAMPLIGHTER_WORLD=<mark>/<region>` in its environment, every instance's service
`<mark>/<region>/<instance>/<service>/`. A Lambda closes its environment, so it carries that as its last argument, too.
A child may drop it and make itself a session of its own, as a job's command does, so it ends descendants too. Those
whose Lambda is gone already have been adopted by the server (`adopt`). If the system shows none of this (macOS), `end`
finds nothing.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_GRACE_SECONDS = 30.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# Children whose exit status somebody here wants: reaping one of them by the way would turn its failure into success.
_awaited: set[int] = set()
_starting = threading.Lock()


def adopt() -> None:
    """Let orphans among this process's descendants become its own children instead of the system's (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked(mark: str) -> set[int]:
    """The processes whose LAMPLIGHTER_WORLD begins with `mark`, and all that descend from them. Never the caller."""
    needle = f"LAMPLIGHTER_WORLD={mark}".encode()
    family = _family()
    found = {number for numbers in family.values() for number in numbers if needle in _environment(number)}
    return _with_descendants(found, family) - {os.getpid()}


def orphans() -> set[int]:
    """The adopted children of this process, with descendants. They have no mark, as their Lambda is gone. For the
    server only."""
    adopted = _unmarked_children()
    if adopted:
        # A Lambda that is just being started shows its mark a moment later.
        time.sleep(0.01)
        adopted &= _unmarked_children()
    return _with_descendants(adopted, _family())


def end(mark: str, *, adopted: bool = False) -> int:
    """Kill every process of `mark`, and with `adopted` every orphan. Wait until none is left. How many there were."""
    found: set[int] = set()
    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := marked(mark) | (orphans() if adopted else set())) and time.monotonic() < deadline:
        found |= left
        for number in left:
            _kill(number)
        time.sleep(0.02)
    return len(found)


def signal_all(mark: str, number: signal.Signals) -> int:
    """Send `number` to every process of `mark`. How many there were."""
    found = marked(mark)
    for one in found:
        _signal(one, number)
    return len(found)


def freeze(mark: str) -> int:
    """Stop every process of `mark` where it is, and those that it starts meanwhile. How many there are."""
    frozen: set[int] = set()
    while new := marked(mark) - frozen:
        for number in new:
            _signal(number, signal.SIGSTOP)
        frozen |= new
    return len(frozen)


def thaw(mark: str) -> int:
    """Let every process of `mark` go on. How many there are."""
    return signal_all(mark, signal.SIGCONT)


def end_at_once(mark: str) -> int:
    """As `end`, but as a power cut. It freezes all first, so that none sees another one die."""
    found = freeze(mark)
    end(mark)
    return found


def awaited(start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """The process that `start` starts, whose exit status is kept for who waits for it by `finish`."""
    with _starting:
        process = start()
        _awaited.add(process.pid)
    return process


def finish(process: "subprocess.Popen[bytes]", seconds: float | None = None) -> int:
    """The exit status of an `awaited` process. Raises subprocess.TimeoutExpired after `seconds`."""
    status = process.wait(seconds)
    _awaited.discard(process.pid)
    return status


def reap() -> None:
    """Take away adopted children that ended, for ever. For a process that has none but those and `awaited` ones."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            found = None
        if found is None or not _reap(found.si_pid, os.getpid()):
            time.sleep(0.05)  # no child, or one that its waiter is about to take


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


def _reap(number: int, parent: int) -> bool:
    # Only an adopted one's end nobody waits for; a Lambda's is its pool's business, and that copes with either.
    with _starting:
        mine = parent == os.getpid() and number not in _awaited
        if mine:
            with suppress(ChildProcessError):
                os.waitpid(number, os.WNOHANG)
    return mine


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
    except PermissionError:
        return _words(number)
    except OSError:
        return b""  # gone meanwhile, or another user's


def _words(number: int) -> bytes:
    try:
        return (_PROC / str(number) / "cmdline").read_bytes()
    except OSError:
        return b""


def _kill(number: int) -> None:
    _signal(number, signal.SIGKILL)


def _signal(number: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(number, which)
