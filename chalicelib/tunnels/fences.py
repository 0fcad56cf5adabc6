"""What keeps an act from being done late, twice, or by one that has been overtaken. Asked right before each call.

The decision guards against the world; these guard against the healer itself, which may stall, overlap, or be run twice.
"""

from collections.abc import Callable

import msgspec

from chalicelib.ledger import Item, Table
from chalicelib.tunnels.records import CLAIMS

# A claim outlives whatever could repeat its act.
CLAIM_DAYS = 15


class Standing(msgspec.Struct, frozen=True):
    """Where an act stands when it is about to be done: seen `at`, by the round `turn`; now it is `now`, and the memory
    is of the round `there`."""

    at: float
    now: float
    stale: int
    turn: str
    there: str


def late(standing: Standing) -> str:
    """What was seen too long ago is not acted on, however long the healer stood still in between."""
    age = standing.now - standing.at
    return f"left: what it was decided on is {age:.0f} s old" if age > standing.stale else ""


def overtaken(standing: Standing) -> str:
    """Only the round whose memory is in the table may act: a later one has seen more."""
    return "left: a later round has decided" if standing.turn != standing.there else ""


FENCES: dict[str, Callable[[Standing], str]] = {"late": late, "overtaken": overtaken}


def refusal(standing: Standing) -> str:
    """Why the act must not be done any more; nothing if it may be."""
    return next((reason for fence in FENCES.values() if (reason := fence(standing))), "")


def claim(table: Table, key: str, now: float) -> Item | None:
    """The record that the act `key` is being done, or `None` if it was there: whoever did not make it does nothing."""
    return table.create(CLAIMS, key, {"at": now}, ttl=int(now) + CLAIM_DAYS * 86_400)
