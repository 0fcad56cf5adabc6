"""The reads of a run from Route 53, within its budget. It is pure, and `observe` carries out its reads."""

from collections.abc import Mapping, Sequence

from chalicelib.config.declared import HealthChecks
from chalicelib.health_checks.decide import guards
from chalicelib.health_checks.state import (
    PROPAGATION_SECONDS,
    REQUESTS_PER_HOUR_MAX,
    TOLERANCE_SECONDS,
    Check,
    Host,
    RotationState,
    dwell_minutes,
    is_reportable,
    requests_last_hour,
    settling_seconds,
)

# Requests that are kept for what cannot wait when the hour's budget runs out.
_KEPT_FOR_MOVES = 20
_KEPT_FOR_FIXED_CHECKS = 40
# So often the calculated check is looked up.
_LOOK_UP_MINUTES = 10
# Route 53 calls a check healthy when more than 18% of its checkers do.
_HEALTHY_SHARE = 0.18


def is_healthy(passed: Sequence[bool]) -> bool | None:
    """Whether a check is healthy by its checkers' last probes of its present target. `None` if there are none."""
    return sum(passed) > _HEALTHY_SHARE * len(passed) if passed else None


def eligible(hosts: Mapping[str, Host]) -> list[str]:
    """The hosts to probe, which are all but those that drain."""
    return [id for id, host in hosts.items() if host.state != "draining"]


def threshold(settings: HealthChecks, hosts: Mapping[str, Host]) -> int:
    """The required number of healthy fixed checks. It is smaller if there are fewer hosts than fixed checks."""
    return max(1, settings.healthy_threshold - max(0, settings.fixed_checks - len(eligible(hosts))))


def missing_members(memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host]) -> int:
    """How many fixed checks are to be replaced or added."""
    if memory.parent is None:
        return settings.fixed_checks
    checks = {check.number: check for check in memory.checks}
    good = [number for number in memory.parent.children
            if guards.target_in_service(checks[number], hosts) and checks[number].healthy is not False]
    return max(0, min(settings.fixed_checks, len(eligible(hosts))) - len(good))


def due(check: Check, settings: HealthChecks, at: float, minute: int) -> bool:
    """Whether a rotating check has been with its host for a whole slot, and long enough for a result.

    A minute ahead is of a run whose clock was ahead, and holds nothing up.
    """
    stays = 0 <= minute - check.minute < dwell_minutes(settings)
    return not stays and is_reportable(check, settings, at)


def _lately(check: Check, settings: HealthChecks, at: float) -> bool:
    """Whether the check has been read within a dwell time. A check without a target is not read more often than a
    moving one. Otherwise the hour's budget would run out, and nobody would read the fixed checks for minutes."""
    return at < check.read + dwell_minutes(settings) * 60 - TOLERANCE_SECONDS


def observe_at(memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float) -> float:
    """The time to look, at once or in some seconds if a wanted check will have settled by then or the calculated check
    be free."""
    soon = [memory.parent.changed + PROPAGATION_SECONDS] if memory.parent else []
    if missing_members(memory, settings, hosts):
        fixed_checks = memory.parent.children if memory.parent else ()
        soon += [check.since + settling_seconds(settings) for check in memory.checks
                 if check.number not in fixed_checks]
    return max([at, *(when for when in soon if when <= at + TOLERANCE_SECONDS)])


def unconfirmed(memory: RotationState) -> list[int]:
    """The checks (0 is the calculated one) whose last change is unconfirmed."""
    parent = [0] if memory.parent and not memory.parent.confirmed else []
    return parent + [check.number for check in memory.checks if not check.confirmed and not check.deleted]


def to_look_up(memory: RotationState, minute: int) -> list[int]:
    """The unconfirmed checks, and now and then the calculated one, whose deletion nothing else would show."""
    numbers = unconfirmed(memory)
    # By the first run of each period that has decided anything.
    is_time = minute // _LOOK_UP_MINUTES > memory.minute // _LOOK_UP_MINUTES
    return [0, *numbers] if memory.parent and 0 not in numbers and is_time else numbers


def checks_to_read(
    memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float, minute: int
) -> list[int]:
    """The checks whose status is to be read, the most important first."""
    left = REQUESTS_PER_HOUR_MAX - requests_last_hour(memory, minute) - 2 * len(unconfirmed(memory))
    fixed_checks = memory.parent.children if memory.parent else ()
    known = [check for check in memory.checks if guards.target_unchanged(check, hosts)
             and is_reportable(check, settings, at)]
    want = missing_members(memory, settings, hosts)
    rotating_checks = [check.number for check in known if check.number not in fixed_checks
              and ((want and not guards.duplicates_target(check, memory.checks, memory.parent))
                   or (due(check, settings, at, minute) and not _lately(check, settings, at)))]
    members = _members([check for check in known if check.number in fixed_checks], memory, settings, hosts)
    spare = max(0, left - len(rotating_checks) - _KEPT_FOR_FIXED_CHECKS)
    return rotating_checks[: max(0, left - _KEPT_FOR_MOVES)] + members[:spare]


def _members(
    fixed_checks: list[Check], memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host]
) -> list[int]:
    """The fixed checks to read. All if the threshold is to change, else the lost ones and those with the oldest
    results.

    The lost come on top of the others, or these would be forgotten. But if more are lost than can be borne, nothing is
    won by looking at all of them each minute.
    """
    oldest = sorted(fixed_checks, key=lambda check: check.read)
    if memory.parent and memory.parent.threshold != threshold(settings, hosts):
        return [check.number for check in oldest]
    lost = [check for check in oldest if check.healthy is False or hosts[check.host].state == "unhealthy"]
    quota = max(1, 4 - 2 * settings.rotating_checks // dwell_minutes(settings))
    if len(lost) > settings.fixed_checks - settings.healthy_threshold:
        quota = max(quota, sum(check.healthy is True for check in lost))
        lost = []
    return [check.number for check in [*lost, *[check for check in oldest if check not in lost][:quota]]]
