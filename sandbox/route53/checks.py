"""The health checks that Route 53 accepts, and the changes to them. Pure.

Configurations are plain dicts in the shape of boto3's `HealthCheckConfig`. The sources are HealthCheckConfig,
CreateHealthCheck and UpdateHealthCheck in the API reference. docs/route53-twin.md lists the errors.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import msgspec

from sandbox.route53.errors import Refusal, invalid

Config = Mapping[str, Any]

HTTP = ("HTTP", "HTTPS", "HTTP_STR_MATCH", "HTTPS_STR_MATCH")
ENDPOINT = (*HTTP, "TCP")
STRING = ("HTTP_STR_MATCH", "HTTPS_STR_MATCH")
KINDS = (*ENDPOINT, "CALCULATED", "CLOUDWATCH_METRIC")

# The regions with health checkers: HealthCheckRegion in the API reference.
REGIONS = ("us-east-1", "us-west-1", "us-west-2", "eu-west-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1",
           "sa-east-1")
CHILDREN_MOST = 255

_DEFAULTS = {"RequestInterval": 30, "FailureThreshold": 3, "MeasureLatency": False, "Inverted": False,
             "Disabled": False}
_RANGES = {"Port": (1, 65_535), "FailureThreshold": (1, 10), "HealthThreshold": (0, 256)}
_FIXED = ("Type", "RequestInterval", "MeasureLatency")
_LENGTHS = {"FullyQualifiedDomainName": 255, "ResourcePath": 255, "SearchString": 255, "ChildHealthChecks": 256}
_TARGET = ("IPAddress", "Port", "FullyQualifiedDomainName", "ResourcePath", "SearchString")
RESETTABLE = ("ChildHealthChecks", "FullyQualifiedDomainName", "Regions", "ResourcePath")


class Check(msgspec.Struct, frozen=True):
    """A health check as the API keeps it. `epoch` counts the changes of what is probed."""

    id: str
    reference: str
    config: dict[str, Any]
    version: int = 1
    epoch: int = 0

    @property
    def kind(self) -> str:
        """Its type, such as `HTTP`."""
        return str(self.config["Type"])


def create(id: str, reference: str, config: Config, others: Mapping[str, Check], *, local: bool) -> Check:
    """A new health check with all defaults filled in. `Refusal` if AWS would not take it.

    `local` is the sandbox's own mode, which allows probes of loopback and private addresses, and any interval from 1 s.
    """
    full = _completed(dict(config))
    _valid(full, others, local)
    return Check(id, reference, full)


def update(check: Check, changes: Config, others: Mapping[str, Check], *, local: bool) -> Check:
    """The check with `changes` (in the shape of UpdateHealthCheck) and the next version. `Refusal` if not allowed."""
    wanted = {key: value for key, value in changes.items() if key not in ("HealthCheckId", "HealthCheckVersion")}
    expected = changes.get("HealthCheckVersion", check.version)
    if expected != check.version:
        raise Refusal("HealthCheckVersionMismatch",
                      f"The version {expected} of the health check does not match its current version {check.version}.")
    for key in _FIXED:
        if key in wanted:
            raise invalid(f"{key} of a health check cannot be changed.")
    if "IPAddress" in wanted and "IPAddress" not in check.config:
        raise invalid("IPAddress cannot be added to a health check that was created without it.")
    config = {**check.config, **_reset(check.config, wanted.pop("ResetElements", ()), wanted)}
    config = {key: value for key, value in config.items() if value is not None}
    _valid(config, others, local)
    moved = any(config.get(key) != check.config.get(key) for key in _TARGET)
    return Check(check.id, check.reference, config, check.version + 1, check.epoch + moved)


def _reset(config: Config, elements: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    for element in elements:
        if element not in RESETTABLE:
            raise invalid(f"{element} cannot be reset.")
        if element in wanted:
            raise invalid(f"{element} cannot be both reset and given a value.")
    return {**dict.fromkeys(elements), **wanted}


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    kind = config.get("Type")
    defaults: dict[str, Any] = dict(_DEFAULTS)
    if kind not in ENDPOINT:
        defaults = {key: defaults[key] for key in ("Inverted", "Disabled")}
    if kind in HTTP:
        secure = str(kind).startswith("HTTPS")
        defaults |= {"Port": 443 if secure else 80, "EnableSNI": secure}
    return {**defaults, **config}


def _valid(config: Config, others: Mapping[str, Check], local: bool) -> None:
    kind = config.get("Type")
    if kind not in KINDS:
        raise invalid(f"Type {kind!r} is none of {', '.join(KINDS)}.")
    for key, (least, most) in _RANGES.items():
        if not least <= config.get(key, least) <= most:
            raise invalid(f"{key} {config[key]} is not between {least} and {most}.")
    for key, length in _LENGTHS.items():
        if len(config.get(key, "")) > length:
            raise invalid(f"{key} is longer than {length}.")
    if kind in ENDPOINT:
        _endpoint(config, local)
    else:
        for key in (*_TARGET, "Regions", "RequestInterval", "FailureThreshold"):
            if key in config:
                raise invalid(f"{key} cannot be given with the type {kind}.")
    if kind == "CALCULATED":
        _calculated(config, others)
    elif kind == "CLOUDWATCH_METRIC":
        _metric(config)


def _endpoint(config: Config, local: bool) -> None:
    kind, interval = config["Type"], config["RequestInterval"]
    if interval not in (10, 30) and not (local and 1 <= interval <= 30):
        raise invalid(f"RequestInterval {interval} is neither 10 nor 30.")
    if "IPAddress" not in config and not config.get("FullyQualifiedDomainName"):
        raise invalid("One of IPAddress and FullyQualifiedDomainName is needed.")
    if kind == "TCP" and "Port" not in config:
        raise invalid("Port is needed with the type TCP.")
    if (kind in STRING) != bool(config.get("SearchString")):
        raise invalid(f"SearchString is needed with {' and '.join(STRING)}, and with no other type.")
    if "IPAddress" in config:
        _address(str(config["IPAddress"]), local)
    regions = config.get("Regions", REGIONS)
    if len(set(regions)) < 3 or not set(regions) <= set(REGIONS):
        raise invalid(f"Regions must name at least three of {', '.join(REGIONS)}.")


def _address(text: str, local: bool) -> None:
    """Route 53 probes no local, private, non-routable or multicast addresses."""
    try:
        address = ip_address(text)
    except ValueError:
        raise invalid(f"IPAddress {text!r} is not an IP address.") from None
    if not local and (not address.is_global or address.is_multicast):
        raise invalid(f"IPAddress {text} is in a local, private, non-routable or multicast range.")


def _calculated(config: Config, others: Mapping[str, Check]) -> None:
    children = config.get("ChildHealthChecks", [])
    if "HealthThreshold" not in config:
        raise invalid("HealthThreshold is needed with the type CALCULATED.")
    if len(children) > CHILDREN_MOST or len(set(children)) != len(children):
        raise invalid(f"ChildHealthChecks must be at most {CHILDREN_MOST}, each once.")
    for child in children:
        if child not in others:
            raise invalid(f"The child health check {child} does not exist.")
        if others[child].kind == "CALCULATED":
            raise invalid(f"The child health check {child} is itself CALCULATED.")


def _metric(config: Config) -> None:
    alarm = config.get("AlarmIdentifier")
    if not alarm or not alarm.get("Name") or not alarm.get("Region"):
        raise invalid("AlarmIdentifier with Region and Name is needed with the type CLOUDWATCH_METRIC.")
    if config.get("InsufficientDataHealthStatus", "Healthy") not in ("Healthy", "Unhealthy", "LastKnownStatus"):
        raise invalid("InsufficientDataHealthStatus must be Healthy, Unhealthy or LastKnownStatus.")
