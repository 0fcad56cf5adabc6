"""How a slot gets from one phase to the next: what time and observations change, then what is to be done. Pure.

joining -> healthy -> drained -> restarting -> verifying -> (drained again) -> replacing -> joining, or quarantined.
Whatever the phase, an endpoint that has answered `rise` times in a row goes back into the balancer first.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from chalicelib.tunnels.guards import View, failing, ours, recent, recovered, refusal, registered, since_dark, up
from chalicelib.tunnels.leads import astray
from chalicelib.tunnels.pages import explained
from chalicelib.tunnels.records import (
    ASK_AGAIN,
    COOL_FIRST,
    COOL_FORGOTTEN,
    COOL_MOST,
    HEALS_WINDOW,
    REPLACE,
    REPLACEMENTS_WINDOW,
    RESTART,
    TRIES,
    VERIFY,
    Act,
    Kind,
    Slot,
)

# A termination that was asked for has begun by then, or was lost.
_UNTOUCHED = 60
_COMES_BACK = ("joining", "drained", "verifying", "quarantined")
_RUNS = ("pending", "running")

Note = Callable[[str], None]


def light(view: View) -> None:
    """Since when nothing is up, and since when a failure of several at once is waited out."""
    known = [slot.streak for slot in view.slots.values() if slot.streak and view.now - slot.streak.at
             <= view.settings.stale]
    lit = any(streak.up for streak in known)
    if known and not lit:
        # The last that was up may have gone with its instance.
        before = (slot.streak.at for slot in view.seen.memory.slots if slot.streak and slot.streak.up)
        view.dark = view.dark or max([*before, *(streak.since for streak in known)])
    elif lit:
        view.dark = 0
    view.vouched = _vouched(view)
    suspects = [slot for slot in view.slots.values() if slot.phase == "healthy" and slot.streak and not slot.streak.up]
    if not suspects:
        view.held = 0
    elif lit and len(suspects) > 1 and any(failing(view, slot) for slot in suspects):
        view.held = view.held or view.now


def _vouched(view: View) -> float:
    """Since when it has been said that the far side lives. A silence, theirs or ours, begins it anew: it may have gone
    and come back meanwhile."""
    words = [canary.at for canary in view.seen.canaries if canary.up and recent(view, canary)
             and since_dark(view, canary) and ours(view, canary)]
    if not view.dark or not words:
        return 0.0
    heard = view.now - view.seen.memory.at <= view.settings.stale
    return view.vouched if view.vouched and heard else min(words)


def move_on(view: View) -> None:
    """Every slot, after what time and its own heal have brought."""
    for slot in view.slots.values():
        view.slots[slot.name] = _served(view, _moved(view, slot))


def _moved(view: View, slot: Slot) -> Slot:
    age = view.now - slot.since
    if slot.phase == "restarting":
        return _restarted(view, slot, age)
    if slot.phase == "verifying" and age >= VERIFY and not up(view, slot):
        return replace(slot, phase="drained", since=view.now)
    if slot.phase == "joining" and slot.instance and age >= REPLACE and not up(view, slot):
        return replace(slot, phase="drained", since=view.now)
    if slot.phase == "replacing" and age >= REPLACE:
        return replace(slot, phase="drained" if slot.instance else "quarantined", since=view.now)
    return slot


def _restarted(view: View, slot: Slot, age: float) -> Slot:
    said = view.seen.commands.get(slot.command)
    if said == "failed":
        return replace(slot, phase="drained", since=view.now, command="")
    if said == "done" or age >= RESTART:
        return replace(slot, phase="verifying", since=view.now, command="")
    return slot


def _served(view: View, slot: Slot) -> Slot:
    """With the time since which it has been out of service; a slot of which nothing is known is out, too."""
    if slot.phase == "healthy" and up(view, slot) and registered(view, slot):
        return replace(slot, out=0.0) if slot.out and recovered(view, slot) else slot
    if slot.out and explained(view):
        # People know already that nothing is up; the slot's own clock stands still.
        return replace(slot, out=min(view.now, slot.out + view.now - view.seen.memory.at))
    if slot.out or (slot.streak and not failing(view, slot) and slot.phase == "healthy" and registered(view, slot)
                    and view.now - slot.streak.at <= view.settings.stale):
        return slot
    return replace(slot, out=min(slot.streak.since if failing(view, slot) and slot.streak else view.now, view.now))


def undrains(view: View, note: Note) -> Iterator[Act]:
    """Always first: whatever answers goes back, and what is healthy is in the balancer."""
    for slot in list(view.slots.values()):
        if slot.kept or not up(view, slot) or not recovered(view, slot) or not _comes_back(view, slot):
            continue
        if registered(view, slot):
            view.slots[slot.name] = replace(slot, **healthy(view, slot))
        elif reason := refusal(view, slot, "undrain"):
            note(held(slot, "undrain", reason))
        else:
            why = f"{slot.instance} has answered {view.settings.rise} times in a row"
            yield act(view, slot, "undrain", why, asked=view.now, **healthy(view, slot))


def _comes_back(view: View, slot: Slot) -> bool:
    if slot.phase == "healthy":
        return not registered(view, slot) and view.now - slot.asked >= ASK_AGAIN
    lost = slot.phase == "replacing" and view.now - slot.since >= _UNTOUCHED
    return slot.phase in _COMES_BACK or lost


def healthy(view: View, slot: Slot) -> dict[str, Any]:
    """What changes when a slot is healthy (again): after a heal it cools down, longer if it was healed before."""
    if slot.phase == "healthy":
        return {}
    changes: dict[str, Any] = {"phase": "healthy", "since": view.now, "restarts": 0, "replaced": 0, "command": ""}
    if slot.restarts or slot.replaced:
        cool = min(COOL_MOST, max(COOL_FIRST, 2 * slot.cool))
        changes |= {"cool": cool, "cooled": view.now + cool}
    return changes


def starts(view: View, note: Note) -> Iterator[Act]:
    """An instance that was stopped instead of replaced is started."""
    for slot in list(view.slots.values()):
        endpoint = view.endpoints.get(slot.instance)
        if (not view.settings.tag or endpoint is None or endpoint.state != "stopped" or slot.kept
                or slot.phase not in ("replacing", "joining") or view.now - slot.asked < ASK_AGAIN):
            continue
        if reason := refusal(view, slot, "start"):
            note(held(slot, "start", reason))
        else:
            yield act(view, slot, "start", f"{slot.instance} has stopped", asked=view.now, phase="joining",
                      since=view.now, streak=None)


def drains(view: View, note: Note) -> Iterator[Act]:
    """Out of the balancer with what fails, or was to be out and is not, as long as another can bear it."""
    for slot in list(view.slots.values()):
        out = slot.phase not in ("healthy", "joining", "replacing")
        if not (slot.kept or failing(view, slot)) or not (slot.phase == "healthy" or (out and registered(view, slot))):
            continue
        if out and view.now - slot.asked < ASK_AGAIN:
            continue
        if reason := refusal(view, slot, "drain"):
            note(held(slot, "drain", reason))
        elif registered(view, slot):
            why = f"{slot.instance} was taken out by hand" if slot.kept else _failure(slot)
            yield act(view, slot, "drain", why, asked=view.now, **({} if out else begun(view, slot)))
        else:
            view.slots[slot.name] = replace(slot, **begun(view, slot))


def begun(view: View, slot: Slot) -> dict[str, Any]:
    """What changes when a healthy slot is given up: an episode begins. Long health makes past cool-downs forgotten."""
    forgotten = view.now - slot.since >= COOL_FORGOTTEN
    return {"phase": "drained", "since": view.now, "episode": slot.episode + 1, "seq": 0, "restarts": 0, "replaced": 0,
            "cool": 0 if forgotten else slot.cool}


def heals(view: View, note: Note) -> Iterator[Act]:
    """The next rung of one slot: the lowest first, so that no slot waits for another's replacement to be restarted."""
    dark = not any(up(view, slot) for slot in view.slots.values())
    waiting = [(rung(view, slot), slot) for slot in view.slots.values() if not slot.kept and failing(view, slot)
               and (slot.phase == "drained" or (slot.phase == "healthy" and dark))]
    for kind, slot in sorted(waiting, key=lambda one: (_ORDER.index(one[0]), one[1].since)):
        if reason := refusal(view, slot, kind):
            note(held(slot, kind, reason))
        elif kind == "quarantine":
            view.slots[slot.name] = replace(slot, phase="quarantined", since=view.now)
        else:
            yield heal(view, slot, kind, _failure(slot))
            return


