"""The items that a run could not read, in any of its functions.

A function that cannot read an item knows how to go on without it, and need not tell. The stores of a run note each such
item, and the engine tells of them all.

    witness = Witness()
    context = witness.watch(context)
    ...                                     # whatever reads through `state`
    witness.unreadable
"""

from typing import Any, cast

from msgspec.structs import replace

from chalicelib.aws.store import Store
from chalicelib.context import RegionContext
from chalicelib.engine.schema import ItemKey, Unreadable


class Witness:
    """The unreadable items of one run, each once, in the order in which they were met."""

    def __init__(self) -> None:
        self._met: dict[ItemKey, Unreadable] = {}

    def note(self, item: Unreadable) -> None:
        """An item cannot be read."""
        self._met.setdefault(item.key, item)

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """All of them up to now."""
        return tuple(self._met.values())

    def watch(self, context: RegionContext) -> RegionContext:
        """`context` with stores that note here what cannot be read of them."""
        return replace(context, shared_store=self.watched(context.shared_store),
                       local_store=self.watched(context.local_store))

    def watched(self, store: Store) -> Store:
        """`store`, which notes here what cannot be read of it."""
        return cast(Store, _Watched(store, self))


class _Watched:
    """A store with the method `note_unreadable`, which `state.read` calls."""

    def __init__(self, store: Store, witness: Witness) -> None:
        self._store, self.note_unreadable = store, witness.note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
