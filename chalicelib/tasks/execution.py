"""The facts that a task can read about its own run, and the alarm that ends one which takes too long."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import msgspec


class Refused(Exception):
    """Raise it in a task when no retry can help. The message goes to the dead letters at once, with this text."""


class TimedOut(Exception):
    """A task took longer than its time-out."""


class Exited(Exception):
    """A task called `sys.exit`. That must end neither the worker nor, without its cleaning up, a key's record."""


class Run(msgspec.Struct, frozen=True):
    """The run in progress. `attempt` counts from 1, `meta` is the sender's, and `hops` is the number of tasks that came
    before in its chain."""

    task: str
    id: str
    attempt: int
    queue: str
    meta: Mapping[str, Any]
    hops: int = 0


class _Ring(BaseException):
    """Not an Exception, so that `except Exception` in a task cannot swallow the end of its time."""


# How to find out about the run under way, should it ask: a function and its arguments.
Facts = tuple[Callable[[Any, Any], Run], Any, Any]
_facts: Facts | None = None
# Monotonic seconds: when the run under way must end (0: none is), and when the alarm rings next.
_end = 0.0
_rings = 0.0


def current() -> Run:
    """The run that this code is part of. `LookupError` outside of a worker."""
    if _facts is None:
        raise LookupError("no task is running here. The function current() works inside a task that a worker runs")
    find, record, envelope = _facts
    return find(record, envelope)


def install() -> None:
    """Take SIGALRM for time-outs. Python delivers signals to the main thread only, where Lambda calls the handler."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("tasks must run in the main thread. Only there can a time-out interrupt them")
    signal.signal(signal.SIGALRM, _ring)


def limited(end: float, function: Callable[..., Any], args: Mapping[str, Any], facts: Facts) -> None:
    """Call `function(**args)`. `TimedOut` if it is not back by `end` (monotonic seconds), `Exited` after `sys.exit`."""
    global _end, _facts
    _facts = facts
    try:
        _end = end
        # The alarm of an earlier record may serve, as it looks at `_end` when it rings: setting it is a system call.
        if not _rings or end < _rings:
            _set(end)
        try:
            function(**args)
        finally:
            _end = 0.0
    except _Ring:
        _end = 0.0
        raise TimedOut("took longer than its time-out") from None
    except SystemExit as exit:
        raise Exited(f"SystemExit: {exit.code}") from exit
    finally:
        _facts = None


def silence() -> None:
    """Stop the alarm."""
    global _rings
    _rings = 0.0
    signal.setitimer(signal.ITIMER_REAL, 0)


def _set(end: float) -> None:
    global _rings
    _rings = end
    # After that it rings each second, for a function that swallows even this.
    signal.setitimer(signal.ITIMER_REAL, max(0.001, end - time.monotonic()), 1.0)


def _ring(number: int, frame: FrameType | None) -> None:
    if not _end:
        return
    if time.monotonic() < _end - 0.01:
        _set(_end)
    else:
        raise _Ring
