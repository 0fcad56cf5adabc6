"""One round, with its undrains, its drains, its repair, and its alerts. Pure.

`reconcile` is the whole of it, from top to bottom. Its steps are in `assign` (the member of each instance), `repair`
(phases, drain, restart, replace), `primary` (the primary of a tunnel), `guards` (the conditions that block an action)
and `alerts`. `manual` has the manual actions.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.engine.alerts import Alert
from chalicelib.engine.plan import Action, Claim, Plan
from chalicelib.engine.schema import Unreadable
from chalicelib.tunnels.decide import alerts, assign, manual, primary, repair
from chalicelib.tunnels.decide.context import DecisionContext, up
from chalicelib.tunnels.state import (
    PEER_REPORT_SECONDS,
    REPAIRS,
    REPLACEMENTS,
    ManualRequest,
    Member,
    Observed,
    PeerReport,
    RepairAction,
    TunnelObservation,
    TunnelState,
)


class Decision(msgspec.Struct, frozen=True):
    """The state to write first, then the actions in their order, all alerts that hold, and why the rest is left.

    `report` is what other regions have to know of the primary, if it is news to them. `not_judged` are the kinds of
    alerts that could not be judged.
    """

    state: TunnelState
    actions: tuple[RepairAction, ...] = ()
    alerts: tuple[Alert, ...] = ()
    notes: tuple[str, ...] = ()
    report: PeerReport | None = None
    not_judged: tuple[str, ...] = ()


def round_plan(observed: Observed, request: object) -> Plan:
    """The plan of one round. It claims the state, then come the actions, then alerts and reports."""
    stored, seen = observed.stored, observed.seen
    if seen.settings.mode == "off":
        return Plan(notes=("mode is 'off', so the controller leaves the tunnels alone",))
    if isinstance(stored, Unreadable):
        return Plan(notes=(f"the controller does nothing ({stored})",), unreadable=seen.unreadable, not_judged=("*",))
    decision = reconcile(stored.value, seen, observed.now)
    actions = [repair_action(action) for action in decision.actions]
    if decision.report:
        actions.append(Action("publish-report", seen.region, "other regions' controllers go by it", decision.report,
                              unaudited=True))
    return Plan(tuple(actions), decision.notes, claim=Claim(stored, decision.state), alerts=decision.alerts,
                not_judged=decision.not_judged, unreadable=seen.unreadable)


def reconcile(state: TunnelState, seen: TunnelObservation, now: float) -> Decision:
    """The actions of a round. The order of the steps counts, because an undrained endpoint can take the load of a
    drained one."""
    steady = assign.steady_state(state, seen, now)
    if steady is not None:
        report = _report(state, seen, now, [member for member in steady.members if member.streak])
        return Decision(replace(steady, last_report=report or state.last_report), report=report)
    if seen.unobservable:
        # What is seen is partial: nothing is done by it, and no member loses its instance for it.
        return _decided(DecisionContext(seen, state, state, now, notes=seen.unobservable))

    members = assign.assign_members(state, seen, now)
    context = DecisionContext(seen, state, replace(state, members=members), now)
    context = repair.update_outage(context)
    context = repair.advance_phases(context)
    context = primary.drain_wrong_primary(context)
    if seen.fenced_primary:
        note = f"a promotion has fenced the primary in {seen.fenced_primary}, so the tunnels to it stay out"
        return _decided(replace(context, notes=(note,)))
    context = repair.undrain(context)
    context = repair.start_stopped(context)
    context = repair.drain_failing(context)
    context = primary.repoint(context)
    context = repair.repair_next(context)
    return _decided(context)


def _decided(context: DecisionContext) -> Decision:
    """The round's end, with the state to store and the alerts."""
    seen, now = context.observation, context.now
    up_members = [member for member in context.members if up(context, member)]
    report = None if seen.unobservable else _report(context.before, seen, now, up_members)
    state = replace(context.state, at=now, last_report=report or context.before.last_report,
                    fenced_primary=seen.fenced_primary, primary_read_at=seen.primary_read_at,
                    primary_region=seen.primary_region, primary_position=seen.primary_position)
    extra = assign.unassigned(seen.endpoints, {member.instance for member in context.members})
    notes = (*context.notes, f"more instances than members, these have no place ({', '.join(extra)})") if extra else (
        context.notes)
    not_judged = ("*",) if seen.unobservable else alerts.OF_MEMBERS if seen.fenced_primary else ()
    return Decision(state, context.actions, tuple(alerts.wanted(context)), notes, report, not_judged)


