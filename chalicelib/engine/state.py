"""Claimed state, read as a typed value, and replaced by compare-and-set before any action.

Every function may raise the store's own error when it gives no answer. A write may then have happened or not. The run
that comes next reads what is there, so a lost answer costs one run.

    before = state.load(context.local_store, KEY, SCHEMA, TunnelState())
    if isinstance(before, Unreadable):
        ...                                     # do nothing about it. The engine tells of it
    state.claim(context.local_store, KEY, SCHEMA, before, after, run_id=request.run_id)   # raises `Superseded`
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item, Store
from chalicelib.engine.schema import ItemKey, Schema, Stored, Unreadable, decode, encode

T = TypeVar("T")
Key = tuple[str, str]


class Superseded(Exception):
    """Another run has replaced the state meanwhile. It has seen more, so this run does nothing more."""


class Contended(Unavailable):
    """A change lost against another one in each of its tries. Nothing was written. The next run tries again."""


def load(store: Store, key: Key, schema: Schema[T], default: T) -> Stored[T] | Unreadable:
    """The value under `key`. `default` with version 0 where there is none."""
    found = find(store, key, schema)
    return Stored(default) if found is None else found


def find(store: Store, key: Key, schema: Schema[T]) -> Stored[T] | Unreadable | None:
    """The value under `key`, or `None` where there is none."""
    item = store.get(*key)
    return None if item is None else read(store, item, schema)


def read(store: Store, item: Item, schema: Schema[T]) -> Stored[T] | Unreadable:
    """The value of an item that was got, queried or created. A store that keeps a `Witness` hears of an unreadable one.
    """
    key = ItemKey(place(store), item.pk, item.sk)
    found = Unreadable(key, item.problem) if item.problem else decode(item.body, schema, key, version=item.version)
    if isinstance(found, Unreadable):
        getattr(store, "note_unreadable", _unheard)(found)
        return found
    return msgspec.structs.replace(found, write_id=item.write_id)


def read_all(
    store: Store, items: Iterable[Item], schema: Schema[T]
) -> tuple[dict[Key, Stored[T]], tuple[Unreadable, ...]]:
    """The values of many items by key, and the unreadable items. One bad item costs only itself."""
    values: dict[Key, Stored[T]] = {}
    unreadable: list[Unreadable] = []
    for item in items:
        found = read(store, item, schema)
        if isinstance(found, Unreadable):
            unreadable.append(found)
        else:
            values[item.pk, item.sk] = found
    return values, tuple(unreadable)


def load_many(
    store: Store, keys: Sequence[Key], schema: Schema[T]
) -> tuple[dict[Key, Stored[T]], tuple[Unreadable, ...]]:
    """As `read_all`, of those of `keys` that exist. Equal keys are read once."""
    distinct = list(dict.fromkeys(keys))
    return read_all(store, store.get_many(distinct) if distinct else (), schema)


def write(
    store: Store, key: Key, schema: Schema[T], before: Stored[T] | None, value: T, *, run_id: str,
    ttl: int | None = None,
) -> Stored[T] | None:
    """`value` in the place of `before` (`None` or version 0 means of nothing), or `None` if the store has another
    value.

    The write carries an id made of the run, the version and the content. So the same write, repeated after a lost
    answer, is one write. Another one of the same run is not mistaken for it.
    """
    body = encode(value, schema, run_id=run_id, before=before)
    version = before.version if before else 0
    digest = hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()[:16]
    write_id = f"{run_id}/{version}/{digest}"
    if version:
        old = Item(*key, version, {}, raw_version=before.raw_version if before else None,
                   write_id=before.write_id if before else "")
        item = store.compare_and_set(old, body, ttl=ttl, write_id=write_id)
    else:
        item = store.create(*key, body, ttl=ttl, write_id=write_id)
    if item is None:
        return None
    return Stored(value, item.version, run_id, body["schema"], before.unknown if before else {},
                  write_id=item.write_id)


def claim(
    store: Store, key: Key, schema: Schema[T], before: Stored[T] | None, value: T, *, run_id: str,
    ttl: int | None = None,
) -> Stored[T]:
    """`write`, for the state that says what a run is about to do. Raises `Superseded` if another run was faster."""
    written = write(store, key, schema, before, value, run_id=run_id, ttl=ttl)
    if written is None:
        raise Superseded(f"{key[0]}/{key[1]}: another run was faster")
    return written


def current(store: Store, key: Key, schema: Schema[T], *, run_id: str) -> Stored[T]:
    """The state, if `run_id` is still the run that wrote it last. Otherwise raises `Superseded`.

    Call it right before each external effect, because another run may have superseded one that stood still.
    """
    found = find(store, key, schema)
    if found is None or isinstance(found, Unreadable):
        raise Superseded(f"{key[0]}/{key[1]}: {'is gone' if found is None else found.because}")
    if found.run_id != run_id:
        raise Superseded(f"{key[0]}/{key[1]}: a later run has decided")
    return found


def update(
    store: Store, key: Key, schema: Schema[T], change: Callable[[T | None], T | None], *, run_id: str,
    ttl: int | None = None, tries: int = 3,
) -> Stored[T] | Unreadable | None:
    """Replaces the value by the result of `change` (`None` means that there is none), again if another run was faster.

    `change` gives `None` to leave it as it is, and then so does this. Raises `Contended` if another run was faster
    each time.
    """
    for _ in range(tries):
        before = find(store, key, schema)
        if isinstance(before, Unreadable):
            return before
        after = change(before.value if before else None)
        if after is None:
            return None
        if written := write(store, key, schema, before, after, run_id=run_id, ttl=ttl):
            return written
    raise Contended(f"{key[0]}/{key[1]}: the item changed {tries} times before it could be written")


def publish(
    store: Store, key: Key, schema: Schema[T], value: T, *, run_id: str = "", ttl: int | None = None,
    replaces: Callable[[T], bool] = lambda old: True,
) -> bool:
    """Publishes a fact of this region for others. Whether the store has it now.

    `replaces(old)` says whether the new fact may replace the old one, for example because it is newer. A published fact
    never goes backwards. An item that cannot be read is replaced, since only its own region writes it. `False` also
    when another run published at the same time.
    """
    item = store.get(*key)
    if item is None:
        return write(store, key, schema, None, value, run_id=run_id, ttl=ttl) is not None
    before = read(store, item, schema)
    if isinstance(before, Unreadable):
        return write(store, key, schema, instead_of(item, value), value, run_id=run_id, ttl=ttl) is not None
    return replaces(before.value) and write(store, key, schema, before, value, run_id=run_id, ttl=ttl) is not None


def instead_of(item: Item, value: T) -> Stored[T]:
    """`value` with the version of an unreadable item, which a write is to replace."""
    return Stored(value, item.version, raw_version=item.raw_version)


def _unheard(item: Unreadable) -> None:
    """Outside of an operation the caller tells of it."""


def place(store: Any) -> str:
    """The table of a store in plain words, with its name and region if the store knows them."""
    # Of a replicated store any replica will do.
    one = getattr(store, "replicas", (store,))[0]
    name, region = getattr(one, "name", ""), getattr(one, "region", "")
    return f"{name} in {region}" if name and region else name or "the store"
