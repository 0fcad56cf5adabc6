"""Where a tunnel leads: what is known of each host, and whether that is where the master is. Pure.

A promotion makes another region's server the master. Which one counts, `Seen.lead`, comes from the coordination table;
where the hosts of `[tunnels.hosts]` lead is known by what they were told. Of other hosts nothing is known or asked:
`lead` is empty then. A host that leads elsewhere, or nobody knows where, is *astray*: see `pointing`.
"""

from typing import Any

from msgspec.structs import replace

from chalicelib.tunnels.records import Seen, Slot
from chalicelib.tunnels.verdict import Verdict


def astray(slot: Slot, seen: Seen) -> bool:
    """Whether it may lead to another region than the one where the master is."""
    return bool(slot.instance) and slot.leads != seen.lead


def launched(seen: Seen, instance: str) -> str:
    """Where a host leads that gets a slot: it has read that as it booted; nothing if that may have been before the
    last change."""
    memory = seen.memory
    if not seen.lead or not memory.known:
        return seen.lead and seen.settings.master
    return memory.known if seen.endpoints[instance].launched >= memory.since else ""


def arrived(slot: Slot, seen: Seen) -> Slot:
    """After what the command that was to lead it has brought. Before all memory a host leads where it was launched to.
    """
    if slot.points and seen.commands.get(slot.command) == "done":
        return replace(slot, leads=slot.points, points="", turns=0, streak=None)
    if seen.lead and not seen.memory.known and not slot.leads:
        return replace(slot, leads=seen.settings.master)
    return slot


def verdict(slot: Slot, seen: Seen) -> Verdict | None:
    """What its probe says; of one that is astray only that it is, whoever answers through it."""
    found = seen.verdicts.get(slot.instance)
    if found is None or not astray(slot, seen):
        return found
    return Verdict("ambiguous", "astray", found.at)


def remembered(seen: Seen, slots: tuple[Slot, ...]) -> dict[str, Any]:
    """What the memory has of it after a round."""
    memory, there = seen.memory, any(slot.instance and slot.leads == seen.lead for slot in slots)
    if not seen.lead:
        return {}
    turned = seen.at if memory.lead not in ("", seen.lead) else memory.turned
    known = seen.lead if there else memory.known or seen.settings.master
    since = seen.at if memory.known not in ("", known) else memory.since
    return {"lead": seen.lead, "turned": turned, "known": known, "since": since}
