"""When work has to be over, by a clock that never jumps.

    deadline = Deadline.of_lambda(lambda_context, reserve_seconds=10)
    while deadline.left(): ...
    probe(timeout=deadline.share(0.6))
"""

import time
from collections.abc import Callable
from typing import Any


class Deadline:
    """The end of a span of work. `clock` gives seconds, monotonic ones unless a simulation has its own."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.at = clock() + max(0.0, seconds)

    @classmethod
    def of_lambda(cls, lambda_context: Any, reserve_seconds: float, clock: Callable[[], float] = time.monotonic
                  ) -> "Deadline":
        """The end of this invocation, less what its last words take."""
        return cls(lambda_context.get_remaining_time_in_millis() / 1000 - reserve_seconds, clock)

    def left(self) -> float:
        """Seconds that are left. 0 once it is over."""
        return max(0.0, self.at - self._clock())

    def share(self, fraction: float) -> float:
        """So much of what is left, in seconds."""
        return self.left() * fraction

    def within(self, seconds: float) -> "Deadline":
        """An earlier end for a part of the work, in `seconds`, but not after this one."""
        return Deadline(min(seconds, self.left()), self._clock)
