"""While the master that the tunnels lead to is fenced, nobody gets through them: all are taken out. Pure.

A promotion in another region has closed that master (chalicelib/databases/promotion.py), and whoever still reached it
might believe what is over. So the guards of the ladder, which keep the way open, do not hold here; nothing is healed,
and nothing goes back until the region is no longer fenced, or fleet.toml names the new master.
"""

from collections.abc import Iterator

from chalicelib.tunnels import ladder
from chalicelib.tunnels.guards import View, registered
from chalicelib.tunnels.records import ASK_AGAIN, Act


def drains(view: View) -> Iterator[Act]:
    """Out of the balancer with whatever is in it; asked again if it is still there later."""
    for slot in list(view.slots.values()):
        if registered(view, slot) and view.now - slot.asked >= ASK_AGAIN:
            begun = ladder.begun(view, slot) if slot.phase == "healthy" else {}
            why = f"the master in {view.seen.fenced} is fenced"
            yield ladder.act(view, slot, "drain", why, asked=view.now, **begun)
