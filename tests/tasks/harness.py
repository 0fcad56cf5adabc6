"""A worker to try things on: SQS and DynamoDB are in memory, everything else is real."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.tasks.batch_run import Worker
from chalicelib.tasks.event import Batch
from chalicelib.tasks.idempotency import IdempotentRunner
from chalicelib.tasks.queues import QueueConfig, SqsAdapter
from chalicelib.tasks.registry import Registry, Task
from tests.tasks.fakes import Context, DynamoClient, Memory, SqsClient, place

NOW = 2000.0


class Workshop:
    """A worker with the tasks `tasks`, and what it did."""

    def __init__(self, sqs: SqsClient, capsys: pytest.CaptureFixture[str]) -> None:
        self.sqs, self.table, self.dynamo, self.registry = sqs, Memory(), DynamoClient(), Registry()
        self.calls: list[Any] = []
        self._capsys = capsys
        self.worker = self.another()

    def another(self) -> Worker:
        """A second Lambda beside the first: same queues, same table."""
        once = IdempotentRunner("table", self.dynamo)
        return Worker(self.registry, SqsAdapter("eu-west-1"), self.table, lambda: once, lambda: NOW)

    def task(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        defaults: dict[str, Any] = {
            "queue": "default", "retries": None, "timeout": None, "concurrency": None, "key": None, "remember": 3600,
            "required": frozenset(), "allowed": None, "file": "tasks/t.py", "line": 1}
        self.registry.add(Task(name=name, function=function, **defaults | options))

    def note(self, **args: Any) -> None:
        self.calls.append(args)

    def work(self, *records: dict[str, Any], at: QueueConfig | None = None, seconds: float = 900) -> list[str]:
        """The ids that come back."""
        answer = self.worker.work(Batch(at or place(), list(records)), Context(seconds))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def line(self) -> dict[str, Any]:
        """The last batch's line."""
        lines = [line for line in self._capsys.readouterr().out.splitlines() if '"_aws"' in line]
        read: dict[str, Any] = json.loads(lines[-1])
        return read

    def dead(self, queue: str = "default-dead") -> list[dict[str, str]]:
        """The dead letters' attributes."""
        kept = self.sqs.messages(queue)
        return [{name: value["StringValue"] for name, value in one["MessageAttributes"].items()} | {"body": one["Body"]}
                for one in kept]


def fail(**args: Any) -> None:
    raise ConnectionError("no answer from the printer")


def body(name: str = "t.note", key: str | None = None, **args: Any) -> dict[str, Any]:
    return {"task": name, "args": args} | ({"key": key} if key else {})
