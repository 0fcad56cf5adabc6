"""Items that another program wrote into the table, under DynamoDB's own conditions."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from chalicelib.aws import client
from chalicelib.aws.store import DynamoStore, Item, Store
from chalicelib.engine import delivery, interval, state
from chalicelib.engine.alerts import Alert
from chalicelib.engine.schema import Schema, State, Stored
from testing.alerts import ORIGIN
from testing.fakes import MemoryTable, MemoryTopic


class Slot(State, frozen=True):
    slot: str = "12:44"


SLOT = Schema(Slot)
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
        same = version is not None and self._equal(version, values.get(":version", {}))
        holds = {
            "attribute_not_exists(pk)": there is None,
            "attribute_not_exists(version)": version is None,
            "version = :version": same,
            "version = :version AND write_id = :write_id":
                same and (there or {}).get("write_id") == values.get(":write_id"),
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
    assert written(store.compare_and_set(bad, {"x": 2}), store) == Item("a", "1", 4, {"x": 2})


def written(item: Item | None, store: Store) -> Item:
    """An item as it was written and lies there, without the mark of its write."""
    assert item and item == store.get(item.pk, item.sk)
    return msgspec.structs.replace(item, write_id="")


# What stands in the place of the version, and its number if it is one of ours.
VERSIONS: list[dict[str, Any] | None] = [
    None, {"S": "3"}, {"N": "1.5"}, {"N": "1E+3"}, {"N": "0"}, {"N": "-2"}, {"NULL": True}, {"L": []}, {"BOOL": False}]


def foreign_stores(monkeypatch: pytest.MonkeyPatch, pk: str, sk: str, version: dict[str, Any] | None) -> list[Store]:
    """The item pk/sk with such a version, in DynamoDB's shape and in memory."""
    more = {"version": version} if version else {}
    dynamo = Dynamo({"pk": {"S": pk}, "sk": {"S": sk}, "body": {"S": "{}"}} | more)
    monkeypatch.setattr(client, "client", lambda service, region: dynamo)
    memory = MemoryTable()
    memory.store.put(Item(pk, sk, -1, {}, "it has no number as its version", version), "", None)
    return [DynamoStore("lamp-test", "eu-west-1"), memory]


@pytest.mark.parametrize("version", VERSIONS)
def test_item_with_a_version_of_another_making_can_be_replaced_and_deleted(
    monkeypatch: pytest.MonkeyPatch, version: dict[str, Any] | None
) -> None:
    for store in foreign_stores(monkeypatch, "a", "1", version):
        bad = store.get("a", "1")
        assert bad and (bad.version, bad.body, bad.raw_version) == (-1, {}, version)
        assert written(store.compare_and_set(bad, {"x": 2}), store) == Item("a", "1", 1, {"x": 2})
        # It is no longer as it was read.
        assert store.compare_and_set(bad, {"x": 3}) is None
        assert not store.delete(bad)
    for store in foreign_stores(monkeypatch, "a", "1", version):
        bad = store.get("a", "1")
        assert bad and store.delete(bad)
        assert store.get("a", "1") is None


def test_item_of_another_making_that_changed_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for store in foreign_stores(monkeypatch, "a", "1", {"S": "3"}):
        for other in (None, {"S": "4"}):
            assert store.compare_and_set(Item("a", "1", -1, {}, "old", other), {"x": 2}) is None
            assert not store.delete(Item("a", "1", -1, {}, "old", other))


def test_an_item_that_was_deleted_and_made_anew_is_not_taken_for_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dynamo = Dynamo()
    monkeypatch.setattr(client, "client", lambda service, region: dynamo)
    for store in (DynamoStore("lamp-test", "eu-west-1"), MemoryTable()):
        old = store.create("lock", "job", {"slot": "12:43"}, write_id="a worker")
        assert old and store.delete(old)
        new = store.create("lock", "job", {"slot": "12:45"}, write_id="another worker")
        assert new and new.version == old.version
        assert store.compare_and_set(old, {"slot": "12:44"}) is None and not store.delete(old)
        assert state.write(store, ("lock", "job"), SLOT, Stored(Slot(), old.version, write_id=old.write_id), Slot(),
                           run_id="r") is None
        assert store.get("lock", "job") == new


def rounds(store: Store, key: tuple[str, str]) -> int:
    """How many rounds five Lambdas, one after the other, come to."""
    now, made = [1.8e9], list[float]()

    def wait(seconds: float) -> None:
        now[0] += seconds + 0.001

    for _ in range(5):
        interval.run_rounds(store, key, lambda at, token: made.append(at), capability="lamps", clock=lambda: now[0],
                            wait=wait, holder="h")
    return len(made)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_engine_replaces_it_replaces_whatever_its_version(
    monkeypatch: pytest.MonkeyPatch, version: dict[str, Any] | None
) -> None:
    down = Alert("RegionUnhealthy", "eu-west-1", "No host answers")
    for store in foreign_stores(monkeypatch, delivery.PK, "lamps.light", version):
        topic = MemoryTopic()
        for minute in range(2):
            delivery.deliver(store, topic, "lamps.light", [down], 1.8e9 + 60 * minute, origin=ORIGIN)
        assert sorted(subject for subject, _ in topic.told) == [
            "RegionUnhealthy: eu-west-1", "UnreadableItem: alerts/lamps.light"]
    for store in foreign_stores(monkeypatch, "term", "eu-west-1", version):
        assert state.publish(store, ("term", "eu-west-1"), Schema(State), State())
    for store in foreign_stores(monkeypatch, "lamps", "lease", version):
        assert rounds(store, ("lamps", "lease")) > 0
