"""The actions on messages, which return them, move them to the dead letters, and redrive them.

Bringing back is sending anew and deleting after, not SQS's StartMessageMoveTask, which can only move whole queues. If
it stops between the two, a message exists twice, so give a key to tasks that must not run twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.aws.client import Unavailable
from chalicelib.engine.plan import Action
from chalicelib.envelope import MAX_BYTES
from chalicelib.tasks.queues import QueueConfig, QueueDirectory, Sqs, chunks, text_attributes
from chalicelib.tasks.state import QueuedMessage

_LONGEST_ERROR = 2000


def move_to_dlq(
    sqs: Sqs, place: QueueConfig, record: Mapping[str, Any], reason: str, why: str, account: Mapping[str, str]
) -> None:
    """Copy `record` to the dead letters with the reason as message attributes. `Unavailable` if that did not work.

    The body stays whole. The reason is attached as far as the queue's size allows, with `reason` first.
    """
    body = record["body"]
    said = {
        "reason": reason, "origin": place.name, "original-id": record["messageId"],
        "sent": record["attributes"]["SentTimestamp"], **account, **_redriven(record), "error": why[:_LONGEST_ERROR],
    }
    entry = {"MessageBody": body, "MessageAttributes": text_attributes(said, MAX_BYTES - len(body.encode()))}
    if place.fifo:
        group = record["attributes"].get("MessageGroupId", "dead")
        entry |= {"MessageGroupId": group, "MessageDeduplicationId": record["messageId"]}
    if failed := sqs.send(place.dead_url, [entry]):
        raise Unavailable(f"{place.dead} did not take the dead letter ({failed[0]})")


def _redriven(record: Mapping[str, Any]) -> dict[str, str]:
    """How often the message has been brought back, so that the next dead letter of it still tells."""
    said = (record.get("messageAttributes") or {}).get("redriven") or {}
    return {"redriven": str(said["stringValue"])} if "stringValue" in said else {}


def change_visibility(sqs: Sqs, place: QueueConfig, times: Mapping[str, int]) -> Sequence[str]:
    """Hide messages (receipt -> seconds) before they are given back. The failures, in words.

    A message that fails here comes back all the same, only later, after the queue's own visibility time-out.
    """
    failed = sqs.change_visibility(place.url, times) if times else {}
    return [f"{place.name}: {why}" for why in failed.values()]


def redrive(sqs: Sqs, known: QueueDirectory, actions: Sequence[Action], letters: list[QueuedMessage]) -> list[str]:
    """Send the letters that `actions` name back to where they came from, and delete them here. The result.

    `letters` are all of one queue, held by the caller. Those brought back are taken out of the list.
    """
    by_id = {action.target: action for action in actions}
    chosen = [letter for letter in letters if letter.id in by_id and letter.origin]
    results = [f"{id} is not there any more. Somebody was faster, or SQS hides it for two minutes"
               for id in by_id.keys() - {letter.id for letter in chosen}]
    for origin in dict.fromkeys(letter.origin for letter in chosen):
        for some in chunks([letter for letter in chosen if letter.origin == origin], 10):
            results += _move(sqs, known, origin, some, letters)
    return results


def _move(
    sqs: Sqs, known: QueueDirectory, origin: str, some: Sequence[QueuedMessage], letters: list[QueuedMessage]
) -> list[str]:
    url = known.url(origin)
    lost = sqs.send(url, [_again(letter, url.endswith(".fifo")) for letter in some])
    sent = [letter for number, letter in enumerate(some) if number not in lost]
    kept = sqs.delete(known.url(some[0].queue), [letter.receipt for letter in sent]) if sent else {}
    for letter in sent:
        letters.remove(letter)
    results = [f"{some[number].id}: not sent to {origin}: {why}. It stays" for number, why in sorted(lost.items())]
    results += [f"{letter.id}: sent to {origin}, but not deleted from {letter.queue}: {kept[letter.receipt]}"
                for letter in sent if letter.receipt in kept]
    return [*results, *(f"{letter.id}: back in {origin}" for letter in sent if letter.receipt not in kept)]


def _again(letter: QueuedMessage, fifo: bool) -> dict[str, Any]:
    times = letter.redriven + 1
    entry = {"MessageBody": letter.body}
    room = MAX_BYTES - len(letter.body.encode())
    attributes: dict[str, Any] = {"MessageAttributes": text_attributes({"redriven": str(times)}, room)}
    if fifo:
        # A name of its own: SQS would swallow one that it saw less than five minutes ago.
        attributes |= {"MessageGroupId": letter.group or "redriven", "MessageDeduplicationId": f"{letter.id}-{times}"}
    return entry | attributes
