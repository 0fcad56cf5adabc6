"""The observation of a round, with the instances of the group, the balancer's view of them, and their probes.

Peer reports are read only if nothing answers. They come from the coordination table. If AWS denies a read, the round is
unobservable, with the remedy in words. If AWS does not answer at all, the round ends.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from chalicelib.aws import client
from chalicelib.context import RegionContext
from chalicelib.databases import state as databases
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Rejected, Request
from chalicelib.tunnels.config import Tunnels, managed_name
from chalicelib.tunnels.decide import primary
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import (
    EFFECTS_PK,
    KEY,
    PEER_REPORT_PK,
    PRIMARY_REFRESH_SECONDS,
    Command,
    Endpoint,
    PeerReport,
    TunnelObservation,
    TunnelState,
    read,
)

# The probes of one round: endpoints go in, verdicts come out, by instance id.
Look = Callable[[Sequence[Endpoint]], Mapping[str, ProbeResult]]

_RUNS = ("pending", "running")
# Ends of an invocation that are no success: "Command status" in the Systems Manager user guide.
_FAILED = frozenset({"Failed", "TimedOut", "Cancelled", "Delivery Timed Out", "Execution Timed Out", "Undeliverable",
                     "Terminated", "Access Denied"})


class Unobservable(Exception):
    """AWS refuses to show what a round needs. The text says what to do."""


def settings(site: RegionContext) -> Tunnels:
    """The fleet's settings. Refused where there are no tunnels."""
    tunnels = site.fleet.tunnels
    if tunnels is None:
        raise Rejected("fleet.toml has no [tunnels]; add it, see docs/fleet.md")
    if not tunnels.needs_tunnels(site.region):
        raise Rejected(f"{site.region} is where the master is: it has no tunnels; ask another region")
    return tunnels


def turn(site: RegionContext, request: Request, look: Look) -> TunnelObservation:
    """All that a round decides on. In mode `off` nobody is asked anything."""
    tunnels = settings(site)
    return TunnelObservation(site.region, tunnels, TunnelState(), {}, {},
                             site.clock()) if tunnels.mode == "off" else _seen(site, look)


def asked(site: RegionContext, request: Request, look: Look) -> TunnelObservation:
    """All that a person's wish is decided on, whatever the mode."""
    return _seen(site, look)


def known(site: RegionContext, request: Request) -> TunnelObservation:
    """The facts of a report, which are the state and AWS's view, without probes."""
    return _seen(site, lambda endpoints: {})


def _seen(site: RegionContext, look: Look) -> TunnelObservation:
    tunnels, item = settings(site), site.local_store.get(*KEY)
    memory, version = (read(item.body), item.version) if item else (TunnelState(), 0)
    throne = _throne(site, tunnels, memory)
    try:
        there = endpoints(site, tunnels)
    except Unobservable as blind:
        return TunnelObservation(
            site.region,
            tunnels,
            memory,
            {},
            {},
            site.clock(),
            version=version,
            unobservable=(str(blind),),
            fenced_primary=throne.fenced,
            primary_checked_at=throne.asked,
            primary_region=throne.lead,
        )
    commands = _commands(site, memory)
    verdicts = look([endpoint for endpoint in there.values() if endpoint.state in _RUNS and endpoint.address])
    seen = TunnelObservation(
        site.region,
        tunnels,
        memory,
        there,
        verdicts,
        site.clock(),
        (),
        commands,
        version,
        (),
        throne.fenced,
        throne.asked,
        throne.lead,
    )
    # Whoever answers through a tunnel that leads elsewhere says nothing of the master.
    if any(
        verdict.side == "up" and primary.matches_primary(verdict.connected_region, seen)
           for verdict in verdicts.values()
    ):
        return seen
    return msgspec.structs.replace(seen, peer_reports=_canaries(site))


def endpoints(site: RegionContext, tunnels: Tunnels) -> dict[str, Endpoint]:
    """The region's endpoints by instance id. Raises `Blind` if AWS refuses to say."""
    leaving = {} if tunnels.tag else _members(site, tunnels)
    instances = _instances(site, tunnels, list(leaving))
    targets = _targets(site, tunnels)
    found = {}
    for id, instance in instances.items():
        state = "shutting-down" if leaving.get(id) else instance["State"]["Name"]
        target = targets.get(id, "absent")
        found[id] = msgspec.convert({"id": id, "address": instance.get("PrivateIpAddress", ""), "state": state,
                                     "target": target}, Endpoint)
    return found


