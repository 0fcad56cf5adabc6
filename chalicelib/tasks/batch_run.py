"""Works off a batch of task messages. Each one runs, returns for later, or goes to the dead letters.

Powertools' BatchProcessor drives. `Worker` decides by decide.py and acts by act.py. A message that succeeds at its
first try makes no call to AWS, unless its task has a key or a limit on concurrent runs.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, SqsFifoPartialProcessor
from aws_lambda_powertools.utilities.batch import process_partial_response as process

from chalicelib.aws import client
from chalicelib.aws.store import Store
from chalicelib.tasks import act, decide, deferrals, execution, metrics
from chalicelib.tasks.concurrency import Permits
from chalicelib.tasks.decide import DeadLetter, Deferral, Message
from chalicelib.tasks.envelope import Envelope, Malformed, decode
from chalicelib.tasks.event import BadEvent, Batch, refusal
from chalicelib.tasks.idempotency import IdempotentRunner, InProgress, StoreFailed
from chalicelib.tasks.queues import QueueConfig, Sqs
from chalicelib.tasks.registry import Registry, Task

# Seconds until a message is looked at again when DynamoDB or SQS failed meanwhile.
_AWS_AWAY = 30
_NO_ANSWER = (client.Unavailable, client.ClientError, StoreFailed)

logger = Logger()


class ReturnToQueue(Exception):
    """Tells the BatchProcessor to report the record as not done."""


class Worker:
    """The parts that are the same for all batches of a process. `once` is called only for tasks with a key."""

    def __init__(
        self, registry: Registry, sqs: Sqs, table: Store, once: Callable[[], IdempotentRunner],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.registry, self.sqs, self.table, self.once, self.clock = registry, sqs, table, once, clock
        self._standard = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
        self._fifo = SqsFifoPartialProcessor(skip_group_on_error=True)
        self._fifo.raise_on_entire_batch_failure = False
        execution.install()

    def refuse(self, error: BadEvent) -> dict[str, Any]:
        """The answer to an event that is no batch."""
        logger.error(str(error))
        return refusal(error)

    def work(self, batch: Batch, context: Any) -> dict[str, Any]:
        """Work off `batch`. The answer is Lambda's `batchItemFailures`."""
        shift = BatchRun(self, batch.place, context)
        processor = self._fifo if batch.place.fifo else self._standard
        try:
            # Given the context as well, it would inspect the handler's signature for every batch.
            answer = process({"Records": batch.records}, shift.handle, processor)
        finally:
            execution.silence()
        shift.end(batch, {str(failure["itemIdentifier"]) for failure in answer["batchItemFailures"]})
        return dict(answer)


