"""The stored items of the system, in a DynamoDB table that changes only by compare-and-set.

Both tables, the regional one and the coordination one, have the same shape. `pk` and `sk` are text, and `version` is a
number that grows with each write and so serves as fencing token. `body` is JSON, `write_id` a random mark of the
writing call, and the optional `ttl` the epoch seconds after which the item may go.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import msgspec

from chalicelib import foreign
from chalicelib.aws import client

T = TypeVar("T")

# The engine's log takes these as well.
_logger = logging.getLogger("lamplighter")

_SHUNNED_SECONDS = 30
# The pauses before a replica that lives, but refused once, is asked again.
_PAUSES_SECONDS = (0.05, 0.2)


class Item(msgspec.Struct, frozen=True):
    """One remembered thing. `version` grows by one with each write. The higher one is the later.

    `problem` says why an item that lies in the table could not be taken apart. Its body is empty then. Its version is
    -1 if it is no number of ours, and `raw_version` has the attribute as DynamoDB gave it, `None` if there is none.
    Such an item can be replaced and deleted like any other.

    `write_id` is the mark of its last write. An item that was deleted and made anew begins at version 1 again, so that
    only the mark tells it from the one before.
    """

    pk: str
    sk: str
    version: int
    body: dict[str, Any]
    problem: str = ""
    raw_version: dict[str, Any] | None = None
    write_id: str = ""


class Store(Protocol):
    """Compare-and-set storage. Each method may raise `client.Unavailable`. A write may then have happened or not.

    `write_id` is the mark of one write. A repeated write with the same mark, in any replica, is the same write and
    gives the same answer. Without one each call is a write of its own.
    """

    def get(self, pk: str, sk: str) -> Item | None:
        """The item, read consistently."""

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        """Those of `keys` (any number, all different) that exist, in no order, read consistently."""

    def query(self, pk: str, *, newest: bool = True, limit: int = 100, after: str = "", before: str = "") -> list[Item]:
        """Up to `limit` items of `pk` with `after` < sk < `before` (empty is no bound), by sk, newest first or last."""

    def create(
        self, pk: str, sk: str, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        """The new item, or `None` if there was one already."""

    def compare_and_set(
        self, old: Item, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        """`old` with a new body, or `None` if it is no longer as it was."""

    def delete(self, old: Item) -> bool:
        """Whether nothing is there any more. `False` if `old` had changed and was left alone."""

    def scan_expired(self, now: int, part: int = 0, parts: int = 1) -> Iterator[Item]:
        """The items of one of `parts` equal shares of the table whose ttl lies before `now` (epoch seconds).

        Reads the whole share, page by page, as the iterator is used.
        """


class DynamoStore:
    """A `Table` in one region's DynamoDB. `clients` are those of other credentials than the process's own."""

    def __init__(self, name: str, region: str, clients: Callable[[str, str], Any] | None = None) -> None:
        self.name = name
        self.region = region
        self._clients = clients or client.client

    def get(self, pk: str, sk: str) -> Item | None:
        answer = self._call("get_item", Key=_key(pk, sk), ConsistentRead=True)
        return _item(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        found: list[Item] = []
        waiting = [_key(pk, sk) for pk, sk in keys]
        while waiting:
            batch, waiting = waiting[:100], waiting[100:]
            answer = self._call("batch_get_item", table=False,
                                RequestItems={self.name: {"Keys": batch, "ConsistentRead": True}})
            found += map(_item, answer["Responses"].get(self.name, ()))
            waiting += answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", ())
        return found

    def query(self, pk: str, *, newest: bool = True, limit: int = 100, after: str = "", before: str = "") -> list[Item]:
        values = {":pk": {"S": pk}, ":after": {"S": after or "\x01"}, ":before": {"S": before or "\U0010ffff"}}
        found: list[Item] = []
        page: dict[str, Any] = {}
        while len(found) < limit:
            answer = self._call(
                "query", KeyConditionExpression="pk = :pk AND sk BETWEEN :after AND :before", ConsistentRead=True,
                ExpressionAttributeValues=values, ScanIndexForward=not newest, Limit=limit - len(found) + 2, **page)
            # BETWEEN is inclusive; the contract is not.
            found += [item for item in map(_item, answer["Items"]) if item.sk not in (after, before)]
            if "LastEvaluatedKey" not in answer:
                break
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        return found[:limit]

    def create(
        self, pk: str, sk: str, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        return self._put(Item(pk, sk, 1, body), ttl, write_id, "attribute_not_exists(pk)", {})

    def compare_and_set(
        self, old: Item, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        new = Item(old.pk, old.sk, max(1, old.version + 1), body)
        return self._put(new, ttl, write_id, *_unchanged(old))

    def delete(self, old: Item) -> bool:
        condition, values = _unchanged(old)
        more: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._call("delete_item", Key=_key(old.pk, old.sk), ConditionExpression=condition,
                       ReturnValuesOnConditionCheckFailure="ALL_OLD", **more)
        except client.ClientError as error:
            return "Item" not in _refused(error)
        return True

    def scan_expired(self, now: int, part: int = 0, parts: int = 1) -> Iterator[Item]:
        page: dict[str, Any] = {}
        while True:
            answer = self._call("scan", FilterExpression="#ttl < :now", ExpressionAttributeNames={"#ttl": "ttl"},
                                ExpressionAttributeValues={":now": {"N": str(now)}}, Segment=part,
                                TotalSegments=parts, **page)
            yield from map(_item, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _put(self, item: Item, ttl: int | None, write_id: str, condition: str, values: dict[str, Any]) -> Item | None:
        mark = write_id or uuid.uuid4().hex
        item = msgspec.structs.replace(item, write_id=mark)
        record = _key(item.pk, item.sk) | {
            "version": {"N": str(item.version)},
            "write_id": {"S": mark},
            "body": {"S": msgspec.json.encode(item.body).decode()},
        }
        if ttl is not None:
            record["ttl"] = {"N": str(ttl)}
        more: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._call("put_item", Item=record, ConditionExpression=condition,
                       ReturnValuesOnConditionCheckFailure="ALL_OLD", **more)
        except client.ClientError as error:
            # When the answer of a first try gets lost, the second one finds its own mark.
            there = _refused(error).get("Item", {})
            return item if there.get("write_id", {}).get("S") == mark else None
        return item

    def _call(self, method: str, *, table: bool = True, **arguments: Any) -> Any:
        if table:
            arguments["TableName"] = self.name
        return client.aws_call(self.region, lambda: getattr(self._clients("dynamodb", self.region),
                                                            method)(**arguments))


class ReplicatedStore:
    """A `Table` kept in several regions with strong consistency. Any replica that answers will do.

    A replica that gave no answer is passed over for half a minute, so that its loss costs one time-out, not one a call.
    One that answers, but is throttled or has another region's write of the same item under way, is asked again.
    One that refuses (it was deleted, or its key cannot be used) is passed over, too, if another one does not.
    A write whose answer was lost on one replica is repeated on the next with the same mark, and so is one write.
    """

    def __init__(self, tables: Sequence[Store], clock: Callable[[], float] = time.monotonic,
                 wait: Callable[[float], None] = time.sleep) -> None:
        self.replicas = list(tables)
        self._clock, self._wait = clock, wait
        self._shunned_until = [0.0] * len(self.replicas)

    def get(self, pk: str, sk: str) -> Item | None:
        return self._first(lambda table: table.get(pk, sk))

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        return self._first(lambda table: table.get_many(keys))

    def query(self, pk: str, *, newest: bool = True, limit: int = 100, after: str = "", before: str = "") -> list[Item]:
        return self._first(lambda table: table.query(pk, newest=newest, limit=limit, after=after, before=before))

    def create(
        self, pk: str, sk: str, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        mark = write_id or uuid.uuid4().hex
        return self._first(lambda table: table.create(pk, sk, body, ttl=ttl, write_id=mark))

    def compare_and_set(
        self, old: Item, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        mark = write_id or uuid.uuid4().hex
        return self._first(lambda table: table.compare_and_set(old, body, ttl=ttl, write_id=mark))

    def delete(self, old: Item) -> bool:
        return self._first(lambda table: table.delete(old))

    def scan_expired(self, now: int, part: int = 0, parts: int = 1) -> Iterator[Item]:
        """As of a table. If the replica falls silent half-way, so does this, and the next run goes on."""
        def begin(table: Store) -> tuple[list[Item], Iterator[Item]]:
            rest = table.scan_expired(now, part, parts)
            return list(islice(rest, 1)), rest

        first, rest = self._first(begin)
        return chain(first, rest)

    def _first(self, call: Callable[[Store], T]) -> T:
        silent: client.Unavailable | None = None
        refusals: dict[int, client.ClientError] = {}
        for number in sorted(range(len(self.replicas)), key=lambda n: self._shunned_until[n] > self._clock()):
            try:
                found = self._patiently(lambda number=number: call(self.replicas[number]))  # type: ignore[misc]
            except (client.Throttled, client.Conflicted) as error:
                # It lives. To pass it over would send everything to farther replicas.
                silent = error
            except client.Unavailable as error:
                self._shun(number)
                silent = error
            except client.ClientError as error:
                refusals[number] = error
            else:
                for refused, refusal in refusals.items():
                    _logger.warning("one replica refuses what another one does: %s", refusal)
                    self._shun(refused)
                return found
        # One that was silent may have done it all the same. What all refuse is the fault of the request.
        raise silent or next(iter(refusals.values()), client.Unavailable("the store has no replica"))

    def _shun(self, number: int) -> None:
        self._shunned_until[number] = self._clock() + _SHUNNED_SECONDS

    def _patiently(self, call: Callable[[], T]) -> T:
        for pause in _PAUSES_SECONDS:
            try:
                return call()
            except (client.Throttled, client.Conflicted):
                # Two regions that met once must not meet again.
                self._wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        return call()


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _unchanged(old: Item) -> tuple[str, dict[str, Any]]:
    """The condition that an item is still as it was read, and its values."""
    if old.version >= 0 and old.write_id:
        return "version = :version AND write_id = :write_id", {
            ":version": {"N": str(old.version)}, ":write_id": {"S": old.write_id}}
    if old.version >= 0:
        return "version = :version", {":version": {"N": str(old.version)}}
    if old.raw_version is None:
        return "attribute_not_exists(version)", {}
    return "version = :version", {":version": old.raw_version}


def _item(record: dict[str, Any]) -> Item:
    """The item of a record as DynamoDB gives it. An item of another making is an item, too, and must not stop its
    reader."""
    pk, sk = record["pk"]["S"], record["sk"]["S"]
    version = _version(record.get("version"))
    if version < 0:
        return Item(pk, sk, version, {}, "it has no number as its version, so Lamplighter did not write it",
                    record.get("version"))
    try:
        body = foreign.decode(record["body"]["S"], dict[str, Any])
    except (KeyError, TypeError) as error:
        return Item(pk, sk, version, {}, f"its body is missing or no text ({type(error).__name__})")
    except foreign.Undecodable as error:
        return Item(pk, sk, version, {}, f"its body is no JSON object ({error})")
    return Item(pk, sk, version, body, write_id=str(record.get("write_id", {}).get("S", "")))


def _version(attribute: Any) -> int:
    """The version, or -1 of an item of another making. Ours begin with 1."""
    try:
        version = int(attribute["N"])
    except (KeyError, TypeError, ValueError):
        return -1
    return version if version > 0 else -1


def _refused(error: client.ClientError) -> dict[str, Any]:
    """The answer to a write whose condition did not hold. Any other error is raised again."""
    if error.response.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
        raise error
    answer: dict[str, Any] = dict(error.response)
    return answer
