"""What keeps an act from being done late, twice, or by one that has been overtaken. Asked right before each call.

The decision guards against the world; these guard against the healer itself, which may stall, overlap, or be run twice.
"""

from collections.abc import Callable

import msgspec

from chalicelib.aws.store import Item, Store
from chalicelib.tunnels.state import EFFECTS_PK

# A claim outlives whatever could repeat its act.
CLAIM_DAYS = 15


class EffectContext(msgspec.Struct, frozen=True):
    """Where an act stands when it is about to be done: seen `at`, by the round `turn`; now it is `now`, and the memory
    is of the round `there`."""

    at: float
    now: float
    stale: int
    turn: str
    there: str


def is_stale(standing: EffectContext) -> str:
    """What was seen too long ago is not acted on, however long the healer stood still in between."""
    age = standing.now - standing.at
    return f"left: what it was decided on is {age:.0f} s old" if age > standing.stale else ""


def is_superseded(standing: EffectContext) -> str:
    """Only the round whose memory is in the table may act: a later one has seen more."""
    return "left: a later round has decided" if standing.turn != standing.there else ""


FENCES: dict[str, Callable[[EffectContext], str]] = {"late": is_stale, "overtaken": is_superseded}


def refusal(standing: EffectContext) -> str:
    """Why the act must not be done any more; nothing if it may be."""
    return next((reason for fence in FENCES.values() if (reason := fence(standing))), "")


def claim(table: Store, key: str, now: float) -> Item | None:
    """The record that the act `key` is being done, or `None` if it was there: whoever did not make it does nothing."""
    return table.create(EFFECTS_PK, key, {"at": now}, ttl=int(now) + CLAIM_DAYS * 86_400)
