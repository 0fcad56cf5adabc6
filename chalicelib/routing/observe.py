"""The observations of routing's operations, which are the hosted zone, the health checks, the regions' endpoints, and
the flags in S3."""

import hashlib
import http.client
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from chalicelib.aws import client, route53
from chalicelib.context import RegionContext
from chalicelib.engine.operation import Rejected, Request
from chalicelib.routing import evacuation_flags, flag_buckets
from chalicelib.routing.config import Endpoint, Routing
from chalicelib.routing.records import build, checks
from chalicelib.routing.records.compiler import alive
from chalicelib.routing.state import (
    BucketObservation,
    CheckObservation,
    EvacuationFlag,
    FleetObservation,
    RegionObservation,
    ZoneObservation,
)

_PROBE_SECONDS = 4
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
    reason: str = "by hand"


def zone(site: RegionContext, request: Request) -> ZoneObservation:
    """The wanted state, and the whole content of the hosted zone and of the account's health checks."""
    try:
        wanted = build.wanted(site.fleet, site.stage)
    except build.RoutingError as error:
        raise Rejected(str(error)) from None
    asked: ZoneAsked = request.parameters
    references = references_of(wanted.spec.owner, wanted.checks)
    spec, compiled = wanted.spec, wanted.compiled
    there = route53.pages("list_resource_record_sets", "ResourceRecordSets", HostedZoneId=spec.zone)
    known = route53.pages("list_health_checks", "HealthChecks")
    return ZoneObservation(
        spec.hostname, spec.zone, spec.owner, (*compiled.records, compiled.owner), wanted.checks, references, there,
        _existing(known, spec.owner), _verdicts(site, known), _buckets(site), asked.force, asked.adopt)


def _buckets(site: RegionContext) -> list[BucketObservation]:
    named = [(region.name, region.entrance.bucket) for region in site.fleet.regions
             if region.entrance and region.entrance.bucket]
    return [flag_buckets.look(region, name, site.account) for region, name in named]


def fleet(site: RegionContext, request: Request) -> FleetObservation:
    """All regions, each asked as Route 53 asks it, all at the same time."""
    routing = _routing(site)
    with ThreadPoolExecutor(len(site.fleet.regions)) as pool:
        regions = list(pool.map(lambda region: _region(site, routing, region.name), site.fleet.regions))
    asked = getattr(request.parameters, "region", "")
    mine = [region.name for region in site.fleet.regions
            if evacuation_flags.flag_region(site.fleet, region.name) == site.region]
    return FleetObservation(regions, routing.hold, mine, asked, getattr(request.parameters, "reason", ""))


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


def _existing(known: Sequence[Mapping[str, Any]], owner: str) -> list[CheckObservation]:
    return [_check(check) for check in known if check["CallerReference"].startswith(prefix(owner))]


def _verdicts(site: RegionContext, known: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The parents of the regions' health checks, as `health_checks.rotate` published them, if they still exist."""
    if site.fleet.health_checks is None:
        return {}
    ids = {check["Id"] for check in known}
    items = {region.name: site.shared_store.get("verdict", region.name) for region in site.fleet.regions}
    said = {region: item.body["id"] if item else "" for region, item in items.items()}
    return {alive(region): id if id in ids else "" for region, id in said.items()}


def _check(check: Mapping[str, Any]) -> CheckObservation:
    reference = route53.first(check["CallerReference"])
    _, _, name, _ = reference.split(":")
    calculated = check["HealthCheckConfig"]["Type"] == "CALCULATED"
    return CheckObservation(check["Id"], name, reference, calculated or _settled(check["Id"]))


def _settled(id: str) -> bool:
    return len(route53.call("get_health_check_status", HealthCheckId=id)["HealthCheckObservations"]) >= _REPORTS


def _routing(site: RegionContext) -> Routing:
    if site.fleet.routing is None:
        raise Rejected("fleet.toml has no table [routing]; docs/routing.md tells how to write one")
    return site.fleet.routing


def _region(site: RegionContext, routing: Routing, name: str) -> RegionObservation:
    entrance = next(region.entrance for region in site.fleet.regions if region.name == name)
    item = site.local_store.get("hold", name)
    known = item.body if item else {}
    mark, readable = _mark(site, name)
    return RegionObservation(name, entrance is not None and answers(routing, entrance), mark, readable,
                      int(known.get("bad", 0)), int(known.get("good", 0)))


def _mark(site: RegionContext, name: str) -> tuple[EvacuationFlag | None, bool]:
    """The mark that evacuates a region, and whether it could be looked for."""
    away = evacuation_flags.flag_region(site.fleet, name)
    if not away:
        return None, True
    place = {"Bucket": evacuation_flags.flag_bucket(site.fleet, away), "Key": evacuation_flags.flag_key(name)}
    try:
        answer = client.aws_call(away, lambda: client.client("s3", away).get_object(**place))
        return msgspec.json.decode(answer["Body"].read(), type=EvacuationFlag), True
    except client.Unavailable:
        return None, False
    except client.ClientError as error:
        if error.response.get("Error", {}).get("Code") != "NoSuchKey":
            raise
        return None, True
    except msgspec.DecodeError as error:
        # An object of somebody's own making evacuates as well.
        return EvacuationFlag("hand", f"an object that Lamplighter did not write ({error})", 0), True


def answers(routing: Routing, entrance: Endpoint) -> bool:
    """Whether the endpoint answers as Route 53's check requires. TCP connects, or HTTP gives 2xx or 3xx."""
    host = entrance.load_balancer or entrance.addresses[0]
    try:
        return _connects(host, routing.port) if routing.check == "tcp" else _good(routing, host)
    except (OSError, http.client.HTTPException):
        return False


def _connects(host: str, port: int) -> bool:
    with socket.create_connection((host, port), _PROBE_SECONDS):
        return True


def _good(routing: Routing, host: str) -> bool:
    connection = _connection(routing, host)
    try:
        connection.request("GET", routing.path, headers={"Host": routing.hostname, "User-Agent": "Lamplighter"})
        return 200 <= connection.getresponse().status < 400
    finally:
        connection.close()


def _connection(routing: Routing, host: str) -> http.client.HTTPConnection:
    if routing.check == "http":
        return http.client.HTTPConnection(host, routing.port, timeout=_PROBE_SECONDS)
    # Route 53 does not look at certificates either ("Values that you specify when you create health checks").
    return http.client.HTTPSConnection(
        host, routing.port, timeout=_PROBE_SECONDS, context=ssl._create_unverified_context())  # noqa: S323

