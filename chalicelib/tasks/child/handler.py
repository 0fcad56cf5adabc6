"""The entry point of the runner Lambda of tasks."""

from typing import Any

from chalicelib.runner import handler
from chalicelib.tasks.child import batch
from chalicelib.tasks.handover import TaskBatch


def handle(event: object, context: Any) -> Any:
    """Makes the calls of `event` (`TaskBatch`), and gives an `Outcome` for each."""
    return handler.answer(event, TaskBatch, batch.run)
