"""The facts about a region's tunnels for other capabilities."""

import msgspec

from chalicelib.aws.store import Store
from chalicelib.engine import state
from chalicelib.engine.schema import Schema, Unreadable

# Where the controller keeps its state, of which the rest concerns nobody else.
KEY = ("tunnels", "state")


class MemberPhase(msgspec.Struct, frozen=True):
    """A member, as others may know it."""

    phase: str


class PublishedState(msgspec.Struct, frozen=True):
    """The state of the controller, as others may know it."""

    at: float = 0
    members: tuple[MemberPhase, ...] = ()


SCHEMA = Schema(PublishedState, 2)


class TunnelsSummary(msgspec.Struct, frozen=True):
    """How many members are healthy, of how many, as the controller had it `at` (epoch seconds)."""

    healthy: int
    members: int
    at: float


def read_summary(store: Store) -> TunnelsSummary | Unreadable | None:
    """As the region's local store has it. `None` where no controller has looked yet."""
    found = state.find(store, KEY, SCHEMA)
    if found is None or isinstance(found, Unreadable):
        return found
    members = found.value.members
    return TunnelsSummary(sum(member.phase == "healthy" for member in members), len(members), found.value.at)
