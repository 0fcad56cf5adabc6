"""Carries out a run. The state is written first, the calls carry the version of the observation, and the result is
confirmed after.

Only the turn whose memory is in the table may act. A change that Route 53 did not confirm stays unconfirmed, and the
next run looks it up. No change is tried twice.
"""

from collections.abc import Callable, Sequence

from chalicelib.aws import client
from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.engine.metrics import count, logger
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.health_checks.check_config import reference
from chalicelib.health_checks.route53_checks import Route53
from chalicelib.health_checks.state import KEY, REGION_CHECK_PK, RotationState, body, confirmed, read

# What a change can be answered with, and the next turn gets over.
_PASSED_BY = frozenset({"HealthCheckVersionMismatch", "HealthCheckAlreadyExists"})
_FASTER = "another turn was faster"

Change = Callable[[Action, RotationState], tuple[int, str, int]]


def claim_state(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims this minute. The state is replaced only if it is still the one that was read."""
    [action] = actions
    item, memory = site.local_store.get(*KEY), action.details["memory"]
    if (item.version if item else 0) != action.details["version"]:
        return [_FASTER]
    done = site.local_store.compare_and_set(item, memory) if item else site.local_store.create(*KEY, memory)
    return ["remembered" if done else _FASTER]


def create(site: RegionContext, request: Request, actions: Sequence[Action], api: Route53) -> list[str]:
    """Makes checks. One that was made before, its answer lost, is found by its reference."""

    return _each(site, request, actions, _maker(site, api))


def create_calculated(site: RegionContext, request: Request, actions: Sequence[Action], api: Route53) -> list[str]:
    """Makes the parent."""
    return _each(site, request, actions, _maker(site, api))


def _maker(site: RegionContext, api: Route53) -> Change:
    def make(action: Action, memory: RotationState) -> tuple[int, str, int]:
        name = reference(site.fleet.name, site.stage, site.region, memory.first_minute, action.details["number"])
        return (action.details["number"], *api.create(name, action.details["config"]))

    return make


def update_checks(site: RegionContext, request: Request, actions: Sequence[Action], api: Route53) -> list[str]:
    """Gives the parent other children, or checks other targets, each in one update of the version that was seen."""

    def update(action: Action, memory: RotationState) -> tuple[int, str, int]:
        facts = action.details
        return facts["number"], facts["id"], api.update(facts["id"], facts["version"], facts["config"])

    return _each(site, request, actions, update)


def publish(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells the other regions the parent's id, if the table still says what was seen. Left for a later minute if it
    cannot be reached."""
    [action] = actions
    item = _my_turn(site, request)
    parent = read(item.body).parent if item else None
    id = action.details.get("id") or (parent.id if parent and parent.confirmed else "")
    if not item or not id:
        return [_FASTER if not item else "left for the next minute: the parent is not confirmed"]
    try:
        done = _published(site, action.target, id, action.details.get("was"))
    except client.Unavailable as error:
        logger.warning("the parent's id could not be published", error=str(error))
        return [f"left for the next minute: {error}"]
    return [f"published {id}" if done else _FASTER]


def _published(site: RegionContext, region: str, id: str, was: str | None) -> bool:
    item, said = site.shared_store.get(REGION_CHECK_PK, region), {"id": id}
    if was is not None and (item.body.get("id", "") if item else "") != was:
        return False
    made = site.shared_store.compare_and_set(item, said) if item else site.shared_store.create(REGION_CHECK_PK, region,
                                                                                               said)
    return made is not None


def alert(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people. The memory has it that they were told."""
    for action in actions:
        site.alerts.publish(f"{action.details['kind']}: {action.target}", action.reason)
        count("Alert", kind=action.details["kind"])
    return [f"{action.target}: told" for action in actions]


def _each(site: RegionContext, request: Request, actions: Sequence[Action], do: Change) -> list[str]:
    results: list[str] = []
    item = _my_turn(site, request)
    if item is None:
        return [_FASTER]
    memory = read(item.body)
    try:
        for action in actions:
            if action.kind == "retarget-check" and memory.parent and not memory.parent.confirmed:
                # The move was weighed against a parent that is not the one there is.
                return [*results, f"{action.target}: left, since the parent's change is not confirmed"]
            number, id, version = do(action, memory)
            memory = confirmed(memory, number, id, version, site.clock())
            results.append(f"{action.target}: version {version}")
    except client.ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _PASSED_BY:
            raise
        results.append(f"stopped, to be looked up in the next minute: {error}")
    finally:
        _keep(site, item, memory)
    return results


def _my_turn(site: RegionContext, request: Request) -> Item | None:
    """The memory's item, if it is this turn's."""
    item = site.local_store.get(*KEY)
    return item if item and read(item.body).run_id == turn_of(request) else None


def _keep(site: RegionContext, item: Item, memory: RotationState) -> None:
    """Whatever was confirmed. If another turn has begun meanwhile, it looks up the rest itself."""
    site.local_store.compare_and_set(item, body(memory))


def turn_of(request: Request) -> str:
    """The name of this run of the operation."""
    return request.id or str(request.now)
