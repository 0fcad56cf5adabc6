"""Which instance fills which slot, and what this round's results add to what is known of it. Pure."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from chalicelib.tunnels.decide import primary
from chalicelib.tunnels.state import NOT_PROBED, Endpoint, Member, TunnelObservation, TunnelState, counted

_GONE = ("shutting-down", "terminated")


def steady_state(seen: TunnelObservation) -> TunnelState | None:
    """The state after an uneventful round, in which every member was healthy, in the balancer, and answering.

    Nearly every round is one, so it is told first and fast. `None` if there is anything to think about.
    """
    memory, stale, slots = seen.memory, seen.settings.stale, []
    if (
        memory.all_down_since
        or memory.correlated_failure_since
        or seen.unobservable
        or seen.fenced_primary
        or seen.primary_region != memory.primary_region
    ):
        return None
    if not len(seen.endpoints) == len(memory.slots) == seen.settings.slots:
        return None
    for slot in memory.slots:
        streak, verdict = slot.streak, seen.verdicts.get(slot.instance)
        endpoint = seen.endpoints.get(slot.instance)
        if (
            streak is None
            or verdict is None
            or endpoint is None
            or not streak.up
            or verdict.side != "up"
            or slot.phase != "healthy"
            or slot.out_of_service_since
            or slot.drained_manually
            or slot.wrong_primary_since
            or (verdict.connected_region and verdict.connected_region != slot.connected_region)
            or endpoint.target != "registered"
            or endpoint.state != "running"
            or not streak.at < verdict.at <= streak.at + stale
            or seen.at - verdict.at > stale
        ):
            return None
        slots.append(replace(slot, streak=counted(streak, verdict, stale)))
    return replace(memory, slots=tuple(slots), at=seen.at, fenced_primary="",
                   primary_checked_at=seen.primary_checked_at)


def assign_members(seen: TunnelObservation) -> dict[str, Member]:
    """All slots by name, with their instances and what is known of them now."""
    known = _filled(seen)
    return {slot.name: _counted(primary.with_reported_region(slot, seen), seen) for slot in known}


def _counted(slot: Member, seen: TunnelObservation) -> Member:
    verdict = primary.verdict(slot, seen)
    if verdict is None or verdict.why == NOT_PROBED:
        return slot
    return replace(slot, streak=counted(slot.streak, verdict, seen.settings.stale))


def _filled(seen: TunnelObservation) -> list[Member]:
    """An instance keeps its slot as long as it is there. One that is new gets the first that is vacant."""
    slots = [_vacated(slot, seen) for slot in _all(seen)]
    seated = {slot.instance for slot in slots}
    waiting = unassigned(seen.endpoints, seated)
    return [slot if slot.instance or not waiting else _seated(slot, waiting.pop(0), seen) for slot in slots]


def unassigned(endpoints: Mapping[str, Endpoint], seated: Iterable[str]) -> list[str]:
    """The instances without a slot, in the order in which they get one."""
    return sorted(id for id, endpoint in endpoints.items() if id not in set(seated) and endpoint.state not in _GONE)


def _all(seen: TunnelObservation) -> list[Member]:
    """One slot for each number. A new one counts its episodes from the time, so that no key of an act comes twice."""
    there = {slot.name: slot for slot in seen.memory.slots}
    names = map(str, range(1, seen.settings.slots + 1))
    return [there.get(name) or Member(name, since=seen.at, out_of_service_since=seen.at, incident=int(seen.at))
            for name in names]


def _vacated(slot: Member, seen: TunnelObservation) -> Member:
    endpoint = seen.endpoints.get(slot.instance)
    if not slot.instance or (endpoint is not None and endpoint.state not in _GONE):
        return slot
    if slot.phase == "replacing":
        return replace(slot, instance="", streak=None)
    ours = slot.phase == "joining"
    return replace(
        slot,
        instance="",
        streak=None,
        phase="replacing",
        since=seen.at,
        out_of_service_since=slot.out_of_service_since or seen.at,
        drained_manually=False,
        incident=slot.incident + (slot.phase == "healthy"),
        restart_count=slot.restart_count if ours else 0,
        replacement_count=slot.replacement_count if ours else 0,
    )


def _seated(slot: Member, instance: str, seen: TunnelObservation) -> Member:
    goes_on = slot.phase == "replacing"
    return replace(
        slot,
        instance=instance,
        phase="joining",
        since=seen.at,
        streak=None,
        target_change_requested_at=0.0,
        command="",
        drained_manually=False,
        connected_region="",
        wrong_primary_since=0.0,
        repoint_attempts=0,
        restart_count=slot.restart_count if goes_on else 0,
        replacement_count=slot.replacement_count if goes_on else 0,
    )
