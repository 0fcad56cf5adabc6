"""The targets of a job's command, one module for each value of `on=`.

Each has `start`, which runs the command to its end and gives a `Result`, or sets it going elsewhere and gives a
`RemoteRun`. Those of the second sort also have `poll`, which tells how a started one is doing, and `stop`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Protocol

import msgspec

from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.schedules.command import OUTPUT_BYTES as OUTPUT_BYTES
from chalicelib.schedules.command import Result as Result
from chalicelib.schedules.command import result as result


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

    def start(self, context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
        """Run the command to its end, or set it going elsewhere."""


class RemoteRunner(Runner, Protocol):
    """The functions of a module whose commands go on without the worker."""

    def poll(self, context: RegionContext, job: Job, handle: str) -> Result | None:
        """How a started command ended. `None` while it is under way."""

    def stop(self, context: RegionContext, job: Job, handle: str) -> None:
        """End a started command. One that has ended is left alone."""


class Runners(msgspec.Struct, frozen=True):
    """The runner for each value of `on=`. Those that are distant stand in both."""

    all: Mapping[str, Runner]
    distant: Mapping[str, RemoteRunner]


@cache
def default() -> Runners:
    """The runners of production. Loaded when first asked for, to keep the other Lambdas' cold starts short."""
    from chalicelib.schedules.runners import ecs, function, http, queue, ssm

    return Runners({"lambda": function, "ecs": ecs, "ssm": ssm, "queue": queue, "http": http},
                   {"ecs": ecs, "ssm": ssm})
