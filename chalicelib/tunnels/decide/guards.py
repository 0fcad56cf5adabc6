"""The guards that block an action, a list of small rules, each with its reason in words. Pure. Of each a test knows the
harm.

A guard gets the round's context, the member and the kind of action. It answers with the reason against the action, or
with nothing. The rules about peer reports say when another region's word proves that the primary's side lives.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from chalicelib.tunnels.config import Tunnels
from chalicelib.tunnels.decide.primary import has_wrong_primary
from chalicelib.tunnels.state import (
    ATTEMPTS_MAX,
    CLOCK_SKEW_SECONDS,
    CORRELATED_FAILURE_HOLD_SECONDS,
    PEER_REPORT_SECONDS,
    REPAIRS_MAX,
    REPAIRS_WINDOW_SECONDS,
    REPLACEMENT_TIMEOUT_SECONDS,
    REPLACEMENTS_MAX,
    REPLACEMENTS_WINDOW_SECONDS,
    RESTART_TIMEOUT_SECONDS,
    Endpoint,
    Kind,
    Member,
    PeerReport,
    TunnelObservation,
)


class DecisionContext:
    """A round's facts and its decisions so far, with `slots` by name, `heals` and `replacements`."""

    def __init__(self, seen: TunnelObservation, slots: Mapping[str, Member], by_hand: bool = False) -> None:
        memory = seen.memory
        self.seen, self.now, self.by_hand = seen, seen.at, by_hand
        self.settings: Tunnels = seen.settings
        self.endpoints: Mapping[str, Endpoint] = seen.endpoints
        self.slots = dict(slots)
        self.heals, self.replacements = memory.repair_times, memory.replacement_times
        self.dark, self.held = memory.all_down_since, memory.correlated_failure_since
        self.vouched = memory.primary_reported_up_since


Rule = Callable[[DecisionContext, Member, Kind], str]
CanaryRule = Callable[[DecisionContext, PeerReport], bool]


class Guard(NamedTuple):
    """A rule by its name, and the kinds of act that it holds back."""

    name: str
    kinds: frozenset[Kind]
    rule: Rule


