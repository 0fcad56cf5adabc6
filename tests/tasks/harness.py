"""A worker to try things on: SQS and DynamoDB are in memory, everything else is real."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.engine.schema import encode
from chalicelib.tasks.batch_run import Worker
from chalicelib.tasks.event import Batch
from chalicelib.tasks.idempotency import IdempotentRunner
from chalicelib.tasks.queues import QueueConfig, SqsAdapter
from chalicelib.tasks.registry import Registry, Task
from chalicelib.tasks.state import MESSAGE, MessageState, message_key
from testing.fakes import MemoryTable
from tests.tasks.fakes import Context, DynamoClient, SqsClient, place

NOW = 2000.0


class Workshop:
    """A worker with the tasks `tasks`, and what it did."""

    def __init__(self, sqs: SqsClient, capsys: pytest.CaptureFixture[str]) -> None:
        self.sqs, self.dynamo, self.registry = sqs, DynamoClient(), Registry()
        self.table = MemoryTable(fault=self._table_call)
        # The calls of the table, and what each of them raises, if anything.
        self.table_calls: list[str] = []
        self.table_error: Exception | None = None
        self.calls: list[Any] = []
        self._capsys = capsys
        self.worker = self.another()

    def _table_call(self, name: str) -> None:
        self.table_calls.append(name)
        if self.table_error:
            raise self.table_error

    def counters(self, id: str) -> dict[str, Any] | None:
        """What is written down about a message: starts, receives, is_open."""
        item = self.table.get(*message_key(id))
        return {name: item.body[name] for name in ("starts", "receives", "is_open")} if item else None

    def has_run(self, id: str, *, starts: int, receives: int, is_open: bool = False) -> None:
        """Writes down that a message was started so often before, and was last settled at that receive."""
        body = encode(MessageState(starts, receives, is_open), MESSAGE)
        assert self.table.create(*message_key(id), body)

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
