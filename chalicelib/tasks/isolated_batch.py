"""Works off a batch whose tasks run in the runner Lambda, which has no authority but what the team declares.

The worker keeps the books: idempotency keys, permits, counters and dead letters. It never imports a module of tasks/.
The messages of a batch that may run go to the runner in one invocation. A suspect goes there alone.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib import foreign
from chalicelib.aws.client import ClientError, Throttled, Unavailable
from chalicelib.aws.functions import Functions
from chalicelib.engine.lease import Semaphore
from chalicelib.envelope import Envelope, Malformed, decode
from chalicelib.runner import invocation
from chalicelib.runner.times import AROUND_SECONDS
from chalicelib.tasks.batch_run import PERMITS_PK, SKEW_SECONDS, BatchRun, ReturnToQueue, Worker, logger
from chalicelib.tasks.decide import message as decide
from chalicelib.tasks.decide.message import Deferral
from chalicelib.tasks.event import Batch
from chalicelib.tasks.handover import Outcome, TaskBatch, TaskCall
from chalicelib.tasks.idempotency import Claim, InProgress, UnreadableKey
from chalicelib.tasks.registry import Task


class RunnerBroke(Exception):
    """The runner ended without an answer. The text says how."""


class TaskRunner(msgspec.Struct, frozen=True):
    """The runner Lambda of tasks, as its worker sees it."""

    functions: Functions
    name: str
    memory_mb: int

    def run(self, batch: TaskBatch) -> list[Outcome]:
        """The outcome of each call of `batch`. `RunnerBroke` without one. Else raises as `Functions.invoke` does."""
        ended = invocation.invoke(self.functions, self.name, msgspec.json.encode(batch), batch.seconds)
        if ended.error:
            detail = invocation.broken(ended, self.name, self.memory_mb, "its tasks").detail
            logger.error("the runner of tasks ended without an answer", why=detail, log=ended.log)
            raise RunnerBroke(detail)
        try:
            outcomes: list[Outcome] = foreign.decode(ended.payload, list[Outcome])
        except foreign.Undecodable as error:
            raise RunnerBroke(f"the answer of {self.name} is not of this release ({error})") from None
        if len(outcomes) != len(batch.calls):
            raise RunnerBroke(f"{self.name} gave {len(outcomes)} outcomes for {len(batch.calls)} messages")
        return outcomes


# How a call that was handed over came to an end.
_Ending = Outcome | Unavailable | ClientError | RunnerBroke


class IsolatedWorker(Worker):
    """A worker that has `runner` run the tasks. `registry` holds their declarations alone."""

    def __init__(self, runner: TaskRunner, *parts: Any) -> None:
        super().__init__(*parts)
        self.runner = runner

    def work(self, batch: Batch, context: Any) -> dict[str, Any]:
        return IsolatedBatch(self, batch, context, self.runner).run()


class _Ready(msgspec.Struct, frozen=True):
    """A message that may run, with its key if it has one."""

    raw: dict[str, Any]
    envelope: Envelope
    task: Task
    claim: Claim | None


class IsolatedBatch(BatchRun):
    """One batch."""

    def __init__(self, worker: Worker, batch: Batch, context: Any, runner: TaskRunner) -> None:
        super().__init__(worker, batch, context)
        self.runner = runner
        # When the last run must have ended, so that the worker still gets the answer.
        self._until -= AROUND_SECONDS
        self._ready: list[_Ready] = []
        self._held: set[tuple[str, str]] = set()
        self._places: dict[str, Semaphore] = {}
        self._blocked: set[str] = set()
        self._keys: dict[str, Outcome] = {}
        self._keys_singly = False
        self._may_cut = True
        self._is_lost = False

    def run(self) -> dict[str, Any]:
        """Work it off. The answer is Lambda's `batchItemFailures`."""
        for raw in self.records:
            if raw["receiptHandle"] in self._returned:
                continue  # behind a suspect
            if self._group(raw) in self._blocked:
                self._note(raw, decide.behind("behind another of its group"))
                continue
            self._step(self._process, raw)
        self._hand_over()
        back = [raw["messageId"] for raw in self.records if raw["receiptHandle"] in self._returned]
        self.end(set(back))
        return {"batchItemFailures": [{"itemIdentifier": id} for id in back]}

    def _step(self, step: Any, raw: dict[str, Any], *more: Any) -> None:
        """Takes a step for a record. If it is not done then, no later one of its group runs."""
        try:
            step(raw, *more)
        except Exception as error:
            if not isinstance(error, ReturnToQueue):
                self._stumbled(raw, error)
            if group := self._group(raw):
                self._blocked.add(group)

    def _group(self, raw: dict[str, Any]) -> str:
        return str(raw["attributes"].get("MessageGroupId", "")) if self.queue.fifo else ""

    def _before_suspect(self, raw: dict[str, Any]) -> None:
        self._hand_over()
        if self._group(raw) in self._blocked:
            self._return(raw, decide.behind("behind another of its group"))

    def _admitted(self, raw: dict[str, Any], task: Task) -> float:
        # Whether there is time the runner knows best. It says `not-run`.
        if task.concurrency is not None:
            fresh = Semaphore(self.worker.table, PERMITS_PK, SKEW_SECONDS)
            self._permit(raw, task, task.concurrency, self._places.setdefault(task.name, fresh))
        return float(self._until)

    def _release(self) -> None:
        # A run whose answer is lost may be going on. Its permit lasts as long as this Lambda could.
        for permits in () if self._is_lost else self._places.values():
            self._surely(permits.release)

    def _try(self, raw: dict[str, Any], envelope: Envelope, task: Task, end: float) -> None:
        try:
            key = self._key(raw, envelope, task)
        except (Unavailable, ClientError) as error:
            self._return(raw, decide.no_runner(error))
        except RunnerBroke as error:
            return self._failed(raw, envelope, task, "crashed", str(error))
        if isinstance(key, Outcome):
            return self._conclude(raw, _Ready(raw, envelope, task, None), key, alone=True)
        claim = None
        if key is not None:
            if (task.name, key) in self._held:
                self._hand_over()
            claim = self._claim(raw, task, key)
            if claim is None:
                self.metrics.ids["Repeated"].append(raw["messageId"])
                return None
            self._held.add((task.name, key))
        self._ready.append(_Ready(raw, envelope, task, claim))
        if self._alone:
            self._hand_over()
        return None

    def _claim(self, raw: dict[str, Any], task: Task, key: str) -> Claim | None:
        try:
            return self.worker.once().claim(task, key, self.context)
        except InProgress:
            self._return(raw, decide.same_key(self._message(raw)))
        except UnreadableKey as error:
            self._unreadable[str(error.item.key)] = error.item
            self._return(raw, decide.unreadable(error.item))

    def _hand_over(self) -> None:
        """Has all that are ready run, and brings each to its end."""
        ready, self._ready = self._ready, []
        self._held.clear()
        if not ready:
            return
        endings: Sequence[_Ending]
        try:
            endings = self._ran([self._call(one) for one in ready])
        except (Unavailable, ClientError, RunnerBroke) as error:
            endings = [error] * len(ready)
        for one, ending in zip(ready, endings, strict=True):
            self._step(self._conclude, one.raw, one, ending, len(ready) == 1)

    def _ran(self, calls: list[TaskCall]) -> Sequence[Outcome]:
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            return [Outcome("not-run", "no time left in this invocation")] * len(calls)
        may_cut, self._may_cut = self._may_cut, False
        return self.runner.run(TaskBatch(calls, seconds, may_cut))

    def _call(self, one: _Ready) -> TaskCall:
        message, seconds = self._message(one.raw), one.task.timeout or self.queue.timeout
        return TaskCall(one.task.name, one.raw["body"], message.id, message.attempt, self.queue.name, float(seconds),
                        self._group(one.raw))

    def _conclude(self, raw: dict[str, Any], one: _Ready, ending: _Ending, alone: bool) -> None:
        """Brings a message to the end that its run has come to. `alone` says that it alone was handed over."""
        if isinstance(ending, Throttled):
            self._not_begun(raw, one, decide.throttled(self._message(raw), ending))
        elif isinstance(ending, ClientError):
            self._not_begun(raw, one, decide.no_runner(ending))
        elif isinstance(ending, Unavailable):
            # Its key stays taken as well.
            self._is_lost = True
            seconds = self.context.get_remaining_time_in_millis() // 1000 + 1
            self._return(raw, decide.answer_lost(ending, seconds))
        elif isinstance(ending, RunnerBroke):
            if one.claim:
                one.claim.free()
            if not alone:
                self._return(raw, decide.runner_broke(str(ending)))
            self._failed(raw, one.envelope, one.task, "crashed", str(ending))
        elif ending.state == "not-run":
            self._not_begun(raw, one, decide.not_begun(ending.why))
        elif ending.state == "done":
            if one.claim:
                one.claim.done()
            self._done(raw["messageId"])
        else:
            if one.claim:
                one.claim.free()
            self._failed(raw, one.envelope, one.task, ending.state, ending.why)

    def _not_begun(self, raw: dict[str, Any], one: _Ready, deferral: Deferral) -> None:
        if one.claim:
            self._surely(one.claim.free)
        self._return(raw, deferral)

    def _key(self, raw: dict[str, Any], envelope: Envelope, task: Task) -> str | Outcome | None:
        """The key of a message, if it has one. If the task's own function fails to make it, its outcome."""
        if envelope.key is not None or task.key is None:
            return envelope.key
        if task.key_arguments:
            return task.key(envelope.args)
        if raw["receiptHandle"] not in self._keys:
            self._ask_keys(raw)
        outcome = self._keys[raw["receiptHandle"]]
        return outcome.why if outcome.state == "done" else outcome

    def _ask_keys(self, raw: dict[str, Any]) -> None:
        """Asks for the keys of all records whose task has a function for it, or for this one's, should that fail."""
        wanted = [raw] if self._keys_singly else [one for one in self.records if self._has_key_function(one)]
        try:
            found = self._ran([self._key_call(one) for one in wanted])
        except RunnerBroke:
            if self._keys_singly:
                raise
            self._keys_singly = True
            return self._ask_keys(raw)
        self._keys |= {one["receiptHandle"]: outcome for one, outcome in zip(wanted, found, strict=True)}
        return None

    def _key_call(self, raw: dict[str, Any]) -> TaskCall:
        task = self._tasks[decode(raw["body"]).task]
        seconds = task.timeout or self.queue.timeout
        return TaskCall(task.name, raw["body"], raw["messageId"], 0, self.queue.name, float(seconds), wants="key")

    def _has_key_function(self, raw: dict[str, Any]) -> bool:
        try:
            envelope = decode(raw["body"])
        except Malformed:
            return False
        task = self._tasks.get(envelope.task)
        return (task is not None and task.key is not None and not task.key_arguments and envelope.key is None
                and task.accepts(envelope.args))
