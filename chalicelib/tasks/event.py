"""An SQS batch as Lambda gets it, checked. And the answer to one that is none."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.tasks.queues import QueueConfig


class Attributes(msgspec.Struct):
    """The counters of SQS for a message, which are text there and numbers here."""

    ApproximateReceiveCount: int
    SentTimestamp: int


class Record(msgspec.Struct):
    """The fields that SQS always sets and that are used."""

    messageId: str
    receiptHandle: str
    body: str
    eventSourceARN: str
    attributes: Attributes


class BadEvent(Exception):
    """The event is no batch of one of the task queues. The text says what is wrong."""


class Batch(msgspec.Struct, frozen=True):
    """Records of one queue, each with the fields that SQS always sets."""

    place: QueueConfig
    records: Sequence[dict[str, Any]]


def read(event: object, places: Mapping[str, QueueConfig]) -> Batch:
    """The batch in `event`. `places` are the queues by the last part of their ARN."""
    raw = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(raw, list) or not raw:
        raise BadEvent('tasks.work takes the batches of its queues, {"Records": [...]}. To start a task by hand, send '
                       "its message to the queue (docs/tasks.md)")
    try:
        # SQS writes its numbers as text.
        records = msgspec.convert(raw, list[Record], strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadEvent(f"tasks.work got a record that is not of SQS ({error}). Only SQS should invoke it") from None
    arn = records[0].eventSourceARN
    if any(record.eventSourceARN != arn for record in records):
        raise BadEvent("tasks.work got records of more than one queue. SQS sends one queue's at a time")
    place = places.get(arn.rpartition(":")[2])
    if place is None:
        raise BadEvent(f"tasks.work: fleet.toml has no queue {arn}. Declare it as [[queues]], or remove the mapping")
    return Batch(place, raw)


def refusal(error: BadEvent) -> dict[str, Any]:
    """The answer to a bad event. The empty identifier makes SQS keep the whole batch, should there be one.

    See "Implementing partial batch responses" in the Lambda developer guide. An answer without it would delete the
    message.
    """
    return {"operation": "tasks.work", "status": "refused", "message": str(error),
            "batchItemFailures": [{"itemIdentifier": ""}]}
