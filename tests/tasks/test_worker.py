"""The Lambda's entry point, from its environment to its answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import context
from chalicelib.aws import client
from chalicelib.config.fleet import parse
from chalicelib.tasks import worker
from testing.fakes import MemoryTable
from tests.tasks.fakes import URL, Context, SqsClient, record

FLEET = parse("""
name = "lamp"
regions = [{name = "eu-west-1"}]
coordination = {regions = ["eu-west-1"]}
queues = [{name = "default"}, {name = "orders", fifo = true}]
tasks = {isolation = "shared"}
""")
URLS = {"default": f"{URL}default", "default-dead": f"{URL}default-dead", "orders": f"{URL}orders.fifo",
        "orders-dead": f"{URL}orders-dead.fifo"}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3))


class Topic:
    def publish(self, subject: str, text: str) -> None:
        raise AssertionError("nobody is to be told")


@pytest.fixture(autouse=True)
def lamp(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsClient]:
    """The environment of the Lambda `tasks_work`, with this repository's tasks/."""
    sqs, memory = SqsClient(), MemoryTable()
    here = context.RegionContext(
        region="eu-west-1",
        stage="test",
        fleet=FLEET,
        shared_store=memory,
        local_store=memory,
        queues={},
        alerts=Topic(),
        clock=lambda: 5000.0,
    )
    monkeypatch.setattr(context, "here", lambda: here)
    monkeypatch.setattr(client, "client", lambda service, region: sqs)
    monkeypatch.setenv("LAMP_QUEUES", json.dumps(URLS))
    monkeypatch.setenv("LAMP_TABLE", "lamp-test")
    worker._cold_start.cache_clear()
    yield sqs
    worker._cold_start.cache_clear()


def test_the_repository_s_own_tasks_run(lamp: SqsClient) -> None:
    sweep = {"task": "chores.sweep", "args": {"number": 1}}
    assert worker.handle({"Records": [record(sweep, 1)]}, Context()) == {"batchItemFailures": []}
    again = record(sweep | {"args": {"number": 1, "fail_once": True}}, 2)
    assert worker.handle({"Records": [again]}, Context()) == {"batchItemFailures": [{"itemIdentifier": "m2"}]}


def test_a_fifo_queue_is_found_by_its_full_name(lamp: SqsClient) -> None:
    poison = record({"task": "chores.poison", "args": {"number": 1}}, 1, group="a", queue="orders")
    assert worker.handle({"Records": [poison]}, Context()) == {"batchItemFailures": []}
    assert len(lamp.messages("orders-dead")) == 1


@pytest.mark.slow
@given(JSON | st.fixed_dictionaries({"Records": JSON}))
def test_any_other_event_is_refused_and_keeps_its_batch(event: Any) -> None:
    answer = worker.handle(event, Context())
    assert (answer["status"], answer["batchItemFailures"]) == ("refused", [{"itemIdentifier": ""}])


@pytest.mark.slow
@given(st.lists(st.text() | JSON, min_size=1, max_size=10))
def test_any_body_is_settled_or_comes_back(bodies: list[Any]) -> None:
    records = [record(body, number) for number, body in enumerate(bodies)]
    answer = worker.handle({"Records": records}, Context())
    # Nothing that can be made up at random is one of the tasks: all of it is dead, and nothing is retried for hours.
    assert answer == {"batchItemFailures": []}
