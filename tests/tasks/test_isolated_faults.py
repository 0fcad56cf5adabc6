"""Queues of isolated tasks through every fault of their runner, on a clock of their own.

Hypothesis draws the messages and the end of each invocation: refused, lost before or after the work, the worker gone.
A run whose answer is lost goes on for as long as a runner can.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.aws.client import Throttled, Unavailable
from chalicelib.tasks.event import Batch
from chalicelib.tasks.execution import Refused
from chalicelib.tasks.handover import Outcome, TaskCall
from tests.tasks.fakes import URL, Context, SqsClient, place
from tests.tasks.harness import NOW, Workshop
from tests.tasks.isolated import ProcessDeath, Runner, RunnerDeath

RETRIES = 2
# What a task does at each of its runs. The last one holds for all later runs.
LIVES: dict[str, tuple[str, ...]] = {
    "well": ("done",), "once": ("fails", "done"), "dies once": ("dies", "done"), "kills once": ("kills", "done"),
    "fails": ("fails",), "dies": ("dies",), "kills": ("kills",), "refuses": ("refuses",)}
ENDS = {"dies": "crashed", "kills": "crashed", "fails": "failed", "refuses": "refused"}
# The longest that a runner may go on after its worker has heard nothing: what is left of the worker's 900 s.
RUNNER_SECONDS = 900 - 5 - 35


class WorkerDeath(BaseException):
    """The worker's Lambda ends while it waits for the runner."""


class SimulatedRunner(Runner):
    """A runner that notes when each message runs, and that fails as the test says."""

    def __init__(self, shop: Workshop, sqs: SqsClient) -> None:
        super().__init__(shop)
        self.sqs, self.lives = sqs, dict[str, str]()
        # By message: how often it began, and until when each run of it goes on.
        self.begun: dict[str, int] = {}
        self.busy: dict[str, float] = {}
        self.limited: list[tuple[int, float]] = []
        self.finished: list[str] = []
        self.going_on_seconds = 0.0
        self.wrong: list[str] = []

    def _one(self, call: TaskCall) -> Outcome:
        now = self.sqs.clock
        # Of the runner's invocations by one worker, only the first one's answer is lost.
        until = now + (self.going_on_seconds if self.after else 0.0)
        # Noted and judged at the end, because a worker gives the messages of an invocation that raises back.
        if self.busy.get(call.id, -1.0) > now:
            self.wrong.append(f"{call.id} runs twice at the same time")
        # The runs of one invocation come one after another, so they may share a permit.
        if call.task == "t.limited":
            if any(end > now and batch != len(self.batches) for batch, end in self.limited):
                self.wrong.append(f"{call.id} runs with the permit of another one")
            self.limited.append((len(self.batches), until))
        self.begun[call.id] = self.begun.get(call.id, 0) + 1
        self.busy[call.id] = until
        steps = LIVES[self.lives[call.id]]
        step = steps[min(self.begun[call.id], len(steps)) - 1]
        if step == "kills":
            raise RunnerDeath
        if step == "dies":
            return Outcome("crashed", "its process ended by signal 9")
        if step == "done":
            self.finished.append(call.id)
        return Outcome({"done": "done", "refuses": "refused"}.get(step, "failed"), step)  # type: ignore[arg-type]


