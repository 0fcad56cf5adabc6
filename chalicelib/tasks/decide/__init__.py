"""The plans of tasks.status, tasks.peek and tasks.redrive. Plain functions, no AWS, no clock.

The decisions about a message that a worker has received are in `decide/message.py`.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from chalicelib.engine.plan import Action, Plan
from chalicelib.tasks.state import QueueDepth, QueuedMessage, QueueSample


class MessageFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A filter of messages. They are of `queue` (empty means all dead letters), with this `id`, with `error` in their
    reason or error text, of this `task`. At most `limit` of each queue count (an answer of Lambda holds 6 MB)."""

    queue: str = ""
    id: str = ""
    error: str = ""
    task: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10


class Redrive(MessageFilter, frozen=True, forbid_unknown_fields=True):
    """Which dead letters to bring back. Nothing said: all."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000


def status(depths: Sequence[QueueDepth]) -> Plan:
    """The queues as a report. A note where somebody should look."""
    dead = [depth for depth in depths if depth.dead_letters and depth.waiting]
    notes = tuple(f"{depth.name}: {depth.waiting} dead letters. See tasks.peek, then tasks.redrive" for depth in dead)
    return Plan(notes=notes, report={"queues": msgspec.to_builtins(depths)})


def peek(seen: QueueSample, wanted: MessageFilter) -> Plan:
    """The messages that are `wanted`, as a report."""
    found = [letter.summary() for letter in seen.letters if matches(letter, wanted)]
    live = sorted({letter.queue for letter in seen.letters if not letter.origin})
    notes = (*(f"{name}: this look counted as one try of each message" for name in live), *_more(seen))
    return Plan(notes=notes, report={"messages": found, "looked_at": len(seen.letters)})


def redrive(seen: QueueSample, wanted: MessageFilter) -> Plan:
    """One action for each dead letter that is `wanted`. It goes back to its original queue, and its tries count anew.
    """
    letters = seen.letters
    chosen = sorted((letter for letter in letters if matches(letter, wanted)), key=lambda one: (one.queue, one.id))
    lost = [letter for letter in chosen if not letter.origin]
    actions = tuple(_revive(letter) for letter in chosen if letter.origin)
    notes = [f"{len(letters)} dead letters looked at, {len(actions)} of them to go back"] if letters else []
    notes += [f"{one.queue}: {one.id} does not say its origin and stays. Send it again manually" for one in lost]
    return Plan(actions, (*notes, *_more(seen)))


def _more(seen: QueueSample) -> list[str]:
    return [f"{queue} has more messages than this run could read. Run it again for the rest" for queue in seen.cut]


def matches(letter: QueuedMessage, wanted: MessageFilter) -> bool:
    """Whether `letter` is one of those `wanted`. Upper and lower case are the same in error texts."""
    text = f"{letter.reason} {letter.error}".lower()
    return ((not wanted.id or wanted.id in (letter.id, letter.original)) and wanted.error.lower() in text
            and (not wanted.task or wanted.task == letter.task))


def _revive(letter: QueuedMessage) -> Action:
    why = f"it died as {letter.reason}" + (f": {letter.error[:200]}" if letter.error else "")
    facts = {"queue": letter.queue, "origin": letter.origin, "task": letter.task, "redriven": letter.redriven}
    return Action("redrive", letter.id, why, facts)
