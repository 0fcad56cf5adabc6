"""The observation of a run, with the hosts of the region's target groups and Route 53's facts about the requested
checks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from chalicelib.aws import client as cloud
from chalicelib.config.fleet import HealthChecks
from chalicelib.context import RegionContext
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Rejected, Request
from chalicelib.health_checks.check_config import reference
from chalicelib.health_checks.decide import sampling
from chalicelib.health_checks.route53_checks import Route53
from chalicelib.health_checks.state import (
    KEY,
    REGION_CHECK_PK,
    CheckConfig,
    Host,
    RotationObservation,
    RotationState,
    read,
)

_STATES = {"healthy": "healthy", "draining": "draining", "unhealthy": "unhealthy"}
_PER_PAGE = 100


def turn(site: RegionContext, request: Request, api: Route53, wait: Callable[[float], None]) -> RotationObservation:
    """Hosts first, then what is in doubt, then, if need be some seconds later, the results that matter now."""
    settings = settings_of(site)
    item = site.local_store.get(*KEY)
    memory, version = (read(item.body), item.version) if item else (RotationState(), 0)
    minute = request.now // 60
    if memory.minute >= minute:
        return RotationObservation(site.region, settings, memory, {}, site.clock(), version=version)
    seen_hosts = hosts(site, settings)
    found = dict(_doubted(site, memory, api))
    moment = sampling.observe_at(memory, settings, seen_hosts, site.clock())
    wait(max(0.0, moment - site.clock()))
    at = max(site.clock(), moment)
    numbers = sampling.checks_to_read(memory, settings, seen_hosts, at, minute)
    said = {check.number: api.healthy(check.id, check.since) for check in memory.checks if check.number in numbers}
    reads = {number: healthy for number, healthy in said.items() if healthy is not None}
    return RotationObservation(site.region, settings, memory, seen_hosts, at, reads, found, len(said) + len(found),
                               version,
                _published(site, memory))


def _published(site: RegionContext, memory: RotationState) -> str | None:
    """The published id of the calculated check. A rotation does not depend on whether that can be learnt."""
    if memory.parent is None:
        return None
    try:
        item = site.shared_store.get(REGION_CHECK_PK, site.region)
    except cloud.Unavailable as error:
        logger.warning("the coordination table does not say which parent is published", error=str(error))
        return None
    return str(item.body.get("id", "")) if item else ""


def known(site: RegionContext, request: Request) -> RotationObservation:
    """The facts of a report, which are state and hosts, without a call to Route 53."""
    item = site.local_store.get(*KEY)
    settings = settings_of(site)
    return RotationObservation(site.region, settings, read(item.body) if item else RotationState(),
                               hosts(site, settings), site.clock())


def settings_of(site: RegionContext) -> HealthChecks:
    """The fleet's settings. Refused if it has none."""
    if site.fleet.health_checks is None:
        raise Rejected("fleet.toml has no [health_checks]; add it, see docs/fleet.md")
    return site.fleet.health_checks


def _doubted(site: RegionContext, memory: RotationState, api: Route53) -> Iterator[tuple[int, CheckConfig | None]]:
    """The results of the unconfirmed changes. Of a creation, whether it ever happened."""
    ids = {check.number: check.id for check in memory.checks} | ({0: memory.parent.id} if memory.parent else {})
    doubted = sampling.unconfirmed(memory)
    for number in doubted:
        if ids[number]:
            yield number, api.get(ids[number])
    nameless = [number for number in doubted if not ids[number]]
    if nameless:
        there = dict(api.all(reference(site.fleet.name, site.stage, site.region, memory.first_minute, "")))
        yield from ((number, there.get(str(number))) for number in nameless)


def hosts(site: RegionContext, settings: HealthChecks) -> dict[str, Host]:
    """The targets of the target groups that have a public address, by instance id.

    An instance in several groups drains if it drains in any, and is healthy if it is so in all.
    """
    states: dict[str, str] = {}
    for target in _targets(site, settings):
        id, state = target["Target"]["Id"], target["TargetHealth"]["State"]
        states[id] = _worse(states.get(id, "healthy"), _STATES.get(state, "initial"))
    addresses = _addresses(site, sorted(states))
    return {id: msgspec.convert({"id": id, "address": addresses[id], "state": state}, Host)
            for id, state in states.items() if id in addresses}


def _worse(one: str, other: str) -> str:
    order = ("healthy", "initial", "unhealthy", "draining")
    return max(one, other, key=order.index)


def _targets(site: RegionContext, settings: HealthChecks) -> Iterator[Mapping[str, Any]]:
    client = cloud.client("elbv2", site.region)
    try:
        groups = cloud.aws_call(site.region, lambda: client.describe_target_groups(Names=list(settings.target_groups)))
    except cloud.ClientError as error:
        raise Rejected(f"the target groups of [health_checks] in {site.region}: {error}") from None
    for group in groups["TargetGroups"]:
        arn = group["TargetGroupArn"]
        answer = cloud.aws_call(site.region, lambda arn=arn: client.describe_target_health(TargetGroupArn=arn))  # type: ignore[misc]
        yield from answer["TargetHealthDescriptions"]


def _addresses(site: RegionContext, ids: list[str]) -> dict[str, str]:
    """Public addresses, because Route 53's checkers are outside and reject private ones."""
    client, found = cloud.client("ec2", site.region), {}
    for start in range(0, len(ids), _PER_PAGE):
        some = [{"Name": "instance-id", "Values": ids[start : start + _PER_PAGE]}]
        answer = cloud.aws_call(site.region, lambda some=some: client.describe_instances(Filters=some))  # type: ignore[misc]
        for reservation in answer["Reservations"]:
            found.update({one["InstanceId"]: one["PublicIpAddress"] for one in reservation["Instances"]
                          if one.get("PublicIpAddress")})
    return found
