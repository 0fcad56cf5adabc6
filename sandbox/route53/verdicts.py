"""Whether a health check is healthy, from its checkers' results. Pure.

The names in brackets (H1, ...) are rows of the table in docs/route53-twin.md, where the sources are.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from sandbox.route53.checks import ENDPOINT, Check

AfterMove = Literal["carry", "healthy", "unhealthy"]
AlarmState = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

# H2: "If more than 18% of health checkers report that an endpoint is healthy, Route 53 considers it healthy."
ENOUGH = Fraction(18, 100)


class Streak(msgspec.Struct, frozen=True):
    """One checker's state of an endpoint. It changes its mind after so many equal results in a row (H1).

    It starts healthy ("Route 53 considers a new health check to be healthy until there's enough data", H3).
    """

    healthy: bool = True
    against: int = 0

    def after(self, passed: bool, threshold: int) -> "Streak":
        """The checker's mind after one more probe."""
        if passed is self.healthy:
            return Streak(self.healthy)
        if self.against + 1 >= threshold:
            return Streak(passed)
        return Streak(self.healthy, self.against + 1)

    def moved(self, how: AfterMove) -> "Streak":
        """The checker's mind once its target has changed. AWS does not document the result, so this is a choice (H8).
        """
        return Streak(self.healthy if how == "carry" else how == "healthy")


class Alarm(msgspec.Struct, frozen=True):
    """A CloudWatch alarm, with its state and its last state with data, empty before that."""

    state: AlarmState = "INSUFFICIENT_DATA"
    known: str = ""

    def now(self, state: AlarmState) -> "Alarm":
        """The alarm in its next state."""
        return Alarm(state, self.known if state == "INSUFFICIENT_DATA" else state)


Alarms = Mapping[tuple[str, str], Alarm]


def verdicts(checks: Iterable[Check], minds: Mapping[str, Sequence[bool]], alarms: Alarms) -> dict[str, bool]:
    """The healthy checks. `minds` has, by id, each checker's state, and `alarms` go by region and name."""
    found: dict[str, bool] = {}
    # Calculated ones last: they look at the others.
    for check in sorted(checks, key=lambda check: check.kind == "CALCULATED"):
        # H6: a disabled one is healthy. H7: either can be inverted.
        healthy = bool(check.config["Disabled"]) or _raw(check, minds, alarms, found)
        found[check.id] = healthy != check.config["Inverted"]
    return found


def _raw(check: Check, minds: Mapping[str, Sequence[bool]], alarms: Alarms, found: Mapping[str, bool]) -> bool:
    if check.kind in ENDPOINT:
        return enough(minds.get(check.id, ()))
    if check.kind == "CALCULATED":
        # H4; a child that was deleted is not healthy.
        living = sum(found.get(child, False) for child in check.config.get("ChildHealthChecks", ()))
        return living >= int(check.config["HealthThreshold"])
    return _of_alarm(check, alarms)


def enough(minds: Sequence[bool]) -> bool:
    """H2. With no checker at work yet, H3."""
    return not minds or Fraction(sum(minds), len(minds)) > ENOUGH


def _of_alarm(check: Check, alarms: Alarms) -> bool:
    """H5. The alarm decides. Without enough data the check's setting decides, and a check without any data yet is
    healthy."""
    identifier = check.config["AlarmIdentifier"]
    alarm = alarms.get((identifier["Region"], identifier["Name"]), Alarm())
    if alarm.state != "INSUFFICIENT_DATA":
        return alarm.state == "OK"
    instead = check.config.get("InsufficientDataHealthStatus", "LastKnownStatus")
    return alarm.known != "ALARM" if instead == "LastKnownStatus" else instead == "Healthy"
