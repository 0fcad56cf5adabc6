"""The content of the queues as plain values, and what is stored about a message.

In the regional table `task-message#<id>`/`runs` counts the runs of a message. A worker writes it only when a message
goes back, or before the run of a suspect. A message that succeeds at once costs no write.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib.engine.schema import Schema, State

_SHOWN = 2000


class MessageState(State, frozen=True):
    """The counters of a message as its workers know them.

    `starts` are its runs. `receives` is SQS's count at the last receive that a worker has settled, or at the start of
    the last run while that `is_open`. An open run has no known end.
    """

    starts: int = 0
    receives: int = 0
    is_open: bool = False


MESSAGE = Schema(MessageState, 1)
# A day longer than any queue keeps a message.
MESSAGE_KEPT_SECONDS = 15 * 86_400


def message_key(id: str) -> tuple[str, str]:
    """The key of the counters of the message with that id."""
    return f"task-message#{id}", "runs"


class QueueDepth(msgspec.Struct, frozen=True):
    """One queue, with its messages waiting, running, not yet due, and the age of the oldest in seconds (`None` is
    unknown)."""

    name: str
    waiting: int
    at_work: int
    delayed: int
    oldest: int | None
    dead_letters: bool


class QueuedMessage(msgspec.Struct, frozen=True):
    """One message as it lies in `queue`. `sent` in epoch seconds. `reason` to `original` only on dead letters.

    `origin` is the queue in which it died, and to which it returns.
    """

    id: str
    queue: str
    body: str
    sent: int
    receives: int
    receipt: str
    group: str = ""
    reason: str = ""
    error: str = ""
    task: str = ""
    attempts: str = ""
    origin: str = ""
    original: str = ""
    redriven: int = 0

    def summary(self) -> dict[str, Any]:
        """The message for people, without the receipt, the body cut at 2,000 characters."""
        told = msgspec.to_builtins(self)
        told |= {"body": self.body[:_SHOWN], "bytes": len(self.body.encode()),
                 "sent": datetime.fromtimestamp(self.sent, UTC).isoformat().replace("+00:00", "Z")}
        return {name: value for name, value in told.items() if name != "receipt" and value not in ("", 0)}


class QueueSample(msgspec.Struct, frozen=True):
    """The found messages, and the queues that may have more (`cut`)."""

    letters: tuple[QueuedMessage, ...]
    cut: tuple[str, ...]


def letter(queue: str, raw: Mapping[str, Any], origin: str = "") -> QueuedMessage:
    """A message as SQS's `receive_message` returns it. `origin` is the original queue of these dead letters, if there
    is one."""
    said = {name: value.get("StringValue", "") for name, value in raw.get("MessageAttributes", {}).items()}
    system = raw.get("Attributes", {})
    redriven = said.get("redriven", "")
    return QueuedMessage(
        id=raw["MessageId"], queue=queue, body=raw["Body"], sent=int(system.get("SentTimestamp", "0")) // 1000,
        receives=int(system.get("ApproximateReceiveCount", "0")), receipt=raw["ReceiptHandle"],
        group=system.get("MessageGroupId", ""), reason=said.get("reason", "moved by SQS" if origin else ""),
        error=said.get("error", ""), task=said.get("task", ""), attempts=said.get("attempts", ""),
        origin=said.get("origin", origin), original=said.get("original-id", ""),
        redriven=int(redriven) if redriven.isascii() and redriven.isdigit() else 0)
