"""Which instance fills which place, and what this round's probes add to what is known of it. Pure."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from chalicelib.tunnels.decide.context import fresh_result, has_wrong_primary
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import NOT_PROBED, Endpoint, Member, TunnelObservation, TunnelState, extended

_GONE = ("shutting-down", "terminated")


def steady_state(state: TunnelState, seen: TunnelObservation, now: float) -> TunnelState | None:
    """The state after an uneventful round, in which every member was healthy, in the balancer, and answering.

    Nearly every round is one, so it is told first and fast. `None` if there is anything to think about.
    """
    max_age = seen.settings.stale
    if (state.all_down_since or state.correlated_failure_since or seen.unobservable or seen.fenced_primary
            or seen.primary_region != state.primary_region
            or not len(seen.endpoints) == len(state.members) == seen.settings.slots):
        return None
    members = []
    for member in state.members:
        streak, result = member.streak, seen.probes.get(member.instance)
        endpoint = seen.endpoints.get(member.instance)
        if (streak is None or result is None or endpoint is None or not streak.up or result.side != "up"
                or member.phase != "healthy" or member.out_of_service_since or member.drained_manually
                or member.wrong_primary_since
                or (result.connected_region and result.connected_region != member.connected_region)
                or endpoint.target != "registered" or endpoint.state != "running"
                or not streak.at < result.at <= streak.at + max_age or now - result.at > max_age):
            return None
        members.append(replace(member, streak=extended(streak, result, max_age)))
    return replace(state, members=tuple(members), at=now, fenced_primary="", primary_read_at=seen.primary_read_at,
                   primary_position=seen.primary_position)


def assign_members(state: TunnelState, seen: TunnelObservation, now: float) -> tuple[Member, ...]:
    """All members, with their instances and what is known of them now.

    An instance keeps its place as long as it is there. One that is new gets the first that is vacant.
    """
    members = [_vacated(member, seen, now) for member in _every_member(state, seen, now)]
    waiting = unassigned(seen.endpoints, {member.instance for member in members})
    assigned = [member if member.instance or not waiting else _assigned(member, waiting.pop(0), now)
                for member in members]
    return tuple(_probed(_connected(member, seen, now), seen, now) for member in assigned)


def unassigned(endpoints: Mapping[str, Endpoint], assigned: Iterable[str]) -> list[str]:
    """The instances without a place, in the order in which they get one."""
    return sorted(id for id, endpoint in endpoints.items() if id not in set(assigned) and endpoint.state not in _GONE)


def _every_member(state: TunnelState, seen: TunnelObservation, now: float) -> list[Member]:
    """One for each number. A new one counts its incidents from the time, so that no key of an action comes twice."""
    known = {member.name: member for member in state.members}
    names = map(str, range(1, seen.settings.slots + 1))
    return [known.get(name) or Member(name, since=now, out_of_service_since=now, incident=int(now)) for name in names]


def _vacated(member: Member, seen: TunnelObservation, now: float) -> Member:
    endpoint = seen.endpoints.get(member.instance)
    if not member.instance or (endpoint is not None and endpoint.state not in _GONE):
        return member
    if member.phase == "replacing":
        return replace(member, instance="", streak=None)
    ours = member.phase == "joining"
    return replace(member, instance="", streak=None, phase="replacing", since=now,
                   out_of_service_since=member.out_of_service_since or now, drained_manually=False,
                   incident=member.incident + (member.phase == "healthy"),
                   restart_count=member.restart_count if ours else 0,
                   replacement_count=member.replacement_count if ours else 0)


def _assigned(member: Member, instance: str, now: float) -> Member:
    goes_on = member.phase == "replacing"
    return replace(member, instance=instance, phase="joining", since=now, streak=None, target_change_requested_at=0.0,
                   last_action="", drained_manually=False, connected_region="", wrong_primary_since=0.0,
                   repoint_attempts=0, restart_count=member.restart_count if goes_on else 0,
                   replacement_count=member.replacement_count if goes_on else 0)


def _connected(member: Member, seen: TunnelObservation, now: float) -> Member:
    """With the region that the host says now. Counts of a tunnel with another target say nothing about this one."""
    result = fresh_result(member.instance, seen, now)
    if result and result.connected_region and result.connected_region != member.connected_region:
        member = replace(member, connected_region=result.connected_region,
                         streak=None if member.connected_region else member.streak)
    if has_wrong_primary(member, seen):
        return member if member.wrong_primary_since else replace(member, wrong_primary_since=now)
    if member.wrong_primary_since or member.repoint_attempts:
        return replace(member, wrong_primary_since=0.0, repoint_attempts=0)
    return member


def _probed(member: Member, seen: TunnelObservation, now: float) -> Member:
    """With what its probe says. Of one with the wrong primary only that it has, whoever answers through it."""
    result = fresh_result(member.instance, seen, now)
    if result and has_wrong_primary(member, seen):
        result = ProbeResult("ambiguous", "wrong-primary", result.at)
    if result is None or result.why == NOT_PROBED:
        return member
    return replace(member, streak=extended(member.streak, result, seen.settings.stale))
