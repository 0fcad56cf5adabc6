"""The observation of a round, with the instances of the group, the balancer's view of them, and their probes.

Peer reports are read only if nothing answers. They come from the shared store. If AWS denies a read, the tunnels are
unobservable, with the remedy in words. If AWS does not answer at all, the round ends. An item that cannot be read is
left aside, and people are told.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec.structs import replace

from chalicelib.aws.client import AWS_ERRORS, BotoCoreError, ClientError
from chalicelib.aws.ssm import FAILED
from chalicelib.config.tunnels import Tunnels, managed_name
from chalicelib.context import RegionContext
from chalicelib.databases import published as databases
from chalicelib.engine import effects, state
from chalicelib.engine.limits import not_ahead
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.tunnels.decide.context import matches_primary
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import (
    EFFECTS_PK,
    KEY,
    PEER_REPORT,
    PEER_REPORT_PK,
    PRIMARY_REFRESH_SECONDS,
    SCHEMA,
    Endpoint,
    Member,
    Observed,
    Outcome,
    PeerReport,
    TunnelObservation,
    TunnelState,
)

# The probes of one round: endpoints go in, results come out, by instance id.
Probe = Callable[[Sequence[Endpoint]], Mapping[str, ProbeResult]]

_RUNS = ("pending", "running")


class Unobservable(Exception):
    """AWS refuses to show what a round needs. The text says what to do."""


def settings(context: RegionContext) -> Tunnels:
    """The fleet's settings. Rejected where there are no tunnels."""
    tunnels = context.fleet.tunnels
    if tunnels is None:
        raise Rejected("fleet.toml has no [tunnels]. Add it, see docs/fleet.md")
    if not tunnels.needs_tunnels(context.region):
        raise Rejected(f"{context.region} has the primary and no tunnels. Ask another region")
    return tunnels


def observe_round(context: RegionContext, request: Request, probe: Probe) -> Observed:
    """All that a round decides on. In mode `off` nobody is asked anything."""
    tunnels = settings(context)
    if tunnels.mode == "off":
        return Observed(Stored(TunnelState()), TunnelObservation(context.region, tunnels), context.clock())
    return observe(context, request, probe)


def observe_known(context: RegionContext, request: Request) -> Observed:
    """The facts of a report, which are the state and AWS's view, without probes."""
    return observe(context, request, lambda endpoints: {})


def observe(context: RegionContext, request: Request, probe: Probe) -> Observed:
    """All that can be seen now, whatever the mode."""
    tunnels = settings(context)
    stored = state.load(context.local_store, KEY, SCHEMA, TunnelState())
    if isinstance(stored, Unreadable):
        # Without it nobody knows what was done already: nothing is done until it can be read, or is deleted.
        return Observed(stored, TunnelObservation(context.region, tunnels, unreadable=(stored,)), context.clock())
    stored = replace(stored, value=not_ahead(stored.value, context.clock()))
    before = stored.value
    primary = _read_primary(context, tunnels, before)
    try:
        endpoints = read_endpoints(context, tunnels)
    except Unobservable as error:
        seen = TunnelObservation(context.region, tunnels, unobservable=(str(error),), unreadable=primary.unreadable,
                                 fenced_primary=primary.fenced, primary_read_at=primary.read_at,
                                 primary_region=primary.region, primary_position=primary.position)
        return Observed(stored, seen, context.clock())
    outcomes, bad_records = _outcomes(context, before)
    probes = probe([endpoint for endpoint in endpoints.values() if endpoint.state in _RUNS and endpoint.address])
    seen = TunnelObservation(
        context.region, tunnels, endpoints, probes, (), outcomes, (), primary.unreadable + bad_records,
        primary.fenced, primary.read_at, primary.region, primary.position)
    # What answers through a tunnel to another primary says nothing of this one.
    if any(result.side == "up" and matches_primary(result.connected_region, seen) for result in probes.values()):
        return Observed(stored, seen, context.clock())
    reports, bad_reports = _peer_reports(context)
    seen = replace(seen, peer_reports=reports, unreadable=seen.unreadable + bad_reports)
    return Observed(stored, seen, context.clock())


# The states of a target that is in the group. Of all others the balancer sends to none.
_TARGETS: Mapping[str, Literal["registered", "draining"]] = {
    "healthy": "registered", "unavailable": "registered", "draining": "draining"}


