import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws import client as cloud
from chalicelib.config.fleet import parse
from chalicelib.tasks.queues import QueueError, SqsAdapter, known, places, text_attributes, urls
from tests.tasks.fakes import URL, SqsClient

FLEET = parse("""
name = "lamp"
regions = [{name = "eu-west-1"}]
coordination = {regions = ["eu-west-1"]}
queues = [{name = "default"}, {name = "orders", fifo = true, dead_letter = "lost-dead"},
          {name = "slow", retries = 1, timeout = "5m"}]
""")
NAMES = ("default", "default-dead", "orders", "lost-dead", "slow", "slow-dead", "schedule-runs", "schedule-runs-dead")
URLS = {name: f"{URL}{name}" for name in NAMES}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> SqsClient:
    fake = SqsClient()
    monkeypatch.setattr(cloud, "client", lambda service, region: fake)
    return fake


def test_places_carry_what_fleet_toml_says() -> None:
    found = places(FLEET, URLS)
    assert (found["orders"].dead, found["orders"].fifo) == ("lost-dead", True)
    assert (found["slow"].retries, found["slow"].timeout, found["slow"].dead_url) == (1, 300, f"{URL}slow-dead")


def test_a_queue_without_a_url_is_named() -> None:
    with pytest.raises(QueueError, match="there is no queue 'default-dead' here"):
        places(FLEET, {"default": "u"})


def test_dead_letters_know_where_they_come_from() -> None:
    found = known(FLEET, {"LAMP_QUEUES": json.dumps(URLS)})
    assert found.origins == {"default-dead": "default", "lost-dead": "orders", "slow-dead": "slow",
                             "schedule-runs-dead": "schedule-runs"}
    moved = {"Attributes": {"DeadLetterQueueSourceArn": "arn:aws:sqs:eu-west-1:0:lamp-test-slow"}}
    assert found.source(moved) == "slow"
    assert found.source({"Attributes": {}}) == ""


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "nonsense"])
def test_lamp_queues_must_be_what_it_should_be(text: str) -> None:
    with pytest.raises(QueueError, match="LAMP_QUEUES must hold a JSON object"):
        urls({"LAMP_QUEUES": text})


@given(st.lists(st.integers(0, 150_000), max_size=35))
def test_batches_hold_ten_and_256_kib_and_every_message_is_sent_once(sizes: list[int]) -> None:
    fake = SqsClient()  # refuses by assertion what SQS would refuse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud, "client", lambda service, region: fake)
        failed = SqsAdapter("eu-west-1").send(f"{URL}default", [{"MessageBody": f"{n}:" + "x" * size}
                                                             for n, size in enumerate(sizes)])
    assert failed == {}
    assert [int(kept["Body"].split(":")[0]) for kept in fake.messages("default")] == list(range(len(sizes)))


def test_what_is_not_taken_is_told_by_its_place(client: SqsClient) -> None:
    client.refuse = "7"
    failed = SqsAdapter("eu-west-1").send(f"{URL}default", [{"MessageBody": str(n)} for n in range(25)])
    assert failed == {7: "refused by the test", 17: "refused by the test"}


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["reason", "error", "task"]), st.text(max_size=50)), st.integers(-5, 200))
def test_attributes_are_what_sqs_takes_and_fit(values: dict[str, str], room: int) -> None:
    made = text_attributes(values, room)
    total = sum(len(name) + 6 + len(value["StringValue"].encode()) for name, value in made.items())
    # A body that leaves less than no room is longer than 256 KiB, so its queue takes 1 MiB.
    assert total <= (room if room >= 0 else room + 768 * 1024)
    for value in made.values():
        assert value["StringValue"]
        assert not any(ord(char) < 32 and char not in "\t\n\r" for char in value["StringValue"])
