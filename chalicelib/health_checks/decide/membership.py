"""The children of the calculated check. Pure. Settled checks come in for fixed checks that leave or died, all in one
update."""

from collections.abc import Mapping, Sequence

from chalicelib.config.fleet import HealthChecks
from chalicelib.health_checks.decide import guards, sampling
from chalicelib.health_checks.state import CalculatedCheck, Check, Host, RotationState

# A region of which not all hosts answer at first gets its parent after so long all the same.
_PATIENCE_SECONDS = 900


def change(
    memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> CalculatedCheck | None:
    """The parent as it is to become, not yet sure. `None` if it is well as it is, or cannot be bettered now."""
    if memory.parent is None:
        return _first(memory, settings, hosts, at)
    parent = memory.parent
    if not guards.change_propagated(parent, at):
        return None
    checks = {check.number: check for check in memory.checks}
    children = _children(parent, memory.checks, settings, hosts, at)
    wanted = sampling.threshold(settings, hosts)
    if wanted > parent.threshold and not guards.keeps_loss_tolerance(len(children), wanted, settings):
        # More hosts have come: as many may be lost as ever, so the threshold rises only with the fixed_checks.
        wanted = parent.threshold
    for threshold in dict.fromkeys((wanted, parent.threshold)):
        same = set(children) == set(parent.children) and threshold == parent.threshold
        if not same and guards.preserves_status(parent, children, threshold, checks, settings, hosts, at):
            return CalculatedCheck(
                children, threshold, parent.id, parent.version, at, parent.children, parent.threshold, confirmed=False
            )
    return None


def _first(
    memory: RotationState, settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> CalculatedCheck | None:
    if len(memory.checks) < settings.fixed_checks + settings.rotating_checks:
        return None
    found = _candidates(memory.checks, (), settings, hosts, at)[: settings.fixed_checks]
    waited = at - min(check.since for check in memory.checks) >= _PATIENCE_SECONDS
    if not found or (len(found) < min(settings.fixed_checks, len(sampling.eligible(hosts))) and not waited):
        return None
    return CalculatedCheck(tuple(check.number for check in found), min(len(found), sampling.threshold(settings, hosts)),
                  changed=at, confirmed=False)


def _children(
    parent: CalculatedCheck, checks: Sequence[Check], settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> tuple[int, ...]:
    fixed_checks = [check for check in checks if check.number in parent.children]
    leaving = [check for check in fixed_checks if guards.target_unchanged(check, hosts)
               and not guards.target_in_service(check, hosts)]
    staying = [check for check in fixed_checks if guards.target_in_service(check, hosts)]
    # What was read dead some minutes ago may be back: after an outage no anchor makes way for that reason.
    dead = [check for check in staying if check.healthy is False and check.read == at]
    good = [check for check in staying if check not in dead]
    found = _candidates([check for check in checks if check not in fixed_checks], good, settings, hosts, at)
    take = found[: settings.fixed_checks - len(good)]
    # One that drains will be gone soon, a dead one may come back; a terminated one never counts again.
    kept = [*leaving, *dead][len(take):]
    if not _outside(good + take, hosts):
        kept = [check for check in kept if check not in leaving]
    return tuple(check.number for check in [*good, *take, *kept])


def _candidates(
    checks: Sequence[Check], fixed_checks: Sequence[Check], settings: HealthChecks, hosts: Mapping[str, Host], at: float
) -> list[Check]:
    """Those that may become fixed checks beside `fixed_checks`, one for each host, the longest settled first."""
    found: list[Check] = []
    for check in sorted(checks, key=lambda check: check.since):
        if guards.may_join(check, settings, hosts, at) and guards.distinct([*fixed_checks, *found, check]):
            found.append(check)
    return found


def _outside(fixed_checks: Sequence[Check], hosts: Mapping[str, Host]) -> bool:
    """Whether there is a host from which another fixed check could still come."""
    return bool(set(sampling.eligible(hosts)) - {check.host for check in fixed_checks})
