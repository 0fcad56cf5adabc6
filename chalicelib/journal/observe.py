"""Reads entries of this region's journal, page by page, newest first, and the alerts that its operations keep."""

from collections.abc import Iterator
from datetime import datetime, time

import msgspec

from chalicelib.aws.store import Item, Store
from chalicelib.engine import delivery, state
from chalicelib.engine.alerts import SCHEMA as ALERTS
from chalicelib.engine.alerts import AlertState
from chalicelib.engine.journal import SCHEMA
from chalicelib.engine.schema import Unreadable
from chalicelib.journal import decide
from chalicelib.journal.decide import Entry, JournalFilter, Window

_PAGE = 100


def entries(store: Store, wanted: JournalFilter, window: Window) -> tuple[list[Entry], bool]:
    """The newest entries that are wanted, and whether there are older ones."""
    found: list[Entry] = []
    for at, item in _all(store, window):
        if not decide.matches(item.sk, wanted):
            continue
        if len(found) == wanted.limit:
            return found, True
        found.append(_read(store, item, at))
    return found, False


def alerts(store: Store) -> tuple[dict[str, AlertState], tuple[Unreadable, ...]]:
    """The alerts of each operation, by its name, and those that cannot be read."""
    values, unreadable = state.read_all(store, store.query(delivery.PK), ALERTS)
    return {operation: stored.value for (_, operation), stored in sorted(values.items())}, unreadable


def _read(store: Store, item: Item, at: str) -> Entry:
    found = state.read(store, item, SCHEMA)
    if isinstance(found, Unreadable):
        return Entry(at, unreadable=str(found))
    return Entry(at, msgspec.to_builtins(found.value))


def _at(day: str, item: Item) -> str:
    """The time of an entry, which its key begins with. Empty for an item of another making."""
    try:
        return f"{day}T{time.fromisoformat(item.sk[:8])}Z"
    except ValueError:
        return ""


def _all(store: Store, window: Window) -> Iterator[tuple[str, Item]]:
    for day in window.days:
        before = ""
        while page := store.query(f"journal#{day}", limit=_PAGE, before=before):
            for item in page:
                at = _at(day, item)
                if at and datetime.fromisoformat(at).timestamp() < window.start:
                    return
                yield at or day, item
            before = page[-1].sk
