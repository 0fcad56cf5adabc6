"""Carries out a turn: remembered before it is done, done with the version that was seen, confirmed after.

Only the turn whose memory is in the table may act. What Route 53 did not confirm stays unsure, and the next turn looks
it up; no change is tried twice.
"""

from collections.abc import Callable, Sequence

from chalicelib import cloud
from chalicelib.control import Request, count, logger
from chalicelib.health_checks.api import Route53
from chalicelib.health_checks.records import KEY, VERDICT, Memory, body, confirmed, read
from chalicelib.health_checks.target import reference
from chalicelib.ledger import Item
from chalicelib.plan import Action
from chalicelib.site import Site

# What a change can be answered with, and the next turn gets over.
_PASSED_BY = frozenset({"HealthCheckVersionMismatch", "HealthCheckAlreadyExists"})
_FASTER = "another turn was faster"

Change = Callable[[Action, Memory], tuple[int, str, int]]


def remember(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims this minute: the memory is replaced only if it is still the one that was seen."""
    [action] = actions
    item, memory = site.regional.get(*KEY), action.facts["memory"]
    if (item.rev if item else 0) != action.facts["rev"]:
        return [_FASTER]
    done = site.regional.swap(item, memory) if item else site.regional.create(*KEY, memory)
    return ["remembered" if done else _FASTER]


def create(site: Site, request: Request, actions: Sequence[Action], api: Route53) -> list[str]:
    """Makes checks. One that was made before, its answer lost, is found by its reference."""

    return _each(site, request, actions, _maker(site, api))


def found(site: Site, request: Request, actions: Sequence[Action], api: Route53) -> list[str]:
    """Makes the parent."""
    return _each(site, request, actions, _maker(site, api))


def _maker(site: Site, api: Route53) -> Change:
    def make(action: Action, memory: Memory) -> tuple[int, str, int]:
        name = reference(site.fleet.name, site.stage, site.region, memory.born, action.facts["number"])
        return (action.facts["number"], *api.create(name, action.facts["config"]))

    return make


def change(site: Site, request: Request, actions: Sequence[Action], api: Route53) -> list[str]:
    """Gives the parent other children, or checks other targets, each in one update of the version that was seen."""

    def update(action: Action, memory: Memory) -> tuple[int, str, int]:
        facts = action.facts
        return facts["number"], facts["id"], api.update(facts["id"], facts["version"], facts["config"])

    return _each(site, request, actions, update)


def publish(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells the other regions the parent's id, if the table still says what was seen; left for a later minute if it
    cannot be reached."""
    [action] = actions
    item = _my_turn(site, request)
    parent = read(item.body).parent if item else None
    id = action.facts.get("id") or (parent.id if parent and parent.sure else "")
    if not item or not id:
        return [_FASTER if not item else "left for the next minute: the parent is not confirmed"]
    try:
        done = _published(site, action.target, id, action.facts.get("was"))
    except cloud.Unreachable as error:
        logger.warning("the parent's id could not be published", error=str(error))
        return [f"left for the next minute: {error}"]
    return [f"published {id}" if done else _FASTER]


def _published(site: Site, region: str, id: str, was: str | None) -> bool:
    item, said = site.coordination.get(VERDICT, region), {"id": id}
    if was is not None and (item.body.get("id", "") if item else "") != was:
        return False
    made = site.coordination.swap(item, said) if item else site.coordination.create(VERDICT, region, said)
    return made is not None


def alert(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people; the memory has it that they were told."""
    for action in actions:
        site.alerts.publish(f"{action.facts['kind']}: {action.target}", action.reason)
        count("Alert", kind=action.facts["kind"])
    return [f"{action.target}: told" for action in actions]


def _each(site: Site, request: Request, actions: Sequence[Action], do: Change) -> list[str]:
    results: list[str] = []
    item = _my_turn(site, request)
    if item is None:
        return [_FASTER]
    memory = read(item.body)
    try:
        for action in actions:
            if action.kind == "point" and memory.parent and not memory.parent.sure:
                # The move was weighed against a parent that is not the one there is.
                return [*results, f"{action.target}: left, since the parent's change is not confirmed"]
            number, id, version = do(action, memory)
            memory = confirmed(memory, number, id, version, site.clock())
            results.append(f"{action.target}: version {version}")
    except cloud.ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _PASSED_BY:
            raise
        results.append(f"stopped, to be looked up in the next minute: {error}")
    finally:
        _keep(site, item, memory)
    return results


def _my_turn(site: Site, request: Request) -> Item | None:
    """The memory's item, if it is this turn's."""
    item = site.regional.get(*KEY)
    return item if item and read(item.body).turn == turn_of(request) else None


def _keep(site: Site, item: Item, memory: Memory) -> None:
    """Whatever was confirmed; if another turn has begun meanwhile, it looks up the rest itself."""
    site.regional.swap(item, body(memory))


def turn_of(request: Request) -> str:
    """The name of this turn: one run of the operation."""
    return request.id or str(request.now)
