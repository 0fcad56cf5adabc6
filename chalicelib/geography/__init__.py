"""Points of AWS regions and Route 53's locations on the globe, and the nearest region of each location.

The tables beside this module are data. docs/routing.md tells how they were made:

- regions.csv: AWS regions, each at the city that AWS names it after (botocore's endpoints); towns from GeoNames.
- places.csv: the locations that Route 53 knows: its seven continents and the 246 countries of each ("Values for
  geolocation records" in its developer guide; without Bouvet Island, Christmas Island, Western Sahara and Heard
  Island, for which it takes no records), the 50 states of the US and the District of Columbia. The point of each is
  the centre of its people: the mean, on the sphere, of its towns of 15,000 and more, weighted by inhabitants
  (GeoNames, CC BY 4.0). `thousands` is how many live in those towns.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

_HERE = Path(__file__).parent
_EARTH_KM = 6371.0

Kind = Literal["default", "continent", "country", "state"]
Order = tuple[str, ...]
DEFAULT = "default"


class Point(msgspec.Struct, frozen=True):
    """Degrees. North and east count up."""

    latitude: float
    longitude: float

    def km(self, other: "Point") -> float:
        """Along the great circle."""
        north, south = math.radians(self.latitude), math.radians(other.latitude)
        wide = math.radians(other.longitude - self.longitude)
        half = math.sin((south - north) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(wide / 2) ** 2
        return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


class Location(msgspec.Struct, frozen=True):
    """One of Route 53's locations. `name` has the form of fleet.toml and the commands, such as `EU`, `SE`, `US-CA` or
    `default`.

    Namibia and North America are both `NA`, and there are more such pairs. A continent has the form `continent:NA` if
    the code alone would mean a country. `within` is the name of the next larger location. `people` counts urban
    population.
    """

    name: str
    kind: Kind
    code: str
    within: str
    point: Point | None
    title: str
    people: int = 0

    @property
    def geolocation(self) -> dict[str, str]:
        """As Route 53's API writes it."""
        match self.kind:
            case "continent":
                return {"ContinentCode": self.code}
            case "country":
                return {"CountryCode": self.code}
            case "state":
                return {"CountryCode": "US", "SubdivisionCode": self.code}
            case _:
                return {"CountryCode": "*"}


@cache
def regions() -> Mapping[str, Point]:
    """The AWS regions whose place is known."""
    return {row["region"]: Point(float(row["latitude"]), float(row["longitude"])) for row in _rows("regions.csv")}


@cache
def places() -> Mapping[str, Location]:
    """All locations by name, larger ones before those within them. The first is `default`."""
    everywhere = Location(DEFAULT, "default", "*", "", None, "everywhere else")
    rows = _rows("places.csv")
    countries = {row["code"] for row in rows if row["kind"] == "country"}
    found = [_place(row, countries) for row in rows]
    return {place.name: place for place in (everywhere, *found)}


def continent(code: str) -> str:
    """The name of the continent with this code."""
    return code if code in places() and places()[code].kind == "continent" else f"continent:{code}"


def hint(name: str) -> str:
    """The likely meaning of a name that is no place."""
    from difflib import get_close_matches

    close = get_close_matches(name.upper(), places(), 1, 0.5)
    named = [place.name for place in places().values() if place.title.lower() == name.lower()]
    return f"did you mean {(named or close)[0]}?" if named or close else "write it as in SE, US-CA, EU, default"


def around(place: Location) -> tuple[Location, ...]:
    """`place` and all that it lies within, the smallest first, `default` last."""
    larger = around(places()[place.within]) if place.within else ()
    return (place, *larger)


def nearest(point: Point, among: Sequence[str]) -> Order:
    """The regions `among`, nearest first. Of two at the same distance the one named first."""
    return tuple(sorted(among, key=lambda region: point.km(regions()[region])))


def orders(among: Sequence[str], own: Mapping[str, Order] | None = None) -> dict[str, Order]:
    """Which regions serve each place, first choice first. `own` orders hold for their place and all within it.

    A country's or state's is by distance. A continent's is the one that most of its countries have, for it answers
    those of whom Route 53 knows no more than the continent. `default`, of whom it knows nothing, is as declared.
    """
    declared = {**(own or {})}
    near = {place.name: nearest(place.point, among) for place in places().values() if place.point}
    near |= {place.name: _most(near, place) for place in places().values() if place.kind == "continent"}
    near[DEFAULT] = declared.get(DEFAULT, tuple(among))
    declared.pop(DEFAULT, None)
    return {name: next((declared[one.name] for one in around(place) if one.name in declared), near[name])
            for name, place in places().items()}


def _most(near: Mapping[str, Order], place: Location) -> Order:
    found = Counter(near[one.name] for one in places().values() if one.within == place.name)
    # Of several the first in the alphabet: the answer must not depend on the order of the table.
    return min(found, key=lambda order: (-found[order], order))


def _place(row: Mapping[str, str], countries: Iterable[str]) -> Location:
    code, kind = row["code"], row["kind"]
    point = Point(float(row["latitude"]), float(row["longitude"]))
    taken = set(countries)
    if kind == "continent":
        return Location(_continent(code, taken), "continent", code, DEFAULT, point, row["name"])
    people = int(row["thousands"]) * 1000
    if kind == "country":
        return Location(code, "country", code, _continent(row["within"], taken), point, row["name"], people)
    return Location(f"US-{code}", "state", code, "US", point, row["name"], people)


def _continent(code: str, countries: set[str]) -> str:
    return f"continent:{code}" if code in countries else code


def _rows(file: str) -> list[dict[str, str]]:
    import csv  # each Lambda imports this module with fleet.toml, and hardly one looks at a place

    with (_HERE / file).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
