"""The health checks that routing needs, in the shape of boto3's `HealthCheckConfig`, keyed by symbolic name.

Each region has three. `alive-R` asks its endpoint. `open-R` is the inverted check of an S3 object in another region, so
it fails while that object exists. `serving-R`, which the records carry, needs both.

With [health_checks] `alive-R` is the parent of the hosts' checks, made and kept by that capability. Route 53 rejects a
calculated check among the children of another ("Monitoring other health checks"), so there is no `serving-R`. The
records themselves need both (see `compiler`).
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.config.declared import Fleet
from chalicelib.config.routing import Endpoint, Routing
from chalicelib.routing import evacuation_flags
from chalicelib.routing.records.compiler import alive, serving, unmarked

Checks = dict[str, dict[str, Any]]

_RENEWED = "~"


def renewed_reference(reference: str, now: int) -> str:
    """Another reference, made at `now`, for the check of `reference`, which somebody deleted."""
    return f"{reference}{_RENEWED}{now:x}"


def original_reference(reference: str) -> str:
    """The reference from which `renewed_reference` made this one, or itself."""
    return reference.partition(_RENEWED)[0]


def compile_checks(fleet: Fleet, routing: Routing) -> Checks:
    """All checks that routing makes, those that others depend on first."""
    found = {unmarked(region.name): _open(fleet, routing, region.name)
             for region in fleet.regions if evacuation_flags.flag_region(fleet, region.name)}
    if fleet.health_checks:
        return found
    found = {alive(region.name): of_endpoint(routing, region.endpoint)
             for region in fleet.regions if region.endpoint} | found
    for region in fleet.regions:
        children = [name for name in (alive(region.name), unmarked(region.name)) if name in found]
        found[serving(region.name)] = {"Type": "CALCULATED", "HealthThreshold": len(children),
                                       "ChildHealthChecks": children}
    return found


def healthy(checks: Mapping[str, Mapping[str, Any]], name: str, answering: Mapping[str, bool]) -> bool:
    """The result of check `name`, given whether the endpoint of each that asks one answers.

    A check that is not among `checks` belongs to somebody else. `answering` has its status.
    """
    check = checks.get(name, {"Type": "made elsewhere"})
    if check["Type"] == "CALCULATED":
        living = sum(healthy(checks, child, answering) for child in check["ChildHealthChecks"])
        good = bool(living >= check["HealthThreshold"])
    else:
        good = answering[name]
    return good != bool(check.get("Inverted"))


def of_endpoint(routing: Routing, entrance: Endpoint) -> dict[str, Any]:
    """The check that asks an endpoint."""
    asks: dict[str, Any] = {"Type": routing.check.upper(), "Port": routing.port,
                            "RequestInterval": routing.interval, "FailureThreshold": routing.failures}
    if routing.check != "tcp":
        asks["ResourcePath"] = routing.path
    if routing.check == "https":
        asks["EnableSNI"] = True
    if entrance.addresses:
        asks["IPAddress"] = entrance.addresses[0]
    if entrance.load_balancer:
        asks["FullyQualifiedDomainName"] = entrance.load_balancer
    elif routing.check != "tcp":
        # With an address this is only the Host header (and SNI): what users send.
        asks["FullyQualifiedDomainName"] = routing.hostname
    return asks


def _open(fleet: Fleet, routing: Routing, region: str) -> dict[str, Any]:
    away = evacuation_flags.flag_region(fleet, region)
    host = f"{evacuation_flags.flag_bucket(fleet, away)}.s3.{away}.amazonaws.com"
    return {"Type": "HTTPS", "Port": 443, "FullyQualifiedDomainName": host,
            "ResourcePath": f"/{evacuation_flags.flag_key(region)}", "EnableSNI": True, "Inverted": True,
            "RequestInterval": routing.interval, "FailureThreshold": routing.failures}
