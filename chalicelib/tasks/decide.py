"""Whether a message runs, waits, or is dead, and which dead letters come back. Plain functions, no AWS, no clock.

Deferrals (no permit, no time left in this Lambda, the same key running elsewhere) are not attempts. Only a run is.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from chalicelib.config import durations
from chalicelib.engine.plan import Action, Plan
from chalicelib.tasks import backoff
from chalicelib.tasks.registry import Registry, Task
from chalicelib.tasks.state import QueueDepth, QueuedMessage, QueueSample

# Seconds of an invocation kept for writing down how it went.
RESERVE_SECONDS = 5

Kind = Literal["malformed", "unknown-task", "wrong-arguments", "refused", "failed", "timed-out", "crashed"]


class Deferral(msgspec.Struct, frozen=True):
    """The message goes back to its queue for `seconds`. `attempt` tells whether it had its try."""

    seconds: int
    why: str
    attempt: bool


class DeadLetter(msgspec.Struct, frozen=True):
    """The message goes to the dead letters with `why`."""

    kind: Kind
    why: str


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


class Message(msgspec.Struct, frozen=True):
    """The counters of one message, with `receives` by SQS's count, `waits` of them deferrals, `age` in seconds."""

    id: str
    receives: int
    waits: int
    age: float

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return max(1, self.receives - self.waits)


def not_callable(task: Task | None, name: str, args: dict[str, object], registry: Registry) -> DeadLetter:
    """The reason why this call can never succeed, because the task does not exist or does not take these arguments."""
    if task is None:
        return DeadLetter("unknown-task", registry.why_unknown(name))
    return DeadLetter("wrong-arguments", f"{task.argument_error(args)}; correct the sender or the task")


def receives_exceeded(message: Message, retries: int) -> DeadLetter | None:
    """A message with more tries than allowed that never failed, because it killed the Lambda each time."""
    if message.attempt <= retries + 1:
        return None
    return DeadLetter(
        "crashed",
        f"taken {message.attempt - 1} times and never brought to an end: the Lambda ran out of "
        "memory or time, or the process died; see its log, then redrive",
    )


def time_allowed(timeout: int, remaining: float, first: bool) -> float | None:
    """Seconds that a run may take with `remaining` left in this invocation. `None` means to return the message
    untouched.

    The first of an invocation runs in any case, so that a time-out longer than the Lambda's cannot keep it going round.
    """
    if remaining >= timeout:
        return float(timeout)
    return remaining if first and remaining > 0 else None


def no_time() -> Deferral:
    """Back at once, untouched, because another invocation has the time that this one lacks."""
    return Deferral(0, "no time left in this invocation", attempt=False)


def at_concurrency_limit(message: Message, task: Task) -> Deferral:
    """As many as may run at once are running."""
    seconds = backoff.busy(message.age, message.id, message.waits)
    return Deferral(seconds, f"{task.concurrency} of {task.name} at work", attempt=False)


def same_key(message: Message) -> Deferral:
    """The same piece of work is under way elsewhere. It may yet fail, so this one looks again."""
    seconds = backoff.busy(message.age, message.id, message.waits)
    return Deferral(seconds, "the same key is at work elsewhere", attempt=False)


def failed(message: Message, retries: int, kind: Kind, why: str) -> Deferral | DeadLetter:
    """After a try that did not succeed."""
    if kind == "refused":
        return DeadLetter(kind, why)
    if message.attempt > retries:
        return DeadLetter(kind, f"{why} (try {message.attempt} of {retries + 1})")
    seconds = backoff.retry(message.attempt, message.id)
    told = f"{why} (try {message.attempt} of {retries + 1}; next in {durations.words(seconds)})"
    return Deferral(seconds, told, attempt=True)


def status(depths: Sequence[QueueDepth]) -> Plan:
    """The queues as a report. A note where somebody should look."""
    dead = [depth for depth in depths if depth.dead_letters and depth.waiting]
    notes = tuple(f"{depth.name}: {depth.waiting} dead letters; see tasks.peek, then tasks.redrive" for depth in dead)
    return Plan(notes=notes, report={"queues": msgspec.to_builtins(depths)})


def peek(seen: QueueSample, wanted: MessageFilter) -> Plan:
    """The messages that are `wanted`, as a report."""
    found = [letter.summary() for letter in seen.letters if matches(letter, wanted)]
    live = sorted({letter.queue for letter in seen.letters if not letter.origin})
    notes = (*(f"{name}: looking counted as one try of each message" for name in live), *_more(seen))
    return Plan(notes=notes, report={"messages": found, "looked_at": len(seen.letters)})


def redrive(seen: QueueSample, wanted: MessageFilter) -> Plan:
    """One action for each dead letter that is `wanted`. It goes back to its original queue, and its tries count anew.
    """
    letters = seen.letters
    chosen = sorted((letter for letter in letters if matches(letter, wanted)), key=lambda one: (one.queue, one.id))
    lost = [letter for letter in chosen if not letter.origin]
    actions = tuple(_revive(letter) for letter in chosen if letter.origin)
    notes = [f"{len(letters)} dead letters looked at, {len(actions)} of them to go back"] if letters else []
    notes += [f"{one.queue}: {one.id} does not say where it came from and stays; send it anew by hand" for one in lost]
    return Plan(actions, (*notes, *_more(seen)))


def _more(seen: QueueSample) -> list[str]:
    return [f"{queue}: not all was looked at; run it again for the rest" for queue in seen.cut]


def matches(letter: QueuedMessage, wanted: MessageFilter) -> bool:
    """Whether `letter` is one of those `wanted`. Upper and lower case are the same in error texts."""
    text = f"{letter.reason} {letter.error}".lower()
    return ((not wanted.id or wanted.id in (letter.id, letter.original)) and wanted.error.lower() in text
            and (not wanted.task or wanted.task == letter.task))


def _revive(letter: QueuedMessage) -> Action:
    why = f"it died as {letter.reason}" + (f": {letter.error[:200]}" if letter.error else "")
    facts = {"queue": letter.queue, "origin": letter.origin, "task": letter.task, "redriven": letter.redriven}
    return Action("redrive", letter.id, why, facts)
