"""One round: what goes back into the balancer, what goes out, which one is healed, what people must know. Pure."""

from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.plan import Action, Plan
from chalicelib.tunnels import ladder, pages, pointing, records, seats
from chalicelib.tunnels.guards import View, up
from chalicelib.tunnels.records import (
    CANARY_EVERY,
    HEALS_WINDOW,
    REPLACEMENTS_WINDOW,
    Act,
    Canary,
    Endpoint,
    Memory,
    Page,
    Seen,
    Slot,
    Told,
)


class Decision(msgspec.Struct, frozen=True):
    """The memory to write first, then the acts in their order, what to tell people, and why the rest is left.

    `far` is what other regions are to know of the far side, if it is news to them.
    """

    memory: Memory
    acts: tuple[Act, ...] = ()
    pages: tuple[Page, ...] = ()
    notes: tuple[str, ...] = ()
    far: Canary | None = None


def turn(seen: Seen, id: str) -> Plan:
    """The plan of the round called `id`: remember first, then the acts, then what people and other regions hear."""
    if seen.settings.mode == "off":
        return Plan(notes=("mode is 'off': nothing is looked after",))
    return planned(seen, judge(seen, f"{id}/{seen.at:.3f}"))


def planned(seen: Seen, decision: Decision) -> Plan:
    """The decision as a plan."""
    facts = {"rev": seen.rev, "memory": records.body(decision.memory)}
    remember = Action("remember", seen.region, "what is about to be done", facts, routine=True)
    told = (Action("report", seen.region, "other regions' healers go by it", msgspec.to_builtins(decision.far),
                   routine=True),) if decision.far else ()
    return Plan((remember, *(_action(act, decision.memory) for act in decision.acts),
                 *(_page(page, seen.at) for page in decision.pages), *told), decision.notes)


def judge(seen: Seen, id: str = "") -> Decision:
    """What is to be done, as values."""
    calm = seats.calm(seen)
    if calm is None:
        return _think(seen, id)
    far = _far(seen, [slot for slot in calm.slots if slot.streak])
    return Decision(replace(calm, turn=id, far=far or calm.far), far=far)


def _think(seen: Seen, id: str) -> Decision:
    if seen.blind:
        # What is seen is partial: nothing is done by it, and no slot loses its instance for it.
        return closed(View(seen, {slot.name: slot for slot in seen.memory.slots}), id, [], list(seen.blind))
    view, notes = View(seen, seats.slots(seen)), list[str]()
    ladder.light(view)
    ladder.move_on(view)
    astray = list(pointing.drains(view))
    if seen.fenced:
        return closed(view, id, astray, [f"the master in {seen.fenced} is fenced: the tunnels to it stay out"])
    acts = [act for step in (ladder.undrains, ladder.starts, ladder.drains, pointing.points, ladder.heals)
            for act in step(view, notes.append)]
    return closed(view, id, [*astray, *acts], notes)


def closed(view: View, id: str, acts: list[Act], notes: list[str]) -> Decision:
    """The round's end: what is remembered of it, and what is told."""
    memory, told = view.seen.memory, dict(view.seen.memory.told)
    due = tuple(pages.due(view, told))
    told |= {page.key: Told(view.now) for page in due}
    slots = tuple(view.slots.values())
    far = None if view.seen.blind else _far(view.seen, [slot for slot in slots if up(view, slot)])
    after = Memory(id, view.now, slots, view.heals, view.replacements, view.dark, view.held, told, far or memory.far,
                   view.seen.fenced, view.seen.asked, view.vouched, view.seen.lead)
    strange = seats.newcomers(view.endpoints, {slot.instance for slot in slots})
    if strange:
        notes.append(f"more instances than slots, these have none: {', '.join(strange)}")
    return Decision(after, tuple(acts), due, tuple(notes), far)


def _far(seen: Seen, answering: list[Slot]) -> Canary | None:
    """What other regions are to hear: when it changes, and now and then that it is still so."""
    at = max((slot.streak.at for slot in answering if slot.streak), default=seen.at)
    known = seen.memory.far
    if known and (known.up, known.lead) == (bool(answering), seen.lead) and seen.at - known.at < CANARY_EVERY:
        return None
    return Canary(bool(answering), at, seen.lead)


def _action(act: Act, memory: Memory) -> Action:
    # A host may have none: there can be more of them than slots.
    slot = next((slot for slot in memory.slots if slot.name == act.slot), Slot(act.slot))
    facts: dict[str, Any] = {"key": act.key, "instance": act.instance, "turn": memory.turn}
    if act.to:
        facts["to"] = act.to
    if slot.streak:
        facts |= {"side": slot.streak.side, "why": slot.streak.why, "in_a_row": slot.streak.count}
    return Action(act.kind, f"slot {act.slot or '-'}", act.reason, facts)


def _page(page: Page, at: float) -> Action:
    return Action("page", page.name, page.text, {"kind": page.kind, "told": page.key, "at": at})


def status(seen: Seen) -> Plan:
    """The report: where each slot stands, what is left of the budgets, and what is known of the far side."""
    memory, now = seen.memory, seen.at
    slots = [_standing(slot, seen.endpoints.get(slot.instance), now) for slot in memory.slots]
    return Plan(notes=seen.blind, report={
        "region": seen.region, "mode": seen.settings.mode, "last_round": round(now - memory.at) if memory.at else None,
        "fenced": memory.fenced, "lead": memory.lead or seen.settings.master,
        "nothing_up_since": round(now - memory.dark) if memory.dark else None,
        "heals_in_ten_minutes": sum(now - when < HEALS_WINDOW for when in memory.heals),
        "replacements_in_an_hour": sum(now - when < REPLACEMENTS_WINDOW for when in memory.replacements),
        "slots": slots})


def _standing(slot: Slot, endpoint: Endpoint | None, now: float) -> dict[str, Any]:
    streak = slot.streak
    return {"slot": slot.name, "endpoint": slot.instance, "phase": slot.phase + (" by hand" if slot.kept else ""),
            "for": round(now - slot.since), "state": endpoint.state if endpoint else "gone",
            "balancer": endpoint.target if endpoint else "absent",
            "probe": f"{streak.side}: {streak.why}" if streak else "", "in_a_row": streak.count if streak else 0,
            "seen": round(now - streak.at, 1) if streak else None, "out": round(now - slot.out) if slot.out else 0,
            "leads": slot.leads, "restarts": slot.restarts, "replaced": slot.replaced,
            "cools_down": max(0, round(slot.cooled - now))}
