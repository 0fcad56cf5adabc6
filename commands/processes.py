"""Programs that a command starts, and that never outlive it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from commands import roots

# How long a program may take to clear up after the one SIGINT that it gets, before it is killed (s).
PATIENCE = 30


def take_interrupts() -> None:
    """Make SIGINT raise KeyboardInterrupt in this process, and act by default in the programs that it starts.

    A shell without job control starts background commands with SIGINT ignored, and Python keeps that. Ctrl-C would then
    end neither the command nor its children. To be called from the main thread.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def keep_compiled_modules() -> None:
    """Let this process and the Pythons that it starts keep what they compile, whatever PYTHONDONTWRITEBYTECODE says.

    The tests start hundreds of Pythons, and each would compile the product anew.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


class Children:
    """Runs programs from any thread. Leaving the `with` ends those still running, and what they started."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running)
        for child in running:
            _end(child)

    def run(self, words: Sequence[str], *, capture: bool = False, folder: str = "") -> tuple[int, str]:
        """Runs `words` in the product's folder. Its exit status and, with `capture`, all that it printed.

        `folder` is where it puts temporary files, if not in the usual place.
        """
        pipe = subprocess.PIPE if capture else None
        # A session of its own: Ctrl-C in the terminal reaches us alone, so that each child gets it once, from us.
        with self._lock:
            if self._closed:
                raise InterruptedError(f"{words[0]} did not start, since the command is ending")
            child = subprocess.Popen(
                words, cwd=roots.PRODUCT, stdout=pipe, stderr=subprocess.STDOUT if capture else None, text=True,
                errors="replace", start_new_session=True, env=os.environ | ({"TMPDIR": folder} if folder else {}),
            )  # fmt: skip
            self._running.add(child)
        text, _ = child.communicate()
        with self._lock:
            self._running.discard(child)
        return child.returncode, text or ""


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE)
    # What the child started and left behind shares its group; a group that is gone already is what we want.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
