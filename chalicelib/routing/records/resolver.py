"""The answers to users by Route 53's documented rules, as far as the compiler's records use them.

Of a group the location's smallest area, the primary before the secondary, or a draw by weight. The first that is
healthy. If none is, as if all were. An alias that evaluates its target's health is healthy if its target has anything
healthy. Written apart from the sandbox's twin of Route 53. Tests hold the two to the same answers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

import msgspec

from chalicelib.geography import Location, around, places
from chalicelib.routing.records.spec import Record

Healthy = Callable[[str], bool]
Values = tuple[str, ...]
Key = tuple[str, str]


class Path(msgspec.Struct, frozen=True):
    """One path to an answer, with its share of the queries, the record sets on the way (name, set identifier), and the
    values."""

    share: Fraction
    hops: tuple[tuple[str, str], ...]
    values: Values

    @property
    def aliases(self) -> int:
        """How many aliases Route 53 followed within the zone."""
        return len(self.hops) - 1


class Index:
    """Record sets by group. Of geolocation groups also by place."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.groups: dict[Key, list[Record]] = {}
        for record in records:
            self.groups.setdefault((record["Name"], record["Type"]), []).append(record)
        self.places = {key: _by_place(group) for key, group in self.groups.items() if "GeoLocation" in group[0]}


class Zone:
    """Record sets while these checks are `healthy`. The parts that do not depend on the place are computed once."""

    def __init__(self, index: Index, healthy: Healthy) -> None:
        self._groups, self._places = index.groups, index.places
        self._check = healthy
        self._known: dict[Key, tuple[Path, ...]] = {}

    def answers(self, name: str, kind: str, place: Location) -> tuple[Path, ...]:
        """All answers that a query from `place` may get. None if no record covers it."""
        key = (name, kind)
        if key in self._places:
            # The compiler's geolocation records are never unhealthy.
            found = next((self._places[key][one.name] for one in around(place) if one.name in self._places[key]), None)
            return self._follow(key, found, Fraction(1), place) if found else ()
        if key not in self._known:
            self._known[key] = tuple(path for share, record in self._choices(self._groups[key])
                                     for path in self._follow(key, record, share, place))
        return self._known[key]

    def _follow(self, key: Key, record: Record, share: Fraction, place: Location) -> tuple[Path, ...]:
        step = (key[0], str(record["SetIdentifier"]))
        target = record.get("AliasTarget", {}).get("DNSName", "")
        if (target, key[1]) not in self._groups:
            return (Path(share, (step,), _values(record)),)
        below = self.answers(target, key[1], place)
        return tuple(Path(share * path.share, (step, *path.hops), path.values) for path in below)

    def _choices(self, group: Sequence[Record]) -> list[tuple[Fraction, Record]]:
        """The records of a group that may be taken, each with its chance."""
        living = [record for record in group if self.healthy(record)] or list(group)
        if "Failover" in group[0]:
            return [(Fraction(1), min(living, key=lambda record: str(record["Failover"])))]
        total = sum(record["Weight"] for record in living)
        return [(Fraction(record["Weight"], total), record) for record in living]

    def healthy(self, record: Record) -> bool:
        """Whether Route 53 may answer with the record as long as its group has anything healthy."""
        if "HealthCheckId" in record and not self._check(record["HealthCheckId"]):
            return False
        alias = record.get("AliasTarget", {})
        group = self._groups.get((alias.get("DNSName", ""), record["Type"]))
        if not alias.get("EvaluateTargetHealth") or group is None:
            return True
        return any(self.healthy(other) for other in group)


def _by_place(group: Sequence[Record]) -> Mapping[str, Record]:
    """The records of a group by the name of the place that they are for."""
    names = {tuple(place.geolocation.items()): name for name, place in places().items()}
    return {names[tuple(record["GeoLocation"].items())]: record for record in group}


def _values(record: Record) -> Values:
    if "AliasTarget" in record:
        return (record["AliasTarget"]["DNSName"].rstrip("."),)
    return tuple(one["Value"] for one in record["ResourceRecords"])
