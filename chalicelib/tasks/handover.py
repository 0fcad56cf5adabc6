"""The calls that the worker hands to the runner of tasks, and the outcomes that it gets back. Pure."""

from typing import Literal

import msgspec

# So much of an error an outcome tells.
MOST_CHARACTERS = 2000

Ending = Literal["done", "failed", "refused", "timed-out", "crashed", "not-run"]


class TaskCall(msgspec.Struct, frozen=True):
    """One message as its run needs it. `body` is the whole message, and `id` is SQS's.

    The run may take `seconds`. Of a `group` the first one that is not done keeps all later ones from running. With
    `wants` = `key` the function of the task's key is called in place of the task.
    """

    task: str
    body: str
    id: str
    attempt: int
    queue: str
    seconds: float
    group: str = ""
    wants: Literal["run", "key"] = "run"


class TaskBatch(msgspec.Struct, frozen=True):
    """Calls to make one after another, within `seconds` from now.

    With `may_cut` the first one runs also if there is less time than it may take.
    """

    calls: list[TaskCall]
    seconds: float
    may_cut: bool


class Outcome(msgspec.Struct, frozen=True):
    """The end of one call. `why` says in words why it is not done, or is the key that was asked for.

    `crashed` means that its process ended before it did, and `not-run` that nothing of it has begun.
    """

    state: Ending
    why: str = ""
