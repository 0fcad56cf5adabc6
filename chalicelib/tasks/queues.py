"""The queues of tasks, and the few SQS calls on them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from chalicelib import queue_addresses
from chalicelib.aws import client
from chalicelib.config.declared import Fleet

T = TypeVar("T")
_BATCH = 10
# The size that every queue takes, and that of queues made since August 2025.
_COMMON_BYTES, _LARGEST_BYTES = 256 * 1024, 1024 * 1024
_FORBIDDEN = {code: "\ufffd" for code in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000))}


class QueueError(Exception):
    """A queue is not known here. The text says which, and what to do."""


class QueueConfig(msgspec.Struct, frozen=True):
    """One queue, with its name in fleet.toml, its addresses, and the defaults of its tasks."""

    name: str
    url: str
    dead: str
    dead_url: str
    fifo: bool
    retries: int
    timeout: int
    longest_chain: int = 1000


class QueueDirectory(msgspec.Struct, frozen=True):
    """The queues of this region as name -> URL, and for each dead-letter queue its original one."""

    urls: Mapping[str, str]
    origins: Mapping[str, str]

    def url(self, name: str) -> str:
        """The URL of the queue `name`. `QueueError` if there is none."""
        return url_of(name, self.urls)

    def source(self, raw: Mapping[str, Any]) -> str:
        """The queue that SQS itself says it moved the message `raw` from. Empty if it did not move it."""
        tail = str(raw.get("Attributes", {}).get("DeadLetterQueueSourceArn", "")).rpartition(":")[2]
        return next((name for name, url in self.urls.items() if tail and url.endswith(f"/{tail}")), "")


class Sqs(Protocol):
    """The calls. Each takes any number of entries. `Unavailable` and `ClientError` as in `cloud`."""

    def send(self, url: str, entries: Sequence[dict[str, Any]]) -> dict[int, str]:
        """Send. The answer says which entries (by place) were not taken, and why."""

    def change_visibility(self, url: str, times: Mapping[str, int]) -> dict[str, str]:
        """Hide received messages (receipt -> seconds). The answer says which could not be, and why."""

    def receive(self, url: str, most: int, hidden: int) -> list[dict[str, Any]]:
        """Up to `most` (1 to 10) messages with all attributes, hidden from others for `hidden` seconds."""

    def delete(self, url: str, receipts: Sequence[str]) -> dict[str, str]:
        """Delete received messages. The answer says which could not be, and why."""

    def attributes(self, url: str) -> dict[str, str]:
        """All attributes of the queue."""


class SqsAdapter:
    """`Sqs` in one region."""

    def __init__(self, region: str) -> None:
        self.region = region

    def send(self, url: str, entries: Sequence[dict[str, Any]]) -> dict[int, str]:
        failed: dict[int, str] = {}
        for numbered in _fitting(entries):
            batch = [{"Id": str(number), **entry} for number, entry in numbered]
            answer = self._call("send_message_batch", QueueUrl=url, Entries=batch)
            failed |= {int(number): why for number, why in _failures(answer)}
        return failed

    def change_visibility(self, url: str, times: Mapping[str, int]) -> dict[str, str]:
        return self._each("change_message_visibility_batch", url,
                          [{"ReceiptHandle": receipt, "VisibilityTimeout": time} for receipt, time in times.items()])

    def receive(self, url: str, most: int, hidden: int) -> list[dict[str, Any]]:
        answer = self._call(
            "receive_message", QueueUrl=url, MaxNumberOfMessages=most, VisibilityTimeout=hidden,
            # Waiting makes SQS ask all of its servers: otherwise an empty answer means nothing.
            WaitTimeSeconds=1, MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"])
        return list(answer.get("Messages", ()))

    def delete(self, url: str, receipts: Sequence[str]) -> dict[str, str]:
        return self._each("delete_message_batch", url, [{"ReceiptHandle": receipt} for receipt in receipts])

    def attributes(self, url: str) -> dict[str, str]:
        return dict(self._call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"])["Attributes"])

    def _each(self, method: str, url: str, entries: Sequence[dict[str, Any]]) -> dict[str, str]:
        failed: dict[str, str] = {}
        for batch in chunks(entries, _BATCH):
            numbered = [{"Id": str(number), **entry} for number, entry in enumerate(batch)]
            answer = self._call(method, QueueUrl=url, Entries=numbered)
            failed |= {batch[int(number)]["ReceiptHandle"]: why for number, why in _failures(answer)}
        return failed

    def _call(self, method: str, **arguments: Any) -> Any:
        call = getattr(client.client("sqs", self.region), method)
        return client.aws_call(self.region, lambda: call(**arguments))


def urls(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Queue name -> URL. `QueueError` where they are not known."""
    try:
        return queue_addresses.urls(environment)
    except queue_addresses.UnknownQueues as error:
        raise QueueError(str(error)) from None


