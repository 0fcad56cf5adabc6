"""The actions for hosts on the wrong primary, which are a drain and a repoint. Pure.

This also drains the last one, because two primaries behind one name would be worse than none. Each is told where to
lead by a command of its own, which tries the way before the host takes it. All at once, since none carries anything.
One that cannot be led there is replaced in the end, as far as the ladder's guards allow.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from chalicelib.tunnels.decide import primary, repair
from chalicelib.tunnels.decide.guards import DecisionContext, failing, refusal, registered
from chalicelib.tunnels.state import RESTART_TIMEOUT_SECONDS, RETRY_SECONDS, Member, RepairAction

# A host that was launched so lately (s) is only just booting: Run Command does not know it yet.
_BOOTS = 90


def drains_for_primary(view: DecisionContext) -> Iterator[RepairAction]:
    """Out of the balancer with whatever is astray, or leads to a primary that is fenced. Asked again if it stays."""
    seen = view.seen
    if view.settings.mode == "observe" or seen.unobservable:
        return
    why = f"the master is in {seen.primary_region} now"
    if seen.fenced_primary:
        why = f"the master in {seen.fenced_primary} is fenced"
    for slot in list(view.slots.values()):
        # Who says nothing now may say it in the next round.
        astray = slot.wrong_primary_since and primary.fresh_result(slot.instance, seen) and (slot.connected_region
                                                                                           or failing(view, slot))
        out = seen.fenced_primary or astray
        if out and registered(view, slot) and view.now - slot.target_change_requested_at >= RETRY_SECONDS:
            begun = repair.incident_opened(view, slot) if slot.phase == "healthy" else {}
            yield repair.member_action(view, slot, "drain", why, target_change_requested_at=view.now, **begun)
    # There may be more hosts than slots, and the balancer has them all.
    for id in sorted(seen.endpoints.keys() - {slot.instance for slot in view.slots.values()}):
        if seen.endpoints[id].target == "registered" and (seen.fenced_primary
                                                          or primary.reports_wrong_primary(id, seen)):
            yield RepairAction("drain", "", id, int(view.now) // RETRY_SECONDS, 0, view.now, why)


def repoints(view: DecisionContext, note: repair.Note) -> Iterator[RepairAction]:
    """The way to the primary, for each that does not lead there. Again after a while, for as long as that takes."""
    for slot in list(view.slots.values()):
        if not slot.wrong_primary_since or not primary.fresh_result(slot.instance, view.seen) or not _due(view, slot):
            continue
        if reason := refusal(view, slot, "repoint"):
            note(repair.blocked_note(slot, "repoint", reason))
            continue
        begun = repair.incident_opened(view, slot) if slot.phase == "healthy" else {}
        slot = replace(slot, **begun)
        why = f"the master is in {view.seen.primary_region} now"
        yield repair.member_action(view, slot, "repoint", why, to=view.seen.primary_region, repoint_sent_at=view.now,
                                   repoint_attempts=slot.repoint_attempts + 1)


def _due(view: DecisionContext, slot: Member) -> bool:
    endpoint = view.endpoints.get(slot.instance)
    booting = slot.phase == "joining" and view.now - slot.since < _BOOTS
    return (
        endpoint is not None
        and endpoint.state == "running"
        and not booting
        and slot.phase != "restarting"
        and (not slot.repoint_attempts or view.now - slot.repoint_sent_at >= RESTART_TIMEOUT_SECONDS + RETRY_SECONDS)
    )
