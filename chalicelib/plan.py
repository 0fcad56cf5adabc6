"""A plan is a value: what an operation would do, and why. Made by pure decisions, printed by a dry run."""

import hashlib
from typing import Any

import msgspec


class Action(msgspec.Struct, frozen=True):
    """One thing to do: its kind, what it is done to, why in plain words, and the facts that led to it.

    A `routine` act (the bookkeeping of every minute) is carried out but not written into the journal.
    """

    kind: str
    target: str
    reason: str
    details: dict[str, Any] = {}
    unaudited: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What an operation would do. `report` is what a reading operation has to say; `later` asks to be called again."""

    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    report: dict[str, Any] = {}
    rejected_because: str = ""
    requeue_after_seconds: int = 0

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when any act, target or fact changes."""
        return hashlib.sha256(msgspec.json.encode(self.actions, order="deterministic")).hexdigest()[:12]
