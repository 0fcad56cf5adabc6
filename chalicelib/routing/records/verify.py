"""The proof of the answer of every place, whichever regions live, for all subsets and all places, without sampling.

Route 53's answer depends on the regions' state only through the records with a check. So the records are asked once for
each subset of regions that serve. It then evaluates each record with a check for each state, in which a region is alive
or dead, evacuated or not. The record must be healthy exactly if the region should serve. Together that is every one of
4^n states.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, product

import msgspec

from chalicelib.geography import Location, places
from chalicelib.routing.records import checks as checking
from chalicelib.routing.records.compiler import alive, serving, unmarked
from chalicelib.routing.records.resolver import Index, Path, Zone
from chalicelib.routing.records.spec import Compiled, Record, Spec

_SHOWN = 20


class Proof(msgspec.Struct, frozen=True):
    """The number of questions, and the wrong answers. `answers` were compared, one for each place and subset of serving
    regions. They stand for `combinations`, one for each place and state of life and evacuation. `wrong` tells the first
    few in words."""

    regions: int
    places: int
    subsets: int
    records: int
    answers: int
    states: int
    combinations: int
    wrong_answers: int
    most_aliases: int
    most_locations: int
    wrong: tuple[str, ...] = ()


def prove(spec: Spec, compiled: Compiled, checks: checking.Checks) -> Proof:
    """Asks for every place in every subset of serving regions, the empty one too, and for every state of the checks."""
    regions = list(spec.targets)
    wrong: list[str] = []
    aliases = asked = 0
    index = Index(compiled.records)
    for living in subsets(regions):
        zone = Zone(index, healthy_with(living).__contains__)
        for kind, place in product(spec.types, places().values()):
            paths = zone.answers(f"{spec.hostname}.", kind, place)
            asked += 1
            aliases = max((aliases, *(path.aliases for path in paths)))
            if (got := _shares(spec, paths)) != expected(spec, place, living):
                wrong.append(_complaint(place, living, got, expected(spec, place, living)))
    states, mistaken = _states(spec, compiled, checks)
    return Proof(len(regions), len(places()), 2 ** len(regions) - 1, len(compiled.records), asked, states,
                 states * len(places()) * len(spec.types), len(wrong) + len(mistaken), aliases, _fullest(compiled),
                 tuple([*wrong, *mistaken][:_SHOWN]))


def healthy_with(living: Collection[str]) -> frozenset[str]:
    """The checks that are healthy while exactly `living` take users, the others being dead and evacuated."""
    return frozenset(name(region) for region in living for name in (alive, unmarked, serving))


def _states(spec: Spec, compiled: Compiled, checks: checking.Checks) -> tuple[int, list[str]]:
    """How many states of life and evacuation there are, and what is wrong with the records in any of them.

    Each region's records are worked out for every state of its own two endpoints, with all others serving and with all
    others dead and evacuated. All checks of a record must be healthy, so it depends on others in no other case. This
    covers every combination of the regions' states without writing them out.
    """
    wrong, count, index = list(_strange(spec, compiled, checks)), 1, Index(compiled.records)
    for region in spec.targets if not wrong else ():
        states = list(product((True, False), (False, True) if region in spec.evacuable else (False,)))
        carriers = [record for record in compiled.records if _region_of(record) == region]
        count *= len(states)
        for (lives, marked), others in product(states, (True, False)):
            # The mark's presence is what makes the endpoint of the inverted check answer.
            answering = {name(other): others == (name is alive) for other in spec.targets for name in (alive, unmarked)}
            answering |= {alive(region): lives, unmarked(region): marked}
            zone = Zone(index, lambda name, now=answering: checking.healthy(checks, name, now))  # type: ignore[misc]
            if any(zone.healthy(record) != (lives and not marked) for record in carriers):
                wrong.append(f"a record of {region} is wrong while it lives ({lives}), is evacuated ({marked}), and "
                             f"the others serve ({others})")
    return count, wrong


def _strange(spec: Spec, compiled: Compiled, checks: checking.Checks) -> Iterator[str]:
    """Checks that depend on anything but their own region, and records by which more than one region's could count."""
    for region in spec.targets:
        own = {alive(region), unmarked(region)}
        children = set(checks.get(serving(region), {}).get("ChildHealthChecks", ()))
        if not children <= own:
            yield f"{serving(region)} depends on {', '.join(sorted(children - own))}"
    known = {name(region) for region in spec.targets for name in (alive, unmarked, serving)}
    for record in compiled.records:
        if "HealthCheckId" in record and record["HealthCheckId"] not in known:
            yield f"{record['Name']} carries {record['HealthCheckId']}, which is no region's"


def _region_of(record: Record) -> str:
    """The region whose users a record lets in. Empty if it carries no check, or only half of what is needed."""
    if "._region." in record["Name"]:
        return ""
    return str(record.get("HealthCheckId", "")).partition("-")[2]


def subsets(regions: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every subset, all regions first."""
    for size in range(len(regions), -1, -1):
        yield from combinations(regions, size)


def expected(spec: Spec, place: Location, living: tuple[str, ...]) -> Mapping[str, Fraction]:
    """The expected server of `place`. That is its nearest living region, or with none alive its nearest. After a
    weighted failover the weights decide.

    Said from the orders alone, so that it knows nothing of how the records are made.
    """
    order = spec.orders[place.name]
    if not living or order[0] in living:
        return {order[0]: Fraction(1)}
    found: dict[str, Fraction] = {}
    weights = dict(spec.spreads[order].weights) if order in spec.spreads else {order[0]: 1}
    for first, weight in weights.items():
        heir = next(region for region in (first, *order[1:]) if region in living)
        found[heir] = found.get(heir, Fraction(0)) + Fraction(weight, sum(weights.values()))
    return found


def _shares(spec: Spec, paths: tuple[Path, ...]) -> Mapping[str, Fraction]:
    found: dict[str, Fraction] = {}
    for path in paths:
        region = region_of(spec, path)
        found[region] = found.get(region, Fraction(0)) + path.share
    return found


def region_of(spec: Spec, path: Path) -> str:
    """The region of an address."""
    for region, target in spec.targets.items():
        if path.values[0] in (target.load_balancer, *target.addresses):
            return region
    raise ValueError(f"{path.values} belongs to no region of the fleet")


def _fullest(compiled: Compiled) -> int:
    names = [(record["Name"], record["Type"]) for record in compiled.records if "GeoLocation" in record]
    return max(names.count(name) for name in set(names))


def _complaint(place: Location, living: tuple[str, ...], got: object, wanted: object) -> str:
    return f"{place.name} with {', '.join(living) or 'nothing'} alive: {got}, not {wanted}"
