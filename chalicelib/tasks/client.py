"""Sending tasks: `send("invoices.render", customer=7, delay="30s")`.

In a Lambda of the stack the queues are known. Elsewhere set LAMP_QUEUES (the stack's output `Queues` has its value), or
give a `Sender` of your own its URLs.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from chalicelib.config import durations
from chalicelib.envelope import MAX_BYTES, Envelope, Malformed, encode
from chalicelib.tasks import execution, manifest, queues
from chalicelib.tasks.queues import Sqs, SqsAdapter
from chalicelib.tasks.registry import REGISTRY, Registry

_LONGEST_DELAY = 900


class SendError(Exception):
    """A task could not be sent. The text says which and why. `lost` are the places in the list given to `send_many`."""

    def __init__(self, text: str, lost: Sequence[int] = ()) -> None:
        super().__init__(text)
        self.lost = tuple(lost)


class Call(msgspec.Struct, frozen=True):
    """One call of a task, to be sent.

    `delay` is a span up to 15m (SQS's limit). FIFO queues have none. `key` identifies the work. Work with an equal key
    runs once. `queue` is another queue than the task's own. `group` is the group within which FIFO queues keep the
    order (default is the task's name).
    """

    task: str
    args: Mapping[str, Any] = {}
    delay: str = "0s"
    key: str | None = None
    queue: str = ""
    group: str = ""
    id: str = ""
    meta: Mapping[str, Any] = {}


class Sender:
    """Sends to the queues with these URLs (by the names in fleet.toml), which take messages of `most_bytes`."""

    def __init__(
        self, urls: Mapping[str, str], sqs: Sqs, registry: Registry = REGISTRY, most_bytes: int = MAX_BYTES
    ) -> None:
        self._urls, self._sqs, self._registry, self._most_bytes = urls, sqs, registry, most_bytes

    def send(self, call: Call) -> str:
        """The id under which the task travels. `SendError` if it was not sent."""
        return self.send_many([call])[0]

    def send_many(self, calls: Sequence[Call]) -> list[str]:
        """The ids, in order. All calls are checked before any is sent. `SendError.lost` tells what SQS did not take."""
        wrapped = [self._wrap(number, call) for number, call in enumerate(calls)]
        lost: dict[int, str] = {}
        for url in dict.fromkeys(url for url, _, _ in wrapped):
            numbers = [number for number, (there, _, _) in enumerate(wrapped) if there == url]
            failed = self._sqs.send(url, [wrapped[number][2] for number in numbers])
            lost |= {numbers[place]: why for place, why in failed.items()}
        if lost:
            number, why = min(lost.items())
            raise SendError(f"{len(lost)} of {len(calls)} tasks were not taken by SQS. The first, "
                            f"{calls[number].task}: {why}. Send those in .lost again", sorted(lost))
        return [id for _, id, _ in wrapped]

    def _wrap(self, number: int, call: Call) -> tuple[str, str, dict[str, Any]]:
        task = self._registry.tasks.get(call.task)
        if task and (misfit := task.argument_error(call.args)):
            raise SendError(f"{misfit}. No task went out", [number])
        name = call.queue or (task.queue if task else "default")
        id = call.id or uuid.uuid4().hex
        envelope = Envelope(call.task, dict(call.args), id, call.key, datetime.now(UTC), dict(call.meta),
                            _hops())
        try:
            entry: dict[str, Any] = {"MessageBody": encode(envelope, self._most_bytes)}
            url = queues.url_of(name, self._urls)
        except (Malformed, queues.QueueError) as error:
            raise SendError(f"{error}. No task went out", [number]) from None
        return url, id, entry | _options(number, call, url.endswith(".fifo"), id)


def _options(number: int, call: Call, fifo: bool, id: str) -> dict[str, Any]:
    try:
        delay = durations.seconds(call.delay)
    except (ValueError, TypeError) as error:
        raise SendError(f"{call.task}: delay: {error}", [number]) from None
    if delay > (0 if fifo else _LONGEST_DELAY):
        most = "a FIFO queue delays no single message" if fifo else "SQS delays by 15m at most. Use a schedule"
        raise SendError(f"{call.task}: delay={call.delay}: {most}", [number])
    if not fifo:
        return {"DelaySeconds": delay} if delay else {}
    # Equal keys within five minutes are one message already for SQS.
    dedup = uuid.uuid5(uuid.NAMESPACE_OID, f"{call.task}/{call.key}").hex if call.key else id
    return {"MessageGroupId": call.group or call.task, "MessageDeduplicationId": dedup}


def _hops() -> int:
    """How many tasks of its chain come before a task that is sent here."""
    try:
        return execution.current().hops + 1
    except LookupError:
        return 0


@cache
def sender() -> Sender:
    """The process's own sender, with the queues that are known here and the region from AWS_REGION.

    In a package it knows all tasks by their declarations. Elsewhere it knows those whose modules are imported.
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    return Sender(queues.urls(), SqsAdapter(region), manifest.packaged() or REGISTRY, queues.most_bytes())


def send(
    task: str, *, delay: str = "0s", key: str | None = None, queue: str = "", group: str = "", id: str = "",
    meta: Mapping[str, Any] | None = None, **args: Any,
) -> str:
    """Send one task. All other keyword arguments are the task's. Returns its id. `SendError` says why not."""
    return _own().send(Call(task, args, delay, key, queue, group, id, meta or {}))


def send_many(calls: Sequence[Call]) -> list[str]:
    """Send many tasks, ten at a time. See `Sender.send_many`."""
    return _own().send_many(calls)


def _own() -> Sender:
    try:
        return sender()
    except queues.QueueError as error:
        raise SendError(str(error)) from None
