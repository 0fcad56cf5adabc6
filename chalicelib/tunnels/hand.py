"""What people ask for by hand: one endpoint out of the balancer, back into it, or replaced. Pure.

The healer's own guards hold here, too, except for its mode. What is out by hand stays out until it is let in by hand.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from chalicelib.plan import Action, Plan
from chalicelib.tunnels import ladder, seats
from chalicelib.tunnels.declared import Tunnels
from chalicelib.tunnels.guards import View, recovered, refusals, registered, strays, up
from chalicelib.tunnels.records import Act, Kind, Memory, Seen, Slot

Ask = Literal["drain", "undrain", "replace"]
BY_HAND = "asked for by hand"


class Asked(msgspec.Struct, frozen=True):
    """The memory to write, and the act that is then done (`None`: the memory is all)."""

    memory: Memory
    act: Act | None = None


def plan(seen: Seen, ask: Ask, instance: str) -> Plan:
    """The plan, or why not. It stays the same, digest and all, as long as nothing is done to the slot."""
    if seen.blind:
        return Plan(refusal="; ".join(seen.blind))
    view = View(seen, seats.slots(seen), by_hand=True)
    ladder.light(view)
    slot = next((one for one in view.slots.values() if one.instance == instance), None)
    if slot is None or all(one.instance != instance for one in seen.memory.slots):
        return Plan(refusal=_unknown(seen, instance))
    if why := _why_not(view, slot, ask):
        return Plan(refusal=f"{instance}: {why}")
    kind = _kind(view, slot, ask)
    asked = done(seen.memory, seen.settings, instance, ask, kind, seen.at)
    if asked is None or (asked.act is None and not kind and slot.kept is (ask == "drain")):
        return Plan(notes=(f"{instance}: nothing to do, it is {slot.phase}",))
    key = asked.act.key if asked.act else ""
    facts = {"instance": instance, "ask": ask, "kind": kind, "key": key}
    return Plan((Action("by-hand", f"slot {slot.name}", f"{ask} of {instance}, {BY_HAND}", facts),))


def done(memory: Memory, settings: Tunnels, instance: str, ask: str, kind: Kind | Literal[""], now: float
         ) -> Asked | None:
    """`memory` after what was asked for; `None` if no slot has the instance."""
    slot = next((one for one in memory.slots if one.instance == instance), None)
    if slot is None:
        return None
    view = View(Seen("", settings, memory, {}, {}, now), {one.name: one for one in memory.slots}, by_hand=True)
    act = _done(view, slot, ask, kind)
    turn = f"hand/{act.key if act else f'{instance}/{ask}'}"
    slots = tuple(view.slots.values())
    return Asked(replace(memory, turn=turn, at=now, slots=slots, heals=view.heals, replacements=view.replacements), act)


def _done(view: View, slot: Slot, ask: str, kind: Kind | Literal[""]) -> Act | None:
    if ask == "replace" and kind:
        return ladder.heal(view, slot, kind, BY_HAND)
    begun = ladder.begun(view, slot) if ask == "drain" and slot.phase == "healthy" else {}
    changes = begun | {"kept": ask == "drain", "asked": view.now, "out": slot.out or view.now}
    if kind == "undrain":
        changes |= ladder.healthy(view, slot)
    if kind:
        return ladder.act(view, slot, kind, BY_HAND, **changes)
    view.slots[slot.name] = replace(slot, **changes)
    return None


def _kind(view: View, slot: Slot, ask: Ask) -> Kind | Literal[""]:
    if ask == "replace":
        return "stop" if view.settings.tag else "replace"
    if ask == "drain":
        return "drain" if registered(view, slot) else ""
    return "undrain" if recovered(view, slot) and not registered(view, slot) else ""


def _why_not(view: View, slot: Slot, ask: Ask) -> str:
    if ask == "undrain":
        if view.seen.fenced:
            return f"the master in {view.seen.fenced} is fenced"
        if wrong := strays(view, slot, "undrain"):
            return wrong
        return "" if up(view, slot) else "it does not answer; the healer lets it in as soon as it does"
    kind: Kind = "drain" if ask == "drain" else "replace"
    return "; ".join(refusals(view, slot, kind))


def _unknown(seen: Seen, instance: str) -> str:
    there = ", ".join(slot.instance for slot in seen.memory.slots if slot.instance) or "none"
    return f"{instance} is no endpoint that the healer in {seen.region} knows; it knows: {there}"
