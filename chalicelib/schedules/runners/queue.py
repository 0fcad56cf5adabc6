"""`on=queue`: the job is a message to a named queue, and done when SQS has taken it.

A command that is a JSON object is the message, as written: `{"task": "invoices.render", "args": {}}`. Any other command
goes as `{"job": ..., "slot": ..., "command": ..., "stdin": ...}` for a worker of your own.
"""

import msgspec

from chalicelib.cloud import Message
from chalicelib.schedules.runners import Attempt, Result, Started
from chalicelib.site import Site


def start(site: Site, attempt: Attempt) -> Result | Started:
    """Sends the message."""
    job = attempt.job
    name = job.policy.queue or site.fleet.schedules.queue
    queue = next((queue for queue in site.fleet.queues if queue.name == name), None)
    if queue is None:
        return Result("failed", detail=f"no queue is named {name!r} in fleet.toml ({job.file}:{job.line}); declare it")
    group = job.name if queue.fifo else ""
    site.queues[name].send([Message(body(attempt), group=group, once=attempt.owner)])
    return Result("done", f"sent to {name}")


def body(attempt: Attempt) -> str:
    """The message for one attempt."""
    job = attempt.job
    if job.command.lstrip().startswith("{"):
        return job.command
    return msgspec.json.encode(
        {"job": job.name, "slot": attempt.slot, "command": job.command, "stdin": job.stdin}).decode()
