"""The time that this machine kept the sandbox waiting, so that a slow machine is not taken for a fault.

Each second a thread computes for a moment and asks the embedded AWS the simplest thing. A machine with time to spare
needs a few milliseconds for both. An answer that takes longer than `USUAL_SECONDS` is a stall, and so is a late start.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

EVERY_SECONDS, USUAL_SECONDS = 1.0, 0.5
# So much standing still in all, as a share of the time, or at a stretch, moves the bounds that a demo judges by. Two
# quiet cores, where all held, stood still for 11% and up to 3.7 s, mostly while a hundred Lambdas started. With twenty
# times as much to do as they can they stood still for 97% and up to 34 s.
SHARE_MAX, LONGEST_SECONDS = 0.2, 10.0


class Stalls:
    """The stalls `each` (in seconds) in the `seconds` of watching."""

    def __init__(self) -> None:
        self.seconds, self.each = 0.0, list[float]()

    @property
    def slow(self) -> bool:
        """Whether nothing can be told of a system by what it did on this machine."""
        return sum(self.each) > SHARE_MAX * self.seconds or max(self.each, default=0.0) > LONGEST_SECONDS

    def said(self) -> str:
        """The stalls in a sentence for people."""
        if not self.each:
            return "This machine never stood still."
        return (f"This machine stood still for {sum(self.each):.0f} of {self.seconds:.0f} s, in {len(self.each)} "
                f"stalls of up to {max(self.each):.1f} s.")

    @contextlib.contextmanager
    def watching(self, ask: Callable[[], object], *failures: type[Exception]) -> Iterator[None]:
        """Watches while the block runs. `ask` asks the embedded AWS, which may fail with `failures`."""
        over = threading.Event()
        threading.Thread(target=self._watch, args=(over, ask, failures), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event, ask: Callable[[], object], failures: tuple[type[Exception], ...]) -> None:
        began = due = time.monotonic()
        while not over.is_set():
            with contextlib.suppress(*failures):  # how long that took is what is measured
                ask()
            sum(range(50_000))
            now = time.monotonic()
            self.seconds = round(now - began, 1)
            if now - due > USUAL_SECONDS:
                self.each.append(round(now - due, 2))
            due = max(due + EVERY_SECONDS, now)
            over.wait(due - now)
