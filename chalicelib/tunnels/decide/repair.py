"""The changes of a member's phase, first by time and observations, then by actions. Pure.

joining -> healthy -> drained -> restarting -> verifying -> (drained again) -> replacing -> joining, or quarantined.
Whatever the phase, an endpoint with `rise` good probes in a row goes back into the balancer first.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from chalicelib.tunnels.decide.alerts import covered_by_outage_alert
from chalicelib.tunnels.decide.guards import (
    DecisionContext,
    failing,
    newer_than_outage,
    recent,
    recovered,
    refusal,
    registered,
    same_primary,
    up,
)
from chalicelib.tunnels.decide.primary import has_wrong_primary
from chalicelib.tunnels.state import (
    ATTEMPTS_MAX,
    COOLDOWN_MAX_SECONDS,
    COOLDOWN_MIN_SECONDS,
    COOLDOWN_RESET_SECONDS,
    REPAIRS_WINDOW_SECONDS,
    REPLACEMENT_TIMEOUT_SECONDS,
    REPLACEMENTS_WINDOW_SECONDS,
    RESTART_TIMEOUT_SECONDS,
    RETRY_SECONDS,
    VERIFY_TIMEOUT_SECONDS,
    Kind,
    Member,
    RepairAction,
)

# A termination that was asked for has begun by then, or was lost.
_UNTOUCHED = 60
_COMES_BACK = ("joining", "drained", "verifying", "quarantined")
_RUNS = ("pending", "running")

Note = Callable[[str], None]


def update_correlation(view: DecisionContext) -> None:
    """Since when nothing is up, and since when a failure of several at once is waited out."""
    known = [slot.streak for slot in view.slots.values() if slot.streak and view.now - slot.streak.at
             <= view.settings.stale]
    lit = any(streak.up for streak in known)
    if known and not lit:
        # The last that was up may have gone with its instance.
        before = (slot.streak.at for slot in view.seen.memory.slots if slot.streak and slot.streak.up)
        view.dark = view.dark or max([*before, *(streak.since for streak in known)])
    elif lit:
        view.dark = 0
    view.vouched = _vouched(view)
    suspects = [slot for slot in view.slots.values() if slot.phase == "healthy" and slot.streak and not slot.streak.up]
    if not suspects:
        view.held = 0
    elif lit and len(suspects) > 1 and any(failing(view, slot) for slot in suspects):
        view.held = view.held or view.now


def _vouched(view: DecisionContext) -> float:
    """Since when it has been said that the primary's side lives. A silence, theirs or ours, resets it, because the
    primary may have gone and come back meanwhile."""
    words = [canary.at for canary in view.seen.peer_reports if canary.up and recent(view, canary)
             and newer_than_outage(view, canary) and same_primary(view, canary)]
    if not view.dark or not words:
        return 0.0
    heard = view.now - view.seen.memory.at <= view.settings.stale
    return view.vouched if view.vouched and heard else min(words)


def advance_phases(view: DecisionContext) -> None:
    """Every slot, after what time and its own heal have brought."""
    for slot in view.slots.values():
        view.slots[slot.name] = _served(view, _moved(view, slot))


def _moved(view: DecisionContext, slot: Member) -> Member:
    age = view.now - slot.since
    if slot.phase == "restarting":
        return _restarted(view, slot, age)
    if slot.phase == "verifying" and age >= VERIFY_TIMEOUT_SECONDS and not up(view, slot):
        return replace(slot, phase="drained", since=view.now)
    if slot.phase == "joining" and slot.instance and age >= REPLACEMENT_TIMEOUT_SECONDS and not up(view, slot):
        return replace(slot, phase="drained", since=view.now)
    if slot.phase == "replacing" and age >= REPLACEMENT_TIMEOUT_SECONDS:
        return replace(slot, phase="drained" if slot.instance else "quarantined", since=view.now)
    return slot


def _restarted(view: DecisionContext, slot: Member, age: float) -> Member:
    said = view.seen.commands.get(slot.command)
    if said == "failed":
        return replace(slot, phase="drained", since=view.now, command="")
    if said == "done" or age >= RESTART_TIMEOUT_SECONDS:
        return replace(slot, phase="verifying", since=view.now, command="")
    return slot


def _served(view: DecisionContext, slot: Member) -> Member:
    """With the time since which it has been out of service. A slot of which nothing is known is out, too."""
    if slot.phase == "healthy" and up(view, slot) and registered(view, slot):
        return replace(slot, out_of_service_since=0.0) if slot.out_of_service_since and recovered(view, slot) else slot
    if slot.out_of_service_since and covered_by_outage_alert(view):
        # People know already that nothing is up; the slot's own clock stands still.
        return replace(slot, out_of_service_since=min(view.now,
                                                      slot.out_of_service_since + view.now - view.seen.memory.at))
    if slot.out_of_service_since or (
        slot.streak
        and not failing(view, slot)
        and slot.phase == "healthy"
        and registered(view, slot)
        and view.now - slot.streak.at <= view.settings.stale
    ):
        return slot
    return replace(slot, out_of_service_since=min(slot.streak.since if failing(view, slot)
                                                  and slot.streak else view.now, view.now))


def plan_undrains(view: DecisionContext, note: Note) -> Iterator[RepairAction]:
    """Always first. A healthy endpoint goes back, and is in the balancer."""
    for slot in list(view.slots.values()):
        if slot.drained_manually or not up(view, slot) or not recovered(view, slot) or not _comes_back(view, slot):
            continue
        if registered(view, slot):
            view.slots[slot.name] = replace(slot, **healthy(view, slot))
        elif reason := refusal(view, slot, "undrain"):
            note(blocked_note(slot, "undrain", reason))
        else:
            why = f"{slot.instance} has answered {view.settings.rise} times in a row"
            yield member_action(view, slot, "undrain", why, target_change_requested_at=view.now, **healthy(view, slot))


def _comes_back(view: DecisionContext, slot: Member) -> bool:
    if slot.phase == "healthy":
        return not registered(view, slot) and view.now - slot.target_change_requested_at >= RETRY_SECONDS
    lost = slot.phase == "replacing" and view.now - slot.since >= _UNTOUCHED
    return slot.phase in _COMES_BACK or lost


def healthy(view: DecisionContext, slot: Member) -> dict[str, Any]:
    """The change of a member that is healthy (again). After a repair it has a cooldown, longer after an earlier repair.
    """
    if slot.phase == "healthy":
        return {}
    changes: dict[str, Any] = {"phase": "healthy", "since": view.now, "restart_count": 0, "replacement_count": 0,
                               "command": ""}
    if slot.restart_count or slot.replacement_count:
        cool = min(COOLDOWN_MAX_SECONDS, max(COOLDOWN_MIN_SECONDS, 2 * slot.cooldown_seconds))
        changes |= {"cooldown_seconds": cool, "cooldown_until": view.now + cool}
    return changes


def plan_starts(view: DecisionContext, note: Note) -> Iterator[RepairAction]:
    """An instance that was stopped instead of replaced is started."""
    for slot in list(view.slots.values()):
        endpoint = view.endpoints.get(slot.instance)
        if (
            not view.settings.tag
            or endpoint is None
            or endpoint.state != "stopped"
            or slot.drained_manually
            or slot.phase not in ("replacing", "joining")
            or view.now - slot.target_change_requested_at < RETRY_SECONDS
        ):
            continue
        if reason := refusal(view, slot, "start"):
            note(blocked_note(slot, "start", reason))
        else:
            yield member_action(view, slot, "start", f"{slot.instance} has stopped",
                                target_change_requested_at=view.now, phase="joining",
                      since=view.now, streak=None)


def plan_drains(view: DecisionContext, note: Note) -> Iterator[RepairAction]:
    """Out of the balancer with what fails, or was to be out and is not, as long as another can bear it."""
    for slot in list(view.slots.values()):
        out = slot.phase not in ("healthy", "joining", "replacing")
        if not (slot.drained_manually or failing(view, slot)) or not (
            slot.phase == "healthy" or (out and registered(view, slot))
        ):
            continue
        if out and view.now - slot.target_change_requested_at < RETRY_SECONDS:
            continue
        if reason := refusal(view, slot, "drain"):
            note(blocked_note(slot, "drain", reason))
        elif registered(view, slot):
            why = f"{slot.instance} was taken out by hand" if slot.drained_manually else _failure(slot)
            yield member_action(view, slot, "drain", why, target_change_requested_at=view.now,
                                **({} if out else incident_opened(view, slot)))
        else:
            view.slots[slot.name] = replace(slot, **incident_opened(view, slot))


def incident_opened(view: DecisionContext, slot: Member) -> dict[str, Any]:
    """The change of a healthy member that fails. An incident begins. Long health makes past cool-downs forgotten."""
    forgotten = view.now - slot.since >= COOLDOWN_RESET_SECONDS
    return {"phase": "drained", "since": view.now, "incident": slot.incident + 1, "action_number": 0,
            "restart_count": 0,
            "replacement_count": 0,
            "cooldown_seconds": 0 if forgotten else slot.cooldown_seconds}


def plan_repair(view: DecisionContext, note: Note) -> Iterator[RepairAction]:
    """The next repair of one member, the cheapest first, so that no member waits for another's replacement only to be
    restarted."""
    dark = not any(up(view, slot) for slot in view.slots.values())
    waiting = [
        (next_repair(view, slot), slot)
        for slot in view.slots.values()
        if not slot.drained_manually
        and failing(view, slot)
        and (slot.phase == "drained" or (slot.phase == "healthy" and dark))
    ]
    for kind, slot in sorted(waiting, key=lambda one: (_ORDER.index(one[0]), one[1].since)):
        if reason := refusal(view, slot, kind):
            note(blocked_note(slot, kind, reason))
        elif kind == "quarantine":
            view.slots[slot.name] = replace(slot, phase="quarantined", since=view.now)
        else:
            yield repair_action(view, slot, kind, _failure(slot))
            return


_ORDER: tuple[Kind, ...] = ("restart", "replace", "stop", "quarantine")


def next_repair(view: DecisionContext, slot: Member) -> Kind:
    """The next repair of a failing member."""
    endpoint = view.endpoints.get(slot.instance)
    led = not has_wrong_primary(slot, view.seen)
    if (
        led
        and slot.replacement_count == 0
        and slot.restart_count < ATTEMPTS_MAX
        and endpoint is not None
        and endpoint.state in _RUNS
    ):
        return "restart"
    if slot.replacement_count < ATTEMPTS_MAX:
        return "stop" if view.settings.tag else "replace"
    return "quarantine"


def repair_action(view: DecisionContext, slot: Member, kind: Kind, why: str) -> RepairAction:
    """A restart or a replacement, and what it changes."""
    fresh = incident_opened(view, slot) if slot.phase == "healthy" else {}
    slot = replace(slot, **fresh)
    view.heals = (*(when for when in view.heals if view.now - when < REPAIRS_WINDOW_SECONDS), view.now)
    if kind == "restart":
        done = member_action(view, slot, kind, why, phase="restarting", since=view.now, repair_started_at=view.now,
                   restart_count=slot.restart_count + 1)
        view.slots[slot.name] = replace(view.slots[slot.name], command=done.key)
        return done
    recent = (when for when in view.replacements if view.now - when < REPLACEMENTS_WINDOW_SECONDS)
    view.replacements = (*recent, view.now)
    return member_action(
        view,
        slot,
        kind,
        why,
        phase="replacing",
        since=view.now,
        repair_started_at=view.now,
        replacement_count=slot.replacement_count + 1,
        command="",
        target_change_requested_at=view.now,
    )


def member_action(
    view: DecisionContext, slot: Member, kind: Kind, why: str, to: str = "", **changes: Any
) -> RepairAction:
    """The next act of the slot's episode. The slot is changed as it will be once that is done."""
    after = replace(slot, action_number=changes.pop("action_number", slot.action_number) + 1, **changes)
    view.slots[slot.name] = after
    return RepairAction(kind, slot.name, slot.instance, after.incident, after.action_number, view.now, why, to)


def _failure(slot: Member) -> str:
    streak = slot.streak
    if streak is None:
        return f"{slot.instance}: nothing is known of it"
    return f"{slot.instance} has failed {streak.count} times in a row ({streak.side}: {streak.why})"


def blocked_note(slot: Member, kind: Kind, reason: str) -> str:
    """The note about an action that does not run."""
    return f"slot {slot.name}: {kind} of {slot.instance} held back: {reason}"
