"""Whether a received message runs, waits, or is dead. Plain functions, no AWS, no clock.

A receive is not a run. Lambda may refuse a message for want of concurrency, and one message that kills its Lambda takes
the others of the batch with it. So runs are counted, not receives. A message that was received without a known end is a
suspect. It runs alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from chalicelib.config import durations
from chalicelib.engine.schema import Unreadable
from chalicelib.tasks import backoff
from chalicelib.tasks.registry import Registry, Task
from chalicelib.tasks.state import MessageState

# Seconds of an invocation kept for writing down how it went.
RESERVE_SECONDS = 5
# Seconds until a message comes back when DynamoDB or SQS failed meanwhile, and when its own record cannot be read.
NO_ANSWER_SECONDS = 30
UNREADABLE_SECONDS = 900

Kind = Literal["malformed", "unknown-task", "wrong-arguments", "endless-chain", "refused", "failed", "timed-out",
               "crashed"]


class Deferral(msgspec.Struct, frozen=True):
    """The message goes back to its queue for `seconds`. `attempt` tells whether it had its try.

    A run that was counted has not begun all the same, if `has_begun` is false. Of one whose end is not known nothing is
    written down, so that the message is a suspect. One that `stays_apart` is a suspect as well, with a known end.
    """

    seconds: int
    why: str
    attempt: bool
    has_begun: bool = True
    is_end_known: bool = True
    stays_apart: bool = False


class DeadLetter(msgspec.Struct, frozen=True):
    """The message goes to the dead letters with `why`."""

    kind: Kind
    why: str


class Message(msgspec.Struct, frozen=True):
    """The counters of one message. `receives` is SQS's count, `age` is in seconds.

    `starts` are its runs before this receive. `is_open` says that the last of them has no known end. `unsettled` is the
    number of receives that no worker has settled.
    """

    id: str
    receives: int
    age: float
    starts: int = 0
    is_open: bool = False
    unsettled: int = 0

    @property
    def attempt(self) -> int:
        """The number of its next run, from 1."""
        return self.starts + 1

    @property
    def is_suspect(self) -> bool:
        """Whether it may have killed a Lambda, because nobody knows what came of it before."""
        return self.is_open or self.unsettled > 0


def counted(id: str, receives: int, age: float, stored: MessageState | None) -> Message:
    """The counters of a message, from SQS's count and from what workers have written down."""
    known = stored or MessageState()
    return Message(id, receives, age, known.starts, known.is_open, max(0, receives - 1 - known.receives))


def in_order(
    records: Sequence[dict[str, Any]], is_suspect: Callable[[Mapping[str, Any]], bool], *, fifo: bool
) -> Sequence[dict[str, Any]]:
    """The records in the order of their runs, suspects last. A FIFO queue keeps its own order."""
    return records if fifo else sorted(records, key=is_suspect)


def started(message: Message) -> MessageState:
    """The record of a suspect, written before its run. If the run kills the Lambda, it stays open."""
    return MessageState(message.attempt, message.receives, is_open=True)


def returned(message: Message, deferral: Deferral, *, has_started: bool) -> MessageState | None:
    """The record of a message that goes back in order. `None` leaves the record as it is.

    That is so for a suspect that has not run, since it remains one, and for a message whose end is not known.
    """
    if not deferral.is_end_known:
        return None
    if has_started and not deferral.has_begun:
        return MessageState(message.starts, message.receives - 1 - message.unsettled, message.is_open)
    if deferral.stays_apart:
        return MessageState(message.attempt, message.receives, is_open=True)
    if deferral.attempt or has_started:
        return MessageState(message.attempt, message.receives)
    return None if message.is_suspect else MessageState(message.starts, message.receives)


def not_callable(task: Task | None, name: str, args: dict[str, object], registry: Registry) -> DeadLetter:
    """The reason why this call can never succeed, because the task does not exist or does not take these arguments."""
    if task is None:
        return DeadLetter("unknown-task", registry.why_unknown(name))
    return DeadLetter("wrong-arguments", f"{task.argument_error(args)}. Correct the sender or the task")


