"""The manual actions, which drain, undrain or replace one endpoint. Pure.

The controller's own guards hold here, too, except for its mode. An endpoint that was drained manually stays out until
somebody undrains it.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from chalicelib.config.tunnels import Tunnels
from chalicelib.tunnels.decide import assign, repair
from chalicelib.tunnels.decide.context import DecisionContext, recovered, registered, up
from chalicelib.tunnels.decide.guards import refusals, wrong_primary
from chalicelib.tunnels.state import Kind, Member, RepairAction, TunnelObservation, TunnelState

ManualAction = Literal["drain", "undrain", "replace"]
REASON = "asked for manually"


class ManualChange(msgspec.Struct, frozen=True):
    """The state to write, and the action that then runs (`None` means only the state)."""

    state: TunnelState
    member: str
    action: RepairAction | None = None


def plan(state: TunnelState, seen: TunnelObservation, ask: ManualAction, instance: str, now: float
         ) -> ManualChange | str | None:
    """The plan, or the reason against it in words. `None` if nothing is left to do."""
    if seen.unobservable:
        return "; ".join(seen.unobservable)
    members = assign.assign_members(state, seen, now)
    context = repair.update_outage(DecisionContext(seen, state, replace(state, members=members), now, manual=True))
    member = next((one for one in context.members if one.instance == instance), None)
    if member is None or all(one.instance != instance for one in state.members):
        known = [one.instance for one in state.members if one.instance]
        remedy = f"It knows {', '.join(known)}" if known else "It knows none yet. See `lamp run tunnels.status` for why"
        return f"{instance} is no endpoint that the controller in {seen.region} knows. {remedy}"
    if because := _refusal(context, member, ask):
        return f"{instance}: {because}"
    kind = _kind(context, member, ask)
    change = changed(state, seen.settings, instance, ask, kind, now)
    if change is None or (change.action is None and not kind and member.drained_manually is (ask == "drain")):
        return None
    return change


def changed(state: TunnelState, settings: Tunnels, instance: str, ask: ManualAction, kind: Kind | None, now: float
            ) -> ManualChange | None:
    """`state` after what was asked for. `None` if no member has the instance."""
    member = next((one for one in state.members if one.instance == instance), None)
    if member is None:
        return None
    context = DecisionContext(TunnelObservation("", settings), state, state, now, manual=True)
    if ask == "replace" and kind:
        context = repair.with_repair(context, member, kind, REASON)
    else:
        opened = repair.incident_opened(context, member) if ask == "drain" and member.phase == "healthy" else {}
        changes = opened | {"drained_manually": ask == "drain", "target_change_requested_at": now,
                            "out_of_service_since": member.out_of_service_since or now}
        if kind == "undrain":
            changes |= repair.made_healthy(context, member)
        context = (context.with_action(member, kind, REASON, **changes) if kind
                   else context.with_member(replace(member, **changes)))
    action = context.actions[0] if context.actions else None
    return ManualChange(replace(context.state, at=now), member.name, action)


def _kind(context: DecisionContext, member: Member, ask: ManualAction) -> Kind | None:
    if ask == "replace":
        return "stop" if context.settings.tag else "replace"
    if ask == "drain":
        return "drain" if registered(context, member) else None
    return "undrain" if recovered(context, member) and not registered(context, member) else None


def _refusal(context: DecisionContext, member: Member, ask: ManualAction) -> str:
    if ask == "undrain":
        if context.observation.fenced_primary:
            return f"the primary in {context.observation.fenced_primary} is fenced"
        if because := wrong_primary(context, member, "undrain"):
            return because
        return "" if up(context, member) else "it does not answer. The controller lets it in as soon as it does"
    kind: Kind = "drain" if ask == "drain" else "replace"
    return "; ".join(refusals(context, member, kind))
