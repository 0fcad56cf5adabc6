"""What people must know of the tunnels, each thing once. Pure."""

from collections.abc import Iterator

from chalicelib import durations
from chalicelib.tunnels.guards import View, known_alive, live
from chalicelib.tunnels.records import ASK_AGAIN, ASTRAY_TOLD, DARK_TOLD, OUT_TOLD, TOLD_AGAIN, Page, Slot, Told


def due(view: View, told: dict[str, Told]) -> Iterator[Page]:
    """What is to be told now; what may not have reached people is told again."""
    for page, began in _found(view):
        before = told.get(page.key)
        if before is None or (not before.sure and view.now - before.at >= ASK_AGAIN):
            yield page
        elif before.at < began and view.now - before.at >= TOLD_AGAIN:
            # What comes and goes is not told each time.
            yield page


def _found(view: View) -> Iterator[tuple[Page, float]]:
    """What holds now, and since when it is news."""
    if view.seen.blind:
        yield Page("Unsighted", view.seen.region, f"nothing is done to the tunnels: {'; '.join(view.seen.blind)}"), 0.0
        return
    if view.seen.fenced:
        yield _severed(view), 0.0
        return
    if late := [slot for slot in view.slots.values() if slot.strayed and view.now - slot.strayed >= ASTRAY_TOLD]:
        yield _astray(view, late), min(slot.strayed for slot in late)
    dark = _dark(view)
    if dark:
        yield dark, view.dark
    for slot in view.slots.values():
        if slot.phase == "quarantined":
            yield Page("Quarantined", f"slot {slot.name}", _given_up(view, slot)), slot.since
        elif slot.out and view.now - slot.out >= OUT_TOLD and not explained(view):
            yield Page("TunnelOut", f"slot {slot.name}", _out(view, slot)), slot.out


def _severed(view: View) -> Page:
    return Page("TunnelsSevered", view.seen.region,
                f"the master in {view.seen.fenced}, to which these tunnels lead, is fenced by a promotion: they are "
                "out of the balancer, so that nobody reaches it; if that lasts, fleet.toml has no "
                "[[tunnels.hosts.ways]] to the new master: add it, deploy and replace the hosts, or promote the former "
                "region again")


def _astray(view: View, slots: list[Slot]) -> Page:
    names = ", ".join(f"slot {slot.name} ({slot.instance})" for slot in slots)
    return Page("TunnelsAstray", view.seen.region,
                f"the master is in {view.seen.lead}, and {names} cannot be led there: out of the balancer until that "
                "is so; look at what Run Command has of `point`, at the gateway there, and whether it knows this "
                "region's key (tunnels.rotate_keys); a host that knows no way there is helped by tunnels.replace")


def _dark(view: View) -> Page | None:
    """Nothing is up: either no canary lives, or each tunnel works and what it leads to does not.

    Not if all are astray: then nothing is known of the far side.
    """
    seated = [slot for slot in view.slots.values() if slot.instance]
    wander = bool(seated) and all(slot.strayed for slot in seated)
    if not view.dark or view.now - view.dark < DARK_TOLD or wander:
        return None
    streaks = [slot.streak for slot in view.slots.values() if slot.streak]
    far = all(streak.side == "far" for streak in streaks)
    if not far and (known_alive(view) or live(view)):
        return None
    seen = ", ".join(sorted({f"{streak.side}: {streak.why}" for streak in streaks}))
    return Page("FarSideDown", view.seen.region,
                f"nothing answers through any tunnel ({seen}) and no canary of another region lives: the far side in "
                f"{view.seen.lead or view.settings.master} must be down; nothing is done to the tunnels; look at the "
                "master there")


def explained(view: View) -> bool:
    """Whether people know already why a slot is out: everything is."""
    dark = _dark(view)
    return dark is not None and view.seen.memory.told.get(dark.key, Told(0)).at >= view.dark


def _given_up(view: View, slot: Slot) -> str:
    if not slot.instance:
        return ("its instance is gone, and the group brought no new one in time: look at the activity history of the "
                "Auto Scaling group")
    return (f"{slot.instance} was restarted and replaced in vain and is left alone now: look at it, then call "
            "tunnels.replace")


def _out(view: View, slot: Slot) -> str:
    span = durations.words(int(view.now - slot.out))
    if slot.kept:
        return f"{slot.instance} was taken out by hand {span} ago; tunnels.undrain puts it back"
    streak = slot.streak
    last = f"the last probe said {streak.side}: {streak.why}" if streak else "it has never been probed"
    who = slot.instance or "no instance"
    return f"{who} has been out of service for {span} ({slot.phase}): {last}; see tunnels.status"
