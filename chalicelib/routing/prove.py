"""The proof that every place is answered right, whichever regions live: all subsets, all places, no sampling.

What Route 53 answers depends on the regions' state only through the checks named `serving-<region>`. So the records
are asked once for each subset of regions that serve. And the checks are worked out for each state in which a region is
alive or dead, evacuated or not, to see that exactly those serve that should: together that is every one of 4^n states.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, product

import msgspec

from chalicelib.routing import checks as checking
from chalicelib.routing.compiler import serving
from chalicelib.routing.geography import Place, places
from chalicelib.routing.resolve import Index, Path, Zone
from chalicelib.routing.spec import Compiled, Spec

_SHOWN = 20


class Proof(msgspec.Struct, frozen=True):
    """What was asked and found. `answers` were compared, one for each place and subset of serving regions; they stand
    for `combinations`, one for each place and state of life and evacuation. `wrong` tells the first few in words."""

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
    for alive in subsets(regions):
        zone = Zone(index, {serving(region) for region in alive}.__contains__)
        for kind, place in product(spec.types, places().values()):
            paths = zone.answers(f"{spec.hostname}.", kind, place)
            asked += 1
            aliases = max((aliases, *(path.aliases for path in paths)))
            if (got := _shares(spec, paths)) != expected(spec, place, alive):
                wrong.append(_complaint(place, alive, got, expected(spec, place, alive)))
    states, mistaken = _states(regions, checks)
    return Proof(len(regions), len(places()), 2 ** len(regions) - 1, len(compiled.records), asked, states,
                 states * len(places()) * len(spec.types), len(wrong) + len(mistaken), aliases, _fullest(compiled),
                 tuple([*wrong, *mistaken][:_SHOWN]))


def _states(regions: Sequence[str], checks: checking.Checks) -> tuple[int, list[str]]:
    """How many states of life and evacuation there are, and what is wrong with the checks in any of them.

    Each region's check is worked out for every state of all endpoints that it depends on, which must be its own two;
    so every combination of the regions' states is covered without being written out.
    """
    wrong, count = [], 1
    for region in regions:
        alive, mark = f"alive-{region}", f"open-{region}"
        endpoints = checking.endpoints(checks, serving(region))
        count *= 2 ** len(endpoints)
        if not {alive} <= endpoints <= {alive, mark}:
            wrong.append(f"{serving(region)} depends on {', '.join(sorted(endpoints))}")
            continue
        for answers in product((True, False), repeat=len(endpoints)):
            state = dict(zip(sorted(endpoints), answers, strict=True))
            # The mark's presence is what makes the endpoint of the inverted check answer.
            if checking.healthy(checks, serving(region), state) != (state[alive] and not state.get(mark, False)):
                wrong.append(f"{serving(region)} is wrong with {state}")
    return count, wrong


def subsets(regions: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every subset, all regions first."""
    for size in range(len(regions), -1, -1):
        yield from combinations(regions, size)


def expected(spec: Spec, place: Place, alive: tuple[str, ...]) -> Mapping[str, Fraction]:
    """Who must serve `place`: its nearest living region; with none alive its nearest; after a spread, its weights.

    Said from the orders alone, so that it knows nothing of how the records are made.
    """
    order = spec.orders[place.name]
    if not alive or order[0] in alive:
        return {order[0]: Fraction(1)}
    found: dict[str, Fraction] = {}
    weights = dict(spec.spreads[order].weights) if order in spec.spreads else {order[0]: 1}
    for first, weight in weights.items():
        heir = next(region for region in (first, *order[1:]) if region in alive)
        found[heir] = found.get(heir, Fraction(0)) + Fraction(weight, sum(weights.values()))
    return found


def _shares(spec: Spec, paths: tuple[Path, ...]) -> Mapping[str, Fraction]:
    found: dict[str, Fraction] = {}
    for path in paths:
        region = region_of(spec, path)
        found[region] = found.get(region, Fraction(0)) + path.share
    return found


def region_of(spec: Spec, path: Path) -> str:
    """Whose address that is."""
    for region, target in spec.targets.items():
        if path.values[0] in (target.load_balancer, *target.addresses):
            return region
    raise ValueError(f"{path.values} belongs to no region of the fleet")


def _fullest(compiled: Compiled) -> int:
    names = [(record["Name"], record["Type"]) for record in compiled.records if "GeoLocation" in record]
    return max(names.count(name) for name in set(names))


def _complaint(place: Place, alive: tuple[str, ...], got: object, wanted: object) -> str:
    return f"{place.name} with {', '.join(alive) or 'nothing'} alive: {got}, not {wanted}"
