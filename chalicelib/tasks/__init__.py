"""Background tasks: declare with `@task`, send with `send`; `current()` tells a task about its own run."""

from chalicelib.tasks.registry import TaskError, task
from chalicelib.tasks.running import Refused, current
from chalicelib.tasks.sending import Call, SendError, send, send_many

__all__ = ["Call", "Refused", "SendError", "TaskError", "current", "send", "send_many", "task"]
