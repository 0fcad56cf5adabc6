"""The public interface of Lamplighter for the code in cron/ and tasks/."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, overload

import msgspec

__all__ = ["Call", "Refused", "Run", "SendError", "TaskError", "__version__", "current", "job", "send", "send_many",
           "task"]

__version__: str

_Job = TypeVar("_Job", bound=Callable[[], object])
_Task = TypeVar("_Task", bound=Callable[..., Any])
_Key: TypeAlias = str | tuple[str, ...] | Callable[..., str] | None

def job(
    schedule: str,
    *,
    tz: str | None = None,
    name: str | None = None,
    overlap: Literal["allow", "skip", "queue-one", "replace"] | None = None,
    timeout: str | None = None,
    catch_up: str | None = None,
    retries: int | None = None,
    jitter: str | None = None,
    alarm_on: Literal["failure", "output"] | None = None,
) -> Callable[[_Job], _Job]:
    """Run the function below at each `schedule`: five fields as in a crontab, or `@daily` and the like.

    `tz` is an IANA name; without it the zone of fleet.toml holds. Spans of time are text, as in `"10m"`. The function
    is called without arguments in a process of its own. An exception is a failed run.
    """

@overload
def task(function: _Task) -> _Task: ...
@overload
def task(
    *,
    retries: int | None = ...,
    timeout: str | None = ...,
    concurrency: int | None = ...,
    key: _Key = ...,
    remember: str = ...,
    queue: str = ...,
) -> Callable[[_Task], _Task]:
    """Declare a function as a task that runs from an SQS queue.

    `retries` (0 to 100) and `timeout` (as in `"2m"`) default to the queue's. At most `concurrency` runs are under way
    in a region. Work with an equal `key` is done once within the span `remember`. A wrong value raises `TaskError`.
    """

def send(
    task: str,
    *,
    delay: str = "0s",
    key: str | None = None,
    queue: str = "",
    group: str = "",
    id: str = "",
    meta: Mapping[str, Any] | None = None,
    **args: Any,
) -> str:
    """Send one task, as in `send("invoices.render", customer=7)`; its id.

    All other keyword arguments are the task's. `delay` is a span of at most `"15m"`. A task that was not sent raises
    `SendError`.
    """

def send_many(calls: Sequence[Call]) -> list[str]:
    """Send many tasks, ten in one request; their ids, in order.

    All calls are checked before the first is sent. `SendError.lost` holds the places of those that SQS did not take.
    """

def current() -> Run:
    """The run that this code is part of; `LookupError` outside of a task that a worker runs."""

class Call(msgspec.Struct, frozen=True):
    """One call of a task, for `send_many`.

    `delay` is a span of at most `"15m"`. A FIFO queue keeps the order within a `group` (the task's name by default).
    """

    task: str
    args: Mapping[str, Any] = {}
    delay: str = "0s"
    key: str | None = None
    queue: str = ""
    group: str = ""
    id: str = ""
    meta: Mapping[str, Any] = {}

class Run(msgspec.Struct, frozen=True):
    """One run of a task: `attempt` counts from 1, `meta` is the sender's, `hops` tasks came before in its chain."""

    task: str
    id: str
    attempt: int
    queue: str
    meta: Mapping[str, Any]
    hops: int = 0

class Refused(Exception):
    """Raise it in a task when no retry can help: the message goes to the dead letters with this text."""

class TaskError(Exception):
    """A task is declared wrongly; the text names file, line and remedy."""

class SendError(Exception):
    """A task could not be sent; the text says which and why."""

    lost: tuple[int, ...]
    def __init__(self, text: str, lost: Sequence[int] = ()) -> None: ...