def most_bytes(environment: Mapping[str, str] | None = None) -> int:
    """The longest message of the stack's queues, as `tasks.message_kib` of fleet.toml has it. `QueueError` if unclear.
    """
    text = (os.environ if environment is None else environment).get("LAMP_MESSAGE_KIB", "256")
    if not text.isdecimal() or not _COMMON_BYTES <= int(text) * 1024 <= _LARGEST_BYTES:
        raise QueueError(f"LAMP_MESSAGE_KIB is {text!r}. Write tasks.message_kib of fleet.toml, or leave it out")
    return int(text) * 1024


def places(fleet: Fleet, known: Mapping[str, str]) -> dict[str, QueueConfig]:
    """The queues that fleet.toml declares, by name. `QueueError` names one that has no URL."""
    found = {}
    for queue in fleet.queues:
        dead = fleet.dead_letters(queue)
        found[queue.name] = QueueConfig(
            queue.name, url_of(queue.name, known), dead, url_of(dead, known), queue.fifo, queue.retries, queue.timeout,
            fleet.tasks.longest_chain)
    return found


def known(fleet: Fleet, environment: Mapping[str, str] | None = None) -> QueueDirectory:
    """All queues that this region has."""
    there = urls(environment)
    declared = {queue.name: fleet.dead_letters(queue) for queue in fleet.queues}
    # Lamplighter's own queues follow the same rule as a queue that names none.
    pairs = {name: declared.get(name, f"{name}-dead") for name in there}
    return QueueDirectory(there, {dead: name for name, dead in pairs.items() if dead in there and dead not in declared})


def url_of(name: str, known: Mapping[str, str]) -> str:
    """The URL of the queue `name`."""
    if name not in known:
        raise QueueError(f"there is no queue {name!r} here (known: {', '.join(sorted(known)) or 'none'}). Declare it "
                         "in fleet.toml as [[queues]] and deploy")
    return known[name]


def chunks(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`things` in runs of at most `size`."""
    return (things[start:start + size] for start in range(0, len(things), size))


def text_attributes(values: Mapping[str, str], room: int) -> dict[str, dict[str, str]]:
    """`values` as SQS message attributes in at most `room` bytes. The last ones give way first.

    A negative room means that the body is longer than 256 KiB. Then its queue takes 1 MiB, and so does that of its dead
    letters. SQS refuses empty values and most control characters (SendMessage, "Message").
    """
    if room < 0:
        room += _LARGEST_BYTES - _COMMON_BYTES
    attributes = {}
    for name, value in values.items():
        text = _cut(value.translate(_FORBIDDEN), room - len(name) - len("String"))
        if text:
            attributes[name] = {"DataType": "String", "StringValue": text}
            room -= len(name) + len("String") + len(text.encode())
    return attributes


def _cut(text: str, room: int) -> str:
    return text.encode()[:max(0, room)].decode(errors="ignore")


def _fitting(entries: Sequence[dict[str, Any]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Batches of at most ten entries and 256 KiB, each entry with its place."""
    batch: list[tuple[int, dict[str, Any]]] = []
    size = 0
    for numbered in enumerate(entries):
        length = _size(numbered[1])
        if batch and (len(batch) == _BATCH or size + length > 256 * 1024):
            yield batch
            batch, size = [], 0
        batch.append(numbered)
        size += length
    if batch:
        yield batch


def _size(entry: Mapping[str, Any]) -> int:
    attributes = entry.get("MessageAttributes", {})
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(value["DataType"]) + len(value["StringValue"].encode()) for name, value in attributes.items())


def _failures(answer: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return [(failure["Id"], failure.get("Message") or failure.get("Code", "no reason given"))
            for failure in answer.get("Failed", ())]
