"""Works off a batch of task messages. Each one runs, returns for later, or goes to the dead letters.

Powertools' BatchProcessor drives. `BatchRun` decides by decide/message.py and acts by act.py. A message that succeeds
at its first try makes no call to AWS, unless its task has a key or a limit on concurrent runs.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, SqsFifoPartialProcessor
from aws_lambda_powertools.utilities.batch import process_partial_response as process

from chalicelib.aws import client
from chalicelib.aws.store import Store
from chalicelib.engine import alert_text, delivery, state
from chalicelib.engine.alerts import hourly
from chalicelib.engine.lease import Semaphore
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.envelope import Envelope, Malformed, decode
from chalicelib.schedules.published import ALERTS
from chalicelib.tasks import act, execution, metrics
from chalicelib.tasks.decide import message as decide
from chalicelib.tasks.decide.message import DeadLetter, Deferral, Message
from chalicelib.tasks.event import BadEvent, Batch, refusal
from chalicelib.tasks.idempotency import IdempotentRunner, InProgress, StoreFailed, UnreadableKey
from chalicelib.tasks.queues import Sqs
from chalicelib.tasks.registry import Registry, Task
from chalicelib.tasks.state import MESSAGE, MESSAGE_KEPT_SECONDS, MessageState, message_key

_NO_ANSWER = (client.Unavailable, client.ClientError, StoreFailed)
PERMITS_PK = "task-permits#"
# The clocks of two Lambdas of a region may differ by so many seconds, generously.
SKEW_SECONDS = 5

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
        run = BatchRun(self, batch, context)
        processor = self._fifo if batch.place.fifo else self._standard
        try:
            # Given the context as well, it would inspect the handler's signature for every batch.
            answer = process({"Records": run.records}, run.handle, processor)
        finally:
            execution.silence()
        run.end({str(failure["itemIdentifier"]) for failure in answer["batchItemFailures"]})
        return dict(answer)


class _Returned(msgspec.Struct, frozen=True):
    """A message that goes back, and its counters to write first, if any."""

    id: str
    deferral: Deferral
    state: MessageState | None


class BatchRun:
    """One batch."""

    def __init__(self, worker: Worker, batch: Batch, context: Any) -> None:
        self.worker, self.queue, self.context = worker, batch.place, context
        self.permits = Semaphore(worker.table, PERMITS_PK, SKEW_SECONDS)
        self.metrics = metrics.BatchMetrics(self.queue.name)
        self._tasks = worker.registry.tasks
        self._done = self.metrics.ids["Done"].append
        self._is_first = True
        # Monotonic seconds: when the last run must have ended.
        self._until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - decide.RESERVE_SECONDS
        # By receipt: what goes back, and whether SQS and the table know it already.
        self._returned: dict[str, _Returned] = {}
        self._settled: set[str] = set()
        # The suspect that runs alone, and so is the last that this batch runs.
        self._alone = ""
        self._suspect: Message | None = None
        self._unreadable: dict[str, Unreadable] = {}
        self._stored: dict[str, Stored[MessageState] | Unreadable] = {}
        self._no_counters: Exception | None = None
        self.records: Sequence[dict[str, Any]] = batch.records
        again = [raw for raw in batch.records if raw["attributes"]["ApproximateReceiveCount"] != "1"]
        if again:
            self._load(again)
            self.records = decide.in_order(batch.records, self._is_suspect, fifo=self.queue.fifo)

    def handle(self, record: Any) -> None:
        """One record. It returns if the message is settled (run, or dead), and raises if it must come again."""
        raw = record.raw_event
        try:
            self._process(raw)
        except ReturnToQueue:
            raise
        except Exception as error:
            self._stumbled(raw, error)
            raise

    def _stumbled(self, raw: dict[str, Any], error: Exception) -> None:
        """Notes a record whose way was cut short by `error` as one that comes again."""
        if isinstance(error, _NO_ANSWER):
            self._note(raw, decide.no_answer(error))
            return
        logger.exception("the worker itself failed; the message comes back", message_id=raw["messageId"])
        self._note(raw, Deferral(decide.NO_ANSWER_SECONDS, f"the worker itself failed: {error}", attempt=True))

    def _process(self, raw: dict[str, Any]) -> None:
        if self._alone:
            raise ReturnToQueue(f"{self._alone} runs alone")
        try:
            envelope = decode(raw["body"])
        except Malformed as error:
            return self._bury(raw, DeadLetter("malformed", str(error)), {})
        if envelope.hops and (endless := decide.endless(envelope.hops, self.queue.longest_chain)):
            return self._bury(raw, endless, _account(envelope, 0))
        task = self._tasks.get(envelope.task)
        if task is None or not task.accepts(envelope.args):
            return self._unusable(raw, envelope, task)
        message: Message | None = None
        if raw["attributes"]["ApproximateReceiveCount"] != "1":
            message = self._message(raw)
            if dead := decide.used_up(message, self._retries(task)):
                return self._bury(raw, dead, _account(envelope, message.starts))
        if message and message.is_suspect:
            self._before_suspect(raw)
        end = time.monotonic() + (task.timeout or self.queue.timeout)
        if end > self._until or task.concurrency or self.permits.held:
            end = self._admitted(raw, task)
        if message and message.is_suspect:
            self._isolate(raw, message)
        self._is_first = False
        return self._try(raw, envelope, task, end)

    def _before_suspect(self, raw: dict[str, Any]) -> None:
        """Brings all earlier records to an end. Here each of them has one already."""

    def _load(self, again: Sequence[Mapping[str, Any]]) -> None:
        """Reads the counters of the messages that come again, in one call."""
        table = self.worker.table
        try:
            items = table.get_many([message_key(raw["messageId"]) for raw in again])
        except (client.Unavailable, client.ClientError) as error:
            self._no_counters = error
            return
        values, unreadable = state.read_all(table, items, MESSAGE)
        self._stored = {pk.partition("#")[2]: stored for (pk, _), stored in values.items()}
        for item in unreadable:
            self._stored[item.key.pk.partition("#")[2]] = item

    def _is_suspect(self, raw: Mapping[str, Any]) -> bool:
        message = self._counted(raw)
        return message is not None and message.is_suspect

    def _counted(self, raw: Mapping[str, Any]) -> Message | None:
        """The counters of a message. `None` if they are not known."""
        id, attributes = raw["messageId"], raw["attributes"]
        receives = int(attributes["ApproximateReceiveCount"])
        stored = self._stored.get(id)
        if isinstance(stored, Unreadable) or (self._no_counters and receives > 1):
            return None
        age = self.worker.clock() - int(attributes["SentTimestamp"]) / 1000
        # While a suspect runs, its counters are those before the run.
        return self._suspect if id == self._alone else decide.counted(
            id, receives, age, stored.value if stored else None)

    def _message(self, raw: dict[str, Any]) -> Message:
        """The counters of a message. Without them it goes back."""
        message = self._counted(raw)
        if message:
            return message
        stored = self._stored.get(raw["messageId"])
        if isinstance(stored, Unreadable):
            self._unreadable[str(stored.key)] = stored
            self._return(raw, decide.unreadable(stored))
        self._return(raw, decide.no_answer(self._no_counters))

    def _admitted(self, raw: dict[str, Any], task: Task) -> float:
        """When the run must end (monotonic seconds). Returns the record if there is no time or no permit for it."""
        now = time.monotonic()
        seconds = decide.time_allowed(task.timeout or self.queue.timeout, self._until - now, self._is_first)
        if seconds is None:
            self._return(raw, decide.no_time())
        elif task.concurrency is None:
            self.permits.release()
        else:
            self._permit(raw, task, task.concurrency, self.permits)
        return now + seconds

    def _permit(self, raw: dict[str, Any], task: Task, limit: int, permits: Semaphore) -> None:
        """Takes one of the permits of a task until the end of this invocation. Without it, the record goes back."""
        message, now = self._message(raw), self.worker.clock()
        until = now + self.context.get_remaining_time_in_millis() / 1000
        admitted = permits.acquire(task.name, limit, message.id, now=now, until=until)
        self._unreadable |= {str(item.key): item for item in permits.unreadable}
        if not admitted:
            self._return(raw, decide.at_concurrency_limit(message, task))

    def _isolate(self, raw: dict[str, Any], message: Message) -> None:
        """Counts the run of a suspect. Before it begins, all others are settled, so that it can harm none of them."""
        stored = self._stored.get(message.id)
        before = None if isinstance(stored, Unreadable) else stored
        started = state.write(
            self.worker.table, message_key(message.id), MESSAGE, before, decide.started(message),
            run_id=uuid.uuid4().hex, ttl=self._ttl())
        if started is None:
            self._return(raw, decide.behind("another worker has received it as well"))
        self._stored[message.id] = started
        self._alone, self._suspect = message.id, message
        position = next(number for number, other in enumerate(self.records) if other is raw)
        done = [other["receiptHandle"] for other in self.records[:position]
                if other["receiptHandle"] not in self._returned]
        for other in self.records[position + 1:]:
            self._note(other, decide.behind(f"{message.id} runs alone"))
        if done:
            self._surely(lambda: self._delete(done))
        self._settle()

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
        except execution.Exited as error:
            self._failed(raw, envelope, task, "failed", str(error))
        except Exception as error:
            logger.warning("task failed", task=task.name, message_id=raw["messageId"], exc_info=True)
            self._failed(raw, envelope, task, "failed", f"{type(error).__name__}: {error}")

    def _once(self, raw: dict[str, Any], envelope: Envelope, task: Task, key: str, end: float) -> None:
        def call() -> None:
            execution.limited(end, task.function, envelope.args, (self._facts, raw, envelope))

        try:
            is_run = self.worker.once()(task, key, call, self.context)
        except InProgress:
            self._return(raw, decide.same_key(self._message(raw)))
        except UnreadableKey as error:
            self._unreadable[str(error.item.key)] = error.item
            self._return(raw, decide.unreadable(error.item))
        (self._done if is_run else self.metrics.ids["Repeated"].append)(raw["messageId"])

    def _failed(self, raw: dict[str, Any], envelope: Envelope, task: Task, kind: decide.Kind, why: str) -> None:
        self._after_failure(raw, envelope, self._retries(task), kind, why)

    def _after_failure(
        self, raw: dict[str, Any], envelope: Envelope, retries: int, kind: decide.Kind, why: str
    ) -> None:
        message = self._message(raw)
        decision = decide.failed(message, retries, kind, why)
        if isinstance(decision, DeadLetter):
            self._bury(raw, decision, _account(envelope, message.attempt))
            return
        self._return(raw, decision)

    def _unusable(self, raw: dict[str, Any], envelope: Envelope, task: Task | None) -> None:
        registry = self.worker.registry
        if broken := registry.broken_module(envelope.task):
            # The next deployment may mend it, so this is a failure like any other, not the message's own fault.
            return self._after_failure(raw, envelope, self.queue.retries, "failed", broken)
        return self._bury(raw, decide.not_callable(task, envelope.task, envelope.args, registry), _account(envelope, 0))

    def end(self, returned: set[str]) -> None:
        """After the last record the returned messages get their visibility time-out, and the batch's line is written.

        Nothing may fail here any more, because an error would bring back finished records.
        """
        for raw in self.records if returned and self.queue.fifo else ():
            if raw["messageId"] in returned and raw["receiptHandle"] not in self._returned:
                # Not even looked at: an earlier one of its group goes first.
                self._note(raw, decide.behind("behind another of its group"))
        self._release()
        self._settle()
        for item in self._unreadable.values():
            self._surely(lambda item=item: self._report(item))  # type: ignore[misc]
        metrics.write(self.metrics)

    def _release(self) -> None:
        """Gives the permits back."""
        self._surely(self.permits.release)

    def _settle(self) -> None:
        """Writes the counters of the messages that go back, then hides them. So no other worker takes one before."""
        unsettled = {receipt: one for receipt, one in self._returned.items() if receipt not in self._settled}
        self._settled |= unsettled.keys()
        for one in unsettled.values():
            if one.state:
                self._surely(lambda one=one: self._keep(one.id, one.state))  # type: ignore[misc]
        if unsettled:
            times = {receipt: one.deferral.seconds for receipt, one in unsettled.items()}
            self._surely(lambda: self._hide(times))

    def _keep(self, id: str, counters: MessageState) -> None:
        stored = self._stored.get(id)
        before = None if isinstance(stored, Unreadable) else stored
        # A lost race means that SQS delivered it twice, which does no harm: it counts as a suspect.
        state.write(self.worker.table, message_key(id), MESSAGE, before, counters, run_id=uuid.uuid4().hex,
                    ttl=self._ttl())

    def _hide(self, seconds: Mapping[str, int]) -> None:
        for problem in act.change_visibility(self.worker.sqs, self.queue, seconds):
            logger.warning("a message comes back later than meant", problem=problem)

    def _delete(self, receipts: Sequence[str]) -> None:
        for problem in self.worker.sqs.delete(self.queue.url, receipts).values():
            logger.warning("a finished message may come again", queue=self.queue.name, problem=problem)

    def _report(self, item: Unreadable) -> None:
        """Leaves one alert an hour about an item that cannot be read."""
        now = self.worker.clock()
        delivery.report_event(self.worker.table, ALERTS, hourly(alert_text.unreadable_alert(item), now), now)

    def _surely(self, call: Callable[[], object]) -> None:
        try:
            call()
        except _NO_ANSWER as error:
            logger.error("an afterthought was not carried out; the messages come back by themselves, and run alone",
                         queue=self.queue.name, error=str(error))

    def _facts(self, raw: Mapping[str, Any], envelope: Envelope) -> execution.Run:
        message = self._counted(raw)
        id, attempt = (message.id, message.attempt) if message else (raw["messageId"], 1)
        return execution.Run(envelope.task, envelope.id or id, attempt, self.queue.name, envelope.meta, envelope.hops)

    def _retries(self, task: Task) -> int:
        return self.queue.retries if task.retries is None else task.retries

    def _ttl(self) -> int:
        return int(self.worker.clock()) + MESSAGE_KEPT_SECONDS

    def _bury(self, raw: dict[str, Any], dead: DeadLetter, account: Mapping[str, str]) -> None:
        act.move_to_dlq(self.worker.sqs, self.queue, raw, dead.kind, dead.why, account)
        self.metrics.ids["Dead"].append(raw["messageId"])
        logger.error("message buried", message_id=raw["messageId"], queue=self.queue.name, dead_letters=self.queue.dead,
                     reason=dead.kind, why=dead.why, extra=dict(account))

    def _return(self, raw: dict[str, Any], deferral: Deferral) -> NoReturn:
        self._note(raw, deferral)
        raise ReturnToQueue(deferral.why)

    def _note(self, raw: dict[str, Any], deferral: Deferral) -> None:
        id, message = raw["messageId"], self._counted(raw)
        counters = decide.returned(message, deferral, has_started=id == self._alone) if message else None
        self._returned[raw["receiptHandle"]] = _Returned(id, deferral, counters)
        self.metrics.ids["Retried" if deferral.attempt else "Deferred"].append(id)
        logger.info("message given back", message_id=id, queue=self.queue.name, seconds=deferral.seconds,
                    why=deferral.why)


def _account(envelope: Envelope, attempts: int) -> dict[str, str]:
    return {"task": envelope.task, "attempts": str(attempts)}
