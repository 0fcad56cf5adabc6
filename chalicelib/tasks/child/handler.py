"""The entry point of the runner Lambda of tasks."""

from typing import Any

import msgspec

from chalicelib.runner import descendants
from chalicelib.runner.process import end_environment
from chalicelib.tasks.child import batch
from chalicelib.tasks.handover import TaskBatch


def handle(event: object, context: Any) -> Any:
    """Makes the calls of `event` (`TaskBatch`), and gives an `Outcome` for each."""
    # Not on import, since tests and tools import this, too.
    descendants.adopt()
    asked = msgspec.convert(event, TaskBatch)
    try:
        return msgspec.to_builtins(batch.run(asked))
    except descendants.Survivors as error:
        end_environment(error)
