"""A worker of isolated tasks to try things on, with a runner in this process that can be made to fail."""

from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib.aws.functions import Invocation
from chalicelib.envelope import decode
from chalicelib.tasks import manifest
from chalicelib.tasks.decide.message import time_allowed
from chalicelib.tasks.execution import Refused
from chalicelib.tasks.handover import Outcome, TaskBatch, TaskCall
from chalicelib.tasks.idempotency import IdempotentRunner
from chalicelib.tasks.isolated_batch import IsolatedWorker, TaskRunner
from chalicelib.tasks.queues import SqsAdapter
from testing.aws import FakeAws
from tests.tasks.harness import NOW, Workshop

RUNNER = "lamp-test-tasks_runner"


class ProcessDeath(BaseException):
    """The process of the tasks dies, and the runner lives on."""


class RunnerDeath(BaseException):
    """The whole runner dies, as when the Lambda is out of memory."""


class Runner:
    """The runner Lambda without processes. `batches` are the tasks of each invocation.

    `faults` has what the next invocations come to: an exception before it begins, or, as `after`, once it is over.
    """

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.aws = FakeAws(fault=self._fault)
        self.aws.functions[RUNNER] = self.answer
        self.batches: list[list[str]] = []
        self.seen: list[TaskBatch] = []
        self.before: list[Exception | None] = []
        self.after: list[Exception | None] = []
        self.seconds_each = 0.0
        self._is_begun = False

    def worker(self, clock: Callable[[], float] = lambda: NOW) -> IsolatedWorker:
        """A worker that knows the declarations of the shop's tasks alone."""
        declared = manifest.load(manifest.build(self.shop.registry))
        once = IdempotentRunner("table", self.shop.dynamo)
        runner = TaskRunner(self.aws.ports.functions, RUNNER, 1024)
        return IsolatedWorker(runner, declared, SqsAdapter("eu-west-1"), self.shop.table, lambda: once, clock)

    def _fault(self, name: str) -> None:
        faults = self.after if self._is_begun else self.before
        self._is_begun = False
        error = faults.pop(0) if faults else None
        if error:
            raise error

    def answer(self, payload: bytes) -> Invocation:
        batch = msgspec.json.decode(payload, type=TaskBatch)
        self.seen.append(batch)
        self.batches.append([call.task for call in batch.calls])
        self._is_begun = True
        try:
            return Invocation(msgspec.json.encode(self.outcomes(batch)))
        except RunnerDeath:
            told = {"errorType": "Runtime.ExitError", "errorMessage": "Runtime exited with error: signal: killed"}
            return Invocation(msgspec.json.encode(told), "Unhandled", "the end of its log")

    def outcomes(self, batch: TaskBatch) -> list[Outcome]:
        left, may_cut, blocked = batch.seconds, batch.may_cut, set[str]()
        found = []
        for call in batch.calls:
            if (call.group and call.group in blocked) or time_allowed(call.seconds, left, may_cut) is None:
                outcome = Outcome("not-run", "no time left in this invocation")
            else:
                may_cut, left = False, left - self.seconds_each
                outcome = self._one(call)
            if call.group and outcome.state != "done":
                blocked.add(call.group)
            found.append(outcome)
        return found

    def _one(self, call: TaskCall) -> Outcome:
        task, args = self.shop.registry.tasks[call.task], decode(call.body).args
        try:
            if call.wants == "key":
                return Outcome("done", task.key(args) if task.key else "")
            task.function(**args)
        except Refused as error:
            return Outcome("refused", str(error))
        except ProcessDeath:
            return Outcome("crashed", "its process ended by signal 9")
        except Exception as error:
            return Outcome("failed", f"{type(error).__name__}: {error}")
        return Outcome("done")


def dies(**args: Any) -> None:
    """A task that kills its process."""
    raise ProcessDeath


def kills_runner(**args: Any) -> None:
    """A task that kills its whole runner."""
    raise RunnerDeath
