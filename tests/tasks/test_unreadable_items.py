"""Items that cannot be read cost only the message that they stand for. People are told which they are."""

import json
from typing import Any

import pytest

from chalicelib.engine import delivery
from chalicelib.schedules.published import ALERTS
from chalicelib.tasks.state import message_key
from testing.alerts import ORIGIN
from testing.fakes import MemoryTopic
from tests.tasks.fakes import record
from tests.tasks.harness import NOW, Workshop, body, fail

BODIES: dict[str, dict[str, Any]] = {
    "empty": {}, "before-1.0": {"count": 3}, "newer": {"schema": 99, "starts": {"x": 1}},
    "wrong types": {"schema": 1, "starts": "3", "receives": [], "holder": 7, "until": "x"},
    "unknown field": {"schema": 1, "lumps": 1}, "huge": {"schema": 1, "starts": "x" * 390_000},
}
bad_body = pytest.mark.parametrize("bad", BODIES.values(), ids=BODIES.keys())


def told(shop: Workshop) -> list[tuple[str, str]]:
    """The notices of the region's next tick, which delivers what the workers have left."""
    topic = MemoryTopic()
    delivery.deliver(shop.table, topic, ALERTS, (), NOW, origin=ORIGIN, events=True)
    return topic.told


@bad_body
def test_a_message_with_unreadable_counters_waits_and_the_others_run(shop: Workshop, bad: dict[str, Any]) -> None:
    assert shop.table.create(*message_key("m1"), bad)
    assert shop.work(record(body(n=1), 1, receives=4), record(body(n=2), 2), record(body(n=3), 3)) == ["m1"]
    assert [call["n"] for call in shop.calls] == [2, 3]
    assert shop.dead() == [] and shop.sqs.hidden == {"r1": 900}
    item = shop.table.get(*message_key("m1"))
    assert item and (item.version, item.body) == (1, bad)
    # Two batches within an hour are one alert.
    assert shop.work(record(body(n=1), 1, receives=5)) == ["m1"]
    [(subject, text)] = told(shop)
    assert subject == "UnreadableItem: task-message#m1/runs"
    assert "aws dynamodb get-item" in text and len(text) < 4000


def test_once_the_counters_are_gone_the_message_runs(shop: Workshop) -> None:
    item = shop.table.create(*message_key("m1"), {})
    assert item and shop.work(record(body(n=1), 1, receives=4)) == ["m1"]
    shop.table.delete(item)
    assert shop.work(record(body(n=1), 1, receives=5)) == [] and shop.calls == [{"n": 1}]


@bad_body
def test_an_unreadable_permit_counts_as_taken_and_is_told(shop: Workshop, bad: dict[str, Any]) -> None:
    shop.task("t.one", shop.note, concurrency=1)
    assert shop.table.create("task-permits#t.one", "0000", bad)
    assert shop.work(record(body("t.one"), 1), record(body(n=2), 2)) == ["m1"]
    assert shop.calls == [{"n": 2}]
    assert [subject for subject, _ in told(shop)] == ["UnreadableItem: task-permits#t.one/0000"]


KEYS: dict[str, dict[str, Any]] = {
    "empty": {}, "no status": {"ttl": {"N": "9999999999"}}, "an item of the store": {"body": {"S": "{}"}},
    "unknown status": {"status": {"S": "PAUSED"}, "ttl": {"N": "9999999999"}},
    "wrong types": {"status": {"S": "INPROGRESS"}, "ttl": {"N": "9999999999"}, "in_progress_expiration": {"S": "x"}},
}


@pytest.mark.parametrize("bad", KEYS.values(), ids=KEYS.keys())
def test_an_unreadable_record_of_a_key_is_no_run_and_no_repetition(shop: Workshop, bad: dict[str, Any]) -> None:
    shop.task("t.keyed", shop.note, key=lambda args: json.dumps(args["n"]))
    shop.work(record(body("t.keyed", n=1), 1))
    [key] = shop.dynamo.items
    shop.dynamo.items[key] = {"pk": {"S": key[0]}, "sk": {"S": key[1]}, **bad}
    shop.calls.clear()
    assert shop.work(record(body("t.keyed", n=1), 2), record(body("t.keyed", n=2), 3)) == ["m2"]
    assert shop.calls == [{"n": 2}] and shop.sqs.hidden == {"r2": 900} and shop.dead() == []
    [(subject, text)] = told(shop)
    assert subject == f"UnreadableItem: {key[0]}/{key[1]}" and "is no record of a key" in text


def test_a_failure_of_the_task_itself_is_no_unreadable_item(shop: Workshop) -> None:
    shop.task("t.keyed", fail, key=lambda args: "k")
    assert shop.work(record(body("t.keyed"), 1)) == ["m1"]
    assert told(shop) == []
