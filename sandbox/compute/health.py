"""Whether a target is healthy, from its probes, as a pure state machine.

From "Target group health checks" of the Application and Network Load Balancer guides. A new target is in service once
it passes one health check. A healthy one becomes unhealthy after so many failures in a row, and an unhealthy one
healthy after so many successes. Reason codes are from TargetHealth in the Elastic Load Balancing API reference.
"""

import msgspec

INITIAL, HEALTHY, UNHEALTHY, DRAINING, UNUSED = "initial", "healthy", "unhealthy", "draining", "unused"


class Health(msgspec.Struct, frozen=True):
    """A target's state with the API's reason and description, and how many probes in a row spoke against it."""

    state: str = INITIAL
    reason: str = "Elb.RegistrationInProgress"
    text: str = "Target registration is in progress"
    against: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """The result of one probe. `reason` and `text` say why it failed."""

    passed: bool
    reason: str = ""
    text: str = ""


def judge(health: Health, verdict: Verdict, rise: int, fall: int) -> Health:
    """The state after one more probe, with `rise` successes to become healthy again and `fall` failures to fall."""
    if verdict.passed:
        if health.state == UNHEALTHY and health.against + 1 < rise:
            return msgspec.structs.replace(health, against=health.against + 1)
        return Health(HEALTHY, "", "", 0)
    if health.state == UNHEALTHY or health.against + 1 >= fall:
        return Health(UNHEALTHY, verdict.reason, verdict.text, 0)
    if health.state == HEALTHY:
        return msgspec.structs.replace(health, against=health.against + 1)
    return Health(INITIAL, "Elb.InitialHealthChecking", "Initial health checks in progress", health.against + 1)


def matches(code: int, matcher: str) -> bool:
    """Whether an HTTP status is one of `matcher`, values and ranges, as in `200,202` or `200-299`."""
    for part in matcher.split(","):
        low, _, high = part.partition("-")
        if int(low) <= code <= int(high or low):
            return True
    return False