class BatchRun:
    """One batch."""

    def __init__(self, worker: Worker, place: QueueConfig, context: Any) -> None:
        self.worker, self.place, self.context = worker, place, context
        self.slots = Permits(worker.table)
        self.tally = metrics.BatchMetrics(place.name)
        self._tasks = worker.registry.tasks
        self._done = self.tally.ids["Done"].append
        self._first = True
        self._back: dict[str, tuple[str, Deferral]] = {}
        # Monotonic seconds: when the last run must have ended.
        self._until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - decide.RESERVE_SECONDS

    def handle(self, record: Any) -> None:
        """One record. It returns if the message is settled (run, or dead), and raises `GivenBack` if the message must
        come again."""
        raw = record.raw_event
        try:
            self._one(raw)
        except ReturnToQueue:
            raise
        except _NO_ANSWER as error:
            self._note(raw, Deferral(_AWS_AWAY, f"AWS did not do what was asked: {error}", attempt=False))
            raise ReturnToQueue(str(error)) from error
        except Exception:
            logger.exception("the worker itself failed; the message comes back", message_id=raw["messageId"])
            raise

    def _one(self, raw: dict[str, Any]) -> None:
        try:
            envelope = decode(raw["body"])
        except Malformed as error:
            return self._bury(raw, DeadLetter("malformed", str(error)), {})
        task = self._tasks.get(envelope.task)
        if task is None or not task.accepts(envelope.args):
            return self._unusable(raw, envelope, task)
        if raw["attributes"]["ApproximateReceiveCount"] != "1" and self._worn_out(raw, envelope, task):
            return None
        end = time.monotonic() + (task.timeout or self.place.timeout)
        if end > self._until or task.concurrency or self.slots.held:
            end = self._admitted(raw, task)
        self._first = False
        self._try(raw, envelope, task, end)

    def _worn_out(self, raw: dict[str, Any], envelope: Envelope, task: Task) -> bool:
        message = self._message(raw)
        dead = decide.receives_exceeded(message, self._retries(task))
        if dead:
            self._bury(raw, dead, _account(envelope, message.attempt - 1))
        return dead is not None

    def _admitted(self, raw: dict[str, Any], task: Task) -> float:
        """When the run must end (monotonic seconds). Gives the record back if there is no time or no place for it."""
        now = time.monotonic()
        seconds = decide.time_allowed(task.timeout or self.place.timeout, self._until - now, self._first)
        if seconds is None:
            self._give_back(raw, decide.no_time())
        elif task.concurrency is None:
            self.slots.free()
        else:
            message, clock = self._message(raw), self.worker.clock()
            lease = clock + self._until - now + decide.RESERVE_SECONDS
            if not self.slots.hold(task.name, task.concurrency, message.id, clock, lease):
                self._give_back(raw, decide.at_concurrency_limit(message, task))
        return now + seconds

    def _try(self, raw: dict[str, Any], envelope: Envelope, task: Task, end: float) -> None:
        try:
            key = envelope.key
            if key is None and task.key is not None:
                key = task.key(envelope.args)
            if key is None:
                execution.limited(end, task.function, envelope.args, (self._facts, raw, envelope))
                self._done(raw["messageId"])
            else:
                self._once(raw, envelope, task, key, end)
        except (ReturnToQueue, StoreFailed):
            raise
        except execution.Refused as error:
            self._failed(raw, envelope, task, "refused", str(error) or "the task refused it")
        except execution.TimedOut:
            self._failed(raw, envelope, task, "timed-out", "took longer than its time-out")
        # sys.exit in a task must not end the worker.
        except (Exception, SystemExit) as error:
            logger.warning("task failed", task=task.name, message_id=raw["messageId"], exc_info=True)
            self._failed(raw, envelope, task, "failed", f"{type(error).__name__}: {error}")

    def _once(self, raw: dict[str, Any], envelope: Envelope, task: Task, key: str, end: float) -> None:
        def call() -> None:
            execution.limited(end, task.function, envelope.args, (self._facts, raw, envelope))

        try:
            made = self.worker.once()(task, key, call, self.context)
        except InProgress:
            self._give_back(raw, decide.same_key(self._message(raw)))
        (self._done if made else self.tally.ids["Repeated"].append)(raw["messageId"])

    def _failed(self, raw: dict[str, Any], envelope: Envelope, task: Task, kind: decide.Kind, why: str) -> None:
        message = self._message(raw)
        self._settle(raw, envelope, message, decide.failed(message, self._retries(task), kind, why))

    def _unusable(self, raw: dict[str, Any], envelope: Envelope, task: Task | None) -> None:
        registry = self.worker.registry
        if broken := registry.broken_module(envelope.task):
            # The next deployment may mend it, so this is a failure like any other, not the message's own fault.
            message = self._message(raw)
            return self._settle(raw, envelope, message, decide.failed(message, self.place.retries, "failed", broken))
        self._bury(raw, decide.not_callable(task, envelope.task, envelope.args, registry), _account(envelope, 0))

    def end(self, batch: Batch, returned: set[str]) -> None:
        """After the last record the returned messages get their visibility time-out, and the batch's line is written.

        Nothing may fail here any more, because an error would bring back finished records.
        """
        for raw in batch.records if returned and self.place.fifo else ():
            if raw["messageId"] in returned and raw["receiptHandle"] not in self._back:
                # Not even looked at: an earlier one of its group goes first.
                self._note(raw, Deferral(0, "behind another of its group", attempt=False))
        self._surely(self.slots.free)
        self._surely(self._hide)
        now = int(self.worker.clock())
        for id, later in self._back.values():
            if not later.attempt:
                self._surely(lambda id=id: deferrals.add(self.worker.table, id, now))  # type: ignore[misc]
        metrics.write(self.tally)

    def _hide(self) -> None:
        times = {receipt: later.seconds for receipt, (_, later) in self._back.items()}
        for problem in act.change_visibility(self.worker.sqs, self.place, times):
            logger.warning("a message comes back later than meant", problem=problem)

    def _surely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except _NO_ANSWER as error:
            logger.error("an afterthought was not carried out; the messages come back by themselves, with one try less",
                         queue=self.place.name, error=str(error))

    def _message(self, raw: Mapping[str, Any]) -> Message:
        id, attributes = raw["messageId"], raw["attributes"]
        receives = int(attributes["ApproximateReceiveCount"])
        age = self.worker.clock() - int(attributes["SentTimestamp"]) / 1000
        return Message(id, receives, deferrals.count(self.worker.table, id) if receives > 1 else 0, age)

    def _facts(self, raw: Mapping[str, Any], envelope: Envelope) -> execution.Run:
        message = self._message(raw)
        return execution.Run(envelope.task, envelope.id or message.id, message.attempt, self.place.name, envelope.meta)

    def _retries(self, task: Task) -> int:
        return self.place.retries if task.retries is None else task.retries

    def _settle(
        self, raw: dict[str, Any], envelope: Envelope, message: Message, verdict: Deferral | DeadLetter
    ) -> None:
        if isinstance(verdict, DeadLetter):
            return self._bury(raw, verdict, _account(envelope, message.attempt))
        self._give_back(raw, verdict)

    def _bury(self, raw: dict[str, Any], dead: DeadLetter, account: Mapping[str, str]) -> None:
        act.move_to_dlq(self.worker.sqs, self.place, raw, dead.kind, dead.why, account)
        self.tally.ids["Dead"].append(raw["messageId"])
        logger.error("message buried", message_id=raw["messageId"], queue=self.place.name, dead_letters=self.place.dead,
                     reason=dead.kind, why=dead.why, extra=dict(account))

    def _give_back(self, raw: dict[str, Any], later: Deferral) -> NoReturn:
        self._note(raw, later)
        raise ReturnToQueue(later.why)

    def _note(self, raw: dict[str, Any], later: Deferral) -> None:
        id = raw["messageId"]
        self._back[raw["receiptHandle"]] = id, later
        self.tally.ids["Retried" if later.attempt else "Deferred"].append(id)
        logger.info("message given back", message_id=id, queue=self.place.name, seconds=later.seconds, why=later.why)


def _account(envelope: Envelope, attempts: int) -> dict[str, str]:
    return {"task": envelope.task, "attempts": str(attempts)}
