"""What is done with hosts that are astray: out of the balancer, and led to where the master is now. Pure.

Out with the last one, too: two masters behind one name would be worse than none. Each is told where to lead by a
command of its own, which tries the way before the host takes it; all at once, since none carries anything. One that
cannot be led there is replaced in the end, as far as the ladder's guards allow.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from chalicelib.tunnels import ladder, leads
from chalicelib.tunnels.guards import View, failing, refusal, registered
from chalicelib.tunnels.records import ASK_AGAIN, RESTART, Act, Slot

# A host that was launched so lately (s) is only just booting: Run Command does not know it yet.
_BOOTS = 90


def drains(view: View) -> Iterator[Act]:
    """Out of the balancer with whatever is astray, or leads to a master that is fenced; asked again if it stays."""
    seen = view.seen
    if view.settings.mode == "observe" or seen.blind:
        return
    why = f"the master in {seen.fenced} is fenced" if seen.fenced else f"the master is in {seen.lead} now"
    for slot in list(view.slots.values()):
        # Who says nothing now may say it in the next round.
        astray = slot.strayed and leads.seen_now(slot.instance, seen) and (slot.leads or failing(view, slot))
        out = seen.fenced or astray
        if out and registered(view, slot) and view.now - slot.asked >= ASK_AGAIN:
            begun = ladder.begun(view, slot) if slot.phase == "healthy" else {}
            yield ladder.act(view, slot, "drain", why, asked=view.now, **begun)
    # There may be more hosts than slots, and the balancer has them all.
    for id in sorted(seen.endpoints.keys() - {slot.instance for slot in view.slots.values()}):
        if seen.endpoints[id].target == "registered" and (seen.fenced or leads.elsewhere(id, seen)):
            yield Act("drain", "", id, int(view.now) // ASK_AGAIN, 0, view.now, why)


def points(view: View, note: ladder.Note) -> Iterator[Act]:
    """The way to the master, for each that does not lead there; again after a while, for as long as that takes."""
    for slot in list(view.slots.values()):
        if not slot.strayed or not leads.seen_now(slot.instance, view.seen) or not _due(view, slot):
            continue
        if reason := refusal(view, slot, "point"):
            note(ladder.held(slot, "point", reason))
            continue
        begun = ladder.begun(view, slot) if slot.phase == "healthy" else {}
        slot = replace(slot, **begun)
        why = f"the master is in {view.seen.lead} now"
        yield ladder.act(view, slot, "point", why, to=view.seen.lead, pointed=view.now, turns=slot.turns + 1)


def _due(view: View, slot: Slot) -> bool:
    endpoint = view.endpoints.get(slot.instance)
    booting = slot.phase == "joining" and view.now - slot.since < _BOOTS
    return (endpoint is not None and endpoint.state == "running" and not booting and slot.phase != "restarting"
            and (not slot.turns or view.now - slot.pointed >= RESTART + ASK_AGAIN))
