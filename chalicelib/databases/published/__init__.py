"""The facts about the databases that other capabilities may know."""

from chalicelib.aws.store import Store
from chalicelib.databases.published.primary import PRIMARY, PRIMARY_KEY, PrimaryRecord
from chalicelib.databases.published.primary import position as position
from chalicelib.engine import state
from chalicelib.engine.schema import Stored, Unreadable


def read_primary(store: Store, declared: str) -> Stored[PrimaryRecord] | Unreadable:
    """The region of the primary, as the shared store has it. Before the first promotion it is the `declared` one.

    Raises the store's own error if it gives no answer. A restored table has an earlier record, see `position`.
    """
    return state.find(store, PRIMARY_KEY, PRIMARY) or Stored(PrimaryRecord(declared))
