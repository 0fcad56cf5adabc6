"""What becomes of an SQS batch, by the table of AWS's page "Handling errors for an SQS event source in Lambda"."""

import json
from typing import Any

import pytest

from sandbox.batches import failed_items

IDS = ["a", "b", "c"]


def failures(*ids: Any) -> dict[str, Any]:
    """A batch response that names `ids`."""
    return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}


@pytest.mark.parametrize(("answer", "back"), [
    (None, ""), ({}, ""), ("", ""), (failures(), ""), ({"batchItemFailures": None}, ""), ({"other": 1}, ""),
    (failures("a"), "a"), (failures("a", "c"), "ac"), (failures("a", "a"), "a"), (json.dumps(failures("b")), "b"),
    (failures(""), "abc"), (failures(None), "abc"), (failures("x"), "abc"), (failures("a", "x"), "abc"),
    ({"batchItemFailures": [{"wrongKey": "a"}]}, "abc"), ({"batchItemFailures": "a"}, "abc"),
    ({"batchItemFailures": ["a"]}, "abc"), ("not json", "abc"), ([1], "abc"), (True, "abc"),
])
def test_which_messages_come_back(answer: object, back: str) -> None:
    assert failed_items(answer, IDS) == set(back)
