"""For `on=queue` the job is a task for `tasks.work`, and done when SQS has accepted its message.

The command is the message, such as `{"task": "invoices.render", "args": {}}`. Packaging has rejected every other form
(`no-task` in catalogue.py), since `tasks.work` serves every queue of fleet.toml.
"""

from chalicelib.aws.client import Message
from chalicelib.context import RegionContext
from chalicelib.schedules.runners import Attempt, RemoteRun, Result


def start(context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Sends the message."""
    job = attempt.job
    name = job.policy.queue or context.fleet.schedules.queue
    queue = next((queue for queue in context.fleet.queues if queue.name == name), None)
    if queue is None:
        return Result("failed", detail=f"no queue is named {name!r} in fleet.toml ({job.file}:{job.line}). Declare it")
    group = job.name if queue.fifo else ""
    context.queues[name].send([Message(job.command, group=group, once=attempt.owner)])
    return Result("done", f"sent to {name}")
