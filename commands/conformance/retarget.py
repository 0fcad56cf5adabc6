"""The status of a health check right after a change of its target, measured, since AWS does not document it.

A TCP check is moved from an address that answers to one that does not, and back. Every second DNS is asked for its
status and Route 53 for its checkers' reports. docs/health-checks.md has the models that this tells apart.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import msgspec

from commands.conformance.cases import CLIENTS
from commands.conformance.client import Calls
from commands.conformance.queries import Ask
from commands.errors import UsageError

NAME = "mover"
INTERVAL, FAILURES = 10, 3
# A checker changes its mind (FAILURES - 1) intervals after its first look at the new target. What changes much sooner
# after the first report was not a checker's mind that was carried over.
_SOON_SECONDS = (FAILURES - 1) * INTERVAL / 2
_READY_SECONDS = 180
_WATCH_SECONDS = 240
_QUIET_SECONDS = 60
# Of some 15 checkers.
_REPORTS = 5


class Target(msgspec.Struct, frozen=True):
    """A public address and a TCP port."""

    address: str
    port: int

    @property
    def config(self) -> dict[str, Any]:
        """The target as part of a check."""
        return {"IPAddress": self.address, "Port": self.port}


class Look(msgspec.Struct, frozen=True):
    """One look, with the seconds after the move, the status in DNS, and the number of good last reports of the
    checkers."""

    at: float
    healthy: bool
    good: int
    reports: int


class Move(msgspec.Struct, frozen=True):
    """The observations after a move, with the seconds until the first checker reported the new target, and of each
    change."""

    living: bool
    told: float | None
    flips: tuple[float, ...]
    ended: bool

    @property
    def kept(self) -> bool | None:
        """Whether the old status stayed until probes overruled it. None if that cannot be said."""
        if self.told is None or len(self.flips) != 1 or self.ended is not self.living:
            return None
        return self.flips[0] > self.told + _SOON_SECONDS


class Moves(msgspec.Struct, frozen=True):
    """Both moves, and the model that they fit."""

    model: str
    moves: tuple[Move, ...]


def target(text: str, option: str) -> Target:
    """Reads `203.0.113.1:443`."""
    address, _, port = text.rpartition(":")
    try:
        return Target(str(ip_address(address.strip("[]"))), int(port))
    except ValueError:
        raise UsageError(f"{option} {text}: write an IP address and a port, such as 198.51.100.1:443") from None


def check(living: Target) -> dict[str, Any]:
    """The health check that is moved."""
    return {"Type": "TCP", "RequestInterval": INTERVAL, "FailureThreshold": FAILURES, **living.config}


def measure(calls: Calls, ask: Ask, id: str, living: Target, dead: Target) -> Moves:
    """Moves the check there and back, in at most ten minutes. `UsageError` if an address is not as it was said to be.
    """
    _ready(calls, ask, id, living)
    there = _moved(calls, ask, id, dead, False)
    if there.ended:
        raise UsageError(f"{dead.address}:{dead.port} answers, or Route 53 does not notice that it does not. "
                      "Name an address and port where nobody answers")
    back = _moved(calls, ask, id, living, True)
    return Moves(model(there, back), (there, back))


def model(there: Move, back: Move) -> str:
    """Which of the models of docs/health-checks.md fits."""
    match there.kept, back.kept:
        case True, True:
            return "carries over"
        case True, False:
            return "reset healthy"
        case False, True:
            return "reset unhealthy"
        case _:
            return "none of the simple ones. Plan for the adversarial one"


def _ready(calls: Calls, ask: Ask, id: str, living: Target) -> None:
    until = calls.pace.now() + _READY_SECONDS
    while True:
        look = _look(calls, ask, id, calls.pace.now())
        if look.healthy and look.reports >= _REPORTS and look.good == look.reports:
            return
        if calls.pace.now() > until:
            raise UsageError(
                f"only {look.good} of {look.reports} of Route 53's checkers reach {living.address}:{living.port}. "
                "Name an address and port that answer everybody"
            )
        calls.pace.sleep(INTERVAL / 2)


def _moved(calls: Calls, ask: Ask, id: str, to: Target, living: bool) -> Move:
    version = calls.route53.get_health_check(HealthCheckId=id)["HealthCheck"]["HealthCheckVersion"]
    calls.route53.update_health_check(HealthCheckId=id, HealthCheckVersion=version, **to.config)
    began = calls.pace.now()
    looks: list[Look] = []
    while not _over(looks, living):
        looks.append(_look(calls, ask, id, began))
        calls.pace.sleep(max(0.0, looks[-1].at + 1 - (calls.pace.now() - began)))
    return seen(looks, living)


def seen(looks: Sequence[Look], living: bool) -> Move:
    """The summary of a series of looks. Before them the status was that of the other target."""
    before = [not living, *(look.healthy for look in looks)]
    flips = tuple(look.at for look, was in zip(looks, before, strict=False) if look.healthy is not was)
    told = next((look.at for look in looks if (look.good if living else look.reports - look.good)), None)
    return Move(living, told, flips, before[-1])


def _over(looks: Sequence[Look], living: bool) -> bool:
    """Enough. For a minute the status has been that of the new target, and so have all reports, or it never will be."""
    if not looks or looks[-1].at < _QUIET_SECONDS:
        return False
    late = [look for look in looks if look.at > looks[-1].at - _QUIET_SECONDS / 2]
    done = all(look.healthy is living and look.good == (look.reports if living else 0) for look in late)
    return done or looks[-1].at > _WATCH_SECONDS


def _look(calls: Calls, ask: Ask, id: str, began: float) -> Look:
    healthy = ask(f"status-{NAME}", CLIENTS["SE"]) == "healthy"
    at = calls.pace.now() - began
    told = calls.route53.get_health_check_status(HealthCheckId=id)["HealthCheckObservations"]
    reports = [one["StatusReport"]["Status"] for one in told if one.get("StatusReport", {}).get("Status")]
    return Look(round(at, 1), healthy, sum(report.startswith("Success") for report in reports), len(reports))
