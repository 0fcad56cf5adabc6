"""The outside world of an operation, in memory, with tables, queues and topics that fail as the real ones do.

`MemoryTable`, `MemoryQueue` and `MemoryTopic` without a `fault` are plain fakes, good for any test.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from chalicelib.aws.client import Message
from chalicelib.aws.store import Item

T = TypeVar("T")

# Called before and after each effect with the call's name; it may wait, or raise to say how the call failed.
Fault = Callable[[str], None]


def no_fault(call: str) -> None:
    """Nothing goes wrong."""


class Store:
    """The items of one table, shared by its replicas, strongly consistent.

    `on_read` hears of each item right before somebody gets it, and may still change it.
    """

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], tuple[Item, str, int | None]] = {}
        self.sorted: dict[str, list[str]] = defaultdict(list)
        self.on_read: Callable[[str, str], None] | None = None

    def read(self, pk: str, sk: str) -> Item | None:
        """An item, for somebody outside of the table."""
        if self.on_read and (pk, sk) in self.items:
            self.on_read(pk, sk)
        found = self.items.get((pk, sk))
        return found[0] if found else None

    def put(self, item: Item, write_id: str, ttl: int | None) -> None:
        """Add or replace an item."""
        if (item.pk, item.sk) not in self.items:
            insort(self.sorted[item.pk], item.sk)
        self.items[item.pk, item.sk] = (item, write_id, ttl)

    def restore(self, backup: "Mapping[tuple[str, str], tuple[Item, str, int | None]]") -> None:
        """The table is again as it was when `items` was copied."""
        self.items, self.sorted = {}, defaultdict(list)
        for item, write_id, ttl in backup.values():
            self.put(item, write_id, ttl)

    def remove(self, pk: str, sk: str) -> None:
        """Forget an item."""
        del self.items[pk, sk]
        self.sorted[pk].pop(bisect_left(self.sorted[pk], sk))


class MemoryTable:
    """A `chalicelib.aws.store.Table` over a store."""

    def __init__(self, store: Store | None = None, fault: Fault = no_fault) -> None:
        self.store = store or Store()
        self._fault = fault

    def get(self, pk: str, sk: str) -> Item | None:
        return self._call("get", lambda: self._get(pk, sk))

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        return self._call("get_many", lambda: [item for key in keys if (item := self._get(*key))])

    def query(self, pk: str, *, newest: bool = True, limit: int = 100, after: str = "", before: str = "") -> list[Item]:
        return self._call("query", lambda: self._query(pk, newest, limit, after, before))

    def create(
        self, pk: str, sk: str, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        return self._call("create", lambda: self._put(None, Item(pk, sk, 1, body), write_id, ttl))

    def compare_and_set(
        self, old: Item, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        return self._call("compare_and_set", lambda: self._put(old, Item(old.pk, old.sk, max(1, old.version + 1), body),
                                                               write_id, ttl))

    def delete(self, old: Item) -> bool:
        return self._call("delete", lambda: self._delete(old))

    def scan_expired(self, now: int, part: int = 0, parts: int = 1) -> Iterator[Item]:
        return iter(self._call("scan_expired", lambda: [
            found for (pk, sk), (_, _, ttl) in list(self.store.items.items())
            if ttl is not None and ttl < now and crc32(f"{pk}/{sk}".encode()) % parts == part
            and (found := self._get(pk, sk))]))

    def _get(self, pk: str, sk: str) -> Item | None:
        return self.store.read(pk, sk)

    def _query(self, pk: str, newest: bool, limit: int, after: str, before: str) -> list[Item]:
        keys = self.store.sorted[pk]
        first = bisect_right(keys, after) if after else 0
        last = bisect_left(keys, before) if before else len(keys)
        chosen = keys[max(first, last - limit):last][::-1] if newest else keys[first:min(last, first + limit)]
        return [item for sk in chosen if (item := self._get(pk, sk))]

    def _put(self, old: Item | None, new: Item, write_id: str, ttl: int | None) -> Item | None:
        there = self.store.items.get((new.pk, new.sk))
        if there and write_id and there[1] == write_id:
            return msgspec.structs.replace(new, write_id=write_id)
        if not _same(there[0] if there else None, old):
            return None
        new = msgspec.structs.replace(new, write_id=write_id)
        self.store.put(new, write_id, ttl)
        return new

    def _delete(self, old: Item) -> bool:
        found = self.store.items.get((old.pk, old.sk))
        there = found[0] if found else None
        if there and not _same(there, old):
            return False
        if there:
            self.store.remove(old.pk, old.sk)
        return True

    def _call(self, name: str, effect: Callable[[], T]) -> T:
        self._fault(name)
        answer = effect()
        self._fault(name)
        return answer


def _same(there: Item | None, old: Item | None) -> bool:
    """Whether an item is still as it was read, by what a write compares."""
    if there is None or old is None:
        return there is old
    same_life = not old.write_id or there.write_id == old.write_id
    return same_life and (there.version, there.raw_version) == (old.version, old.raw_version)


class MemoryQueue:
    """A `chalicelib.context.Queue`. Sent messages go to `deliver`, or stay in `sent`."""

    def __init__(self, deliver: Callable[[Message], None] | None = None, fault: Fault = no_fault) -> None:
        self.sent: list[Message] = []
        self.hidden: list[tuple[str, int]] = []
        self._deliver = deliver or self._keep
        self._fault = fault

    def send(self, messages: Sequence[Message]) -> None:
        self._fault("send")
        for message in messages:
            self._deliver(message)
        self._fault("send")

    def _keep(self, message: Message) -> None:
        self.sent.append(message)

    def change_visibility(self, receipt: str, seconds: int) -> None:
        self._fault("change_visibility")
        self.hidden.append((receipt, seconds))


class MemoryTopic:
    """A `chalicelib.context.Topic` that remembers what was told."""

    def __init__(self, fault: Fault = no_fault) -> None:
        self.told: list[tuple[str, str]] = []
        self._fault = fault

    def publish(self, subject: str, text: str) -> None:
        self._fault("publish")
        self.told.append((subject, text))
