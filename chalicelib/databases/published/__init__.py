"""The facts about the databases that other capabilities may know."""

from chalicelib.aws.store import Store
from chalicelib.databases.published.primary import PRIMARY, PRIMARY_KEY, PrimaryRecord
from chalicelib.engine import state
from chalicelib.engine.schema import Stored, Unreadable


def read_primary(store: Store, declared: str) -> Stored[PrimaryRecord] | Unreadable:
    """The region of the primary, as the shared store has it. Before the first promotion it is the `declared` one.

    Raises the store's own error if it gives no answer. A restored table has an earlier record, see `position`.
    """
    return state.find(store, PRIMARY_KEY, PRIMARY) or Stored(PrimaryRecord(declared))


def position(record: Stored[PrimaryRecord]) -> tuple[int, int]:
    """The place of a record among all that there were, its term first and then the version of its item.

    It only grows, so that a record before one that was ever seen is of a restored table, and nobody may act on it.
    """
    return record.value.term, record.version
