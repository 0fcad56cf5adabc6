"""The ledger's contract against the embedded DynamoDB: the same as the table in memory keeps, and races on top."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws import client
from chalicelib.aws.store import DynamoStore, Item, ReplicatedStore, Store
from chalicelib.engine import state
from chalicelib.engine.alerts import SCHEMA, AlertState
from chalicelib.engine.schema import Unreadable
from sandbox.faults import THROTTLED
from sandbox.world import Sandbox
from testing.fakes import MemoryTable

pytestmark = pytest.mark.world

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def dynamo(empty: Sandbox) -> Iterator[DynamoStore]:
    empty.client("dynamodb", REGION).create_table(
        TableName="ledger", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")])
    original = client.client
    client.client = empty.client  # type: ignore[assignment]
    yield DynamoStore("ledger", REGION)
    client.client = original


@pytest.fixture(params=["dynamodb", "memory"])
def table(request: pytest.FixtureRequest, dynamo: DynamoStore) -> Store:
    return dynamo if request.param == "dynamodb" else MemoryTable()


def test_create_swap_and_delete_are_conditional(table: Store) -> None:
    first = table.create("a", "1", {"x": [1, {"y": None}]}, write_id="first")
    assert first == Item("a", "1", 1, {"x": [1, {"y": None}]}, write_id="first")
    assert table.get("a", "1") == first
    assert table.create("a", "1", {}) is None
    second = table.compare_and_set(first, {"x": 2}, write_id="second")
    assert second == Item("a", "1", 2, {"x": 2}, write_id="second")
    assert table.compare_and_set(first, {"x": 3}) is None
    assert table.delete(first) is False
    assert table.delete(second) is True
    assert table.get("a", "1") is None
    assert table.delete(second) is True


def test_an_item_that_was_made_anew_is_not_the_one_before(table: Store) -> None:
    old = table.create("anew", "1", {"x": 1}, write_id="one")
    assert old and table.delete(old)
    new = table.create("anew", "1", {"x": 2}, write_id="another")
    assert new and new.version == old.version
    assert table.compare_and_set(old, {"x": 3}) is None and table.delete(old) is False
    assert table.get("anew", "1") == new


def test_a_write_repeated_with_its_mark_is_one_write(table: Store) -> None:
    first = table.create("m", "1", {"x": 1}, write_id="me")
    assert first is not None
    assert table.create("m", "1", {"x": 1}, write_id="me") == first
    assert table.create("m", "1", {"x": 1}, write_id="you") is None
    second = table.compare_and_set(first, {"x": 2}, write_id="again")
    assert table.compare_and_set(first, {"x": 2}, write_id="again") == second


def test_query_and_get_many(table: Store) -> None:
    for number in range(250):
        table.create("q", f"{number:03d}", {"n": number})
    assert [item.sk for item in table.query("q", limit=3)] == ["249", "248", "247"]
    assert [item.sk for item in table.query("q", newest=False, limit=2, after="010", before="013")] == ["011", "012"]
    assert len(table.query("q", limit=1000)) == 250
    assert table.query("nothing") == []
    keys = [("q", f"{number:03d}") for number in range(200, 300)] + [("q", f"{number:03d}") for number in range(150)]
    assert len(table.get_many(keys)) == 200
    assert table.get_many([]) == []


def test_expired_finds_only_what_is_past(table: Store) -> None:
    table.create("t", "old", {}, ttl=100)
    table.create("t", "new", {}, ttl=1000)
    table.create("t", "ever", {})
    assert [item.sk for item in table.scan_expired(500) if item.pk == "t"] == ["old"]


FOREIGN: dict[str, Any] = {
    "no version": {"body": {"S": "{}"}}, "a version of text": {"version": {"S": "3"}, "body": {"S": "{}"}},
    "a fraction": {"version": {"N": "1.5"}, "body": {"S": "{}"}}, "null": {"version": {"NULL": True}}, "empty": {},
    "no body": {"version": {"N": "3"}},
    "an empty body": {"version": {"N": "3"}, "body": {"S": ""}}, "a list": {"version": {"N": "3"}, "body": {"S": "[]"}},
    "a number": {"version": {"N": "3"}, "body": {"N": "7"}}, "no JSON": {"version": {"N": "3"}, "body": {"S": "{"}}}


@pytest.mark.parametrize("name", FOREIGN)
def test_item_of_another_making_is_read_with_its_problem_and_may_be_replaced_or_deleted(
    dynamo: DynamoStore, empty: Sandbox, name: str
) -> None:
    dynamo.create(f"foreign {name}", "good", {"n": 1})
    for sk in ("bad", "worse"):
        empty.client("dynamodb", REGION).put_item(
            TableName="ledger", Item={"pk": {"S": f"foreign {name}"}, "sk": {"S": sk}} | FOREIGN[name])
    # One bad item keeps nobody from the others.
    bad, good, worse = dynamo.query(f"foreign {name}", newest=False)
    assert (good.body, good.problem) == ({"n": 1}, "")
    assert bad.problem and bad.body == {} and dynamo.get(bad.pk, bad.sk) == bad
    found = state.load(dynamo, (bad.pk, bad.sk), SCHEMA, AlertState())
    assert isinstance(found, Unreadable) and str(found) == f"{bad.pk}/bad in ledger in {REGION}: {bad.problem}"
    replaced = dynamo.compare_and_set(bad, {"n": 2})
    assert replaced and dynamo.get(bad.pk, bad.sk) == replaced and replaced.version == max(1, bad.version + 1)
    assert not dynamo.compare_and_set(bad, {"n": 3})
    assert not dynamo.delete(bad)
    assert dynamo.delete(worse)


def test_of_many_claims_at_once_one_wins(dynamo: DynamoStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        for slot in range(20):
            won = list(pool.map(lambda worker, slot=slot: dynamo.create(
                "claims", str(slot), {"by": worker}), range(16)))
            assert sum(item is not None for item in won) == 1


def test_a_region_that_does_not_answer_is_unreachable_and_its_replica_is_asked(
    dynamo: DynamoStore, empty: Sandbox
) -> None:
    empty.stop_region(REGION)
    try:
        with pytest.raises(client.Unavailable, match=REGION):
            dynamo.get("a", "1")
        memory = MemoryTable()
        made = ReplicatedStore([dynamo, memory]).create("r", "1", {"x": 1})
        assert made and made.body == {"x": 1} and memory.get("r", "1") == made
    finally:
        empty.start_region(REGION)


def test_what_aws_refuses_for_good_is_no_silence(dynamo: DynamoStore) -> None:
    with pytest.raises(ClientError, match="not found"):
        DynamoStore("no-such-table", REGION).get("a", "1")


def test_throttling_is_silence(dynamo: DynamoStore, empty: Sandbox) -> None:
    def refused(method: Any) -> None:
        with pytest.raises(client.Unavailable):
            method()

    empty.refuse("dynamodb:GetItem", kind=THROTTLED)
    try:
        refused(lambda: dynamo.get("a", "1"))
    finally:
        empty.clear_faults()
