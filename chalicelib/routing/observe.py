"""The observations of routing's operations, which are the hosted zone, the health checks, the regions' endpoints, and
the flags in S3."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from chalicelib import foreign
from chalicelib.aws import client
from chalicelib.aws.route53 import HealthCheck
from chalicelib.config.routing import Endpoint, Routing
from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.schema import Unreadable
from chalicelib.health_checks import published
from chalicelib.routing import evacuation_flags, probe
from chalicelib.routing.records import build, checks
from chalicelib.routing.records.compiler import alive
from chalicelib.routing.state import (
    HEALTH_PK,
    HEALTH_SCHEMA,
    REPORT_PK,
    REPORT_SCHEMA,
    BucketObservation,
    CheckObservation,
    EvacuationFlag,
    FleetObservation,
    RegionHealth,
    RegionObservation,
    ZoneObservation,
)

# A flag whose region gives no answer so often in a row counts as not known. After a single lost answer an evacuated
# region would count as open, and somebody could evacuate the last one that takes users.
_FLAG_TRIES = 2
# Route 53 asks from several regions of the world; three of these checkers tell enough of an endpoint.
_REPORTS = 3


class ZoneAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`force` lets a plan touch more than 30% of the records, or delete a name's last answer. `adopt` takes over
    records at the hostname that somebody else made."""

    force: bool = False
    adopt: bool = False


class RegionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`region`. `reason` for the journal."""

    region: str
    reason: str = ""


def zone(context: RegionContext, request: Request) -> ZoneObservation:
    """The wanted state, and the whole content of the hosted zone and of the account's health checks."""
    try:
        wanted = build.wanted(context.fleet, context.stage)
    except build.RoutingError as error:
        raise Rejected(str(error)) from None
    asked: ZoneAsked = request.parameters
    references = references_of(wanted.spec.owner, wanted.checks)
    spec, compiled = wanted.spec, wanted.compiled
    records = context.aws.route53.record_sets(spec.zone)
    known = context.aws.route53.health_checks()
    region_checks, unreadable = _region_checks(context, known)
    return ZoneObservation(
        spec.hostname, spec.zone, spec.owner, (*compiled.records, compiled.owner), wanted.checks, references, records,
        _existing(context, known, spec.owner), region_checks, _buckets(context), asked.force, asked.adopt, unreadable)


def _buckets(context: RegionContext) -> list[BucketObservation]:
    named = [(region.name, region.endpoint.bucket) for region in context.fleet.regions
             if region.endpoint and region.endpoint.bucket]
    return [_bucket(context, region, name) for region, name in named]


def _bucket(context: RegionContext, region: str, name: str) -> BucketObservation:
    """The state of the bucket `name`. A region that does not answer is no reason not to look at the others."""
    s3 = context.aws_regions[region].s3
    try:
        ownership = s3.ownership(name)
        if ownership != "own":
            return BucketObservation(region, name, ownership)
        policy = s3.policy(name)
    except client.Unavailable:
        return BucketObservation(region, name, "away")
    if policy is None:
        return BucketObservation(region, name, "closed")
    return BucketObservation(region, name, "open" if evacuation_flags.is_open(policy) else "own policy")


def fleet(context: RegionContext, request: Request) -> FleetObservation:
    """All regions, each asked as Route 53 asks it, all at the same time."""
    routing = _routing(context)
    with ThreadPoolExecutor(len(context.fleet.regions)) as pool:
        regions = list(pool.map(lambda region: _region(context, routing, region.name), context.fleet.regions))
    asked = getattr(request.parameters, "region", "")
    mine = [region.name for region in context.fleet.regions
            if evacuation_flags.flag_region(context.fleet, region.name) == context.region]
    return FleetObservation(regions, routing.hold_down, mine, asked, getattr(request.parameters, "reason", ""),
                            context.region, context.clock(), minimum=routing.minimum_regions)


def hold(context: RegionContext, request: Request) -> FleetObservation:
    """The same, and what the other regions reported. Without an answer from the coordination table there is none."""
    seen = fleet(context, request)
    others = [(REPORT_PK, region.name) for region in context.fleet.regions if region.name != context.region]
    try:
        found, unreadable = state.load_many(context.shared_store, others, REPORT_SCHEMA)
    except client.AWS_ERRORS as error:
        logger.warning("the other regions' reports of endpoints are unreadable", error=str(error))
        return msgspec.structs.replace(seen, reports=None)
    reports = {name: stored.value for (_, name), stored in found.items()}
    return msgspec.structs.replace(seen, reports=reports, bad_reports=unreadable)


