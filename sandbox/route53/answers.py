"""The answer of Route 53 to a DNS query. Pure, no network, no clock.

Record sets are plain dicts in the shape of boto3's `ResourceRecordSet`. docs/route53-twin.md has the table of rules,
each with its source. The names in brackets below (R1, R2, ...) are its rows. Two rules make the whole.

- in a group (same name and type) the routing policy names the candidates for this query, best first, and the first
  healthy one answers (R1). If none is healthy, all count as healthy (R2).
- an alias that evaluates its target's health is healthy if its target has a healthy candidate for the same query (R8).
"""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

import msgspec

from sandbox.route53.groups import Location, Query, Record, Tiers, choose, portions, prepare
from sandbox.route53.names import normal, wildcards

__all__ = ["Answer", "AnswerError", "Hop", "Location", "Query", "Record", "Zone", "answer"]

Key = tuple[str, str]
# Whether a group that an alias leads to has a healthy candidate: found out once per query.
Alive = dict[Key, bool]

# "A load balancer's alias has a TTL of 60 seconds" ("Choosing between alias and non-alias records").
ALIAS_TTL = 60


class AnswerError(ValueError):
    """The record sets cannot be evaluated, because of an alias loop or an unknown health check."""


class Hop(msgspec.Struct, frozen=True):
    """One record set on the way to the answer. `healthy` is false where it was taken because no other was left (R2)."""

    name: str
    identifier: str
    healthy: bool

    def __str__(self) -> str:
        return f"{self.name} [{self.identifier or 'simple'}]" + ("" if self.healthy else " (none healthy)")


class Answer(msgspec.Struct, frozen=True):
    """An answer. `values` are as the API writes them, empty for "no answer". `type` is CNAME for a CNAME.

    An alias to something outside of these record sets has its DNS name as the only value, and in `outside`.
    `exists` is false for a name that is not there at all (NXDOMAIN).
    """

    values: tuple[str, ...]
    hops: tuple[Hop, ...] = ()
    ttl: int = ALIAS_TTL
    type: str = "A"
    outside: str = ""
    exists: bool = True


class Zone:
    """Record sets, indexed once for many queries."""

    def __init__(self, records: Iterable[Record]) -> None:
        groups: dict[Key, list[Record]] = {}
        for record in records:
            groups.setdefault((normal(record["Name"]), record["Type"]), []).append(record)
        self._tiers: dict[Key, Callable[[Query], Tiers]] = {key: prepare(group) for key, group in groups.items()}
        self._owners = {name for name, _ in groups}
        self._names = self._owners | {above for name in self._owners for above, _ in wildcards(name)}

    def answer(self, name: str, kind: str, query: Query) -> Answer:
        """The answer to `name` and record type `kind`. `AnswerError` if it cannot be found out."""
        key = self._key(name, kind)
        if key is None:
            return Answer((), type=kind, exists=False)
        hops: list[Hop] = []
        alive: Alive = {}
        while key in self._tiers:
            equals, healthy = self._equals(key, query, alive)
            picked = choose(equals, query)
            if not picked:
                break
            hops.append(Hop(key[0], str(picked[0].get("SetIdentifier", "")), healthy))
            target = _target(picked[0])
            if target not in self._tiers:
                return _final(picked, hops)
            key = self._next(key, target, len(hops))
        return Answer((), tuple(hops), type=key[1])

    def shares(self, name: str, kind: str, query: Query) -> dict[tuple[str, ...], Fraction]:
        """Each possible answer with its exact share of such queries, over all draws of weights."""
        found: dict[tuple[str, ...], Fraction] = {}
        key = self._key(name, kind)
        if key is not None:
            for share, values in self._spread(key, query, Fraction(1), 0, {}):
                found[values] = found.get(values, Fraction(0)) + share
        return found

    def _spread(
        self, key: Key, query: Query, share: Fraction, hops: int, alive: Alive
    ) -> Iterable[tuple[Fraction, tuple[str, ...]]]:
        equals = self._equals(key, query, alive)[0] if key in self._tiers else []
        for part, picked in portions(equals):
            target = _target(picked[0]) if picked else ("", "")
            if target in self._tiers:
                yield from self._spread(self._next(key, target, hops), query, share * part, hops + 1, alive)
            elif part:
                yield share * part, _values(picked)

    def _key(self, name: str, kind: str) -> Key | None:
        """The group that answers, of the name itself or its wildcard (R10), or of a CNAME (R11)."""
        owner = self._owner(normal(name))
        if owner is None:
            return None
        named = (owner, kind) not in self._tiers and (owner, "CNAME") in self._tiers
        return (owner, "CNAME" if named else kind)

    def _owner(self, name: str) -> str | None:
        if name in self._names:
            return name
        for above, wildcard in wildcards(name):
            if wildcard in self._owners:
                return wildcard
            if above in self._names:
                return None
        return None

    def _equals(self, key: Key, query: Query, alive: Alive) -> tuple[list[Record], bool]:
        """Those of a group among which chance decides, and whether they are healthy (R1, R2)."""
        tiers = self._tiers[key](query)
        for tier in tiers:
            living = [record for record in tier if self._healthy(record, query, key, alive)]
            if living:
                return living, True
        return (tiers[0] if tiers else []), False

    def _healthy(self, record: Record, query: Query, key: Key, alive: Alive, depth: int = 0) -> bool:
        """R3 (no check means healthy), R7 and R8 (an alias is as healthy as its target)."""
        check = record.get("HealthCheckId")
        if check is not None and not _known(query.healthy, check, key):
            return False
        target = _target(record)
        if not target[0] or not record["AliasTarget"]["EvaluateTargetHealth"]:
            return True
        if target not in self._tiers:
            return query.healthy.get(record["AliasTarget"]["DNSName"], query.healthy.get(target[0], True))
        if target not in alive:
            below = self._next(key, target, depth)
            others = (record for tier in self._tiers[below](query) for record in tier)
            alive[target] = any(self._healthy(other, query, below, alive, depth + 1) for other in others)
        return alive[target]

    def _next(self, key: Key, target: Key, hops: int) -> Key:
        if hops > len(self._tiers):
            raise AnswerError(f"{key[0]} {key[1]}: its aliases lead in a circle")
        return target


def answer(records: Iterable[Record], name: str, type: str, location: Location, healthy: Mapping[str, bool], *,
           latency: Mapping[str, float] | None = None, draw: Callable[[], float] = lambda: 0.0) -> Answer:
    """One answer. For many, keep a `Zone` and ask it."""
    return Zone(records).answer(name, type, Query(location, healthy, latency or {}, draw))


def _known(healthy: Mapping[str, bool], check: str, key: Key) -> bool:
    if check not in healthy:
        raise AnswerError(f"{key[0]} {key[1]}: nothing is known of the health check {check!r}")
    return healthy[check]


def _target(record: Record) -> Key:
    """The target of an alias. Empty for a record set with values of its own."""
    alias = record.get("AliasTarget")
    return (normal(alias["DNSName"]), record["Type"]) if alias else ("", "")


def _values(picked: Iterable[Record]) -> tuple[str, ...]:
    return tuple(value for record in picked for value in (
        [str(record["AliasTarget"]["DNSName"])] if "AliasTarget" in record else
        [str(one["Value"]) for one in record["ResourceRecords"]]))


def _final(picked: list[Record], hops: list[Hop]) -> Answer:
    ttl = min(int(record.get("TTL", ALIAS_TTL)) for record in picked)
    outside = str(picked[0].get("AliasTarget", {}).get("DNSName", ""))
    return Answer(_values(picked), tuple(hops), ttl, str(picked[0]["Type"]), outside)
