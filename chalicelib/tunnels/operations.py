"""tunnels.heal (a round), tunnels.status, and the manual tunnels.drain, undrain and replace.

The probes come from outside, so that a round can run without sockets (see `observe.Probe`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.operation import Operation, Request, StateItem
from chalicelib.engine.plan import Action, Results
from chalicelib.engine.schema import Unreadable
from chalicelib.tunnels import act, decide, observe
from chalicelib.tunnels.decide import manual
from chalicelib.tunnels.observe import Probe
from chalicelib.tunnels.state import KEY, SCHEMA, ManualRequest, Observed

_STATE = StateItem(KEY, SCHEMA)
_TRIES = 3


class EndpointParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`endpoint` is an instance id."""

    endpoint: str


def _act_manual(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """A manual change. The current state gets the planned action, and then the action runs.

    The controller writes the state every few seconds, so it is read once more. A write that came second is tried again.
    """
    [action] = actions
    asked: ManualRequest = action.details
    tunnels = observe.settings(context)
    for _ in range(_TRIES):
        stored = state.find(context.local_store, KEY, SCHEMA)
        if stored is None or isinstance(stored, Unreadable):
            return Results((f"{asked.instance}: not done, since the state is unreadable ({stored or 'it is gone'})",))
        change = manual.changed(stored.value, tunnels, asked.instance, asked.ask, asked.kind, context.clock())
        if change is None or (change.action.key if change.action else "") != asked.key:
            return Results((f"{asked.instance}: not done, since the controller has acted meanwhile. Look again",))
        if state.write(context.local_store, KEY, SCHEMA, stored, change.state, run_id=request.run_id) is None:
            continue
        if change.action is None:
            return Results((f"{asked.instance}: remembered",))
        done = act.HANDLERS[change.action.kind](context, request, [decide.repair_action(change.action)])
        return done if isinstance(done, Results) else Results(tuple(done))
    return Results((f"{asked.instance}: not done, since the controller was faster {_TRIES} times. Try again",))


def heal(probe: Probe) -> Operation[Observed]:
    """`tunnels.heal` as one round, with this way to probe."""
    return Operation("tunnels.heal", "one round of the controller, which looks at every tunnel and repairs the "
                                     "broken ones",
                     partial(observe.observe_round, probe=probe), decide.round_plan, act.HANDLERS, state=_STATE)


def by_hand(probe: Probe) -> tuple[Operation[Observed], ...]:
    """`tunnels.drain`, `tunnels.undrain` and `tunnels.replace`, each of one `endpoint`."""
    return tuple(Operation(f"tunnels.{ask}", description, partial(observe.observe, probe=probe),
                           partial(decide.manual_plan, ask), {ask: _act_manual}, EndpointParameters, _STATE,
                           alerts_as="tunnels.heal") for ask, description in _MANUAL)


_MANUAL: tuple[tuple[manual.ManualAction, str], ...] = (
    ("drain", "takes an endpoint out of the balancer until somebody undrains it"),
    ("undrain", "lets an endpoint back into the balancer"),
    ("replace", "replaces an endpoint's instance"))

STATUS: Operation[Observed] = Operation(
    "tunnels.status", "the state of each tunnel, and the rest of the budgets", observe.observe_known,
    decide.status_plan, raises_alerts=False)


def every(probe: Probe) -> tuple[Operation[Any], ...]:
    """All of them."""
    return (heal(probe), STATUS, *by_hand(probe))
