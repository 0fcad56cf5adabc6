"""A task that sends a task counts how many came before, and a chain that never ends is stopped, with its reason."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws import client
from chalicelib.envelope import decode
from chalicelib.tasks import client as sending
from chalicelib.tasks.client import send
from chalicelib.tasks.decide import message as decide
from tests.tasks.fakes import URL, place, record
from tests.tasks.harness import Workshop, body
from tests.tasks.isolated import Runner


@pytest.fixture
def queues(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "client", lambda service, region: shop.sqs)
    monkeypatch.setenv("LAMP_QUEUES", json.dumps({"default": f"{URL}default"}))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    sending.sender.cache_clear()


def sent(shop: Workshop) -> list[dict[str, Any]]:
    """The bodies of the messages that wait."""
    return [json.loads(one["entry"]["MessageBody"]) for one in shop.sqs.messages("default")]


@pytest.mark.usefixtures("queues")
def test_each_task_of_a_chain_is_one_further(shop: Workshop) -> None:
    shop.task("t.next", lambda **args: send("t.next", page=args["page"] + 1))
    shop.work(record(body("t.next", page=1)))
    assert sent(shop)[-1]["hops"] == 1
    shop.work(record(sent(shop)[-1], 2))
    assert (sent(shop)[-1]["hops"], sent(shop)[-1]["args"]) == (2, {"page": 3})


@pytest.mark.usefixtures("queues")
def test_what_nobody_sent_from_a_task_begins_a_chain(shop: Workshop) -> None:
    send("t.note")
    [message] = sent(shop)
    assert "hops" not in message and decode(json.dumps(message)).hops == 0


@pytest.mark.parametrize("isolated", [True, False])
def test_a_task_that_comes_after_the_longest_chain_is_a_dead_letter_and_its_neighbours_run(
    shop: Workshop, isolated: bool
) -> None:
    if isolated:
        Runner(shop)
    shop.task("t.note", shop.note)
    at = msgspec.structs.replace(place(), longest_chain=3)
    came_back = shop.work(*(record(body(number=hops) | {"hops": hops}, hops) for hops in (2, 3, 4)), at=at)
    assert came_back == [] and shop.calls == [{"number": 2}]
    dead = shop.dead()
    assert [letter["reason"] for letter in dead] == ["endless-chain"] * 2
    assert "3 tasks have sent one another" in dead[0]["error"] and "longest_chain" in dead[0]["error"]


@given(st.integers(0, 10**7), st.integers(1, 10**6))
def test_exactly_so_many_tasks_of_a_chain_run(hops: int, longest: int) -> None:
    assert (decide.endless(hops, longest) is None) is (hops < longest)
