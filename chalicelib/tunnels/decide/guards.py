"""The guards that block an action, a list of small rules, each with its reason in words. Pure. Of each a test knows the
harm.

A guard gets the decision so far, the member and the kind of action. It answers with the reason against the action, or
with nothing. The rules about peers say when another region's report proves that the primary is up.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from chalicelib.tunnels.decide.context import (
    DecisionContext,
    any_up,
    can_take_load,
    fresh,
    has_wrong_primary,
    recovered,
    up,
)
from chalicelib.tunnels.state import (
    ATTEMPTS_MAX,
    CLOCK_SKEW_SECONDS,
    COOLDOWN,
    CORRELATED_FAILURE_HOLD_SECONDS,
    PEER_REPORT_SECONDS,
    REPAIRS,
    REPLACEMENT_TIMEOUT_SECONDS,
    REPLACEMENTS,
    RESTART_TIMEOUT_SECONDS,
    Kind,
    Member,
    PeerReport,
)

Rule = Callable[[DecisionContext, Member, Kind], str]
PeerRule = Callable[[DecisionContext, PeerReport], bool]


class Guard(NamedTuple):
    """A rule by its name, and the kinds of action that it holds back."""

    name: str
    kinds: frozenset[Kind]
    rule: Rule


def refusal(context: DecisionContext, member: Member, kind: Kind) -> str:
    """Why `kind` is not to be done to the member's instance now. Nothing if it may be."""
    return next(refusals(context, member, kind), "")


def refusals(context: DecisionContext, member: Member, kind: Kind) -> Iterator[str]:
    """All reasons."""
    return (reason for guard in GUARDS if kind in guard.kinds and (reason := guard.rule(context, member, kind)))


# When a peer's report counts: all of these. It may be lost, may have stopped long ago, or may be just ahead of us.


def recent(context: DecisionContext, report: PeerReport) -> bool:
    """It is not older than anything else that is acted on, and not from the future, which no correct clock has seen."""
    return -CLOCK_SKEW_SECONDS <= context.now - report.at <= context.settings.stale


def newer_than_outage(context: DecisionContext, report: PeerReport) -> bool:
    """It is newer than our last endpoint's silence, whatever the clocks. The primary was up then."""
    return report.at > context.state.all_down_since + CLOCK_SKEW_SECONDS


def had_time_to_recover(context: DecisionContext, report: PeerReport) -> bool:
    """Ours have had the time to answer since. When the primary comes back, another region may see it first.

    The time runs from its first report, because the last one of a frequent reporter is never old enough.
    """
    first = min(context.state.primary_reported_up_since or report.at, report.at)
    return context.now - first >= context.settings.fall * context.settings.every


def same_primary(context: DecisionContext, report: PeerReport) -> bool:
    """It speaks of the primary that ours have to go to, not of one before or after a promotion."""
    declared = context.settings.primary
    return (report.primary_region or declared) == (context.observation.primary_region or declared)


PEER_RULES: dict[str, PeerRule] = {
    "recent": recent, "newer than outage": newer_than_outage, "had time to recover": had_time_to_recover,
    "same primary": same_primary}


def primary_confirmed_up(context: DecisionContext) -> bool:
    """Whether a peer's report proves that the primary is up."""
    return any(report.up and all(rule(context, report) for rule in PEER_RULES.values())
               for report in context.observation.peer_reports)


def primary_probably_up(context: DecisionContext) -> bool:
    """Whether a peer has seen the primary since we did not, be it that its report is too old to act on."""
    return any(report.up and newer_than_outage(context, report) and same_primary(context, report)
               and -CLOCK_SKEW_SECONDS <= context.now - report.at <= PEER_REPORT_SECONDS + context.settings.stale
               for report in context.observation.peer_reports)


# The guards.

_ALLOWED: dict[str, frozenset[Kind]] = {
    "off": frozenset(), "observe": frozenset(), "drain": frozenset({"drain", "undrain"}),
    "full": frozenset({"drain", "undrain", "restart", "replace", "stop", "start", "repoint", "quarantine"})}


def mode(context: DecisionContext, member: Member, kind: Kind) -> str:
    """The controller does by itself only what it may. People may do what they like."""
    allowed = context.manual or kind in _ALLOWED[context.settings.mode]
    return "" if allowed else f"mode is {context.settings.mode!r}"


def stale(context: DecisionContext, member: Member, kind: Kind) -> str:
    """An old observation may be wrong by now."""
    if fresh(context, member):
        return ""
    age = f"is {context.now - member.streak.at:.0f} s old" if member.streak else "is nothing yet"
    return f"what was seen of {member.instance or 'it'} {age}"


