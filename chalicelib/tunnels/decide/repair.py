"""The changes of a member's phase, first by time and observations, then by actions. Pure.

joining -> healthy -> drained -> restarting -> verifying -> (drained again) -> replacing -> joining, or quarantined.
Whatever the phase, an endpoint that has answered `rise` times in a row goes back into the balancer first.

Whether a tunnel is restarted, or its host replaced, is decided in `repair_next`.
"""

from typing import Any

from msgspec.structs import replace

from chalicelib.tunnels.decide import alerts
from chalicelib.tunnels.decide.context import (
    DecisionContext,
    any_up,
    failing,
    has_wrong_primary,
    in_service,
    recovered,
    registered,
    up,
)
from chalicelib.tunnels.decide.guards import last_healthy, newer_than_outage, recent, refusal, same_primary
from chalicelib.tunnels.state import (
    ATTEMPTS_MAX,
    COOLDOWN,
    REPAIRS,
    REPLACEMENT_TIMEOUT_SECONDS,
    REPLACEMENTS,
    RESTART_TIMEOUT_SECONDS,
    RETRY_SECONDS,
    VERIFY_TIMEOUT_SECONDS,
    Kind,
    Member,
)

# A termination that was asked for has begun by then, or was lost (s).
_TERMINATION_BEGINS_SECONDS = 60
COMES_BACK = ("joining", "drained", "verifying", "quarantined")
_RUNS = ("pending", "running")


def update_outage(context: DecisionContext) -> DecisionContext:
    """Since when nothing is up, and since when a failure of several at once is waited out."""
    state, now = context.state, context.now
    streaks = [member.streak for member in state.members
               if member.streak and now - member.streak.at <= context.settings.stale]
    some_up = any(streak.up for streak in streaks)
    if streaks and not some_up:
        # The last that was up may have gone with its instance.
        before = (member.streak.at for member in context.before.members if member.streak and member.streak.up)
        all_down_since = state.all_down_since or max([*before, *(streak.since for streak in streaks)])
    else:
        all_down_since = 0.0 if some_up else state.all_down_since
    context = replace(context, state=replace(state, all_down_since=all_down_since))
    suspects = [member for member in state.members
                if member.phase == "healthy" and member.streak and not member.streak.up]
    held_since = state.correlated_failure_since if suspects else 0.0
    if some_up and len(suspects) > 1 and any(failing(context, member) for member in suspects):
        held_since = held_since or now
    return replace(context, state=replace(context.state, correlated_failure_since=held_since,
                                          primary_reported_up_since=_reported_up_since(context)))


def _reported_up_since(context: DecisionContext) -> float:
    """Since when peers have reported the primary up. A silence, theirs or ours, resets it, because the primary may have
    gone and come back meanwhile."""
    reports = [report.at for report in context.observation.peer_reports
               if report.up and recent(context, report) and newer_than_outage(context, report)
               and same_primary(context, report)]
    if not context.state.all_down_since or not reports:
        return 0.0
    heard = context.now - context.before.at <= context.settings.stale
    since = context.state.primary_reported_up_since
    return since if since and heard else min(reports)


def advance_phases(context: DecisionContext) -> DecisionContext:
    """Every member, after what time and its own repair have brought."""
    for member in context.each():
        context = context.with_member(_in_service(context, _advanced(context, member)))
    return context


def _advanced(context: DecisionContext, member: Member) -> Member:
    age, now = context.now - member.since, context.now
    if member.phase == "restarting":
        outcome = context.observation.outcomes.get(member.last_action)
        if outcome == "failed":
            return replace(member, phase="drained", since=now)
        done = outcome == "done" or age >= RESTART_TIMEOUT_SECONDS
        return replace(member, phase="verifying", since=now) if done else member
    if member.phase == "verifying" and age >= VERIFY_TIMEOUT_SECONDS and not up(context, member):
        return replace(member, phase="drained", since=now)
    if (member.phase == "joining" and member.instance and age >= REPLACEMENT_TIMEOUT_SECONDS
            and not up(context, member)):
        return replace(member, phase="drained", since=now)
    if member.phase == "replacing" and age >= REPLACEMENT_TIMEOUT_SECONDS:
        return replace(member, phase="drained" if member.instance else "quarantined", since=now)
    return member


def _in_service(context: DecisionContext, member: Member) -> Member:
    """With the time since which it has been out of service. One of which nothing is known is out, too."""
    now, since = context.now, member.out_of_service_since
    serving = member.phase == "healthy" and up(context, member) and in_service(context, member)
    if serving:
        return replace(member, out_of_service_since=0.0) if since and recovered(context, member) else member
    if since and alerts.primary_unreachable(context):
        # People know already that nothing is up; the member's own clock stands still.
        return replace(member, out_of_service_since=min(now, since + now - context.before.at))
    streak = member.streak
    if since or (streak and not failing(context, member) and member.phase == "healthy" and in_service(context, member)
                 and now - streak.at <= context.settings.stale):
        return member
    return replace(member, out_of_service_since=min(streak.since if failing(context, member) and streak else now, now))


def undrain(context: DecisionContext) -> DecisionContext:
    """Always first. A healthy endpoint goes back, and is in the balancer."""
    for member in context.each():
        if (member.drained_manually or not up(context, member) or not recovered(context, member)
                or not _comes_back(context, member)):
            continue
        if registered(context, member):
            context = context.with_member(replace(member, **made_healthy(context, member)))
        elif because := refusal(context, member, "undrain"):
            context = context.with_note(member, "undrain", because)
        else:
            reason = f"{member.instance} has answered {context.settings.rise} times in a row"
            context = context.with_action(member, "undrain", reason, target_change_requested_at=context.now,
                                          **made_healthy(context, member))
    return context


