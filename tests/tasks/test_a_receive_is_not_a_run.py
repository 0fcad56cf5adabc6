"""A receive is not a run. What kills its Lambda harms no other message, and what was never tried is not given up."""

from typing import Any

import pytest

from chalicelib.envelope import MAX_BYTES
from chalicelib.tasks.event import Batch
from chalicelib.tasks.queues import QueueConfig, text_attributes
from tests.tasks.fakes import URL, Context, place, record
from tests.tasks.harness import Workshop, body


class Death(BaseException):
    """The Lambda's process dies, as when it is out of memory."""


def kill(**args: Any) -> None:
    raise Death


def test_one_message_that_kills_the_lambda_does_not_bury_the_others(shop: Workshop) -> None:
    shop.task("t.kill", kill)
    bodies = [body("t.kill") if n == 4 else body(n=n) for n in range(10)]
    alive = dict.fromkeys(range(10), 1)
    while alive:  # SQS gives the same ten again, because they were hidden for the same time
        try:
            answer = shop.another().work(
                Batch(place(), [record(bodies[n], n, receives=r) for n, r in alive.items()]), Context())
            back = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        except Death:
            back = {f"m{n}" for n in alive}
        alive = {n: r + 1 for n, r in alive.items() if f"m{n}" in back}
    [letter] = shop.dead()
    assert (letter["original-id"], letter["reason"], letter["attempts"]) == ("m4", "crashed", "6")
    assert {call["n"] for call in shop.calls} == set(range(10)) - {4}


def poll(shop: Workshop, queue: QueueConfig) -> bool:
    """One invocation by SQS: receives ten, deletes what was not returned. Whether there was anything."""
    received = shop.sqs.receive_message(queue.url, 10, 960).get("Messages", [])
    records = [{
        "messageId": one["MessageId"], "receiptHandle": one["ReceiptHandle"], "body": one["Body"],
        "attributes": one["Attributes"], "messageAttributes": {}, "eventSourceARN": "x"} for one in received]
    if not records:
        return False
    try:
        answer = shop.another().work(Batch(queue, records), Context())
    except Death:
        return True
    back = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
    if done := [one["receiptHandle"] for one in records if one["messageId"] not in back]:
        shop.sqs.delete_message_batch(queue.url, [{"Id": "x", "ReceiptHandle": receipt} for receipt in done])
    return True


def work_off(shop: Workshop, queue: QueueConfig) -> None:
    """Invocations until nothing is left, however long it stays hidden."""
    for _ in range(500):
        if not shop.sqs.queues.get(queue.url):
            return
        if not poll(shop, queue):
            shop.sqs.clock += 60
    raise AssertionError(f"messages go round: {shop.sqs.queues[queue.url]}")


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@pytest.mark.parametrize("killer", [0, 4, 9, 14])
def test_with_a_killer_among_them_all_others_run_once_or_twice(shop: Workshop, killer: int, fifo: bool) -> None:
    shop.task("t.kill", kill)
    queue = place("orders" if fifo else "default", fifo=fifo, retries=2)
    for n in range(15):
        shop.sqs.queues.setdefault(queue.url, [])
        text = '{"task": "t.kill"}' if n == killer else f'{{"task": "t.note", "args": {{"n": {n}}}}}'
        shop.sqs.put(queue.url.removeprefix(URL), text, MessageGroupId=f"g{n % 3}")
    work_off(shop, queue)
    runs = [call["n"] for call in shop.calls]
    assert set(runs) == set(range(15)) - {killer}
    # Only those that ran before it in its first batch, when nobody knew of the killer, have run a second time.
    assert {n for n in runs if runs.count(n) > 1} == {n for n in range(killer) if n // 10 == killer // 10}
    assert len(runs) <= 14 + killer % 10
    [letter] = shop.dead("orders-dead" if fifo else "default-dead")
    assert (letter["reason"], letter["attempts"]) == ("crashed", "3")


def test_a_suspect_runs_after_the_others_are_settled(shop: Workshop) -> None:
    seen: list[Any] = []
    shop.task("t.look", lambda: seen.append((list(shop.sqs.requests), dict(shop.sqs.hidden), shop.counters("m1"))))
    other = record(body("t.look"), 3, receives=3)
    first = [record(body("t.look"), 1, receives=2), record(body(n=2), 2), other]
    assert shop.work(*first) == ["m3"]
    [(requests, hidden, counters)] = seen
    assert requests == ["delete", "hide"] and hidden == {"r3": 0}
    assert counters == {"starts": 1, "receives": 2, "is_open": True}
    # The other suspect has not run, so it stays one.
    assert shop.counters("m3") is None


def test_a_message_that_lambda_was_throttled_for_is_tried_before_it_is_given_up(shop: Workshop) -> None:
    shop.work(record(body(n=1), 1, receives=7))  # six deliveries that Lambda refused for want of concurrency
    assert shop.calls == [{"n": 1}]


def test_a_keyed_task_that_exits_frees_its_key(shop: Workshop) -> None:
    def leave() -> None:
        raise SystemExit(3)

    shop.task("t.exit", leave, key=lambda args: "k")
    shop.work(record(body("t.exit"), 1))
    shop.work(record(body("t.exit"), 1, receives=2))
    assert "deferred" not in shop.line()["ids"]


def test_the_reason_survives_a_body_of_more_than_256_kib(shop: Workshop) -> None:
    attributes = text_attributes({"reason": "malformed", "origin": "default"}, MAX_BYTES - 300_000)
    assert attributes["reason"]["StringValue"] == "malformed"
    assert shop.work(record("x" * 300_000, 1)) == []
    assert shop.dead()[0]["reason"] == "malformed"
