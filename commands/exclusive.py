"""One process at a time on this machine, for what two commands would spoil for each other."""

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(file: Path, what: str) -> Iterator[None]:
    """Holds the lock `file` while the block runs. Waits for another process that does `what` meanwhile.

    The system releases the lock when its process ends, in whatever way.
    """
    with file.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"lamp: waiting for another process that is {what} ({file})", file=sys.stderr)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
