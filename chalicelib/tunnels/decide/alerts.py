"""The current alerts of the tunnels. The engine tells them. Pure."""

from collections.abc import Iterator

from chalicelib.config import durations
from chalicelib.engine.alerts import Alert
from chalicelib.tunnels.decide.context import DecisionContext, in_service, registered
from chalicelib.tunnels.decide.guards import primary_confirmed_up, primary_probably_up
from chalicelib.tunnels.state import (
    ALL_DOWN_ALERT_SECONDS,
    OUT_OF_SERVICE_ALERT_SECONDS,
    WRONG_PRIMARY_ALERT_SECONDS,
    Member,
)

# What a fenced primary, and what blindness, leave unjudged: that these alerts are not wanted then does not end them.
OF_MEMBERS = ("PrimaryUnreachable", "TunnelOutOfService", "TunnelRepairFailed", "TunnelsOnWrongPrimary")


def wanted(context: DecisionContext) -> Iterator[Alert]:
    """All alerts that hold now."""
    seen = context.observation
    if seen.unobservable:
        yield Alert("TunnelsUnobservable", seen.region,
                    f"AWS does not show the tunnels ({'; '.join(seen.unobservable)})",
                    tried=("The controller leaves the tunnels alone meanwhile.",),
                    steps=("Do what the message says.", "Look at the policy of the Lambda tunnels_heal.",
                           "Look at [tunnels] in fleet.toml."))
        return
    if seen.fenced_primary:
        yield _fenced(context)
        return
    late = [member for member in context.members
            if member.wrong_primary_since and context.now - member.wrong_primary_since >= WRONG_PRIMARY_ALERT_SECONDS]
    if late:
        yield _wrong_primary(context, late)
    unreachable = primary_unreachable(context)
    if unreachable:
        yield unreachable
    for member in context.members:
        out = member.out_of_service_since
        if member.phase == "quarantined":
            yield _repair_failed(member)
        elif out and context.now - out >= OUT_OF_SERVICE_ALERT_SECONDS and not unreachable:
            yield _out_of_service(context, member)


def primary_unreachable(context: DecisionContext) -> Alert | None:
    """Nothing is up. Either no peer reports the primary up, or each tunnel works and its target is silent.

    Not if all have the wrong primary, because then nothing is known about the right one.
    """
    seen, since = context.observation, context.state.all_down_since
    assigned = [member for member in context.members if member.instance]
    all_wrong = bool(assigned) and all(member.wrong_primary_since for member in assigned)
    if not since or context.now - since < ALL_DOWN_ALERT_SECONDS or all_wrong:
        return None
    streaks = [member.streak for member in context.members if member.streak]
    tunnels_work = all(streak.side == "far" for streak in streaks)
    if not tunnels_work and (primary_probably_up(context) or primary_confirmed_up(context)):
        return None
    results = ", ".join(sorted({f"{streak.side}: {streak.why}" for streak in streaks}))
    primary = seen.primary_region or seen.settings.primary
    return Alert("PrimaryUnreachable", seen.region,
                 f"No tunnel of {seen.region} reaches the primary in {primary} ({results}), and no other region "
                 "reports it up", since=since,
                 tried=("The controller leaves the tunnels alone, since a repair would not help.",),
                 steps=(f"Look at the primary in {primary}.", "Look at the network of its region.",
                        "If it is lost, promote a replica with `lamp run databases.promote`."))


def _fenced(context: DecisionContext) -> Alert:
    seen = context.observation
    return Alert("TunnelsDrainedPrimaryFenced", seen.region,
                 f"A promotion has fenced the primary in {seen.fenced_primary}, to which the tunnels of {seen.region} "
                 "go", tried=("All tunnels are out of the balancer, so that nobody reaches it.",),
                 steps=("Wait for the promotion to end. The tunnels then follow the new primary.",
                        "If it has ended, add [[tunnels.hosts.ways]] for the new primary, deploy, and replace the "
                        "hosts.", "Or promote the former region again."))


def _wrong_primary(context: DecisionContext, late: list[Member]) -> Alert:
    seen = context.observation
    names = ", ".join(f"member {member.name} ({member.instance})" for member in late)
    return Alert(
        "TunnelsOnWrongPrimary",
        seen.region,
        f"The primary is in {seen.primary_region}, and {names} cannot connect there",
        since=min(member.wrong_primary_since for member in late),
        tried=("The controller has repointed them, and they are out of the balancer.",),
        steps=(
            "Look at what Run Command says of the action `point`.",
            f"Look at the gateway in {seen.primary_region}, and whether it knows this region's key, with "
            "`lamp run tunnels.rotate_keys`.",
            "Replace a host that knows no route there with `lamp run tunnels.replace`.",
        ),
    )


def _repair_failed(member: Member) -> Alert:
    kind, target = "TunnelRepairFailed", f"member {member.name}"
    if not member.instance:
        return Alert(kind, target, "The instance is gone, and its group launched no new one in time",
                     since=member.since, tried=("The controller waits until an instance comes.",),
                     steps=("Look at the activity history of the Auto Scaling group.",))
    return Alert(kind, target, f"The tunnel of {member.instance} does not work", since=member.since,
                 tried=("The controller has restarted and replaced it twice each, and leaves it alone now.",),
                 steps=("Look at the instance and its journal.", "Call `lamp run tunnels.replace`."))


def _out_of_service(context: DecisionContext, member: Member) -> Alert:
    target, since = f"member {member.name}", member.out_of_service_since
    if member.drained_manually:
        return Alert("TunnelOutOfService", target, f"Somebody has drained {member.instance} manually",
                     since=since, tried=("The controller keeps it out until somebody undrains it.",),
                     steps=("Call `lamp run tunnels.undrain`.",))
    streak, span = member.streak, durations.words(int(context.now - since))
    last = f"its last probe was {streak.side}: {streak.why}" if streak else "no probe of it has ended yet"
    if member.phase == "healthy" and registered(context, member) and not in_service(context, member):
        return Alert("TunnelOutOfService", target,
                     f"The balancer has sent {member.instance} no connections for {span}; {last}", since=since,
                     tried=("The tunnel is whole, so the controller leaves it alone.",),
                     steps=("Look at the health checks of the target group, and at the port that they ask.",))
    return Alert("TunnelOutOfService", target,
                 f"{member.instance or 'no instance'} has been out of service for {span} ({member.phase}); {last}",
                 since=since, tried=("Its repair is under way, or held back.",),
                 steps=("Call `lamp run tunnels.status`.",))