def primary_side_down(context: DecisionContext, member: Member, kind: Kind) -> str:
    """If the primary may be down, no tunnel is repaired by anything that is done on this side."""
    if any(up(context, one) and recovered(context, one) for one in context.members):
        return ""
    if context.manual and has_wrong_primary(member, context.observation) and member.repoint_attempts >= ATTEMPTS_MAX:
        return ""  # it carries nothing, and a person knows whether it can be connected there at all
    if any_up(context):
        return "the only ones that answer have just begun to"
    if context.state.all_down_since and primary_confirmed_up(context):
        return ""
    return "nothing is up, and no other region proves that the primary is"


def tunnel_works(context: DecisionContext, member: Member, kind: Kind) -> str:
    """A tunnel to something that does not answer is whole, unless another goes to something that does."""
    streak = member.streak
    if streak is None or streak.side != "far" or any_up(context):
        return ""
    return f"its tunnel works, and what it goes to does not ({streak.why})"


def wrong_primary(context: DecisionContext, member: Member, kind: Kind) -> str:
    """A host that goes to another primary than the one that counts is repointed, and not let in before."""
    in_vain = (member.repoint_attempts >= ATTEMPTS_MAX
               and context.now - member.repoint_sent_at >= RESTART_TIMEOUT_SECONDS)
    if not has_wrong_primary(member, context.observation) or (kind != "undrain" and in_vain):
        return ""
    return f"no probe has shown yet that it goes to the primary in {context.observation.primary_region}"


def last_healthy(context: DecisionContext, member: Member, kind: Kind) -> str:
    """Any endpoint in the balancer is better than none."""
    if kind != "drain" and not up(context, member):
        return ""
    if any(can_take_load(context, one) for one in context.members if one.name != member.name):
        return ""
    return f"no other member is in the balancer and has answered {context.settings.rise} times in a row"


def correlated_failure(context: DecisionContext, member: Member, kind: Kind) -> str:
    """Several that fail at once have one cause, which is likely to pass."""
    since = context.state.correlated_failure_since
    left = since + CORRELATED_FAILURE_HOLD_SECONDS - context.now
    return f"several failed at once, so repairs wait for another {left:.0f} s" if since and left > 0 else ""


def repairs(context: DecisionContext, member: Member, kind: Kind) -> str:
    """Repairs do not help a fault that needs so many of them."""
    if REPAIRS.left(context.state.repairs, context.now):
        return ""
    return f"{REPAIRS.limit} repairs within {REPAIRS.window_seconds // 60} minutes are the most"


def replacements(context: DecisionContext, member: Member, kind: Kind) -> str:
    """The same of instances."""
    if REPLACEMENTS.left(context.state.replacements, context.now):
        return ""
    return f"{REPLACEMENTS.limit} replacements within an hour are the most"


def one_repair_at_a_time(context: DecisionContext, member: Member, kind: Kind) -> str:
    """The result of one repair is known before the next begins."""
    name = next((one.name for one in context.members if under_repair(one, context.now)), "")
    return f"a repair of member {name} is under way" if name else ""


def under_repair(member: Member, now: float) -> bool:
    """Whether a repair of ours is under way. An instance that went by itself is not one, nor one that never comes."""
    if member.phase in ("restarting", "verifying"):
        return True
    replaced = member.phase in ("replacing", "joining") and member.replacement_count > 0
    return replaced and now - member.repair_started_at < 2 * REPLACEMENT_TIMEOUT_SECONDS


def cooldown(context: DecisionContext, member: Member, kind: Kind) -> str:
    """An endpoint that was just repaired and fails again must not be repaired for ever."""
    left = COOLDOWN.wait_seconds(member.cooldown, context.now)
    first = member.restart_count == member.replacement_count == 0
    return f"member {member.name} cools down after a repair, for {left:.0f} s" if first and left > 0 else ""


_REPAIRS: frozenset[Kind] = frozenset({"restart", "replace", "stop"})
_REPLACE: frozenset[Kind] = frozenset({"replace", "stop"})
_GIVE_UP: frozenset[Kind] = _REPAIRS | {"quarantine"}
_OUT: frozenset[Kind] = _GIVE_UP | {"drain"}

GUARDS = (
    Guard("mode", _OUT | {"undrain", "start", "repoint"}, mode),
    Guard("stale", _OUT | {"undrain"}, stale),
    Guard("primary side down", _GIVE_UP, primary_side_down),
    Guard("tunnel works", _GIVE_UP, tunnel_works),
    Guard("wrong primary", _GIVE_UP | {"undrain"}, wrong_primary),
    Guard("last healthy", _REPLACE | {"drain"}, last_healthy),
    Guard("correlated failure", _OUT, correlated_failure),
    Guard("repairs", _REPAIRS, repairs),
    Guard("replacements", _REPLACE, replacements),
    Guard("one repair at a time", _REPAIRS, one_repair_at_a_time),
    Guard("cooldown", _REPAIRS, cooldown),
)
