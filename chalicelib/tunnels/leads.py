"""Where a tunnel leads, and whether that is where the master is. Pure.

A promotion makes another region's server the master. Which region counts, `Seen.lead`, comes from the coordination
table; each host of `[tunnels.hosts]` says itself where its ssh was last started to, and the healer asks it in each
round (`bearing`). A host that leads elsewhere, or says nothing although the master has moved, is *astray*: see
`pointing`.
Where there is but one way, or hosts are not ours, nobody is asked, and `lead` is empty.
"""

from msgspec.structs import replace

from chalicelib.tunnels.records import Seen, Slot
from chalicelib.tunnels.verdict import Verdict


def right(leads: str, seen: Seen) -> bool:
    """Whether a host that says that is led to the master. One that has never said anything was launched to where
    fleet.toml has it."""
    return not seen.lead or (leads or seen.settings.master) == seen.lead


def astray(slot: Slot, seen: Seen) -> bool:
    """Whether the slot's host may lead to another region than the one where the master is."""
    return bool(slot.instance) and not right(slot.leads, seen)


def elsewhere(instance: str, seen: Seen) -> bool:
    """Whether a host says that it leads to another region."""
    found = seen_now(instance, seen)
    return found is not None and bool(found.leads) and not right(found.leads, seen)


def seen_now(instance: str, seen: Seen) -> Verdict | None:
    """What was seen of a host, if that is not too old to act on."""
    found = seen.verdicts.get(instance)
    return found if found and seen.at - found.at <= seen.settings.stale else None


def told(slot: Slot, seen: Seen) -> Slot:
    """With what the host says now; what was counted of a tunnel that led elsewhere says nothing of this one."""
    found = seen_now(slot.instance, seen)
    if found and found.leads and found.leads != slot.leads:
        slot = replace(slot, leads=found.leads, streak=None if slot.leads else slot.streak)
    if astray(slot, seen):
        return slot if slot.strayed else replace(slot, strayed=seen.at)
    return replace(slot, strayed=0.0, turns=0) if slot.strayed or slot.turns else slot


def verdict(slot: Slot, seen: Seen) -> Verdict | None:
    """What its probe says now; of one that is astray only that it is, whoever answers through it."""
    found = seen_now(slot.instance, seen)
    return Verdict("ambiguous", "astray", found.at) if found and astray(slot, seen) else found
