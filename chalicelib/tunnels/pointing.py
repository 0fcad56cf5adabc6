"""What is done with hosts that are astray: out of the balancer, and led to where the master is now. Pure.

Out with the last one, too: two masters behind one name would be worse than none. Each is told where to lead by a
command of its own, which tries the way before the host takes it; all at once, since none carries anything. One that
cannot be led there is replaced in the end, as far as the ladder's guards allow.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from chalicelib.tunnels import ladder
from chalicelib.tunnels.guards import View, refusal, registered
from chalicelib.tunnels.leads import astray
from chalicelib.tunnels.records import ASK_AGAIN, RESTART, Act


def drains(view: View) -> Iterator[Act]:
    """Out of the balancer with whatever is astray; asked again if it is still there later."""
    for slot in list(view.slots.values()):
        if (astray(slot, view.seen) and registered(view, slot) and view.now - slot.asked >= ASK_AGAIN
                and view.settings.mode != "observe"):
            begun = ladder.begun(view, slot) if slot.phase == "healthy" else {}
            yield ladder.act(view, slot, "drain", _why(view), asked=view.now, **begun)


def points(view: View, note: ladder.Note) -> Iterator[Act]:
    """The way to the master, for each that does not lead there; again after a while, for as long as that takes."""
    for slot in list(view.slots.values()):
        endpoint = view.endpoints.get(slot.instance)
        if (not astray(slot, view.seen) or slot.phase in ("restarting", "replacing") or endpoint is None
                or endpoint.state != "running" or (slot.turns and view.now - slot.healed < RESTART)):
            continue
        if reason := refusal(view, slot, "point"):
            note(ladder.held(slot, "point", reason))
            continue
        begun = ladder.begun(view, slot) if slot.phase == "healthy" else {}
        done = ladder.act(view, slot, "point", _why(view), to=view.seen.lead, **begun | {
            "phase": "restarting", "since": view.now, "healed": view.now, "points": view.seen.lead,
            "restarts": 0, "turns": slot.turns + 1})
        view.slots[slot.name] = replace(view.slots[slot.name], command=done.key)
        yield done


def _why(view: View) -> str:
    return f"the master is in {view.seen.lead} now"
