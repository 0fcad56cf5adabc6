"""The entry point of the runner Lambda."""

import os
import sys
from typing import Any

import msgspec

from chalicelib.schedules.child import descendants, process
from chalicelib.schedules.command import Command


def handle(event: object, context: Any) -> Any:
    """Runs the command of `event` (`Command`) to its end, and gives a `Result`."""
    # Not on import, since tests and tools import this, too.
    descendants.adopt()
    command = msgspec.convert(event, Command)
    try:
        return msgspec.to_builtins(process.run(command))
    except descendants.Survivors as error:
        # The next run must not find them here. Lambda discards the environment of a runtime that ends.
        sys.stdout.write(f"{error}: this environment ends with them\n")
        sys.stdout.flush()
        os._exit(1)