def refusal(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """Why `kind` is not to be done to the slot's instance now. Nothing if it may be."""
    return next(refusals(view, slot, kind), "")


def refusals(view: DecisionContext, slot: Member, kind: Kind) -> Iterator[str]:
    """All reasons."""
    return (reason for guard in GUARDS if kind in guard.kinds and (reason := guard.rule(view, slot, kind)))


# What the guards, and the ladder, ask of a slot.


def fresh(view: DecisionContext, slot: Member) -> bool:
    """Whether it was seen recently enough to act on."""
    return slot.streak is not None and view.now - slot.streak.at <= view.settings.stale


def up(view: DecisionContext, slot: Member) -> bool:
    """Whether the database answers through it."""
    return slot.streak is not None and slot.streak.up and fresh(view, slot)


def failing(view: DecisionContext, slot: Member) -> bool:
    """Whether it has failed often enough in a row."""
    return slot.streak is not None and not slot.streak.up and slot.streak.count >= view.settings.fall


def recovered(view: DecisionContext, slot: Member) -> bool:
    """Whether it has answered often enough in a row."""
    return slot.streak is not None and slot.streak.up and slot.streak.count >= view.settings.rise


def registered(view: DecisionContext, slot: Member) -> bool:
    """Whether the balancer sends connections to it."""
    endpoint = view.endpoints.get(slot.instance)
    return endpoint is not None and endpoint.target == "registered"


def can_take_load(view: DecisionContext, slot: Member) -> bool:
    """Whether it can carry the others' load. It must stay in the balancer, and have answered for some time."""
    return slot.phase == "healthy" and registered(view, slot) and up(view, slot) and recovered(view, slot)


# When a canary's word counts: all of these. It may be lost, may have stopped long ago, or may be just ahead of us.


def recent(view: DecisionContext, canary: PeerReport) -> bool:
    """It is not older than anything else that is acted on."""
    return view.now - canary.at <= view.settings.stale


def newer_than_outage(view: DecisionContext, canary: PeerReport) -> bool:
    """It is newer than our last endpoint's silence, whatever the clocks. The primary was up then."""
    return canary.at > view.dark + CLOCK_SKEW_SECONDS


def had_time_to_recover(view: DecisionContext, canary: PeerReport) -> bool:
    """Ours have had the time to answer since. When the primary comes back, another region may see it first.

    The time runs from its first report, because the last one of a frequent reporter is never old enough.
    """
    first = min(view.vouched or canary.at, canary.at)
    return view.now - first >= view.settings.fall * view.settings.every


def same_primary(view: DecisionContext, canary: PeerReport) -> bool:
    """It speaks of the primary that ours are to lead to, not of one before or after a promotion."""
    declared = view.settings.master
    return (canary.primary_region or declared) == (view.seen.primary_region or declared)


CANARY_RULES: dict[str, CanaryRule] = {
    "recent": recent, "since dark": newer_than_outage, "outlived": had_time_to_recover, "ours": same_primary}


def primary_confirmed_up(view: DecisionContext) -> bool:
    """Whether a peer report proves that the primary's side is alive."""
    return any(canary.up and all(rule(view, canary) for rule in CANARY_RULES.values())
               for canary in view.seen.peer_reports)


def primary_probably_up(view: DecisionContext) -> bool:
    """Whether a peer report has seen the primary's side since we did not, be it that its word is too old to act on."""
    return any(canary.up and newer_than_outage(view, canary) and same_primary(view, canary)
               and view.now - canary.at <= PEER_REPORT_SECONDS + view.settings.stale
               for canary in view.seen.peer_reports)


# The guards.

_ALLOWED: dict[str, frozenset[Kind]] = {
    "off": frozenset(), "observe": frozenset(), "drain": frozenset({"drain", "undrain"}),
    "full": frozenset({"drain", "undrain", "restart", "replace", "stop", "start", "repoint", "quarantine"})}


def mode(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """The controller does by itself only what it may. People may do what they like."""
    allowed = view.by_hand or kind in _ALLOWED[view.settings.mode]
    return "" if allowed else f"mode is {view.settings.mode!r}"


def stale(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """An old observation may be wrong by now."""
    if fresh(view, slot):
        return ""
    age = f"is {view.now - slot.streak.at:.0f} s old" if slot.streak else "is nothing yet"
    return f"what was seen of {slot.instance or 'it'} {age}"


def primary_side_down(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """If the primary's side may be down, no tunnel is mended by anything that is done on this side."""
    if any(up(view, one) and recovered(view, one) for one in view.slots.values()):
        return ""
    if view.by_hand and has_wrong_primary(slot, view.seen) and slot.repoint_attempts >= ATTEMPTS_MAX:
        return ""  # it carries nothing, and a person knows whether it can be led there at all
    if any(up(view, one) for one in view.slots.values()):
        return "the only ones that answer have just begun to"
    if view.dark and primary_confirmed_up(view):
        return ""
    return "nothing is up, and no canary proves that the far side is"


def tunnel_works(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """A tunnel that leads to something that does not answer is whole, unless another leads to something that does."""
    streak = slot.streak
    if streak is None or streak.side != "far" or any(up(view, one) for one in view.slots.values()):
        return ""
    return f"its tunnel works, and what it leads to does not ({streak.why})"


def wrong_primary(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """A host on the wrong primary gets repointed, and stays out of the balancer before that."""
    in_vain = slot.repoint_attempts >= ATTEMPTS_MAX and view.now - slot.repoint_sent_at >= RESTART_TIMEOUT_SECONDS
    if not has_wrong_primary(slot, view.seen) or (kind != "undrain" and in_vain):
        return ""
    return f"it is not known to lead to the master in {view.seen.primary_region} yet"


def last_healthy(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """Any endpoint in the balancer is better than none."""
    if kind != "drain" and not up(view, slot):
        return ""
    if any(can_take_load(view, one) for one in view.slots.values() if one.name != slot.name):
        return ""
    return f"no other slot is in the balancer and has answered {view.settings.rise} times in a row"


def correlated_failure(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """Several that fail at once have one cause, which is likely to pass."""
    left = view.held + CORRELATED_FAILURE_HOLD_SECONDS - view.now
    return f"several failed at once: held for another {left:.0f} s" if view.held and left > 0 else ""


def heals(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """Repairs do not help a fault that needs so many of them."""
    spent = sum(view.now - when < REPAIRS_WINDOW_SECONDS for when in view.heals)
    return f"{spent} heals within {REPAIRS_WINDOW_SECONDS // 60} minutes are the most" if spent >= REPAIRS_MAX else ""


def replacements(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """The same of instances."""
    spent = sum(view.now - when < REPLACEMENTS_WINDOW_SECONDS for when in view.replacements)
    return f"{spent} replacements within an hour are the most" if spent >= REPLACEMENTS_MAX else ""


def one_repair_at_a_time(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """The result of one repair is known before the next begins."""
    name = next((one.name for one in view.slots.values() if in_flight(one, view.now)), "")
    return f"slot {name} is being healed" if name else ""


def in_flight(slot: Member, now: float) -> bool:
    """Whether a heal of ours is under way. An instance that went by itself is not one, nor one that never comes."""
    if slot.phase in ("restarting", "verifying"):
        return True
    replaced = slot.phase in ("replacing", "joining") and slot.replacement_count > 0
    return replaced and now - slot.repair_started_at < 2 * REPLACEMENT_TIMEOUT_SECONDS


def cooldown(view: DecisionContext, slot: Member, kind: Kind) -> str:
    """An endpoint that was just repaired and fails again must not be repaired for ever."""
    left = slot.cooldown_until - view.now
    first = slot.restart_count == slot.replacement_count == 0
    return f"slot {slot.name} was healed before: it cools down for {left:.0f} s" if first and left > 0 else ""


_HEALS: frozenset[Kind] = frozenset({"restart", "replace", "stop"})
_REPLACE: frozenset[Kind] = frozenset({"replace", "stop"})
_GIVE_UP: frozenset[Kind] = _HEALS | {"quarantine"}
_OUT: frozenset[Kind] = _GIVE_UP | {"drain"}

GUARDS = (
    Guard("mode", _OUT | {"undrain", "start", "repoint"}, mode),
    Guard("stale", _OUT | {"undrain"}, stale),
    Guard("far side", _GIVE_UP, primary_side_down),
    Guard("tunnel works", _GIVE_UP, tunnel_works),
    Guard("astray", _GIVE_UP | {"undrain"}, wrong_primary),
    Guard("last", _REPLACE | {"drain"}, last_healthy),
    Guard("correlated", _OUT, correlated_failure),
    Guard("heals", _HEALS, heals),
    Guard("replacements", _REPLACE, replacements),
    Guard("flight", _HEALS, one_repair_at_a_time),
    Guard("cool-down", _HEALS, cooldown),
)
