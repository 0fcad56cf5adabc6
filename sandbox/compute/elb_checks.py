"""The limits of a target group, checked when it is made or changed, because its probes rely on them.

The bounds are from CreateTargetGroup and Matcher in the API reference, and so are the defaults of a TCP group.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

LEVEL_4 = ("TCP", "TLS", "UDP", "TCP_UDP")
_BOUNDS = {"HealthCheckIntervalSeconds": (5, 300), "HealthCheckTimeoutSeconds": (2, 120),
           "HealthyThresholdCount": (2, 10), "UnhealthyThresholdCount": (2, 10)}
_CODES = re.compile(r"[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*")


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with the health check of a TCP group where it says none.

    The protocol is TCP. The time-out is ten seconds, and six for a check by HTTP.
    """
    if given.get("Protocol") not in LEVEL_4:
        return dict(given)
    web = given.get("HealthCheckProtocol") in ("HTTP", "HTTPS")
    return {"HealthCheckProtocol": "TCP", "HealthCheckTimeoutSeconds": "6" if web else "10", **given}


def attribute_problem(attributes: Iterable[Mapping[str, Any]]) -> str:
    """The fault of target group attributes (`Key`, `Value`). Empty if nothing."""
    for one in attributes:
        key, value = str(one.get("Key")), str(one.get("Value"))
        if key == "deregistration_delay.timeout_seconds" and not (value.isdigit() and int(value) <= 3600):
            return f"{key} '{value}' must be between '0' and '3600'"
        if key.endswith(".enabled") and value not in ("true", "false"):
            return f"{key} '{value}' must be 'true' or 'false'"
    return ""


def problem(given: Mapping[str, Any], codes: str) -> str:
    """The fault of the settings in a call or a template, `codes` its matcher. Empty if nothing."""
    if given.get("TargetType") == "alb":
        return "the sandbox has no target groups of type alb"
    for name, (low, high) in _BOUNDS.items():
        value = str(given.get(name, low))
        if not value.isdigit() or not low <= int(value) <= high:
            return f"{name} '{value}' must be between '{low}' and '{high}'"
    port = str(given.get("HealthCheckPort") or "traffic-port")
    if port != "traffic-port" and not (port.isdigit() and 1 <= int(port) <= 65535):
        return f"Health check port '{port}' must be between '1' and '65535' or 'traffic-port'"
    if codes and not _CODES.fullmatch(codes):
        return f"Health check matcher HTTP code '{codes}' must be within '200-599' inclusive"
    return ""