def endless(hops: int, longest_chain: int) -> DeadLetter | None:
    """The reason why a task is not run if more than `longest_chain` tasks have sent one another before it."""
    if hops < longest_chain:
        return None
    return DeadLetter("endless-chain", f"{hops:,} tasks have sent one another before it. If the chain ends by itself, "
                                       "raise longest_chain of [tasks] in fleet.toml, deploy, and redrive")


def used_up(message: Message, retries: int) -> DeadLetter | None:
    """The end of a message that has started as often as it may and has not succeeded."""
    if message.starts <= retries:
        return None
    if not message.is_open:
        return DeadLetter("failed", f"started {message.starts} times, and {retries + 1} are allowed now")
    return DeadLetter(
        "crashed",
        f"started {message.starts} times, the last time alone, and never brought to an end: the Lambda ran out of "
        "memory or time, or the process died. See its log, then redrive",
    )


def time_allowed(timeout: float, remaining: float, first: bool) -> float | None:
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


def behind(other: str) -> Deferral:
    """Back at once, untouched, because another message has to go first or has to run alone."""
    return Deferral(0, other, attempt=False)


def no_answer(error: object) -> Deferral:
    """AWS did not do what the worker asked for."""
    return Deferral(NO_ANSWER_SECONDS, f"AWS did not do what was asked: {error}", attempt=False)


def not_begun(why: str, seconds: int = 0) -> Deferral:
    """The runner has not begun it, for want of time, or because an earlier one of its group goes first."""
    return Deferral(seconds, why, attempt=False, has_begun=False)


def throttled(message: Message, error: object) -> Deferral:
    """No runner was free. Nothing has begun, so this is no try."""
    seconds = backoff.busy(message.age, message.id, message.receives)
    return Deferral(seconds, f"no runner is free: {error}", attempt=False, has_begun=False)


def no_runner(error: object) -> Deferral:
    """AWS did not let the worker invoke the runner. Nothing has begun."""
    return Deferral(NO_ANSWER_SECONDS, f"the runner cannot be invoked: {error}", attempt=False, has_begun=False)


def answer_lost(error: object, seconds: int) -> Deferral:
    """The runner may have begun, and may go on for `seconds`. Then the message runs alone."""
    why = f"the answer of its runner is lost, and its run may be going on: {error}"
    return Deferral(seconds, why, attempt=False, is_end_known=False)


def runner_broke(why: str) -> Deferral:
    """The runner has ended with several messages. Nobody knows which of them did it, so each runs alone."""
    return Deferral(0, f"it was in a batch whose runner ended: {why}", attempt=False, is_end_known=False)


def unreadable(item: Unreadable) -> Deferral:
    """Whether the message may run is not known. It waits until somebody has looked at the item."""
    why = f"it is left alone, because an item of it cannot be read: {item}"
    return Deferral(UNREADABLE_SECONDS, why, attempt=False)


def at_concurrency_limit(message: Message, task: Task) -> Deferral:
    """As many as may run at once are running."""
    seconds = backoff.busy(message.age, message.id, message.receives)
    return Deferral(seconds, f"{task.concurrency} of {task.name} at work", attempt=False)


def same_key(message: Message) -> Deferral:
    """The same piece of work is under way elsewhere. It may yet fail, so this one looks again."""
    seconds = backoff.busy(message.age, message.id, message.receives)
    return Deferral(seconds, "the same key is at work elsewhere", attempt=False)


def failed(message: Message, retries: int, kind: Kind, why: str) -> Deferral | DeadLetter:
    """After a try that did not succeed."""
    if kind == "refused":
        return DeadLetter(kind, why)
    if message.attempt > retries:
        return DeadLetter(kind, f"{why} (try {message.attempt} of {retries + 1})")
    seconds = backoff.retry(message.attempt, message.id)
    told = f"{why} (try {message.attempt} of {retries + 1}. Next in {durations.words(seconds)})"
    return Deferral(seconds, told, attempt=True, stays_apart=kind == "crashed")
