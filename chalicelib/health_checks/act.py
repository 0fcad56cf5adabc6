"""Carries out a plan: claimed before it is done, done with the version that was seen, confirmed after.

Only the run whose state is in the table may act. A change that Route 53 did not confirm stays unconfirmed until the
next run looks it up. No change is tried twice.
"""

from collections.abc import Callable, Sequence

import msgspec

from chalicelib.aws import client
from chalicelib.aws.route53 import HealthCheck
from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.metrics import logger
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.health_checks import published
from chalicelib.health_checks.check_config import reference_name, reference_prefix
from chalicelib.health_checks.published import RegionCheck
from chalicelib.health_checks.state import KEY, SCHEMA, CheckChange, Publication, RotationState, confirmed, deleted

# What a change can be denied with, and the next run gets over.
_DENIALS_TO_LOOK_UP = frozenset({"HealthCheckVersionMismatch", "HealthCheckAlreadyExists", "NoSuchHealthCheck"})
# The denial of a list of children with one that somebody deleted, among other causes.
_NO_SUCH_CHILD = "InvalidInput"

Pace = Callable[[RegionContext], None]
Change = Callable[[CheckChange, RotationState], HealthCheck]


def create(context: RegionContext, request: Request, actions: Sequence[Action], pace: Pace) -> list[str]:
    """Makes checks, also the calculated one. One that was made before, its answer lost, is found by its reference."""

    def make(change: CheckChange, memory: RotationState) -> HealthCheck:
        prefix = reference_prefix(context.fleet.name, context.stage, context.region, memory.first_minute)
        name = prefix + reference_name(change.number, memory.deletions)
        return context.aws.route53.create_health_check(name, change.config)

    return _each(context, request, actions, pace, make)


def update_checks(context: RegionContext, request: Request, actions: Sequence[Action], pace: Pace) -> list[str]:
    """Gives the calculated check other children, or checks other targets, each in one update of the seen version."""

    def update(change: CheckChange, memory: RotationState) -> HealthCheck:
        return context.aws.route53.update_health_check(change.id, change.version, change.config)

    return _each(context, request, actions, pace, update)


def publish(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells the other regions the calculated check's id, if their table still says what was seen.

    It is left for a later minute if the table does not answer.
    """
    [action] = actions
    publication: Publication = action.details
    parent = state.current(context.local_store, KEY, SCHEMA, run_id=request.run_id).value.parent
    id = publication.id or (parent.id if parent and parent.confirmed else "")
    if not id:
        return ["left for the next minute, since Route 53 has not confirmed the calculated check"]
    seen_id = publication.replaces
    try:
        is_done = state.publish(
            context.shared_store, (published.PK, action.target), published.SCHEMA, RegionCheck(id),
            run_id=request.run_id, replaces=lambda old: seen_id is None or old.id in (seen_id, id))
    except client.Unavailable as error:
        logger.warning("the run could not publish the calculated check's id", error=str(error))
        return [f"left for the next minute ({error})"]
    return [f"published {id}" if is_done else "another run was faster"]


def _each(
    context: RegionContext, request: Request, actions: Sequence[Action], pace: Pace, do: Change
) -> list[str]:
    results: list[str] = []
    change = CheckChange(0, {})
    before = state.current(context.local_store, KEY, SCHEMA, run_id=request.run_id)
    memory = before.value
    try:
        for action in actions:
            if action.kind == "retarget-check" and memory.parent and not memory.parent.confirmed:
                # The move was weighed against a calculated check that is not the one there is.
                return [*results, f"{action.target}: left, since Route 53 has not confirmed the calculated check"]
            pace(context)
            change = action.details
            check = do(change, memory)
            memory = confirmed(memory, change.number, check.id, check.version, context.clock())
            results.append(f"{action.target}: version {check.version}")
    except client.ClientError as error:
        code = client.error_code(error)
        gone = _deleted_children(context, memory, change, pace) if code == _NO_SUCH_CHILD else frozenset()
        if code not in _DENIALS_TO_LOOK_UP and not gone:
            raise
        results.append(f"stopped, and the next minute looks again ({error})")
        if gone:
            memory = msgspec.structs.replace(memory, checks=tuple(
                deleted(check, context.clock()) if check.number in gone else check for check in memory.checks))
        if code == "HealthCheckAlreadyExists":
            pace(context)
            memory = _without_buried(context, memory, change.number)
    finally:
        # Whatever was confirmed; if another run has begun meanwhile, it looks up the rest itself.
        if memory is not before.value:
            state.write(context.local_store, KEY, SCHEMA, before, memory, run_id=request.run_id)
    return results


def _deleted_children(context: RegionContext, memory: RotationState, change: CheckChange, pace: Pace) -> frozenset[int]:
    """The numbers of those children in a denied change of the calculated check that somebody deleted."""
    ids = set(change.config.get("ChildHealthChecks", ()))
    gone = set()
    for check in memory.checks:
        if check.id in ids:
            pace(context)
            try:
                context.aws.route53.health_check(check.id)
            except client.ClientError as error:
                if client.error_code(error) != "NoSuchHealthCheck":
                    raise
                gone.add(check.number)
    return frozenset(gone)


def _without_buried(context: RegionContext, memory: RotationState, number: int) -> RotationState:
    """The state without a new check whose reference is that of a deleted one. One that exists stays, to be looked up.
    """
    prefix = reference_prefix(context.fleet.name, context.stage, context.region, memory.first_minute)
    name = prefix + reference_name(number, memory.deletions)
    if any(check.reference == name for check in context.aws.route53.health_checks(prefix)):
        return memory
    checks = tuple(check for check in memory.checks if check.number != number)
    return msgspec.structs.replace(memory, checks=checks, parent=memory.parent if number else None,
                                   deletions=(*memory.deletions, (number, memory.minute)))
