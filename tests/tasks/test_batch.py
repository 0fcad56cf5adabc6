import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.tasks.event import BadEvent, read, refusal
from tests.tasks.fakes import ARN, place, record

PLACES = {"lamp-test-default": place(), "lamp-test-orders.fifo": place("orders", fifo=True)}


def without(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (record({}) | changes).items() if value is not ...}


def test_a_batch_knows_its_queue() -> None:
    assert read({"Records": [record({}, 1), record({}, 2)]}, PLACES).place.name == "default"
    assert read({"Records": [record({}, 1, group="a", queue="orders")]}, PLACES).place.fifo


@pytest.mark.parametrize(("event", "says"), [
    (None, 'takes the batches of its queues, {"Records": [...]}'),
    ({}, 'takes the batches of its queues, {"Records": [...]}'),
    ([], "takes the batches"),
    ("text", "takes the batches"),
    ({"Records": []}, "takes the batches"),
    ({"Records": {}}, "takes the batches"),
    ({"Records": [1]}, "expected `object`, got `int`"),
    ({"Records": [{}]}, "missing required field `messageId`"),
    ({"Records": [without(body=...)]}, "missing required field `body`"),
    ({"Records": [without(body=7)]}, "`$[0].body`"),
    ({"Records": [without(receiptHandle=None)]}, "`$[0].receiptHandle`"),
    ({"Records": [without(attributes={})]}, "ApproximateReceiveCount"),
    ({"Records": [without(attributes={"ApproximateReceiveCount": "many", "SentTimestamp": "1"})]}, "`$[0].attributes"),
    ({"Records": [record({}), without(eventSourceARN=f"{ARN}other")]}, "more than one queue"),
    ({"Records": [without(eventSourceARN=f"{ARN}other")]}, "fleet.toml has no queue arn:aws:sqs"),
])
def test_what_is_no_batch_is_refused_in_one_sentence(event: object, says: str) -> None:
    with pytest.raises(BadEvent) as error:
        read(event, PLACES)
    assert says.lower() in str(error.value).lower()


def test_a_refusal_keeps_the_whole_batch() -> None:
    # "An empty string itemIdentifier": the batch is a complete failure, says the Lambda developer guide.
    answer = refusal(BadEvent("no"))
    assert answer["batchItemFailures"] == [{"itemIdentifier": ""}]
    assert (answer["status"], answer["message"]) == ("refused", "no")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3))
NAMES = st.sampled_from(["messageId", "receiptHandle", "body", "eventSourceARN", "attributes"])


@pytest.mark.slow
@given(JSON | st.fixed_dictionaries({"Records": st.lists(st.builds(
    lambda base, name, value: base | {name: value}, st.just(record({})), NAMES, JSON) | JSON, max_size=3)}))
def test_any_event_is_a_batch_or_one_clear_error(event: Any) -> None:
    try:
        batch = read(event, PLACES)
    except BadEvent as error:
        assert str(error).startswith("tasks.work")
        json.dumps(refusal(error))
    else:
        assert batch.records is event["Records"]
        for raw in batch.records:
            assert int(raw["attributes"]["ApproximateReceiveCount"]) is not None
            assert isinstance(raw["messageId"], str)
