"""A command as the runner Lambda gets it, and the result of one, wherever it ran. Pure."""

from typing import Literal

import msgspec

# What is kept of a run's output in its record; the rest goes to the log.
OUTPUT_BYTES = 32 * 1024


class Command(msgspec.Struct, frozen=True):
    """One run of a job, complete. `environment` is all that a shell command sees. A Python job also has the Lambda's.

    `words` is the shell command, or `<module>:<function>` of a Python job. It is ended after `seconds`.
    """

    kind: Literal["shell", "python"]
    words: str
    stdin: str
    environment: dict[str, str]
    seconds: int


class Result(msgspec.Struct, frozen=True):
    """The end of a command. `exit` is its status if it has one, and `detail` says in words why it is not done."""

    state: Literal["done", "failed", "timed-out", "replaced"]
    output: str = ""
    detail: str = ""
    exit: int | None = None


# What a shell says of a program that it cannot start (POSIX, Shell Command Language, 2.8.2).
_NOT_STARTED = {126: "may not run that program", 127: "has no such program"}

# By SIGKILL, or a shell whose last command was.
_KILLED = frozenset({-9, 137})


def result(exit: int, output: str, target: str) -> Result:
    """The meaning of the exit status of a command that ran on `target`, a value of `on=`."""
    if exit == 0:
        return Result("done", output, exit=0)
    how = f"ended by signal {-exit}" if exit < 0 else f"exit status {exit}"
    if target == "lambda" and exit in _KILLED:
        how += ", which mostly means that the memory is used up (memory_mb of [runners])"
    if exit in _NOT_STARTED:
        how += f", which mostly means that on={target} {_NOT_STARTED[exit]}"
    return Result("failed", output, how, exit)
