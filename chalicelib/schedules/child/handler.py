"""The entry point of the runner Lambda of jobs."""

from typing import Any

from chalicelib.runner import handler
from chalicelib.schedules.child import process
from chalicelib.schedules.command import Command


def handle(event: object, context: Any) -> Any:
    """Runs the command of `event` (`Command`) to its end, and gives a `Result`."""
    return handler.answer(event, Command, process.run)
