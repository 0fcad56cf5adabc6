"""The actions for hosts on the wrong primary, which are a drain and a repoint. Pure.

This also drains the last one, because two primaries behind one name would be worse than none. Each is told where to go
by a command of its own, which tries the route before the host takes it. All at once, since none carries anything. One
that cannot be connected there is replaced in the end, as far as the guards allow.
"""

from msgspec.structs import replace

from chalicelib.tunnels.decide.context import (
    IN_GROUP,
    DecisionContext,
    failing,
    fresh_result,
    registered,
    reports_wrong_primary,
)
from chalicelib.tunnels.decide.guards import refusal
from chalicelib.tunnels.decide.repair import incident_opened
from chalicelib.tunnels.state import RESTART_TIMEOUT_SECONDS, RETRY_SECONDS, Member, RepairAction

# A host that was launched so lately (s) is only just booting: Run Command does not know it yet.
_BOOT_SECONDS = 90


def drain_wrong_primary(context: DecisionContext) -> DecisionContext:
    """Out of the balancer with what has the wrong primary, or goes to one that is fenced. Asked again if it stays."""
    seen, now = context.observation, context.now
    if context.settings.mode == "observe" or seen.unobservable:
        return context
    fenced = seen.fenced_primary
    reason = f"the primary in {fenced} is fenced" if fenced else f"the primary is in {seen.primary_region} now"
    for member in context.each():
        # A host that says nothing now may say it in the next round.
        wrong = member.wrong_primary_since and fresh_result(member.instance, seen, now) and (
            member.connected_region or failing(context, member))
        if ((fenced or wrong) and registered(context, member)
                and now - member.target_change_requested_at >= RETRY_SECONDS):
            opened = incident_opened(context, member) if member.phase == "healthy" else {}
            context = context.with_action(member, "drain", reason, target_change_requested_at=now, **opened)
    # There may be more hosts than members, and the balancer has them all.
    extra = sorted(seen.endpoints.keys() - {member.instance for member in context.members})
    drains = tuple(RepairAction("drain", "", id, int(now) // RETRY_SECONDS, 0, reason) for id in extra
                   if seen.endpoints[id].target in IN_GROUP and (fenced or reports_wrong_primary(id, seen, now)))
    return replace(context, actions=(*context.actions, *drains)) if drains else context


def repoint(context: DecisionContext) -> DecisionContext:
    """The route to the primary, for each that goes elsewhere. Again after a while, for as long as that takes."""
    region, now = context.observation.primary_region, context.now
    for member in context.each():
        if (not member.wrong_primary_since or not fresh_result(member.instance, context.observation, now)
                or not _repoint_is_due(context, member)):
            continue
        if because := refusal(context, member, "repoint"):
            context = context.with_note(member, "repoint", because)
            continue
        opened = incident_opened(context, member) if member.phase == "healthy" else {}
        context = context.with_action(
            replace(member, **opened), "repoint", f"the primary is in {region} now", primary_region=region,
            repoint_sent_at=now, repoint_attempts=member.repoint_attempts + 1)
    return context


def _repoint_is_due(context: DecisionContext, member: Member) -> bool:
    endpoint = context.endpoint(member)
    booting = member.phase == "joining" and context.now - member.since < _BOOT_SECONDS
    sent = member.repoint_attempts and context.now - member.repoint_sent_at < RESTART_TIMEOUT_SECONDS + RETRY_SECONDS
    return (endpoint is not None and endpoint.state == "running" and not booting and member.phase != "restarting"
            and not sent)