class Simulation:
    """One queue with its messages, served by one worker after another."""

    def __init__(self, shop: Workshop, lives: list[str], *, fifo: bool) -> None:
        self.shop, self.sqs = shop, shop.sqs
        shop.sqs.queues.clear()
        shop.sqs.clock = 0
        shop.table.store.items.clear()
        shop.table.store.sorted.clear()
        self.queue = place("orders" if fifo else "default", fifo=fifo, retries=RETRIES)
        self.runner = SimulatedRunner(shop, shop.sqs)
        self.sent = []
        for number, life in enumerate(lives):
            name = "t.limited" if number % 4 == 3 else "t.note"
            id = shop.sqs.put(self.queue.url.removeprefix(URL), json.dumps({"task": name, "args": {}}),
                              MessageGroupId=f"g{number % 3}")
            self.runner.lives[id] = life
            self.sent.append(id)

    def invoke(self, fault: str) -> None:
        """One invocation by SQS, in the order of the queue, as a FIFO queue has it."""
        received = self.sqs.receive_message(self.queue.url, 10, 960).get("Messages", [])
        records = [{
            "messageId": one["MessageId"], "receiptHandle": one["ReceiptHandle"], "body": one["Body"],
            "attributes": one["Attributes"], "messageAttributes": {}, "eventSourceARN": "x"} for one in received]
        if not records:
            self.sqs.clock += 30
            return
        self.runner.before, self.runner.after, self.runner.going_on_seconds = [], [], 0.0
        if fault == "refused":
            self.runner.before = [Throttled("Rate exceeded")]
        elif fault == "lost before":
            self.runner.before = [Unavailable("no answer")]
        elif fault in ("lost after", "worker dies"):
            self.runner.going_on_seconds = RUNNER_SECONDS
            self.runner.after = [Unavailable("no answer") if fault == "lost after" else WorkerDeath()]  # type: ignore[list-item]
        worker = self.runner.worker(lambda: NOW + self.sqs.clock)
        try:
            answer = worker.work(Batch(self.queue, records), Context())
        except WorkerDeath:
            return
        back = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        if done := [one["receiptHandle"] for one in records if one["messageId"] not in back]:
            self.sqs.delete_message_batch(self.queue.url, [{"Id": "x", "ReceiptHandle": one} for one in done])

    def finish(self) -> None:
        """Invocations without faults until nothing is left."""
        for _ in range(3000):
            if not self.sqs.queues.get(self.queue.url):
                return
            self.invoke("")
        raise AssertionError(f"messages go round: {self.sqs.queues[self.queue.url]}")

    def buried(self) -> dict[str, dict[str, Any]]:
        """The dead letters by the id of their message."""
        name = "orders-dead" if self.queue.fifo else "default-dead"
        return {letter["original-id"]: letter for letter in self.shop.dead(name)}


FAULTS = st.lists(st.sampled_from(["", "refused", "lost before", "lost after", "worker dies"]), max_size=12)


@pytest.mark.slow
@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(LIVES)), min_size=1, max_size=14), FAULTS)
def test_no_fault_of_a_runner_loses_doubles_or_buries_the_wrong_one(
    shop: Workshop, fifo: bool, lives: list[str], faults: list[str]
) -> None:
    shop.task("t.limited", shop.note, concurrency=1)
    one = Simulation(shop, lives, fifo=fifo)
    for fault in faults:
        one.invoke(fault)
    one.finish()
    assert one.runner.wrong == []
    buried = one.buried()
    # A start whose end nobody has seen counts, since it may have been a run.
    unseen = sum(fault not in ("", "refused") for fault in faults)
    for id in one.sent:
        life, begun = one.runner.lives[id], one.runner.begun.get(id, 0)
        if life not in ENDS:
            # However often it was refused or received, it was done and is no dead letter.
            failures = 0 if life == "well" else 1
            assert id in one.runner.finished or unseen + failures > RETRIES, life
            assert id not in buried or unseen + failures > RETRIES, buried[id]
        else:
            assert buried[id]["reason"] == ENDS[life] or (unseen and buried[id]["reason"] == "crashed"), buried[id]
            assert int(buried[id]["attempts"]) <= begun + unseen
            assert life == "refuses" or begun >= RETRIES + 1 - unseen
    if not faults and "kills" not in lives and "kills once" not in lives:
        assert all(one.runner.begun[id] == 1 for id in one.sent if one.runner.lives[id] == "refuses")


def test_without_faults_of_the_runner_each_message_runs_as_often_as_it_must(shop: Workshop) -> None:
    lives = ["well", "once", "dies once", "fails", "dies", "refuses"] * 2
    shop.task("t.limited", shop.note, concurrency=1)
    one = Simulation(shop, lives, fifo=False)
    one.finish()
    runs = {"well": 1, "once": 2, "dies once": 2, "fails": 3, "dies": 3, "refuses": 1}
    assert {id: one.runner.begun[id] for id in one.sent} == {id: runs[one.runner.lives[id]] for id in one.sent}


def test_the_simulated_deaths_are_those_of_the_harness() -> None:
    assert not issubclass(ProcessDeath, Exception) and not issubclass(RunnerDeath, Exception)
    assert issubclass(Refused, Exception)
