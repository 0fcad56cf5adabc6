"""The time that this machine kept the demo waiting, so that a slow machine is not taken for a fault.

Each second a thread computes for a moment and asks the embedded AWS the simplest thing. A machine with time to spare
needs a few milliseconds for both. An answer that takes longer than `USUAL_SECONDS` is a stall, and so is a late start.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec

EVERY_SECONDS, USUAL_SECONDS = 1.0, 0.5
# So much standing still in all, as a share of the time, or at a stretch, moves the bounds that the demo judges by. Two
# quiet cores, where all held, stood still for 11% and up to 3.7 s, mostly while a hundred Lambdas started. With twenty
# times as much to do as they can they stood still for 97% and up to 34 s.
SHARE_MAX, LONGEST_SECONDS = 0.2, 10.0


class Stalls(msgspec.Struct, frozen=True):
    """The stalls of `seconds` of watching, each in seconds."""

    seconds: float
    each: tuple[float, ...]

    @property
    def slow(self) -> bool:
        """Whether nothing can be told of a system by what it did on this machine."""
        return bool(self.each) and (sum(self.each) > SHARE_MAX * self.seconds or max(self.each) > LONGEST_SECONDS)

    def said(self) -> str:
        """The stalls in a sentence for people."""
        if not self.each:
            return "This machine never stood still."
        return (f"This machine stood still for {sum(self.each):.0f} of {self.seconds:.0f} s, in {len(self.each)} "
                f"stalls of up to {max(self.each):.1f} s.")


class Watch:
    """Measures from `with` to its end. `ask` is the question to the embedded AWS, which may fail with `failures`."""

    def __init__(self, ask: Callable[[], Any], failures: tuple[type[Exception], ...] = ()) -> None:
        self._ask, self._failures = ask, failures
        self._over, self._began = threading.Event(), time.monotonic()
        self._each: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            with contextlib.suppress(*self._failures):  # how long that took is what is measured
                self._ask()
            sum(range(50_000))
            now = time.monotonic()
            if now - due > USUAL_SECONDS:
                self._each.append(round(now - due, 2))
            due = max(due + EVERY_SECONDS, now)
            self._over.wait(due - now)

    def found(self) -> Stalls:
        """The stalls so far."""
        return Stalls(round(time.monotonic() - self._began, 1), tuple(self._each))


def verdict(failures: Sequence[str], stalls: Stalls) -> tuple[int, str]:
    """The status of the command, and its last line: 0 if all held, 1 if not, 3 if the machine was too slow to tell."""
    if not failures:
        return 0, "All of it held."
    if stalls.slow:
        return 3, f"This machine was too slow to tell. {stalls.said()} Run the demo again when less else runs here."
    return 1, f"It did not hold: {len(failures)} failure{'s' if len(failures) > 1 else ''}, listed above."