def _members(site: RegionContext, tunnels: Tunnels) -> dict[str, bool]:
    """The group's instances, and whether each is on its way out."""
    name = tunnels.group or _shipped(site)
    answer = _answer(site, "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
    if not answer["AutoScalingGroups"]:
        raise Unobservable(f"there is no Auto Scaling group {name} in {site.region}: make it, or name another as "
                    "tunnels.group in fleet.toml")
    return {member["InstanceId"]: member["LifecycleState"].startswith(("Terminat", "Detach"))
            for member in answer["AutoScalingGroups"][0]["Instances"]
            if not member["LifecycleState"].startswith("Warmed")}


def _instances(site: RegionContext, tunnels: Tunnels, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """EC2's view of the group's members, or of what carries the tag."""
    if tunnels.tag:
        key, _, value = tunnels.tag.partition("=")
        filters = [{"Name": f"tag:{key}", "Values": [value]}]
    elif ids:
        filters = [{"Name": "instance-id", "Values": list(ids)}]
    else:
        return {}
    answer = _answer(site, "ec2", "describe_instances", Filters=filters)
    found = {instance["InstanceId"]: instance for reservation in answer["Reservations"]
             for instance in reservation["Instances"] if instance["State"]["Name"] != "terminated"}
    # A stranger must never be drained or replaced, so the filter that was asked for is not trusted alone.
    return found if tunnels.tag else {id: found[id] for id in ids if id in found}


def _targets(site: RegionContext, tunnels: Tunnels) -> dict[str, str]:
    health = _answer(site, "elbv2", "describe_target_health", TargetGroupArn=target_group(site, tunnels))
    return {one["Target"]["Id"]: "draining" if one["TargetHealth"]["State"] == "draining" else "registered"
            for one in health["TargetHealthDescriptions"]}


def target_group(site: RegionContext, tunnels: Tunnels) -> str:
    """The target group's ARN."""
    name = tunnels.target_group or _shipped(site)
    answer = _answer(site, "elbv2", "describe_target_groups", Names=[name])
    arn: str = answer["TargetGroups"][0]["TargetGroupArn"]
    return arn


def _shipped(site: RegionContext) -> str:
    return managed_name(f"{site.fleet.name}-{site.stage}")


def _answer(site: RegionContext, service: str, method: str, **asked: Any) -> Any:
    try:
        return client.aws_call(site.region, lambda: getattr(client.client(service, site.region), method)(**asked))
    except (client.ClientError, client.BotoCoreError) as error:
        raise Unobservable(
            f"{service} {method} in {site.region}: {error}; look at the Lambda's policy and at [tunnels] in fleet.toml"
        ) from error


def _commands(site: RegionContext, memory: TunnelState) -> dict[str, Command]:
    """The results of the restarts in progress."""
    keys = [(EFFECTS_PK, slot.command) for slot in memory.slots if slot.phase == "restarting"]
    found: dict[str, Command] = {}
    for item in site.local_store.get_many(keys) if keys else ():
        if ended := _ended(site, item.sk, item.body):
            found[item.sk] = ended
    return found


def _ended(site: RegionContext, key: str, claim: Mapping[str, Any]) -> Command | None:
    if "error" in claim:
        return "failed"
    if "command" not in claim:
        return None
    instance = key.split("/")[1]
    try:
        answer = client.aws_call(site.region, lambda: client.client("ssm", site.region).get_command_invocation(
            CommandId=claim["command"], InstanceId=instance))
    except client.AWS_ERRORS as error:
        # A command that was just sent is not known at once; the ladder's own time goes on whatever SSM says.
        logger.warning("what became of a restart is not known", key=key, error=str(error))
        return None
    if answer["Status"] == "Success":
        return "done"
    return "failed" if {answer["Status"], answer.get("StatusDetails")} & _FAILED else None


class _Primary(NamedTuple):
    """The wanted region of the tunnels (see `Seen`), whether the primary there is fenced, and the time of that `asked`.
    """

    lead: str
    fenced: str
    asked: float


def _throne(site: RegionContext, tunnels: Tunnels, memory: TunnelState) -> _Primary:
    """The primary in the coordination table. It is not read each round, because a table that is away would cost all of
    them. While the primary is fenced there is nothing to lose, and each round reads it. Unknown facts stay as they
    were."""
    now, own = site.clock(), tunnels.master if tunnels.hosts and tunnels.hosts.ways else ""
    if site.fleet.databases is None:
        return _Primary(own, "", memory.primary_checked_at)
    before = memory.primary_region or own
    if not memory.fenced_primary and now - memory.primary_checked_at < PRIMARY_REFRESH_SECONDS:
        return _Primary(before, memory.fenced_primary, memory.primary_checked_at)
    try:
        item = site.shared_store.get(*databases.MASTER)
        master = databases.read(item.body, databases.PrimaryRecord) if item else databases.PrimaryRecord(tunnels.master)
    except (*client.AWS_ERRORS, msgspec.ValidationError) as error:
        logger.warning("who the master is cannot be learnt", error=str(error))
        return _Primary(before, memory.fenced_primary, now)
    lead = tunnels.effective_primary(master.region)
    # Without a way to the master they lead to one that is over, whether or not it is fenced.
    closed = lead in master.fenced or bool(own and lead != master.region)
    return _Primary(lead if own else "", lead if closed else "", now)


def _canaries(site: RegionContext) -> tuple[PeerReport, ...]:
    others = [(PEER_REPORT_PK, region.name) for region in site.fleet.regions if region.name != site.region]
    try:
        items = site.shared_store.get_many(others) if others else []
        return tuple(msgspec.convert(item.body, PeerReport) for item in items)
    except (*client.AWS_ERRORS, msgspec.ValidationError) as error:
        logger.warning("other regions' word of the far side cannot be had", error=str(error))
        return ()
