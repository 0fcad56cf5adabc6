"""The alerts of the tunnels, each once. Pure."""

from collections.abc import Iterator

from chalicelib.config import durations
from chalicelib.tunnels.decide.guards import DecisionContext, primary_confirmed_up, primary_probably_up
from chalicelib.tunnels.state import (
    ALERT_REPEAT_SECONDS,
    ALL_DOWN_ALERT_SECONDS,
    OUT_OF_SERVICE_ALERT_SECONDS,
    RETRY_SECONDS,
    WRONG_PRIMARY_ALERT_SECONDS,
    Alert,
    AlertDelivery,
    Member,
)


def due_alerts(view: DecisionContext, told: dict[str, AlertDelivery]) -> Iterator[Alert]:
    """The alerts that are due now. An alert that may not have reached people goes out again."""
    for page, began in _found(view):
        before = told.get(page.key)
        if before is None or (not before.sure and view.now - before.at >= RETRY_SECONDS):
            yield page
        elif before.at < began and view.now - before.at >= ALERT_REPEAT_SECONDS:
            # What comes and goes is not told each time.
            yield page


def _found(view: DecisionContext) -> Iterator[tuple[Alert, float]]:
    """The current conditions, and the time since when each is new."""
    if view.seen.unobservable:
        yield Alert("TunnelsUnobservable", view.seen.region,
                    f"nothing is done to the tunnels: {'; '.join(view.seen.unobservable)}"), 0.0
        return
    if view.seen.fenced_primary:
        yield _severed(view), 0.0
        return
    if late := [
        slot
        for slot in view.slots.values()
        if slot.wrong_primary_since and view.now - slot.wrong_primary_since >= WRONG_PRIMARY_ALERT_SECONDS
    ]:
        yield _astray(view, late), min(slot.wrong_primary_since for slot in late)
    dark = _dark(view)
    if dark:
        yield dark, view.dark
    for slot in view.slots.values():
        if slot.phase == "quarantined":
            yield Alert("TunnelRepairFailed", f"slot {slot.name}", _given_up(view, slot)), slot.since
        elif (
            slot.out_of_service_since
            and view.now - slot.out_of_service_since >= OUT_OF_SERVICE_ALERT_SECONDS
            and not covered_by_outage_alert(view)
        ):
            yield Alert("TunnelOutOfService", f"slot {slot.name}", _out(view, slot)), slot.out_of_service_since


def _severed(view: DecisionContext) -> Alert:
    return Alert(
        "TunnelsDrainedPrimaryFenced",
        view.seen.region,
        f"the master in {view.seen.fenced_primary}, to which these tunnels lead, is fenced by a promotion: they are "
        "out of the balancer, so that nobody reaches it; if that lasts, fleet.toml has no "
        "[[tunnels.hosts.ways]] to the new master: add it, deploy and replace the hosts, or promote the former "
        "region again",
    )


def _astray(view: DecisionContext, slots: list[Member]) -> Alert:
    names = ", ".join(f"slot {slot.name} ({slot.instance})" for slot in slots)
    return Alert(
        "TunnelsOnWrongPrimary",
        view.seen.region,
        f"the master is in {view.seen.primary_region}, and {names} cannot be led there: out of the balancer until that "
        "is so; look at what Run Command has of `point`, at the gateway there, and whether it knows this "
        "region's key (tunnels.rotate_keys); a host that knows no way there is helped by tunnels.replace",
    )


def _dark(view: DecisionContext) -> Alert | None:
    """Nothing is up. Either there is no good peer report, or each tunnel works and its target is silent.

    Not if all have the wrong primary, because then nothing is known about the right one.
    """
    seated = [slot for slot in view.slots.values() if slot.instance]
    wander = bool(seated) and all(slot.wrong_primary_since for slot in seated)
    if not view.dark or view.now - view.dark < ALL_DOWN_ALERT_SECONDS or wander:
        return None
    streaks = [slot.streak for slot in view.slots.values() if slot.streak]
    far = all(streak.side == "far" for streak in streaks)
    if not far and (primary_probably_up(view) or primary_confirmed_up(view)):
        return None
    seen = ", ".join(sorted({f"{streak.side}: {streak.why}" for streak in streaks}))
    return Alert(
        "PrimaryUnreachable",
        view.seen.region,
        f"nothing answers through any tunnel ({seen}) and no canary of another region lives: the far side in "
        f"{view.seen.primary_region or view.settings.master} must be down; nothing is done to the tunnels; look at the "
        "master there",
    )


def covered_by_outage_alert(view: DecisionContext) -> bool:
    """Whether an alert about the whole outage already explains the member's outage."""
    dark = _dark(view)
    return dark is not None and view.seen.memory.alerts.get(dark.key, AlertDelivery(0)).at >= view.dark


def _given_up(view: DecisionContext, slot: Member) -> str:
    if not slot.instance:
        return ("its instance is gone, and the group brought no new one in time: look at the activity history of the "
                "Auto Scaling group")
    return (f"{slot.instance} was restarted and replaced in vain and is left alone now: look at it, then call "
            "tunnels.replace")


def _out(view: DecisionContext, slot: Member) -> str:
    span = durations.words(int(view.now - slot.out_of_service_since))
    if slot.drained_manually:
        return f"{slot.instance} was taken out by hand {span} ago; tunnels.undrain puts it back"
    streak = slot.streak
    last = f"the last probe said {streak.side}: {streak.why}" if streak else "it has never been probed"
    who = slot.instance or "no instance"
    return f"{who} has been out of service for {span} ({slot.phase}): {last}; see tunnels.status"