def read_endpoints(context: RegionContext, tunnels: Tunnels) -> dict[str, Endpoint]:
    """The region's endpoints by instance id. Raises `Unobservable` if AWS refuses to say."""
    aws, name = context.aws, managed_name(f"{context.fleet.name}-{context.stage}")
    try:
        if tunnels.tag:
            key, _, value = tunnels.tag.partition("=")
            leaving: Mapping[str, bool] = {}
            instances = aws.ec2.tagged(key, value)
        else:
            group = tunnels.group or name
            members = aws.autoscaling.members(group)
            if members is None:
                raise Unobservable(f"there is no Auto Scaling group {group} in {context.region}. Make it, or name "
                                   "another as tunnels.group in fleet.toml")
            leaving = {member.id: member.lifecycle.startswith(("Terminat", "Detach")) for member in members
                       if not member.lifecycle.startswith("Warmed")}
            # A stranger must never be drained or replaced, so only the group's own are looked at.
            instances = aws.ec2.instances(list(leaving))
        targets = aws.elb.targets(tunnels.target_group or name)
    except (ClientError, BotoCoreError) as error:
        raise Unobservable(f"{context.region}: {error}. Look at the Lambda's policy and at [tunnels] in fleet.toml"
                           ) from error
    return {id: Endpoint(id, one.address, "shutting-down" if leaving.get(id) else one.state,
                         _TARGETS.get(targets[id], "waiting") if id in targets else "absent")
            for id, one in instances.items() if one.state != "terminated"}


def _outcomes(context: RegionContext, before: TunnelState) -> tuple[dict[str, Outcome], tuple[Unreadable, ...]]:
    """The results of the restarts in progress by key, and their unreadable records."""
    restarting = [member for member in before.members if member.phase == "restarting"]
    if not restarting:
        return {}, ()
    records, unreadable = effects.outcomes(
        context.local_store, EFFECTS_PK, [member.last_action for member in restarting])
    found = {member.last_action: _outcome(context, member, records[member.last_action]) for member in restarting
             if member.last_action in records}
    return {key: outcome for key, outcome in found.items() if outcome}, unreadable


def _outcome(context: RegionContext, member: Member, record: effects.EffectRecord) -> Outcome | None:
    """The result of a restart. `None` while that is not known."""
    if record.outcome == "refused":
        return "failed"
    if not record.reference:
        return None
    try:
        invocation = context.aws.ssm.invocation(record.reference, member.instance)
    except AWS_ERRORS as error:
        # A command that was just sent is not known at once; the time-out of the phase holds whatever SSM says.
        logger.warning("Run Command does not tell how a restart ended", key=member.last_action, error=str(error))
        return None
    if invocation.status == "Success":
        return "done"
    return "failed" if {invocation.status, invocation.details} & FAILED else None


class _Primary(NamedTuple):
    """The wanted region of the tunnels, whether the primary there is fenced, the time of that read, the position of the
    record, and the unreadable items."""

    region: str
    fenced: str
    read_at: float
    position: tuple[int, int]
    unreadable: tuple[Unreadable, ...] = ()


def _read_primary(context: RegionContext, tunnels: Tunnels, before: TunnelState) -> _Primary:
    """The primary in the shared store. It is not read in each round, because a store that is away would cost all of
    them. While the primary is fenced there is nothing to lose, and each round reads it. Unknown facts stay as they
    were, and so do those of a record that is later than the one in the table."""
    now, own = context.clock(), tunnels.primary if tunnels.hosts and tunnels.hosts.ways else ""
    known = _Primary(before.primary_region or own, before.fenced_primary, before.primary_read_at,
                     before.primary_position)
    if context.fleet.databases is None:
        return known._replace(region=own, fenced="")
    if not before.fenced_primary and now - before.primary_read_at < PRIMARY_REFRESH_SECONDS:
        return known
    try:
        found = databases.read_primary(context.shared_store, tunnels.primary)
    except AWS_ERRORS as error:
        logger.warning("the record of the primary is unreadable", error=str(error))
        return known._replace(read_at=now)
    if isinstance(found, Unreadable):
        return known._replace(read_at=now, unreadable=(found,))
    if databases.position(found) < before.primary_position:
        # `databases.watch` of this region tells people.
        logger.warning("the record of the primary is an earlier one than before, and nobody obeys it",
                       term=found.value.term, version=found.version, newest=before.primary_position)
        return known._replace(read_at=now)
    record = found.value
    effective = tunnels.effective_primary(record.region)
    # Without a route to the primary they go to one that is over, whether or not it is fenced.
    closed = effective in record.fenced or bool(own and effective != record.region)
    return _Primary(effective if own else "", effective if closed else "", now, databases.position(found))


def _peer_reports(context: RegionContext) -> tuple[tuple[PeerReport, ...], tuple[Unreadable, ...]]:
    others = [(PEER_REPORT_PK, region.name) for region in context.fleet.regions if region.name != context.region]
    try:
        reports, unreadable = state.load_many(context.shared_store, others, PEER_REPORT)
    except AWS_ERRORS as error:
        logger.warning("other regions' reports of the primary are unreadable", error=str(error))
        return (), ()
    return tuple(found.value for found in reports.values()), unreadable