def references_of(owner: str, wanted: checks.Checks) -> dict[str, str]:
    """The caller reference of each wanted check, from its owner, its name, and a hash of its inputs.

    So a check that is to be another gets made anew and settles, and the old one goes when no record has it any more.
    """
    found: dict[str, str] = {}
    for name, config in wanted.items():
        children = [found[child] for child in config.get("ChildHealthChecks", ())]
        written = msgspec.json.encode([config, children], order="deterministic")
        found[name] = f"{prefix(owner)}{name}:{hashlib.sha256(written).hexdigest()[:10]}"
    return found


def prefix(owner: str) -> str:
    """How the caller references of all checks of `owner` begin (Route 53 takes 64 characters)."""
    return f"lamp:{hashlib.sha256(owner.encode()).hexdigest()[:8]}:"


def _existing(context: RegionContext, known: Sequence[HealthCheck], owner: str) -> list[CheckObservation]:
    checks_now = []
    for check in known:
        if check.reference.startswith(prefix(owner)):
            reference = checks.original_reference(check.reference)
            _, _, name, _ = reference.split(":")
            settled = (check.config["Type"] == "CALCULATED"
                       or len(context.aws.route53.probe_reports(check.id)) >= _REPORTS)
            checks_now.append(CheckObservation(check.id, name, reference, settled))
    return checks_now


def _region_checks(
    context: RegionContext, known: Sequence[HealthCheck]
) -> tuple[dict[str, str], tuple[Unreadable, ...]]:
    """The calculated checks that `health_checks.rotate` of the regions published, if they still exist."""
    if context.fleet.health_checks is None:
        return {}, ()
    ids = {check.id for check in known}
    region_checks: dict[str, str] = {}
    unreadable = []
    for region in context.fleet.regions:
        stored = state.find(context.shared_store, (published.PK, region.name), published.SCHEMA)
        if isinstance(stored, Unreadable):
            unreadable.append(stored)
        id = "" if stored is None or isinstance(stored, Unreadable) else stored.value.id
        region_checks[alive(region.name)] = id if id in ids else ""
    return region_checks, tuple(unreadable)


def _routing(context: RegionContext) -> Routing:
    if context.fleet.routing is None:
        raise Rejected("fleet.toml has no table [routing]. See docs/routing.md for how to write one")
    return context.fleet.routing


def _region(context: RegionContext, routing: Routing, name: str) -> RegionObservation:
    entrance = next(region.endpoint for region in context.fleet.regions if region.name == name)
    before = state.load(context.local_store, (HEALTH_PK, name), HEALTH_SCHEMA, RegionHealth())
    mark, readable, because = _mark(context, name)
    alive = entrance is not None and answers(routing, entrance)
    return RegionObservation(name, alive, mark, readable, before, because)


def _mark(context: RegionContext, name: str) -> tuple[EvacuationFlag | None, bool, str]:
    """The mark that evacuates a region, whether it could be looked for, and why none can be set."""
    away = evacuation_flags.flag_region(context.fleet, name)
    if not away:
        return None, True, (f"no other region has a bucket for the flag of {name}. Add bucket to the endpoint of "
                            "another region in fleet.toml, deploy, and run routing.apply")
    bucket, s3 = evacuation_flags.flag_bucket(context.fleet, away), context.aws_regions[away].s3
    for _ in range(_FLAG_TRIES):
        try:
            body = s3.get_object(bucket, evacuation_flags.flag_key(name))
            break
        except client.AWS_ERRORS as error:
            if isinstance(error, client.ClientError) and client.error_code(error) == "NoSuchBucket":
                return None, False, (f"the bucket {bucket} for the flag of {name} is not there yet. Run routing.apply, "
                                     "which makes it")
    else:
        return None, False, ""
    try:
        return (None if body is None else foreign.decode(body, EvacuationFlag)), True, ""
    except foreign.Undecodable as error:
        # An object of somebody's own making evacuates as well.
        return EvacuationFlag("manual", 0, str(error)), True, ""


def answers(routing: Routing, entrance: Endpoint) -> bool:
    """Whether the endpoint answers the check that Route 53 makes of it."""
    return probe.passes(checks.of_endpoint(routing, entrance))
