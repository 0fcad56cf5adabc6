"""tunnels.heal (a round), tunnels.status, and the manual tunnels.drain, undrain and replace.

The probes come from outside, so that a round can run without sockets (see `observe.Look`).
"""

from functools import partial
from typing import Any

import msgspec

from chalicelib.engine.operation import Operation, Request
from chalicelib.engine.plan import Plan
from chalicelib.tunnels import act, decide, observe
from chalicelib.tunnels.decide import manual
from chalicelib.tunnels.observe import Look
from chalicelib.tunnels.state import TunnelObservation

_ACTS = {"claim-state": act.claim_state, "undrain": act.undrain, "start": act.start, "drain": act.drain,
         "restart": act.restart, "repoint": act.repoint, "replace": act.replace, "stop": act.stop,
         "alert": act.send_alert, "publish-report": act.publish_report}


class EndpointAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`endpoint` is an instance id."""

    endpoint: str


def _heal(seen: TunnelObservation, request: Request) -> Plan:
    return decide.reconcile(seen, request.id or str(request.now))


def _status(seen: TunnelObservation, request: Request) -> Plan:
    return decide.status(seen)


def _by_hand(ask: manual.ManualAction, seen: TunnelObservation, request: Request) -> Plan:
    return manual.plan(seen, ask, request.parameters.endpoint)


def heal(look: Look) -> Operation[TunnelObservation]:
    """`tunnels.heal` as one round, with this way to probe."""
    return Operation("tunnels.heal", "one round of the healer: looks at every tunnel, and mends what is broken",
                     partial(observe.turn, look=look), _heal, _ACTS)


def by_hand(look: Look) -> tuple[Operation[TunnelObservation], ...]:
    """`tunnels.drain`, `tunnels.undrain` and `tunnels.replace`, each of one `endpoint`."""
    return tuple(Operation(f"tunnels.{ask}", does, partial(observe.asked, look=look), partial(_by_hand, ask),
                           {"by-hand": act.manual}, EndpointAsked) for ask, does in _ASKS)


_ASKS: tuple[tuple[manual.ManualAction, str], ...] = (
    ("drain", "takes an endpoint out of the balancer until it is let in by hand"),
    ("undrain", "lets an endpoint back into the balancer"),
    ("replace", "replaces an endpoint's instance"))

STATUS: Operation[TunnelObservation] = Operation(
    "tunnels.status", "where each tunnel stands, and what is left of the healer's budgets", observe.known, _status)


def every(look: Look) -> tuple[Operation[Any], ...]:
    """All of them."""
    return (heal(look), STATUS, *by_hand(look))
