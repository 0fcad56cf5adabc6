"""Checks as Route 53 wants them described, in the shapes of boto3's `HealthCheckConfig` and `update_health_check`.

Type, RequestInterval and whether there is an IPAddress cannot change, so every check has an address from the start.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from chalicelib.config.declared import HealthChecks
from chalicelib.health_checks.state import Host

# The longest reference (API reference, `create_health_check`), and the longest name of a check in it, `105~99999`.
_REFERENCE_CHARACTERS, _NAME_CHARACTERS = 64, 9


def reference_prefix(fleet: str, stage: str, region: str, first_minute: int) -> str:
    """The beginning of the CallerReference of each check of this region's state.

    It is a hash where long names would leave too little of Route 53's 64 characters for `reference_name`.
    """
    plain = f"{fleet}-{stage}/{region}/{first_minute}/"
    if len(plain) + _NAME_CHARACTERS <= _REFERENCE_CHARACTERS:
        return plain
    return f"lamp-{hashlib.sha256(plain.encode()).hexdigest()[:40]}/"


def reference_name(number: int, deletions: Sequence[tuple[int, int]]) -> str:
    """The rest of the CallerReference by which check `number` is found again (0 is the calculated check).

    The reference of a deleted check stays taken, so each deletion of the number gives another one.
    """
    times = sum(deleted == number for deleted, _ in deletions)
    return f"{number}~{times}" if times else str(number)


def config(settings: HealthChecks, host: Host) -> dict[str, Any]:
    """A new check on `host`."""
    kind = "HTTPS_STR_MATCH" if settings.protocol == "https" else "HTTP_STR_MATCH"
    return {"Type": kind, "Port": settings.port, "ResourcePath": settings.path, "RequestInterval": settings.interval,
            "FailureThreshold": settings.failures, **update(host)}


def update(host: Host) -> dict[str, Any]:
    """The update that points a check at `host`. Its address may belong to a stranger tomorrow, its id may not."""
    return {"IPAddress": host.address, "SearchString": host.id}


def parent(children: Sequence[str], threshold: int) -> dict[str, Any]:
    """A new parent."""
    return {"Type": "CALCULATED", **family(children, threshold)}


def family(children: Sequence[str], threshold: int) -> dict[str, Any]:
    """The update that gives the calculated check other children."""
    return {"ChildHealthChecks": list(children), "HealthThreshold": threshold}
