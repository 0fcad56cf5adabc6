"""One lost answer for each external call of each operation of tasks: nothing is doubled, lost, or silent."""

import json
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.tasks import operations
from chalicelib.tasks.batch_run import Worker
from chalicelib.tasks.event import Batch
from chalicelib.tasks.idempotency import IdempotentRunner
from chalicelib.tasks.queues import SqsAdapter
from chalicelib.tasks.state import message_key
from testing.lost_answers import Calls, check_every_lost_answer
from tests.tasks import test_operations
from tests.tasks.fakes import URL, Context, SqsClient, place
from tests.tasks.harness import NOW, Workshop, fail

QUEUE = place(retries=2)


class Shop:
    """A queue in memory, and invocations by SQS. The first one may lose an answer."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        shop.sqs.queues.clear()
        shop.dynamo.items.clear()
        shop.table.store.items.clear()
        shop.table.store.sorted.clear()
        shop.calls.clear()
        shop.sqs.clock = 0

    def worker(self, calls: Calls | None = None, *, keys_only: bool = False) -> Worker:
        """A worker whose calls are counted, or one without faults."""
        shop, sqs, table, dynamo = self.shop, SqsAdapter("eu-west-1"), self.shop.table, self.shop.dynamo
        if calls and keys_only:
            dynamo = calls.wrap(dynamo, "dynamodb")
        elif calls:
            sqs, table = calls.wrap(sqs, "sqs"), calls.wrap(table, "table")
        once = IdempotentRunner("table", dynamo)
        return Worker(shop.registry, sqs, table, lambda: once, lambda: NOW + self.shop.sqs.clock)

    def invoke(self, worker: Worker) -> bool:
        """Receives a batch, works it off, and deletes what was not returned. Whether there was any."""
        sqs = self.shop.sqs
        received = sqs.receive_message(QUEUE.url, 10, 960).get("Messages", [])
        records = [{
            "messageId": one["MessageId"], "receiptHandle": one["ReceiptHandle"], "body": one["Body"],
            "attributes": one["Attributes"], "messageAttributes": {}, "eventSourceARN": "x"} for one in received]
        if not records:
            return False
        answer = worker.work(Batch(QUEUE, records), Context())
        back = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        if done := [one["receiptHandle"] for one in records if one["messageId"] not in back]:
            sqs.delete_message_batch(QUEUE.url, [{"Id": "x", "ReceiptHandle": receipt} for receipt in done])
        return True

    def finish(self) -> None:
        """Invocations without faults until the queue is empty."""
        for _ in range(300):
            if not self.shop.sqs.queues.get(QUEUE.url):
                return
            if not self.invoke(self.worker()):
                self.shop.sqs.clock += 30
        raise AssertionError("a message goes round for ever")

    def send(self, name: str, **args: Any) -> str:
        return self.shop.sqs.put("default", json.dumps({"task": name, "args": args}))


@pytest.mark.slow
def test_work_of_a_mixed_batch_runs_each_message_and_buries_the_dead_ones(shop: Workshop) -> None:
    def scenario(calls: Calls) -> None:
        one = Shop(shop)
        shop.task("t.one", shop.note, concurrency=1)
        for n in range(3):
            one.send("t.note", n=n)
        one.send("t.one", n=3)
        one.send("t.fail")
        one.send("t.unknown")
        with calls.counted():
            one.invoke(one.worker(calls))
        one.finish()
        assert sorted(call["n"] for call in shop.calls) == [0, 1, 2, 3]
        reasons = sorted(letter["reason"] for letter in shop.dead())
        # A dead letter that was taken while its answer got lost is sent once more. None is missing.
        assert set(reasons) == {"failed", "unknown-task"} and len(reasons) <= 3

    assert len(check_every_lost_answer(scenario)) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("succeeds", [True, False])
def test_work_of_a_suspect_runs_it_alone_and_settles_the_others(shop: Workshop, succeeds: bool) -> None:
    def scenario(calls: Calls) -> None:
        one = Shop(shop)
        shop.registry.tasks.pop("t.last", None)
        shop.task("t.last", shop.note if succeeds else fail)
        one.send("t.last", n=0)
        # Lambda was throttled: a receive without a run.
        shop.sqs.receive_message(QUEUE.url, 10, 0)
        one.send("t.note", n=1)
        one.send("t.note", n=2)
        with calls.counted():
            one.invoke(one.worker(calls))
        one.finish()
        assert sorted(call["n"] for call in shop.calls) == ([0, 1, 2] if succeeds else [1, 2])
        assert [letter["reason"] for letter in shop.dead()] == ([] if succeeds else ["failed"])

    assert len(check_every_lost_answer(scenario)) >= 6


def test_work_of_the_last_try_buries_the_message(shop: Workshop) -> None:
    def scenario(calls: Calls) -> None:
        one = Shop(shop)
        id = one.send("t.fail")
        shop.has_run(id, starts=2, receives=0)
        with calls.counted():
            one.invoke(one.worker(calls))
        one.finish()
        assert {letter["reason"] for letter in shop.dead()} == {"failed"} and len(shop.dead()) <= 2

    check_every_lost_answer(scenario)


def test_work_with_a_key_is_done_once_or_again_after_its_time(shop: Workshop) -> None:
    def scenario(calls: Calls) -> None:
        one = Shop(shop)
        shop.registry.tasks.pop("t.keyed", None)
        shop.task("t.keyed", shop.note, key=lambda args: "k")
        one.send("t.keyed", n=1)
        one.send("t.keyed", n=1)
        with calls.counted():
            one.invoke(one.worker(calls, keys_only=True))
        # A key whose write was lost is held until its Lambda must have ended.
        for item in shop.dynamo.items.values():
            if item["status"] == {"S": "INPROGRESS"}:
                item["in_progress_expiration"] = {"N": "1"}
        one.finish()
        # The work may be done while the answer that it is gets lost. Then it is done again, as docs/tasks.md says.
        assert 1 <= len(shop.calls) <= 2 and shop.dead() == []

    check_every_lost_answer(scenario, error=lambda name: EndpointConnectionError(endpoint_url=name), least_calls=2)


def test_work_reports_what_cannot_be_read(shop: Workshop) -> None:
    def scenario(calls: Calls) -> None:
        one = Shop(shop)
        id = one.send("t.note", n=1)
        shop.sqs.receive_message(QUEUE.url, 10, 0)
        assert shop.table.create(*message_key(id), {})
        with calls.counted():
            one.invoke(one.worker(calls))
        assert shop.calls == [] and shop.dead() == []
        # Until it is mended each look tells of it, so that a lost one is made up for.
        shop.sqs.clock += 1000
        one.invoke(one.worker())
        events = [pk for pk, _ in shop.table.store.items if pk.startswith("alert-events#")]
        assert len(events) == 1 and shop.calls == []

    check_every_lost_answer(scenario)


sqs = test_operations.sqs


@pytest.mark.parametrize("name", ["tasks.status", "tasks.peek", "tasks.redrive"])
def test_redrive_loses_no_letter_and_questions_change_nothing(
    sqs: SqsClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenario(calls: Calls) -> None:
        sqs.queues.clear()
        ids = test_operations.bury(sqs, 3)

        class Lossy:
            def __getattr__(self, method: str) -> Any:
                return lambda *words, **more: calls.call(
                    method, lambda: getattr(original, method)(*words, **more))

        original = SqsAdapter("eu-west-1")
        monkeypatch.setattr(operations, "SqsAdapter", lambda region: Lossy())
        with calls.counted():
            answer = test_operations.run(name, apply=name == "tasks.redrive")
        monkeypatch.setattr(operations, "SqsAdapter", SqsAdapter)
        dead, back = ([one["MessageId"] for one in sqs.queues.get(f"{URL}{queue}", [])]
                      for queue in ("default-dead", "default"))
        assert len(dead) + len(back) >= 3
        if name == "tasks.redrive":
            assert answer["status"] == "failed" or not dead or "not deleted" in str(answer["results"])
            assert len(back) in (0, 3)
        else:
            assert dead == ids and not back and answer["status"] in ("planned", "failed")

    check_every_lost_answer(scenario, least_calls=2)
