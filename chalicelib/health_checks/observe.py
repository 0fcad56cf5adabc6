"""The observation of a run, with the hosts of the region's target groups, and Route 53's facts about the requested
checks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from chalicelib.aws import client, refusals
from chalicelib.aws.route53 import HealthCheck
from chalicelib.config.declared import HealthChecks
from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.limits import decided_at, minute_done, not_ahead
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.schema import Unreadable
from chalicelib.health_checks import published
from chalicelib.health_checks.check_config import reference_name, reference_prefix
from chalicelib.health_checks.decide import sampling
from chalicelib.health_checks.state import (
    KEY,
    NOTHING_YET,
    SCHEMA,
    CheckConfig,
    Host,
    HostState,
    RotationObservation,
    RotationState,
)

_STATES: Mapping[str, HostState] = {"healthy": "healthy", "draining": "draining", "unhealthy": "unhealthy"}
_SEVERITY: Mapping[HostState, int] = {"healthy": 0, "initial": 1, "unhealthy": 2, "draining": 3}

T = TypeVar("T")


def rotation(
    context: RegionContext, request: Request, wait: Callable[[float], None], pace: Callable[[RegionContext], None]
) -> RotationObservation:
    """Hosts first, then what is in doubt, then, if need be some seconds later, the results that matter now."""
    settings = settings_of(context)
    before = state.load(context.local_store, KEY, SCHEMA, NOTHING_YET)
    began = context.clock()
    now = decided_at(request.now, began)
    if isinstance(before, Unreadable) or minute_done(before.value.minute, now, began):
        return RotationObservation(context.region, settings, before, {}, began, began=began)
    before, minute = replace(before, value=not_ahead(before.value, began)), now // 60
    memory = before.value
    hosts_now = hosts(context, settings)
    to_look_up = sampling.to_look_up(memory, minute)
    configs = dict(_configs(context, memory, to_look_up, pace))
    observe_at = sampling.observe_at(memory, settings, hosts_now, context.clock())
    wait(max(0.0, observe_at - context.clock()))
    at = max(context.clock(), observe_at)
    statuses: dict[int, bool] = {}
    to_read = set(sampling.checks_to_read(memory, settings, hosts_now, at, minute))
    for check in memory.checks:
        if check.number in to_read:
            pace(context)
            reports = _unless_deleted(context.aws.route53.probe_reports, check.id)
            if reports is None:
                configs[check.number] = None
                continue
            healthy = sampling.is_healthy(
                [one.passed for one in reports if one.checked_at is None or one.checked_at >= check.since])
            if healthy is not None:
                statuses[check.number] = healthy
    return RotationObservation(context.region, settings, before, hosts_now, at, statuses, configs,
                               len(to_read) + len(to_look_up), _published_id(context, memory), began)


def known(context: RegionContext, request: Request) -> RotationObservation:
    """The facts of a report, which are the state and the hosts, without a call to Route 53."""
    settings = settings_of(context)
    before = state.load(context.local_store, KEY, SCHEMA, NOTHING_YET)
    return RotationObservation(context.region, settings, before, hosts(context, settings), context.clock())


def settings_of(context: RegionContext) -> HealthChecks:
    """The fleet's settings. Refused if it has none."""
    if context.fleet.health_checks is None:
        raise Rejected("fleet.toml has no [health_checks]. Add it, see docs/fleet.md")
    return context.fleet.health_checks


def _published_id(context: RegionContext, memory: RotationState) -> str | None:
    """The published id of the calculated check. A rotation does not depend on whether that can be learnt."""
    if memory.parent is None:
        return None
    try:
        found = state.find(context.shared_store, (published.PK, context.region), published.SCHEMA)
    except client.Unavailable as error:
        logger.warning("the coordination table does not say which check is published", error=str(error))
        return None
    # Only this region writes it: what cannot be read is written anew.
    return "" if found is None or isinstance(found, Unreadable) else found.value.id


def _configs(
    context: RegionContext, memory: RotationState, numbers: Sequence[int], pace: Callable[[RegionContext], None]
) -> Iterator[tuple[int, CheckConfig | None]]:
    """Route 53's description of each check, or `None` for one that it does not have, such as one never made."""
    ids = {check.number: check.id for check in memory.checks} | ({0: memory.parent.id} if memory.parent else {})
    for number in numbers:
        if ids[number]:
            pace(context)
            check = _unless_deleted(context.aws.route53.health_check, ids[number])
            yield number, _config(check) if check else None
    unnamed = [number for number in numbers if not ids[number]]
    if unnamed:
        prefix = reference_prefix(context.fleet.name, context.stage, context.region, memory.first_minute)
        pace(context)
        made = {check.reference.removeprefix(prefix): check for check in context.aws.route53.health_checks(prefix)}
        for number in unnamed:
            check = made.get(reference_name(number, memory.deletions))
            yield number, _config(check) if check else None


def _unless_deleted(ask: Callable[[str], T], id: str) -> T | None:
    """The answer about a check, or `None` if somebody deleted it."""
    try:
        return ask(id)
    except client.ClientError as error:
        if client.error_code(error) != "NoSuchHealthCheck":
            raise
        return None


def _config(check: HealthCheck) -> CheckConfig:
    config = check.config
    return CheckConfig(check.id, check.version, config.get("SearchString", ""), config.get("IPAddress", ""),
                       tuple(config.get("ChildHealthChecks", ())), int(config.get("HealthThreshold", 0)))


def hosts(context: RegionContext, settings: HealthChecks) -> dict[str, Host]:
    """The targets of the target groups that have a public address, by instance id.

    An instance in several groups drains if it drains in any, and is healthy if it is so in all.
    """
    states: dict[str, HostState] = {}
    for group in settings.target_groups:
        try:
            targets = context.aws.elb.targets(group)
        except client.ClientError as error:
            raise Rejected(f"the target group {group} of [health_checks] in {context.region}: "
                           f"{refusals.explain(error)}") from None
        for id, target_state in targets.items():
            host_state = _STATES.get(target_state, "initial")
            if id not in states or _SEVERITY[host_state] > _SEVERITY[states[id]]:
                states[id] = host_state
    # Route 53's checkers are outside, and refuse private addresses.
    instances = context.aws.ec2.instances(sorted(states)) if states else {}
    return {id: Host(id, instance.public_address, host_state) for id, host_state in states.items()
            if (instance := instances.get(id)) and instance.public_address}
