"""The targets of a job's command, one module for each value of `on=`.

Each has `start`, which runs the command to its end and gives a `Result`, or sets it going elsewhere and gives a
`RemoteRun`. Those of the second sort also have `poll`, which tells how a started one is doing, and `stop`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, Protocol

import msgspec

from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job

# What is kept of a run's output in its record; the rest goes to the log.
OUTPUT_BYTES = 32 * 1024


class Result(msgspec.Struct, frozen=True):
    """The end of a command. `exit` is its status if it has one, and `detail` says in words why it is not done."""

    state: Literal["done", "failed", "timed-out", "replaced"]
    output: str = ""
    detail: str = ""
    exit: int | None = None


class RemoteRun(msgspec.Struct, frozen=True):
    """A command that is under way elsewhere, by the name under which `poll` and `stop` find it."""

    handle: str


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of a job for a slot. `token` grows with every attempt of the slot. It is a fencing token for the
    command.

    `replaced` tells whether a later run wants this one out of its way. `number` counts the attempts from 1.
    """

    job: Job
    slot: str
    minute: int
    token: int
    owner: str
    replaced: Callable[[], bool]
    number: int = 1


class Runner(Protocol):
    """The functions of each module of this folder."""

    def start(self, site: RegionContext, attempt: Attempt) -> Result | RemoteRun:
        """Run the command to its end, or set it going elsewhere."""


class RemoteRunner(Runner, Protocol):
    """The functions of a module whose commands go on without the worker."""

    def poll(self, site: RegionContext, job: Job, handle: str) -> Result | None:
        """How a started command ended. `None` while it is under way."""

    def stop(self, site: RegionContext, job: Job, handle: str) -> None:
        """End a started command. One that has ended is left alone."""


class Runners(msgspec.Struct, frozen=True):
    """The runner for each value of `on=`. Those that are distant stand in both."""

    all: Mapping[str, Runner]
    distant: Mapping[str, RemoteRunner]


@cache
def default() -> Runners:
    """The runners of production. Loaded when first asked for, to keep the other Lambdas' cold starts short."""
    from chalicelib.schedules.runners import ecs, http, process, queue, ssm

    return Runners({"lambda": process, "ecs": ecs, "ssm": ssm, "queue": queue, "http": http},
                   {"ecs": ecs, "ssm": ssm})


# What a shell says of a program that it cannot start (POSIX, Shell Command Language, 2.8.2).
_NOT_STARTED = {126: "may not run that program", 127: "has no such program"}


def result(exit: int, output: str, target: str) -> Result:
    """The meaning of the exit status of a command that ran on `target`, a value of `on=`."""
    if exit == 0:
        return Result("done", output, exit=0)
    how = f"ended by signal {-exit}" if exit < 0 else f"exit status {exit}"
    if exit in _NOT_STARTED:
        how += f", which mostly means that on={target} {_NOT_STARTED[exit]}"
    return Result("failed", output, how, exit)