def _report(
    state: TunnelState, seen: TunnelObservation, now: float, up_members: Sequence[Member]
) -> PeerReport | None:
    """The report for other regions, when it changes, and now and then that it has not."""
    at = max((member.streak.at for member in up_members if member.streak), default=now)
    known = state.last_report
    if (known and (known.up, known.primary_region) == (bool(up_members), seen.primary_region)
            and now - known.at < PEER_REPORT_SECONDS):
        return None
    return PeerReport(bool(up_members), at, seen.primary_region)


def repair_action(action: RepairAction) -> Action:
    """One action as the engine knows it."""
    return Action(action.kind, f"member {action.member or '-'}", action.reason, action)


def manual_plan(ask: manual.ManualAction, observed: Observed, request: Any) -> Plan:
    """The manual plan. It stays the same, digest and all, as long as nothing is done to the member."""
    stored, instance = observed.stored, request.parameters.endpoint
    if isinstance(stored, Unreadable):
        return Plan(rejected_because=f"the controller does nothing ({stored}). Look at the item, and delete it if it "
                                     "is of no use")
    change = manual.plan(stored.value, observed.seen, ask, instance, observed.now)
    if isinstance(change, str):
        return Plan(rejected_because=change)
    if change is None:
        return Plan(notes=(f"{instance} needs nothing",))
    action = change.action
    details = ManualRequest(ask, instance, action.kind if action else None, action.key if action else "")
    return Plan((Action(ask, f"member {change.member}", f"{ask} of {instance}, {manual.REASON}", details),))


def status_plan(observed: Observed, request: object) -> Plan:
    """The report, with the state of each member, the rest of the budgets, and the last report about the primary."""
    stored, seen, now = observed.stored, observed.seen, observed.now
    if isinstance(stored, Unreadable):
        return Plan(notes=(f"the state is unreadable ({stored})",), report={"region": seen.region})
    state = stored.value
    return Plan(notes=(*seen.unobservable, *map(str, seen.unreadable)), report={
        "region": seen.region, "mode": seen.settings.mode,
        "last_round_seconds_ago": round(now - state.at) if state.at else None,
        "fenced_primary": state.fenced_primary, "primary_region": state.primary_region or seen.settings.primary,
        "all_down_for_seconds": round(now - state.all_down_since) if state.all_down_since else None,
        "repairs_in_ten_minutes": REPAIRS.used(state.repairs, now),
        "replacements_in_an_hour": REPLACEMENTS.used(state.replacements, now),
        "members": [_member_report(member, seen, now) for member in state.members]})


def _member_report(member: Member, seen: TunnelObservation, now: float) -> dict[str, Any]:
    streak, endpoint = member.streak, seen.endpoints.get(member.instance)
    out = member.out_of_service_since
    return {"member": member.name, "endpoint": member.instance,
            "phase": member.phase + (" by hand" if member.drained_manually else ""),
            "for_seconds": round(now - member.since), "state": endpoint.state if endpoint else "gone",
            "balancer": endpoint.target if endpoint else "absent",
            "probe": f"{streak.side}: {streak.why}" if streak else "", "in_a_row": streak.count if streak else 0,
            "probed_seconds_ago": round(now - streak.at, 1) if streak else None,
            "out_of_service_for_seconds": round(now - out) if out else 0,
            "connected_region": member.connected_region, "restarts": member.restart_count,
            "replacements": member.replacement_count,
            "cooldown_seconds": max(0, round(member.cooldown.until - now))}
