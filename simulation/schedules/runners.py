"""Runners without commands. Two answer when it has ended, the third goes on elsewhere, as `on=ssm` does."""

from contextlib import suppress
from itertools import count
from typing import Protocol

import msgspec

from chalicelib.aws.client import Throttled, Unavailable
from chalicelib.aws.functions import Invocation
from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.schedules.command import Command
from chalicelib.schedules.runners import Attempt, RemoteRun, Result
from simulation.scheduler import Scheduler


class Watched(Protocol):
    """The world that hears of every run that begins and ends."""

    hub: Scheduler

    def begins(self, region: str, job: str, slot: str) -> None:
        """A command begins now."""

    def ends(self, job: str) -> None:
        """A command of the job has ended."""

    def fault(self, call: str) -> None:
        """Before and after each call to the outside."""


def _seconds(hub: Scheduler) -> float:
    return hub.chance.uniform(60, 200) if hub.chance.random() < 0.05 else hub.chance.uniform(0, 5)


def _result(hub: Scheduler) -> Result:
    if hub.chance.random() < 0.02:
        return Result("failed", output="simulated output", detail="simulated", exit=1)
    return Result("done", exit=0)


# How the runner ends without a result, as Lambda tells it.
_KILLED = b'{"errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}'
_BROKEN = Invocation(_KILLED, "Unhandled", "simulated log")


class SimulatedFunctions:
    """The runner Lambda of `region` without a command. It goes on when its worker has died or gets no answer any more.

    Some invocations are refused for want of concurrency, some runners die, and some answers get lost, also long before
    the command has ended.
    """

    def __init__(self, world: Watched, region: str) -> None:
        self._world, self._region = world, region

    def invoke(self, function: str, payload: bytes, *, wait_seconds: float) -> Invocation:
        """Lets a command begin, and waits for its end."""
        world, hub = self._world, self._world.hub
        world.fault("runner invoke")
        command = msgspec.json.decode(payload, type=Command)
        luck = hub.chance.random()
        if luck < 0.02:
            raise Throttled("simulated: Rate Exceeded")
        job, slot = command.environment["LAMP_JOB"], command.environment["LAMP_SLOT"]
        world.begins(self._region, job, slot)
        seconds = min(_seconds(hub), command.seconds)
        hub.at(hub.now + seconds, lambda: world.ends(job))
        if luck < 0.023:
            hub.wait(seconds * hub.chance.random())
            raise Unavailable("simulated: the connection broke")
        hub.wait(seconds)
        world.fault("runner answer")
        return _BROKEN if luck < 0.025 else Invocation(msgspec.json.encode(_result(hub)))


class SimulatedPosts:
    """`on=http` without an application. It goes on when its worker has died."""

    def __init__(self, world: Watched) -> None:
        self._world = world

    def start(self, context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
        """Posts, and waits for the answer."""
        world, hub, job = self._world, self._world.hub, attempt.job.name
        world.fault("post")
        world.begins(context.region, job, attempt.slot)
        seconds = min(_seconds(hub), attempt.job.policy.timeout)
        hub.at(hub.now + seconds, lambda: world.ends(job))
        hub.wait(seconds)
        world.fault("posted")
        return _result(hub)


class _Command(msgspec.Struct):
    job: str
    ends_at: float
    result: Result
    is_over: bool = False


class SimulatedRemoteRunner:
    """`on=ssm` without a command. A start and its end have several calls between them.

    The answer to a start that took effect does come. Without it a run has failed although its command goes on, and the
    next run may overlap with it, as the record of the run says.
    """

    def __init__(self, world: Watched) -> None:
        self._world = world
        self._commands: dict[str, _Command] = {}
        self._numbers = count(1)

    def start(self, context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
        """Sets a command going."""
        world, hub = self._world, self._world.hub
        world.fault("runner start")
        world.begins(context.region, attempt.job.name, attempt.slot)
        # Now and then one never ends by itself.
        seconds = 1e9 if hub.chance.random() < 0.002 else _seconds(hub)
        command = _Command(attempt.job.name, hub.now + seconds, _result(hub))
        handle = f"command-{next(self._numbers)}"
        self._commands[handle] = command
        # Run Command ends each command at the job's time-out.
        hub.at(min(command.ends_at, hub.now + attempt.job.policy.timeout), lambda: self._end(command))
        with suppress(Unavailable):
            world.fault("runner started")
        return RemoteRun(handle)

    def poll(self, context: RegionContext, job: Job, handle: str) -> Result | None:
        """The end of a command. One that Run Command has ended has timed out."""
        self._world.fault("runner poll")
        command = self._commands[handle]
        if not command.is_over:
            return None
        return command.result if self._world.hub.now >= command.ends_at else Result("timed-out", detail="ended")

    def stop(self, context: RegionContext, job: Job, handle: str) -> None:
        """Ends a command."""
        self._world.fault("runner stop")
        self._end(self._commands[handle])

    def _end(self, command: _Command) -> None:
        if not command.is_over:
            command.is_over = True
            self._world.ends(command.job)
