"""The facts about the databases that other capabilities may know."""

import msgspec

from chalicelib.aws.store import Store
from chalicelib.databases.state import MASTER, PrimaryRecord, read
from chalicelib.engine import state
from chalicelib.engine.schema import ItemKey, Unreadable


def read_primary(store: Store, declared: str) -> PrimaryRecord | Unreadable:
    """The region of the primary, as the shared store has it. Before the first promotion it is the `declared` one.

    Raises the store's own error if it gives no answer.
    """
    item = store.get(*MASTER)
    if item is None:
        return PrimaryRecord(declared)
    try:
        return read(item.body, PrimaryRecord)
    except msgspec.ValidationError as error:
        return Unreadable(ItemKey(state.place(store), *MASTER), str(error))
