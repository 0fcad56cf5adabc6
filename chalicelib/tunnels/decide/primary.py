"""The connected region of a tunnel, and whether that is the primary's. Pure.

A promotion makes another region's server the primary. Which region counts, `Seen.lead`, comes from the coordination
table. Each host of `[tunnels.hosts]` says itself where its ssh was last started to, and the controller asks it in each
round (`bearing`). A host that is connected elsewhere, or says nothing although the primary has moved, has the *wrong
primary* (see `pointing`). If there is only one route, or the hosts are not ours, nobody is asked, and `lead` is empty.
"""

from msgspec.structs import replace

from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import Member, TunnelObservation


def matches_primary(leads: str, seen: TunnelObservation) -> bool:
    """Whether a host that says that is led to the primary. One that has never said anything was launched to where
    fleet.toml has it."""
    return not seen.primary_region or (leads or seen.settings.master) == seen.primary_region


def has_wrong_primary(slot: Member, seen: TunnelObservation) -> bool:
    """Whether the slot's host may lead to another region than the one where the primary is."""
    return bool(slot.instance) and not matches_primary(slot.connected_region, seen)


def reports_wrong_primary(instance: str, seen: TunnelObservation) -> bool:
    """Whether a host says that it leads to another region."""
    found = fresh_result(instance, seen)
    return found is not None and bool(found.connected_region) and not matches_primary(found.connected_region, seen)


def fresh_result(instance: str, seen: TunnelObservation) -> ProbeResult | None:
    """The observation of a host, if it is recent enough for an action."""
    found = seen.verdicts.get(instance)
    return found if found and seen.at - found.at <= seen.settings.stale else None


def with_reported_region(slot: Member, seen: TunnelObservation) -> Member:
    """With what the host says now. Counts of a tunnel with another target say nothing about this one."""
    found = fresh_result(slot.instance, seen)
    if found and found.connected_region and found.connected_region != slot.connected_region:
        slot = replace(slot, connected_region=found.connected_region,
                       streak=None if slot.connected_region else slot.streak)
    if has_wrong_primary(slot, seen):
        return slot if slot.wrong_primary_since else replace(slot, wrong_primary_since=seen.at)
    return replace(slot, wrong_primary_since=0.0,
                   repoint_attempts=0) if slot.wrong_primary_since or slot.repoint_attempts else slot


def verdict(slot: Member, seen: TunnelObservation) -> ProbeResult | None:
    """The current result of its probe. Of one that is astray only that it is, whoever answers through it."""
    found = fresh_result(slot.instance, seen)
    return ProbeResult("ambiguous", "astray", found.at) if found and has_wrong_primary(slot, seen) else found
