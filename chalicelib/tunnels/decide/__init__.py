"""One round, with its undrains, its drains, its repair, and its alerts. Pure."""

from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.engine.plan import Action, Plan
from chalicelib.tunnels import state
from chalicelib.tunnels.decide import alerts as pages
from chalicelib.tunnels.decide import assign, repair, repoint
from chalicelib.tunnels.decide.guards import DecisionContext, up
from chalicelib.tunnels.state import (
    PEER_REPORT_SECONDS,
    REPAIRS_WINDOW_SECONDS,
    REPLACEMENTS_WINDOW_SECONDS,
    Alert,
    AlertDelivery,
    Endpoint,
    Member,
    PeerReport,
    RepairAction,
    TunnelObservation,
    TunnelState,
)


class Decision(msgspec.Struct, frozen=True):
    """The memory to write first, then the acts in their order, what to tell people, and why the rest is left.

    `far` is what other regions are to know of the primary's side, if it is news to them.
    """

    memory: TunnelState
    acts: tuple[RepairAction, ...] = ()
    pages: tuple[Alert, ...] = ()
    notes: tuple[str, ...] = ()
    far: PeerReport | None = None


def reconcile(seen: TunnelObservation, id: str) -> Plan:
    """The plan of the round `id`. It writes the state first, then come the actions, then alerts and reports."""
    if seen.settings.mode == "off":
        return Plan(notes=("mode is 'off': nothing is looked after",))
    return planned(seen, decide(seen, f"{id}/{seen.at:.3f}"))


def planned(seen: TunnelObservation, decision: Decision) -> Plan:
    """The decision as a plan."""
    facts = {"version": seen.version, "memory": state.body(decision.memory)}
    remember = Action("claim-state", seen.region, "what is about to be done", facts, unaudited=True)
    told = (Action("publish-report", seen.region, "other regions' healers go by it", msgspec.to_builtins(decision.far),
                   unaudited=True),) if decision.far else ()
    return Plan((remember, *(_action(act, decision.memory) for act in decision.acts),
                 *(_page(page, seen.at) for page in decision.pages), *told), decision.notes)


def decide(seen: TunnelObservation, id: str = "") -> Decision:
    """The decision, as values."""
    calm = assign.steady_state(seen)
    if calm is None:
        return _think(seen, id)
    far = _far(seen, [slot for slot in calm.slots if slot.streak])
    return Decision(replace(calm, run_id=id, last_report=far or calm.last_report), far=far)


def _think(seen: TunnelObservation, id: str) -> Decision:
    if seen.unobservable:
        # What is seen is partial: nothing is done by it, and no slot loses its instance for it.
        return finish(DecisionContext(seen, {slot.name: slot for slot in seen.memory.slots}), id, [],
                      list(seen.unobservable))
    view, notes = DecisionContext(seen, assign.assign_members(seen)), list[str]()
    repair.update_correlation(view)
    repair.advance_phases(view)
    astray = list(repoint.drains_for_primary(view))
    if seen.fenced_primary:
        return finish(view, id, astray, [f"the master in {seen.fenced_primary} is fenced: the tunnels to it stay out"])
    acts = [
        act
        for step in (
            repair.plan_undrains,
            repair.plan_starts,
            repair.plan_drains,
            repoint.repoints,
            repair.plan_repair,
        )
        for act in step(view, notes.append)
    ]
    return finish(view, id, [*astray, *acts], notes)


def finish(view: DecisionContext, id: str, acts: list[RepairAction], notes: list[str]) -> Decision:
    """The round's end, with the state to store and the alerts."""
    memory, told = view.seen.memory, dict(view.seen.memory.alerts)
    due = tuple(pages.due_alerts(view, told))
    told |= {page.key: AlertDelivery(view.now) for page in due}
    slots = tuple(view.slots.values())
    far = None if view.seen.unobservable else _far(view.seen, [slot for slot in slots if up(view, slot)])
    after = TunnelState(
        id,
        view.now,
        slots,
        view.heals,
        view.replacements,
        view.dark,
        view.held,
        told,
        far or memory.last_report,
        view.seen.fenced_primary,
        view.seen.primary_checked_at,
        view.vouched,
        view.seen.primary_region,
    )
    strange = assign.unassigned(view.endpoints, {slot.instance for slot in slots})
    if strange:
        notes.append(f"more instances than slots, these have none: {', '.join(strange)}")
    return Decision(after, tuple(acts), due, tuple(notes), far)


def _far(seen: TunnelObservation, answering: list[Member]) -> PeerReport | None:
    """The report for other regions, when it changes, and now and then that it has not."""
    at = max((slot.streak.at for slot in answering if slot.streak), default=seen.at)
    known = seen.memory.last_report
    if (
        known
        and (known.up, known.primary_region) == (bool(answering), seen.primary_region)
        and seen.at - known.at < PEER_REPORT_SECONDS
    ):
        return None
    return PeerReport(bool(answering), at, seen.primary_region)


def _action(act: RepairAction, memory: TunnelState) -> Action:
    # A host may have none: there can be more of them than slots.
    slot = next((slot for slot in memory.slots if slot.name == act.slot), Member(act.slot))
    facts: dict[str, Any] = {"key": act.key, "instance": act.instance, "run_id": memory.run_id}
    if act.to:
        facts["to"] = act.to
    if slot.streak:
        facts |= {"side": slot.streak.side, "why": slot.streak.why, "in_a_row": slot.streak.count}
    return Action(act.kind, f"slot {act.slot or '-'}", act.reason, facts)


def _page(page: Alert, at: float) -> Action:
    return Action("alert", page.name, page.text, {"kind": page.kind, "told": page.key, "at": at})


def status(seen: TunnelObservation) -> Plan:
    """The report, with the state of each member, the rest of the budgets, and the last report about the primary."""
    memory, now = seen.memory, seen.at
    slots = [_standing(slot, seen.endpoints.get(slot.instance), now) for slot in memory.slots]
    return Plan(notes=seen.unobservable, report={
        "region": seen.region, "mode": seen.settings.mode, "last_round": round(now - memory.at) if memory.at else None,
        "fenced": memory.fenced_primary, "lead": memory.primary_region or seen.settings.master,
        "nothing_up_since": round(now - memory.all_down_since) if memory.all_down_since else None,
        "heals_in_ten_minutes": sum(now - when < REPAIRS_WINDOW_SECONDS for when in memory.repair_times),
        "replacements_in_an_hour": sum(now - when < REPLACEMENTS_WINDOW_SECONDS for when in memory.replacement_times),
        "slots": slots})


def _standing(slot: Member, endpoint: Endpoint | None, now: float) -> dict[str, Any]:
    streak = slot.streak
    return {
        "slot": slot.name,
        "endpoint": slot.instance,
        "phase": slot.phase + (" by hand" if slot.drained_manually else ""),
        "for": round(now - slot.since),
        "state": endpoint.state if endpoint else "gone",
        "balancer": endpoint.target if endpoint else "absent",
        "probe": f"{streak.side}: {streak.why}" if streak else "",
        "in_a_row": streak.count if streak else 0,
        "seen": round(now - streak.at, 1) if streak else None,
        "out": round(now - slot.out_of_service_since) if slot.out_of_service_since else 0,
        "leads": slot.connected_region,
        "restarts": slot.restart_count,
        "replaced": slot.replacement_count,
        "cools_down": max(0, round(slot.cooldown_until - now)),
    }
