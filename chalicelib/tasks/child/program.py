"""The program of the process in which tasks run, as `python -m chalicelib.tasks.child.program 3 4`.

It reads a `TaskCall` from each line of the first file descriptor, and writes an `Outcome` to the second one. It imports
the module of a task when the first call of it comes, and no other module of tasks/.
"""

import importlib
import os
import sys
import time
import traceback
from typing import BinaryIO

import msgspec

from chalicelib import envelope
from chalicelib.envelope import Envelope
from chalicelib.tasks import execution, registry
from chalicelib.tasks.handover import MOST_CHARACTERS, Outcome, TaskCall
from chalicelib.tasks.registry import Task


def main(arguments: list[str]) -> None:
    """Answers calls until there are no more."""
    requests, answers = (int(each) for each in arguments)
    execution.install()
    with os.fdopen(requests, "rb") as calls, os.fdopen(answers, "wb", buffering=0) as results:
        for line in calls:
            outcome = _outcome(msgspec.json.decode(line, type=TaskCall))
            execution.silence()
            sys.stdout.flush()
            sys.stderr.flush()
            _write(results, msgspec.json.encode(outcome) + b"\n")


def _write(results: BinaryIO, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[results.write(rest):]


def _outcome(call: TaskCall) -> Outcome:
    message = envelope.decode(call.body)
    found = _task(call.task)
    if isinstance(found, str):
        return Outcome("failed", found)
    try:
        if call.wants == "key":
            return Outcome("done", found.key(message.args) if found.key else "")
        execution.limited(time.monotonic() + call.seconds, found.function, message.args, (_facts, call, message))
    except execution.Refused as error:
        return Outcome("refused", _cut(str(error) or "the task refused it"))
    except execution.TimedOut as error:
        return Outcome("timed-out", str(error))
    except execution.Exited as error:
        return Outcome("failed", _cut(str(error)))
    except Exception as error:
        traceback.print_exc()
        return Outcome("failed", _cut(f"{type(error).__name__}: {error}"))
    return Outcome("done")


def _task(name: str) -> Task | str:
    """The task, or why it cannot be had."""
    module = name.rpartition(".")[0]
    try:
        importlib.import_module(f"tasks.{module}")
    except (Exception, SystemExit) as error:
        return registry.import_failure(error, f"tasks/{module.replace('.', '/')}.py")
    return registry.REGISTRY.tasks.get(name) or registry.REGISTRY.why_unknown(name)


def _facts(call: TaskCall, message: Envelope) -> execution.Run:
    return execution.Run(call.task, message.id or call.id, call.attempt, call.queue, message.meta,
                         message.hops)


def _cut(text: str) -> str:
    """`text` as JSON can hold it."""
    return text.encode(errors="replace").decode()[:MOST_CHARACTERS]


if __name__ == "__main__":
    main(sys.argv[1:])
