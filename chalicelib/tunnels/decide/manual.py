"""The manual actions, which drain, undrain or replace one endpoint. Pure.

The controller's own guards hold here, too, except for its mode. An endpoint that was drained manually stays out until
somebody undrains it.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from chalicelib.engine.plan import Action, Plan
from chalicelib.tunnels.config import Tunnels
from chalicelib.tunnels.decide import assign, repair
from chalicelib.tunnels.decide.guards import DecisionContext, recovered, refusals, registered, up, wrong_primary
from chalicelib.tunnels.state import Kind, Member, RepairAction, TunnelObservation, TunnelState

ManualAction = Literal["drain", "undrain", "replace"]
BY_HAND = "asked for by hand"


class ManualChange(msgspec.Struct, frozen=True):
    """The state to write, and the action that then runs (`None` means only the state)."""

    memory: TunnelState
    act: RepairAction | None = None


def plan(seen: TunnelObservation, ask: ManualAction, instance: str) -> Plan:
    """The plan, or why not. It stays the same, digest and all, as long as nothing is done to the slot."""
    if seen.unobservable:
        return Plan(rejected_because="; ".join(seen.unobservable))
    view = DecisionContext(seen, assign.assign_members(seen), by_hand=True)
    repair.update_correlation(view)
    slot = next((one for one in view.slots.values() if one.instance == instance), None)
    if slot is None or all(one.instance != instance for one in seen.memory.slots):
        return Plan(rejected_because=_unknown(seen, instance))
    if why := _why_not(view, slot, ask):
        return Plan(rejected_because=f"{instance}: {why}")
    kind = _kind(view, slot, ask)
    asked = done(seen.memory, seen.settings, instance, ask, kind, seen.at)
    if asked is None or (asked.act is None and not kind and slot.drained_manually is (ask == "drain")):
        return Plan(notes=(f"{instance}: nothing to do, it is {slot.phase}",))
    key = asked.act.key if asked.act else ""
    facts = {"instance": instance, "ask": ask, "kind": kind, "key": key}
    return Plan((Action("by-hand", f"slot {slot.name}", f"{ask} of {instance}, {BY_HAND}", facts),))


def done(memory: TunnelState, settings: Tunnels, instance: str, ask: str, kind: Kind | Literal[""], now: float
         ) -> ManualChange | None:
    """`memory` after what was asked for. `None` if no slot has the instance."""
    slot = next((one for one in memory.slots if one.instance == instance), None)
    if slot is None:
        return None
    view = DecisionContext(TunnelObservation("", settings, memory, {}, {}, now),
                           {one.name: one for one in memory.slots}, by_hand=True)
    act = _done(view, slot, ask, kind)
    turn = f"hand/{act.key if act else f'{instance}/{ask}'}"
    slots = tuple(view.slots.values())
    return ManualChange(replace(memory, run_id=turn, at=now, slots=slots, repair_times=view.heals,
                                replacement_times=view.replacements), act)


def _done(view: DecisionContext, slot: Member, ask: str, kind: Kind | Literal[""]) -> RepairAction | None:
    if ask == "replace" and kind:
        return repair.repair_action(view, slot, kind, BY_HAND)
    begun = repair.incident_opened(view, slot) if ask == "drain" and slot.phase == "healthy" else {}
    changes = begun | {"drained_manually": ask == "drain", "target_change_requested_at": view.now,
                       "out_of_service_since": slot.out_of_service_since or view.now}
    if kind == "undrain":
        changes |= repair.healthy(view, slot)
    if kind:
        return repair.member_action(view, slot, kind, BY_HAND, **changes)
    view.slots[slot.name] = replace(slot, **changes)
    return None


def _kind(view: DecisionContext, slot: Member, ask: ManualAction) -> Kind | Literal[""]:
    if ask == "replace":
        return "stop" if view.settings.tag else "replace"
    if ask == "drain":
        return "drain" if registered(view, slot) else ""
    return "undrain" if recovered(view, slot) and not registered(view, slot) else ""


def _why_not(view: DecisionContext, slot: Member, ask: ManualAction) -> str:
    if ask == "undrain":
        if view.seen.fenced_primary:
            return f"the master in {view.seen.fenced_primary} is fenced"
        if wrong := wrong_primary(view, slot, "undrain"):
            return wrong
        return "" if up(view, slot) else "it does not answer; the healer lets it in as soon as it does"
    kind: Kind = "drain" if ask == "drain" else "replace"
    return "; ".join(refusals(view, slot, kind))


def _unknown(seen: TunnelObservation, instance: str) -> str:
    there = ", ".join(slot.instance for slot in seen.memory.slots if slot.instance) or "none"
    return f"{instance} is no endpoint that the healer in {seen.region} knows; it knows: {there}"
