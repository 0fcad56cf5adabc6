"""`python -m commands`, the entry point of the script `lamp`."""

import signal
import sys
from types import FrameType

from commands.cli import main
from commands.processes import take_interrupts


def _terminated(number: int, frame: FrameType | None) -> None:
    # As an exception, so that every `with` on the way out puts its processes and folders away.
    sys.exit(128 + number)


if __name__ == "__main__":
    take_interrupts()
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())