_ORDER: tuple[Kind, ...] = ("restart", "replace", "stop", "quarantine")


def rung(view: View, slot: Slot) -> Kind:
    """What comes next for a slot that fails."""
    endpoint = view.endpoints.get(slot.instance)
    led = not astray(slot, view.seen)
    if led and slot.replaced == 0 and slot.restarts < TRIES and endpoint is not None and endpoint.state in _RUNS:
        return "restart"
    if slot.replaced < TRIES:
        return "stop" if view.settings.tag else "replace"
    return "quarantine"


def heal(view: View, slot: Slot, kind: Kind, why: str) -> Act:
    """A restart or a replacement, and what it changes."""
    fresh = begun(view, slot) if slot.phase == "healthy" else {}
    slot = replace(slot, **fresh)
    view.heals = (*(when for when in view.heals if view.now - when < HEALS_WINDOW), view.now)
    if kind == "restart":
        done = act(view, slot, kind, why, phase="restarting", since=view.now, healed=view.now,
                   restarts=slot.restarts + 1)
        view.slots[slot.name] = replace(view.slots[slot.name], command=done.key)
        return done
    recent = (when for when in view.replacements if view.now - when < REPLACEMENTS_WINDOW)
    view.replacements = (*recent, view.now)
    return act(view, slot, kind, why, phase="replacing", since=view.now, healed=view.now, replaced=slot.replaced + 1,
               command="", asked=view.now)


def act(view: View, slot: Slot, kind: Kind, why: str, to: str = "", **changes: Any) -> Act:
    """The next act of the slot's episode; the slot is changed as it will be once that is done."""
    after = replace(slot, seq=changes.pop("seq", slot.seq) + 1, **changes)
    view.slots[slot.name] = after
    return Act(kind, slot.name, slot.instance, after.episode, after.seq, view.now, why, to)


def _failure(slot: Slot) -> str:
    streak = slot.streak
    if streak is None:
        return f"{slot.instance}: nothing is known of it"
    return f"{slot.instance} has failed {streak.count} times in a row ({streak.side}: {streak.why})"


def held(slot: Slot, kind: Kind, reason: str) -> str:
    """What is noted of an act that is not done."""
    return f"slot {slot.name}: {kind} of {slot.instance} held back: {reason}"
