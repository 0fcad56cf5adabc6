"""A run's output in the log of its Lambda, up to a limit, because CloudWatch Logs takes its price for each byte."""

import sys

# Of one run (bytes).
LOG_BYTES = 1 << 20


class CappedLog:
    """Prints the first bytes that it is given. `left_out` counts the others, of which `end` prints one line."""

    def __init__(self, most: int = LOG_BYTES) -> None:
        self._room, self.left_out = most, 0

    def write(self, chunk: bytes) -> None:
        """The next bytes."""
        shown = chunk[:self._room]
        self._room -= len(shown)
        self.left_out += len(chunk) - len(shown)
        if shown:
            sys.stdout.write(shown.decode(errors="replace"))

    def end(self) -> None:
        """The run is over."""
        if self.left_out:
            sys.stdout.write(f"\n[{self.left_out} more bytes of output are left out]\n")
            self.left_out = 0
