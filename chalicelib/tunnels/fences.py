"""The checks that keep an action from running late, twice, or in a superseded round. Asked right before each call.

The decision guards against the world. These guard against the controller itself, which may stall, overlap, or be run
twice.
"""

from collections.abc import Callable

import msgspec

from chalicelib.aws.store import Item, Store
from chalicelib.tunnels.state import EFFECTS_PK

# A claim outlives whatever could repeat its act.
CLAIM_DAYS = 15


class EffectContext(msgspec.Struct, frozen=True):
    """The context of an action right before it runs. The observation is of `at` in the round `turn`, the time is `now`,
    and the stored state is of the round `there`."""

    at: float
    now: float
    stale: int
    turn: str
    there: str


def is_stale(standing: EffectContext) -> str:
    """An observation that is too old leads to no action, however long the controller stood still in between."""
    age = standing.now - standing.at
    return f"left: what it was decided on is {age:.0f} s old" if age > standing.stale else ""


def is_superseded(standing: EffectContext) -> str:
    """Only the round of the stored state may act, because a later one has seen more."""
    return "left: a later round has decided" if standing.turn != standing.there else ""


FENCES: dict[str, Callable[[EffectContext], str]] = {"late": is_stale, "overtaken": is_superseded}


def refusal(standing: EffectContext) -> str:
    """Why the act must not be done any more. Nothing if it may be."""
    return next((reason for fence in FENCES.values() if (reason := fence(standing))), "")


def claim(table: Store, key: str, now: float) -> Item | None:
    """The record that the action `key` runs, or `None` if it existed. A caller that did not create it does nothing."""
    return table.create(EFFECTS_PK, key, {"at": now}, ttl=int(now) + CLAIM_DAYS * 86_400)
