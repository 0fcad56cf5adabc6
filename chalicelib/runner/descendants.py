"""All processes that a command has started, found and ended whatever they did to get away.

Linux gives an orphan to the nearest ancestor that is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER). So a process that
calls setsid, or whose parents have ended, still has this process above it in /proc.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_SET_DUMPABLE, _SET_CHILD_SUBREAPER = 4, 36  # linux/prctl.h
_LOOK_SECONDS = 0.02


class Survivors(Exception):
    """Some process of a command cannot be ended."""


def adopt() -> None:
    """Makes this process the parent of every orphan below it, and closes its memory and environment to all of them.

    Linux shows neither in /proc of a process that may not be dumped, also not to its own user (ptrace(2)).
    """
    if sys.platform == "linux":
        _control(_SET_CHILD_SUBREAPER, 1)
        _control(_SET_DUMPABLE, 0)


def _control(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} was refused")


def end_all(reap: Callable[[], object], seconds: float) -> None:
    """Ends every process below this one. `reap` collects the one that its owner waits for.

    They are stopped before they are killed, since one that runs may make others faster than they are found.
    `Survivors` after `seconds`.
    """
    deadline = time.monotonic() + seconds
    stopped: set[int] = set()
    while found := _living(os.getpid()):
        if time.monotonic() > deadline:
            raise Survivors(f"{len(found)} processes of the command did not end in {seconds:g} s")
        fresh = found - stopped
        _signal(fresh or found, signal.SIGSTOP if fresh else signal.SIGKILL)
        stopped = found
        if not fresh:
            time.sleep(_LOOK_SECONDS)
    reap()
    _collect()


def _signal(processes: set[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def _collect() -> None:
    """Takes leave of all that ended, so that their entries go."""
    while True:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not process:
            return


def _living(root: int) -> set[int]:
    """All processes below `root` that have not ended."""
    parents: dict[int, int] = {}
    ended: set[int] = set()
    for process, parent, state in _processes():
        parents[process] = parent
        if state in "ZX":
            ended.add(process)
    below = {root}
    while more := {process for process, parent in parents.items() if parent in below} - below:
        below |= more
    return below - ended - {root}


def _processes() -> Iterator[tuple[int, int, str]]:
    """Each process with its parent and its state."""
    try:
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except FileNotFoundError:
        return  # not Linux
    for entry in entries:
        try:
            # The name in brackets may hold anything.
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        yield int(entry.name), int(parent), state
