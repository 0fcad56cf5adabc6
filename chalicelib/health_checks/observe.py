"""What a turn sees: the hosts of the region's target groups, and what Route 53 says of the checks it asks about."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from chalicelib import cloud
from chalicelib.control import Refused, Request, logger
from chalicelib.fleet import HealthChecks
from chalicelib.health_checks import agenda
from chalicelib.health_checks.api import Route53
from chalicelib.health_checks.records import KEY, VERDICT, Found, Host, Memory, Seen, read
from chalicelib.health_checks.target import reference
from chalicelib.site import Site

_STATES = {"healthy": "healthy", "draining": "draining", "unhealthy": "unhealthy"}
_PER_PAGE = 100


def turn(site: Site, request: Request, api: Route53, wait: Callable[[float], None]) -> Seen:
    """Hosts first, then what is in doubt, then, if need be some seconds later, the verdicts that matter now."""
    settings = settings_of(site)
    item = site.regional.get(*KEY)
    memory, rev = (read(item.body), item.rev) if item else (Memory(), 0)
    minute = request.now // 60
    if memory.minute >= minute:
        return Seen(site.region, settings, memory, {}, site.clock(), rev=rev)
    seen_hosts = hosts(site, settings)
    found = dict(_doubted(site, memory, api))
    moment = agenda.moment(memory, settings, seen_hosts, site.clock())
    wait(max(0.0, moment - site.clock()))
    at = max(site.clock(), moment)
    numbers = agenda.reads(memory, settings, seen_hosts, at, minute)
    said = {check.number: api.healthy(check.id, check.since) for check in memory.checks if check.number in numbers}
    reads = {number: healthy for number, healthy in said.items() if healthy is not None}
    return Seen(site.region, settings, memory, seen_hosts, at, reads, found, len(said) + len(found), rev,
                _published(site, memory))


def _published(site: Site, memory: Memory) -> str | None:
    """What the other regions are told; a rotation does not depend on whether that can be learnt."""
    if memory.parent is None:
        return None
    try:
        item = site.coordination.get(VERDICT, site.region)
    except cloud.Unreachable as error:
        logger.warning("the coordination table does not say which parent is published", error=str(error))
        return None
    return str(item.body.get("id", "")) if item else ""


def known(site: Site, request: Request) -> Seen:
    """What a report needs: the memory and the hosts; Route 53 is not asked."""
    item = site.regional.get(*KEY)
    settings = settings_of(site)
    return Seen(site.region, settings, read(item.body) if item else Memory(), hosts(site, settings), site.clock())


def settings_of(site: Site) -> HealthChecks:
    """The fleet's settings; refused if it has none."""
    if site.fleet.health_checks is None:
        raise Refused("fleet.toml has no [health_checks]; add it, see docs/fleet.md")
    return site.fleet.health_checks


def _doubted(site: Site, memory: Memory, api: Route53) -> Iterator[tuple[int, Found | None]]:
    """What has become of the changes that were not confirmed; of a creation, whether it ever happened."""
    ids = {check.number: check.id for check in memory.checks} | ({0: memory.parent.id} if memory.parent else {})
    doubted = agenda.doubtful(memory)
    for number in doubted:
        if ids[number]:
            yield number, api.get(ids[number])
    nameless = [number for number in doubted if not ids[number]]
    if nameless:
        there = dict(api.all(reference(site.fleet.name, site.stage, site.region, memory.born, "")))
        yield from ((number, there.get(str(number))) for number in nameless)


def hosts(site: Site, settings: HealthChecks) -> dict[str, Host]:
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


def _targets(site: Site, settings: HealthChecks) -> Iterator[Mapping[str, Any]]:
    client = cloud.client("elbv2", site.region)
    try:
        groups = cloud.reach(site.region, lambda: client.describe_target_groups(Names=list(settings.target_groups)))
    except cloud.ClientError as error:
        raise Refused(f"the target groups of [health_checks] in {site.region}: {error}") from None
    for group in groups["TargetGroups"]:
        arn = group["TargetGroupArn"]
        answer = cloud.reach(site.region, lambda arn=arn: client.describe_target_health(TargetGroupArn=arn))  # type: ignore[misc]
        yield from answer["TargetHealthDescriptions"]


def _addresses(site: Site, ids: list[str]) -> dict[str, str]:
    """Public addresses: Route 53's checkers are outside, and refuse private ones."""
    client, found = cloud.client("ec2", site.region), {}
    for start in range(0, len(ids), _PER_PAGE):
        some = [{"Name": "instance-id", "Values": ids[start : start + _PER_PAGE]}]
        answer = cloud.reach(site.region, lambda some=some: client.describe_instances(Filters=some))  # type: ignore[misc]
        for reservation in answer["Reservations"]:
            found.update({one["InstanceId"]: one["PublicIpAddress"] for one in reservation["Instances"]
                          if one.get("PublicIpAddress")})
    return found
