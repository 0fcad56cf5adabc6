import json
from typing import Any

import pytest

from chalicelib.aws import client
from chalicelib.envelope import decode
from chalicelib.tasks import client as sending
from chalicelib.tasks.client import Call, Sender, SendError, send, send_many
from chalicelib.tasks.queues import SqsAdapter
from chalicelib.tasks.registry import Registry, Task
from tests.tasks.fakes import URL, SqsClient

URLS = {"default": f"{URL}default", "slow": f"{URL}slow", "orders": f"{URL}orders.fifo"}


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> SqsClient:
    fake = SqsClient()
    monkeypatch.setattr(client, "client", lambda service, region: fake)
    monkeypatch.setenv("LAMP_QUEUES", json.dumps(URLS))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    sending.sender.cache_clear()
    return fake


@pytest.fixture
def sender(sqs: SqsClient) -> Sender:
    registry = Registry()
    names = frozenset({"n"})
    registry.add(Task("pdf.render", print, "slow", None, None, None, None, 0, names, names, "f", 1))
    return Sender(URLS, SqsAdapter("eu-west-1"), registry)


def test_send_from_anywhere(sqs: SqsClient) -> None:
    id = send("letters.post", customer=7, delay="30s", key="invoice-7", meta={"trace": "x"})
    entry = sqs.messages("default")[0]["entry"]
    assert entry["DelaySeconds"] == 30
    envelope = decode(entry["MessageBody"])
    assert (envelope.task, envelope.args, envelope.key, envelope.meta) == (
        "letters.post", {"customer": 7}, "invoice-7", {"trace": "x"})
    assert envelope.id == id and envelope.sent_at is not None


def test_many_go_ten_at_a_time(sqs: SqsClient) -> None:
    ids = send_many([Call("a.b", {"n": number}) for number in range(25)])
    assert len(set(ids)) == 25
    assert sqs.requests == ["send"] * 3


def test_a_known_task_goes_to_its_own_queue_unless_told_otherwise(sender: Sender, sqs: SqsClient) -> None:
    sender.send_many([Call("pdf.render", {"n": 1}), Call("pdf.render", {"n": 2}, queue="default"), Call("other.task")])
    assert [len(sqs.messages(name)) for name in ("slow", "default")] == [1, 2]


def test_fifo_gets_group_and_deduplication(sender: Sender, sqs: SqsClient) -> None:
    sender.send_many([Call("a.b", queue="orders"), Call("a.b", queue="orders", group="customer-7", key="k"),
                      Call("a.b", queue="orders", key="k"), Call("c.d", queue="orders", key="k")])
    entries = [kept["entry"] for kept in sqs.messages("orders")]
    assert [entry["MessageGroupId"] for entry in entries] == ["a.b", "customer-7", "a.b", "c.d"]
    dedups = [entry["MessageDeduplicationId"] for entry in entries]
    assert dedups[1] == dedups[2] and len(set(dedups)) == 3
    assert all("DelaySeconds" not in entry for entry in entries)


@pytest.mark.parametrize(("call", "says"), [
    (Call("a.b", delay="soon"), "delay: 'soon' is not a span of time"),
    (Call("a.b", delay="16m"), "SQS delays by 15m at most"),
    (Call("a.b", queue="orders", delay="1s"), "a FIFO queue delays no single message"),
    (Call("a.b", queue="nowhere"), "there is no queue 'nowhere' here (known: default, orders, slow)"),
    (Call("a.b", {"x": object()}), "cannot be written as JSON"),
    (Call("a.b", {"x": "x" * 300_000}), "bytes long"),
    (Call("pdf.render", {"m": 1}), "pdf.render needs the argument n"),
])
def test_a_wrong_call_is_refused_before_anything_is_sent(sender: Sender, sqs: SqsClient, call: Call, says: str) -> None:
    with pytest.raises(SendError) as error:
        sender.send_many([Call("a.b"), call])
    assert says in str(error.value)
    assert error.value.lost == (1,)
    assert sqs.requests == []


def test_those_that_sqs_did_not_take_are_told(sender: Sender, sqs: SqsClient) -> None:
    sqs.refuse = "unwanted"
    calls = [Call("a.b", {"x": "unwanted" if number in (3, 12) else "good"}) for number in range(20)]
    with pytest.raises(SendError, match=r"2 of 20 tasks were not taken by SQS. The first, a\.b: refused") as error:
        sender.send_many(calls)
    assert error.value.lost == (3, 12)
    assert len(sqs.messages("default")) == 18


@pytest.mark.parametrize("value", ["", "nonsense", "{}"])
def test_without_queues_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, sqs: SqsClient, value: str) -> None:
    monkeypatch.setenv("LAMP_QUEUES", value)
    with pytest.raises(SendError, match=r"LAMP_QUEUES|there is no queue"):
        send("a.b")


def test_every_argument_travels_but_the_sender_s_own(sqs: SqsClient) -> None:
    args: dict[str, Any] = {"args": 1, "task_name": 2, "self": 3, "name": 4}
    send("a.b", **args)
    assert decode(sqs.messages("default")[0]["Body"]).args == args
