"""Background tasks. `@task` declares one, `send` sends it, and `current()` tells a task about its own run."""

from chalicelib.tasks.client import Call, SendError, send, send_many
from chalicelib.tasks.execution import Refused, current
from chalicelib.tasks.registry import TaskError, task

__all__ = ["Call", "Refused", "SendError", "TaskError", "current", "send", "send_many", "task"]
