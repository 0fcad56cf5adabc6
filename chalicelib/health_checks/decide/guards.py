"""The rules that keep the region's result true while checks change their targets. Pure. Each has a test without it.

AWS does not document the status of a check right after a change of its target. So an unsettled check counts as having
the most harmful status. In the calculated check it might break the region's status, or mask an outage.
"""

from collections.abc import Collection, Iterator, Mapping

from chalicelib.config.declared import HealthChecks
from chalicelib.health_checks.state import PROPAGATION_SECONDS, CalculatedCheck, Check, Host, settling_seconds

# A verdict about an anchor that was read longer ago counts for nothing.
_STALE_SECONDS = 300

Checks = Mapping[int, Check]
Hosts = Mapping[str, Host]


def settled(check: Check, settings: HealthChecks, at: float) -> bool:
    """Whether the check's status can only speak of its present target."""
    return check.confirmed and at >= check.since + settling_seconds(settings)


def target_unchanged(check: Check, hosts: Hosts) -> bool:
    """Whether the host that the check was pointed at is still registered, and still has that address."""
    host = hosts.get(check.host)
    return host is not None and host.address == check.address


def target_in_service(check: Check, hosts: Hosts) -> bool:
    """Whether the check's host exists and is not draining. Only such a check may be fixed."""
    return target_unchanged(check, hosts) and hosts[check.host].state != "draining"


def duplicates_target(check: Check, checks: Collection[Check], parent: CalculatedCheck | None) -> bool:
    """Whether a fixed check, or an earlier check, is on the same host. Then this one finds nothing that the other does
    not. It need not stay for its slot, and cannot become an fixed check."""
    fixed_checks = parent.children if parent else ()
    return any(
        other.number in fixed_checks or (other.since, other.number) < (check.since, check.number)
        for other in checks
        if other.host == check.host and other.address == check.address and other.number != check.number
        and other.confirmed)


def fresh(check: Check, at: float) -> bool:
    """Whether the check was read healthy in this very turn."""
    return check.healthy is True and check.read == at


def counts_as_healthy(check: Check, settings: HealthChecks, hosts: Hosts, at: float) -> bool:
    """Whether the check surely counts as healthy."""
    return (check.healthy is True and at - check.read <= _STALE_SECONDS
            and settled(check, settings, at) and target_unchanged(check, hosts))


def may_join(check: Check, settings: HealthChecks, hosts: Hosts, at: float) -> bool:
    """Whether a check outside the parent may become an fixed check."""
    return (settled(check, settings, at) and fresh(check, at) and target_in_service(check, hosts)
            and hosts[check.host].state != "unhealthy")


def distinct(checks: Collection[Check]) -> bool:
    """Whether no host would count twice, because its loss would be two losses."""
    return len({check.host for check in checks}) == len(checks)


def change_propagated(parent: CalculatedCheck, at: float) -> bool:
    """Whether the parent's last change is known and has propagated, so that only one list can count."""
    return parent.confirmed and at >= parent.changed + PROPAGATION_SECONDS


def possible_memberships(parent: CalculatedCheck | None, at: float) -> Iterator[tuple[tuple[int, ...], int]]:
    """The lists of children, each with its threshold, by which Route 53 may judge the region now."""
    if parent:
        yield parent.children, parent.threshold
        if not change_propagated(parent, at):
            yield parent.previous_children, parent.before_threshold


def meets_threshold(checks: Collection[Check], threshold: int, settings: HealthChecks, hosts: Hosts, at: float) -> bool:
    """Whether the checks hold the result by those alone that are surely healthy."""
    return sum(counts_as_healthy(check, settings, hosts, at) for check in checks) >= threshold


def cannot_mask_outage(unsettled: int, threshold: int) -> bool:
    """Whether so many checks of unknown status could not make a dead region look alive."""
    return unsettled < threshold


def keeps_loss_tolerance(fixed_checks: int, threshold: int, settings: HealthChecks) -> bool:
    """Whether as many of so many fixed checks may be lost at once as of all of them."""
    return fixed_checks - threshold >= settings.fixed_checks - settings.healthy_threshold


def may_retarget(
    number: int, parent: CalculatedCheck | None, checks: Checks, settings: HealthChecks, hosts: Hosts, at: float
) -> bool:
    """Whether check `number` may get another target now. A fixed check never may.

    One that has just ceased to be an fixed check may still count. It waits, unless the others hold the result without
    it and it could not hold the result for them.
    """
    if parent and number in parent.children:
        return False
    return all(_bearable(number, children, threshold, checks, settings, hosts, at)
               for children, threshold in possible_memberships(parent, at) if number in children)


def _bearable(number: int, children: tuple[int, ...], threshold: int, checks: Checks, settings: HealthChecks,
              hosts: Hosts, at: float) -> bool:
    others = [checks[child] for child in children if child != number and child in checks]
    # A child that somebody has deleted has no record any more. What Route 53 makes of it is not known.
    gone = sum(child not in checks for child in children)
    unsettled = 1 + gone + sum(not settled(check, settings, at) for check in others)
    return meets_threshold(others, threshold, settings, hosts, at) and cannot_mask_outage(unsettled, threshold)


def preserves_status(
    parent: CalculatedCheck,
    children: Collection[int],
    threshold: int,
    checks: Checks,
    settings: HealthChecks,
    hosts: Hosts,
    at: float,
) -> bool:
    """Whether a change of the calculated check keeps its status. It is healthy under the old list and the new one, or
    the threshold stays and no child leaves that surely counts."""
    new = [checks[number] for number in children]
    old = [checks[number] for number in parent.children if number in checks]
    if not new or not distinct([check for check in new if target_in_service(check, hosts)]):
        return False
    if meets_threshold(old, parent.threshold, settings, hosts, at) and meets_threshold(
        new, threshold, settings, hosts, at
    ):
        return True
    left = [check for check in old if check.number not in children]
    return threshold == parent.threshold and not any(counts_as_healthy(check, settings, hosts, at) for check in left)
