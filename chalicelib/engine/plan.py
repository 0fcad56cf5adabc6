"""A plan is a value, the list of actions of an operation with their reasons. Made by pure decisions, printed by a dry
run."""

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from chalicelib.engine.alerts import Alert
from chalicelib.engine.schema import Stored, Unreadable

Trigger = Literal["schedule", "queue", "manual"]


class Action(msgspec.Struct, frozen=True):
    """One step of a plan, with its kind, its subject, its reason in plain words, and the facts behind it.

    An `unaudited` action (the bookkeeping of every minute) is carried out but not written into the journal. `trigger`
    is set by the engine, so that what was done manually keeps its kind and still says so.
    """

    kind: str
    target: str
    reason: str
    details: Any = {}
    unaudited: bool = False
    trigger: Trigger | None = None


def given(reason: str) -> str:
    """The reason of an action that a person asked for: in their words, or that they gave none."""
    return reason.strip() or "no reason given"


class Claim(msgspec.Struct, frozen=True):
    """The operation's state as it was read and as it is to be. Written before anything is done, or nothing is done."""

    before: Stored[Any]
    after: Any


class Plan(msgspec.Struct, frozen=True):
    """The actions that an operation would take. `report` is what a reading operation has to say.

    `claim` is written first. `alerts` are all that hold now (see `alerts`), except those of the kinds in `not_judged`.
    Each of the `unreadable` items is told to people by the engine. With `requeue_after_seconds` the trigger comes back.
    """

    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    report: dict[str, Any] = {}
    rejected_because: str = ""
    requeue_after_seconds: int = 0
    claim: Claim | None = None
    alerts: tuple[Alert, ...] = ()
    not_judged: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when any action, target or detail changes."""
        return hashlib.sha256(msgspec.json.encode(self.actions, order="deterministic")).hexdigest()[:12]


class Results(list[str]):
    """The results of a row of actions, line by line, and their alerts (events, such as a refusal)."""

    def __init__(self, lines: Iterable[str] = (), alerts: Iterable[Alert] = ()) -> None:
        super().__init__(lines)
        self.alerts = tuple(alerts)
