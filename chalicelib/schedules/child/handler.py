"""The entry point of the runner Lambda."""

from typing import Any

import msgspec

from chalicelib.runner import descendants
from chalicelib.runner.process import end_environment
from chalicelib.schedules.child import process
from chalicelib.schedules.command import Command


def handle(event: object, context: Any) -> Any:
    """Runs the command of `event` (`Command`) to its end, and gives a `Result`."""
    # Not on import, since tests and tools import this, too.
    descendants.adopt()
    command = msgspec.convert(event, Command)
    try:
        return msgspec.to_builtins(process.run(command))
    except descendants.Survivors as error:
        end_environment(error)
