"""An operation as a value, with its observation, its decision and its actions.

    REPAIR = Operation("tunnels.repair", "repairs the tunnels of a region", observe.round, decide.reconcile,
                       {"drain": act.drain, "restart": act.restart}, state=StateItem(KEY, SCHEMA))

`decide` is pure. It takes the observation and gives a `plan.Plan`. `run.run` carries it out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from chalicelib.context import RegionContext
from chalicelib.engine.plan import Action, Plan, Trigger
from chalicelib.engine.schema import Schema, Unreadable

Status = Literal["planned", "done", "later", "superseded", "refused", "failed"]
Seen = TypeVar("Seen")


class Rejected(Exception):
    """The request is invalid and will stay so. The text says what is wrong and what to do."""


class RequeueAfter(Exception):
    """Not now. The same trigger should come back in `seconds`."""

    def __init__(self, reason: str, seconds: int) -> None:
        super().__init__(reason)
        self.requeue_after_seconds = seconds


class RunFailed(Exception):
    """A scheduled run did not do all that it had to. Raised so that Lambda counts it and tries again."""


class Request(msgspec.Struct, frozen=True):
    """The trigger of a run. `now` is in epoch seconds, those of the event for a schedule and of the clock otherwise.

    `id` is the id of the invocation or of the message, which comes again when either is tried again. `run_id` marks
    this very run.
    """

    trigger: Trigger
    now: int
    parameters: Any
    apply: bool
    digest: str = ""
    id: str = ""
    receive_count: int = 1
    run_id: str = ""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run ended.

    `done`. `later` (come back in so many seconds). `superseded` (another run was faster, which is no failure).
    `refused` (never retry). `failed` (retry). Or only `planned`. `unreadable` are the items that the run could not
    read, each with the reason.
    """

    operation: str
    status: Status
    message: str = ""
    plan: Plan = Plan()
    digest: str = ""
    results: tuple[str, ...] = ()
    requeue_after_seconds: int = 0
    unreadable: tuple[str, ...] = ()


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation that takes nothing but the trigger."""


Handler = Callable[[RegionContext, Request, Sequence[Action]], Sequence[str]]


class StateItem(msgspec.Struct, frozen=True):
    """The place of an operation's state."""

    key: tuple[str, str]
    schema: Schema[Any]
    store: Literal["local", "shared"] = "local"


class Operation(msgspec.Struct, Generic[Seen], frozen=True):
    """A named operation. `act` maps each kind of action to the function that carries out a row of them.

    Such a function gives one line for each. As `plan.Results` it also says what people have to know.

    `parameters` is the shape of what a queue message or an invoke manually may say. `state` is needed for plans with a
    claim. An operation that never has alerts says so with `raises_alerts`, and then does not read what was told.
    `alerts_as` is the name under which its alerts are remembered, its own unless several operations share one.
    Alerts of a queue's runs are left as events for a scheduled operation of that name with `delivers_events`.
    `tell_unreadable` tells of items that cannot be read, where several regions read the same ones.
    """

    name: str
    description: str
    observe: Callable[[RegionContext, Request], Seen]
    decide: Callable[[Seen, Request], Plan]
    act: Mapping[str, Handler] = {}
    parameters: type[msgspec.Struct] = NoParameters
    state: StateItem | None = None
    raises_alerts: bool = True
    alerts_as: str = ""
    delivers_events: bool = False
    tell_unreadable: Callable[[RegionContext, Request, Sequence[Unreadable]], object] | None = None

    @property
    def alert_name(self) -> str:
        """Under which name its alerts are remembered."""
        return self.alerts_as or self.name
