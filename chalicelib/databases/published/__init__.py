"""The facts about the databases that other capabilities may know."""

from chalicelib.aws.store import Store
from chalicelib.databases.published.primary import PRIMARY, PRIMARY_KEY, PrimaryRecord
from chalicelib.engine import state
from chalicelib.engine.schema import Unreadable


def read_primary(store: Store, declared: str) -> PrimaryRecord | Unreadable:
    """The region of the primary, as the shared store has it. Before the first promotion it is the `declared` one.

    Raises the store's own error if it gives no answer.
    """
    found = state.find(store, PRIMARY_KEY, PRIMARY)
    if isinstance(found, Unreadable):
        return found
    return found.value if found else PrimaryRecord(declared)
