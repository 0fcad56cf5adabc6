"""Items that another program wrote into the table, under DynamoDB's own conditions."""

from decimal import Decimal
from typing import Any

import pytest

from chalicelib.aws import client
from chalicelib.aws.store import DynamoStore, Item

DEEP = "[" * 100_000 + "]" * 100_000


class Dynamo:
    """A table whose records a test may write as it likes. It knows the conditions that the store uses."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.records = {self._key(record): record for record in records}

    def get_item(self, Key: dict[str, Any], **_: Any) -> dict[str, Any]:
        found = self.records.get(self._key(Key))
        return {"Item": found} if found else {}

    def put_item(self, Item: dict[str, Any], **more: Any) -> dict[str, Any]:
        self._check(self.records.get(self._key(Item)), **more)
        self.records[self._key(Item)] = Item
        return {}

    def delete_item(self, Key: dict[str, Any], **more: Any) -> dict[str, Any]:
        self._check(self.records.get(self._key(Key)), **more)
        self.records.pop(self._key(Key), None)
        return {}

    def query(self, ExpressionAttributeValues: dict[str, Any], **_: Any) -> dict[str, Any]:
        pk = ExpressionAttributeValues[":pk"]["S"]
        return {"Items": [self.records[key] for key in sorted(self.records) if key[0] == pk]}

    def _check(
        self, there: dict[str, Any] | None, ConditionExpression: str,
        ExpressionAttributeValues: dict[str, Any] | None = None, **_: Any,
    ) -> None:
        version, values = (there or {}).get("version"), ExpressionAttributeValues or {}
        holds = {
            "attribute_not_exists(pk)": there is None,
            "attribute_not_exists(version)": version is None,
            "version = :version": version is not None and self._equal(version, values.get(":version", {})),
        }[ConditionExpression]
        if not holds:
            answer: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, "Item": there or {}}
            raise client.ClientError(answer, "PutItem")

    def _equal(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        if "N" in one and "N" in other:
            return Decimal(one["N"]) == Decimal(other["N"])
        return one == other

    def _key(self, record: dict[str, Any]) -> tuple[str, str]:
        return record["pk"]["S"], record["sk"]["S"]


def table(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> DynamoStore:
    """A store whose item a/1 has these attributes, beside a good a/2."""
    good = {"pk": {"S": "a"}, "sk": {"S": "2"}, "version": {"N": "4"}, "body": {"S": '{"x":1}'}}
    dynamo = Dynamo({"pk": {"S": "a"}, "sk": {"S": "1"}} | attributes, good)
    monkeypatch.setattr(client, "client", lambda service, region: dynamo)
    return DynamoStore("lamp-test", "eu-west-1")


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '{"a":1e999}', f'{{"a":{DEEP}}}', DEEP, "\ud800"],
                         ids=["empty", "open", "list", "number", "huge", "deep", "deep-list", "half-a-pair"])
def test_item_whose_body_cannot_be_read_stops_no_reader_and_can_be_replaced(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    store = table(monkeypatch, version={"N": "3"}, body={"S": body})
    bad, good = store.query("a")
    assert good == Item("a", "2", 4, {"x": 1})
    assert bad.body == {} and bad.problem.startswith("its body is no JSON object (")
    assert store.compare_and_set(bad, {"x": 2}) == store.get("a", "1") == Item("a", "1", 4, {"x": 2})
