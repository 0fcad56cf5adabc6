"""A group is all record sets of one name and type. Its routing policy says who may answer, and in which order.

Each query turns a group into tiers. An earlier tier goes first, and the members of one tier share by weight. The names
in brackets (R4, R5, ...) are rows of the table in docs/route53-twin.md, where the sources are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec

Record = Mapping[str, Any]
Tiers = Sequence[list[Record]]

# "Route 53 responds to DNS queries with up to eight healthy records" (R6).
MULTIVALUE_MOST = 8
FAR = float("inf")


class Location(msgspec.Struct, frozen=True):
    """The origin of a query, as Route 53 codes it. All empty means an address without a location."""

    continent: str = ""
    country: str = ""
    subdivision: str = ""


class Query(msgspec.Struct, frozen=True):
    """The inputs of one query, with its origin, the healthy checks, milliseconds to each AWS region, and chance.

    `healthy` is keyed by health check id, and by DNS name for alias targets outside (those count as healthy if not
    named). A region that `latency` lacks comes last. `draw` gives numbers in [0, 1).
    """

    location: Location
    healthy: Mapping[str, bool]
    latency: Mapping[str, float] = {}
    draw: Callable[[], float] = lambda: 0.0


def prepare(group: Sequence[Record]) -> Callable[[Query], Tiers]:
    """The tiers of a group for any query. All that does not depend on the query is worked out now."""
    first = group[0]
    if "GeoLocation" in first:
        return _by_location(group)
    if "Region" in first:
        return lambda query: _by_latency(group, query)
    if "Failover" in first:
        tiers = [[record] for record in sorted(group, key=lambda record: str(record["Failover"]))]
    elif "Weight" in first:
        # R5: zero weights are considered once no other is healthy.
        some, none = [[record for record in group if bool(record["Weight"]) is sign] for sign in (True, False)]
        tiers = [tier for tier in (some, none) if tier]
    else:
        tiers = [list(group)]
    return lambda query: tiers


def _by_latency(group: Sequence[Record], query: Query) -> Tiers:
    """R9, the region with the lowest latency first."""
    return [[record] for record in sorted(
        group, key=lambda record: (query.latency.get(record["Region"], FAR), str(record["Region"])))]


def place(geo: Mapping[str, str]) -> tuple[str, str]:
    """A `GeoLocation` as a key, the kind of area and its code."""
    if "ContinentCode" in geo:
        return ("continent", geo["ContinentCode"])
    if "SubdivisionCode" in geo:
        return ("subdivision", f"{geo['CountryCode']}-{geo['SubdivisionCode']}")
    return ("country", geo["CountryCode"])


def _by_location(group: Sequence[Record]) -> Callable[[Query], Tiers]:
    """R4, with subdivision, country, continent, default, the smallest area first."""
    areas = {place(record["GeoLocation"]): [record] for record in group}

    def tiers(query: Query) -> Tiers:
        at = query.location
        wanted = (("subdivision", f"{at.country}-{at.subdivision}"), ("country", at.country),
                  ("continent", at.continent), ("country", "*"))
        return [areas[area] for area in wanted if area in areas]

    return tiers


def choose(equals: list[Record], query: Query) -> list[Record]:
    """Of equals, one by its weight, or up to eight of a multivalue group (R6)."""
    if len(equals) < 2:
        return equals
    if equals[0].get("MultiValueAnswer"):
        start = int(query.draw() * len(equals)) if len(equals) > MULTIVALUE_MOST else 0
        return [*equals[start:], *equals[:start]][:MULTIVALUE_MOST]
    point = Fraction(query.draw())
    for share, picked in portions(equals):
        point -= share
        if point < 0:
            return picked
    raise ValueError("draw gave a number that is not in [0, 1)")


def portions(equals: list[Record]) -> Iterable[tuple[Fraction, list[Record]]]:
    """Each single choice among equals with its share of the queries. A multivalue group is one choice."""
    if not equals or equals[0].get("MultiValueAnswer"):
        return [(Fraction(1), equals[:MULTIVALUE_MOST])]
    weights = [int(record.get("Weight", 1)) for record in equals]
    # R5: all zero means equal probability.
    weights = weights if any(weights) else [1] * len(weights)
    return [(Fraction(weight, sum(weights)), [record]) for record, weight in zip(equals, weights, strict=True)]