def _comes_back(context: DecisionContext, member: Member) -> bool:
    if member.phase == "healthy":
        asked = context.now - member.target_change_requested_at < RETRY_SECONDS
        return not registered(context, member) and not asked
    lost = member.phase == "replacing" and context.now - member.since >= _TERMINATION_BEGINS_SECONDS
    return member.phase in COMES_BACK or lost


def made_healthy(context: DecisionContext, member: Member) -> dict[str, Any]:
    """The change of a member that is healthy (again). After a repair it has a cooldown, longer after an earlier repair.
    """
    if member.phase == "healthy":
        return {}
    repaired = member.restart_count or member.replacement_count
    cooldown = COOLDOWN.failed(member.cooldown, context.now) if repaired else member.cooldown
    return {"phase": "healthy", "since": context.now, "restart_count": 0, "replacement_count": 0, "cooldown": cooldown}


def start_stopped(context: DecisionContext) -> DecisionContext:
    """An instance that was stopped instead of replaced is started."""
    for member in context.each():
        endpoint = context.endpoint(member)
        if (not context.settings.tag or endpoint is None or endpoint.state != "stopped" or member.drained_manually
                or member.phase not in ("replacing", "joining")
                or context.now - member.target_change_requested_at < RETRY_SECONDS):
            continue
        if because := refusal(context, member, "start"):
            context = context.with_note(member, "start", because)
        else:
            context = context.with_action(
                member, "start", f"{member.instance} has stopped", target_change_requested_at=context.now,
                phase="joining", since=context.now, streak=None)
    return context


def drain_failing(context: DecisionContext) -> DecisionContext:
    """Out of the balancer with what fails, or was to be out and is not, as long as another can take the load."""
    for member in context.each():
        out = member.phase not in ("healthy", "joining", "replacing")
        if not (member.drained_manually or failing(context, member)) or not (
                member.phase == "healthy" or (out and registered(context, member))):
            continue
        if out and context.now - member.target_change_requested_at < RETRY_SECONDS:
            continue
        if because := refusal(context, member, "drain"):
            context = context.with_note(member, "drain", because)
        elif registered(context, member):
            by_hand = f"{member.instance} is out manually"
            context = context.with_action(
                member, "drain", by_hand if member.drained_manually else failure(member),
                target_change_requested_at=context.now, **({} if out else incident_opened(context, member)))
        else:
            context = context.with_member(replace(member, **incident_opened(context, member)))
    return context


def incident_opened(context: DecisionContext, member: Member) -> dict[str, Any]:
    """The change of a healthy member that fails. Long health makes past cooldowns forgotten."""
    healthy_seconds = context.now - member.since
    return {"phase": "drained", "since": context.now, "incident": member.incident + 1, "action_number": 0,
            "restart_count": 0, "replacement_count": 0,
            "cooldown": COOLDOWN.healthy(member.cooldown, healthy_seconds)}


def repair_next(context: DecisionContext) -> DecisionContext:
    """The next repair of one member. Restarts come first, so that none waits for another's replacement only to be
    restarted."""
    waiting = [(next_repair(context, member), member) for member in context.each()
               if not member.drained_manually and failing(context, member)
               and (member.phase == "drained" or (member.phase == "healthy" and not _may_leave(context, member)))]
    for kind, member in sorted(waiting, key=lambda one: (_ORDER.index(one[0]), one[1].since)):
        if because := refusal(context, member, kind):
            context = context.with_note(member, kind, because)
        elif kind == "quarantine":
            context = context.with_member(replace(member, phase="quarantined", since=context.now))
        else:
            return with_repair(context, member, kind, failure(member))
    return context


def _may_leave(context: DecisionContext, member: Member) -> bool:
    """Whether another one could carry its load. One that never can must be repaired where it is."""
    return any_up(context) and not last_healthy(context, member, "drain")


_ORDER: tuple[Kind, ...] = ("restart", "replace", "stop", "quarantine")


def next_repair(context: DecisionContext, member: Member) -> Kind:
    """The next repair of a failing member. Two restarts come first, then two replacements, then it is left alone."""
    endpoint = context.endpoint(member)
    runs = endpoint is not None and endpoint.state in _RUNS
    wrong = has_wrong_primary(member, context.observation)
    if runs and not wrong and member.replacement_count == 0 and member.restart_count < ATTEMPTS_MAX:
        return "restart"
    if member.replacement_count < ATTEMPTS_MAX:
        return "stop" if context.settings.tag else "replace"
    return "quarantine"


def with_repair(context: DecisionContext, member: Member, kind: Kind, reason: str) -> DecisionContext:
    """The same with a restart or a replacement, and what it changes."""
    now = context.now
    opened = incident_opened(context, member) if member.phase == "healthy" else {}
    member = replace(member, **opened, repair_started_at=now)
    context = replace(context, state=replace(context.state, repairs=REPAIRS.spend(context.state.repairs, now)))
    if kind == "restart":
        return context.with_action(member, kind, reason, phase="restarting", since=now,
                                   restart_count=member.restart_count + 1)
    replacements = REPLACEMENTS.spend(context.state.replacements, now)
    context = replace(context, state=replace(context.state, replacements=replacements))
    return context.with_action(member, kind, reason, phase="replacing", since=now, target_change_requested_at=now,
                               replacement_count=member.replacement_count + 1)


def failure(member: Member) -> str:
    """Why a member is repaired, in words."""
    streak = member.streak
    if streak is None:
        return f"{member.instance} is not known yet"
    return f"{member.instance} has failed {streak.count} times in a row ({streak.side}: {streak.why})"
