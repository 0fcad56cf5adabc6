"""Turns orders of regions into Route 53 record sets that answer every place with its nearest living region.

There are three kinds of groups, each of one name and type.

- at the hostname, and at `<continent>._place.<hostname>` where one group would get too large, geolocation records
  that lead each place to its order. A place without one has the order of the larger place around it.
- at `<regions>._order.<hostname>` a pair of failover records: the first part of the list, then the rest;
- at `<regions>._spread.<hostname>` weighted records that share out a dead region's users;
- at `<region>._region.<hostname>`, where the region's life is itself a calculated check, one record that carries it:
  the record that leads there carries the other check, the one of its mark, so both must be healthy.

Geolocation records ignore health. Even with all regions dead they point to the place's own order, whose pairs then
answer with their first. Route 53 treats a group without a healthy record as if all were healthy.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from chalicelib.geography import DEFAULT, Location, Order, around, places
from chalicelib.routing.records import prefix_sharing
from chalicelib.routing.records.spec import Compiled, Record, Spec, WeightedFailover

# "Geolocation records: 100 resource record sets that have the same name and type" (Route 53 quotas, for geolocation).
MOST_LOCATIONS = 100
OWNER = "_lamplighter"
_LONGEST_LIST = 150


def compile_records(spec: Spec) -> Compiled:
    """The record sets for `spec`, first those that others lead to."""
    records: list[Record] = []
    for kind in spec.types:
        groups = _Groups(spec, kind)
        records += groups.records()
    return Compiled(spec.hostname, tuple(records), owner_record(spec))


def owner_record(spec: Spec) -> Record:
    """Says in DNS whose the hostname is, so that two fleets never write to one name."""
    return {"Name": f"{OWNER}.{spec.hostname}.", "Type": "TXT", "TTL": 300,
            "ResourceRecords": [{"Value": f'"heritage=lamplighter,owner={spec.owner}"'}]}


def serving(region: str) -> str:
    """The symbolic name of the check that says whether a region takes users, which is if it lives and is not evacuated.
    """
    return f"serving-{region}"


def alive(region: str) -> str:
    """The symbolic name of the check that says whether a region lives."""
    return f"alive-{region}"


def unmarked(region: str) -> str:
    """The symbolic name of the check that is healthy unless the object that evacuates a region is there."""
    return f"open-{region}"


class _Groups:
    """The groups of one record type."""

    def __init__(self, spec: Spec, kind: str) -> None:
        self.spec = spec
        self.kind = kind
        self.lists = _lists(spec)
        self.splits = prefix_sharing.share(self.lists)
        self.nested = nested(spec.orders)

    def records(self) -> list[Record]:
        """Lists come before weighted failovers, and these before places, so that nothing points to a later one."""
        plain = sorted(self.splits, key=lambda order: (len(order), order))
        found = [record for region in sorted(self.spec.evacuable) if self.spec.uses_host_checks
                 for record in self._judged(region)]
        found += [record for order in plain for record in self._pair(order)]
        for order in sorted(self.spec.spreads):
            found += [*self._weighted(order, self.spec.spreads[order]), *self._spread_pair(order)]
        for continent in sorted(self.nested):
            found += self._nested(continent)
        return [*found, *self._root()]

    def _pair(self, order: Order) -> Iterator[Record]:
        first, rest = prefix_sharing.parts(order, self.splits)
        yield self._failover(order, "PRIMARY", self._list(first))
        yield self._failover(order, "SECONDARY", self._list(rest))

    def _judged(self, region: str) -> Iterator[Record]:
        # Weighted: of a simple record Route 53 documents no health check. In a group of one the weight says nothing.
        yield {"Name": self._name((region,), "_region"), "Type": self.kind, "SetIdentifier": region, "Weight": 1,
               **self._values(region, healthy=True), "HealthCheckId": alive(region)}

    def _spread_pair(self, order: Order) -> Iterator[Record]:
        yield self._failover(order, "PRIMARY", self._region(order[0]))
        yield self._failover(order, "SECONDARY", self._alias(self._name(order, "_spread"), healthy=True))

    def _weighted(self, order: Order, spread: WeightedFailover) -> Iterator[Record]:
        for region, weight in spread.weights:
            yield {"Name": self._name(order, "_spread"), "Type": self.kind, "SetIdentifier": region, "Weight": weight,
                   **self._list(_next(order, region))}

    def _failover(self, order: Order, role: str, leads: Record) -> Record:
        return {"Name": self._name(order), "Type": self.kind, "SetIdentifier": role.lower(), "Failover": role, **leads}

    def _nested(self, continent: str) -> Iterator[Record]:
        orders = self.spec.orders
        name = self._place_name(continent)
        yield self._location(name, places()[DEFAULT], self._order(orders[continent]))
        for place in places().values():
            if place.name != continent and continent in _names(place) and differs(orders, place):
                yield self._location(name, place, self._order(orders[place.name]))

    def _root(self) -> Iterator[Record]:
        orders, name = self.spec.orders, f"{self.spec.hostname}."
        yield self._location(name, places()[DEFAULT], self._order(orders[DEFAULT]))
        for place in places().values():
            if place.name in self.nested:
                yield self._location(name, place, self._alias(self._place_name(place.name)))
            elif place.name != DEFAULT and differs(orders, place) and not self.nested & set(_names(place)):
                yield self._location(name, place, self._order(orders[place.name]))

    def _location(self, name: str, place: Location, leads: Record) -> Record:
        return {"Name": name, "Type": self.kind, "SetIdentifier": place.name, "GeoLocation": place.geolocation, **leads}

    def _order(self, order: Order) -> Record:
        """The target of a place. It is its order, whose health does not matter."""
        return self._alias(self._name(order)) if len(order) > 1 else self._values(order[0], healthy=False)

    def _list(self, order: Order) -> Record:
        return self._alias(self._name(order), healthy=True) if len(order) > 1 else self._region(order[0])

    def _region(self, region: str) -> Record:
        # "EvaluateTargetHealth must be true in a failover alias": Route 53 refuses anything else.
        if not self.spec.uses_host_checks:
            return {**self._values(region, healthy=True), "HealthCheckId": serving(region)}
        if region not in self.spec.evacuable:
            return {**self._values(region, healthy=True), "HealthCheckId": alive(region)}
        return {**self._alias(self._name((region,), "_region"), healthy=True), "HealthCheckId": unmarked(region)}

    def _values(self, region: str, healthy: bool) -> Record:
        target = self.spec.targets[region]
        if target.load_balancer:
            return {"AliasTarget": {"HostedZoneId": target.zone, "DNSName": f"{target.load_balancer}.",
                                    "EvaluateTargetHealth": healthy}}
        fitting = [address for address in target.addresses if (":" in address) == (self.kind == "AAAA")]
        return {"TTL": self.spec.ttl, "ResourceRecords": [{"Value": address} for address in fitting]}

    def _alias(self, name: str, healthy: bool = False) -> Record:
        return {"AliasTarget": {"HostedZoneId": self.spec.zone, "DNSName": name, "EvaluateTargetHealth": healthy}}

    def _name(self, order: Order, label: str = "_order") -> str:
        return f"{_short('.'.join(order))}.{label}.{self.spec.hostname}."

    def _place_name(self, continent: str) -> str:
        return f"{places()[continent].code.lower()}._place.{self.spec.hostname}."


def differs(orders: Mapping[str, Order], place: Location) -> bool:
    """Whether `place` needs a record of its own, because the larger place around it has another order."""
    return bool(place.within) and orders[place.name] != orders[place.within]


def nested(orders: Mapping[str, Order]) -> frozenset[str]:
    """The continents whose countries get a group of their own, the fullest first, until the hostname's group fits.

    Even North America with the states has fewer than a hundred places, so a continent's group always fits.
    """
    inside = _counts(orders)
    alone = {name for name in inside if differs(orders, places()[name])}
    at_root = 1 + sum(inside.values()) + len(alone)
    found: set[str] = set()
    for name in sorted(inside, key=lambda name: (-inside[name], name)):
        if at_root <= MOST_LOCATIONS:
            break
        found.add(name)
        at_root += (name not in alone) - inside[name]
    return frozenset(found)


def _counts(orders: Mapping[str, Order]) -> Counter[str]:
    """How many places within each continent need a record of their own."""
    found = Counter({name: 0 for name, place in places().items() if place.kind == "continent"})
    for place in places().values():
        if place.kind in ("country", "state") and differs(orders, place):
            found[_names(place)[-2]] += 1
    return found


def _lists(spec: Spec) -> list[Order]:
    """All lists that something leads to. An order that is spread leads to one list for each of its weights."""
    plain = [order for order in set(spec.orders.values()) if order not in spec.spreads]
    tails = [_next(order, region) for order, spread in spec.spreads.items() for region, _ in spread.weights]
    return [*plain, *tails]


def _next(order: Order, region: str) -> Order:
    """The region that serves the users of an order when its first is dead and `region` has taken them on."""
    return (region, *(other for other in order[1:] if other != region))


def _short(text: str) -> str:
    """A long list by its hash, because a DNS name holds 255 characters."""
    return text if len(text) <= _LONGEST_LIST else f"order-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _names(place: Location) -> Sequence[str]:
    return [one.name for one in around(place)]
