"""The routing section of fleet.toml, and its checks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Literal

import msgspec

from chalicelib import geography
from chalicelib.config.declared import Endpoint as Endpoint
from chalicelib.config.declared import Share
from chalicelib.config.durations import Duration
from chalicelib.config.workload import Path_


class PreferenceOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order of regions for some places, instead of nearest first."""

    places: tuple[str, ...]
    order: tuple[str, ...]


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hostname whose users are led to the nearest living region."""

    hostname: Annotated[str, msgspec.Meta(pattern=r"^(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+\Z")]
    zone: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]+\Z")]
    ipv6: bool = False
    ttl: Duration = Duration(10)
    check: Literal["https", "http", "tcp"] = "https"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 443
    path: Annotated[str, msgspec.Meta(pattern=r"^/[!-~]*\Z", max_length=255)] = "/"
    interval: Literal[10, 30] = 10
    failures: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    hold_down: Duration = Duration(600)
    minimum_regions: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    preferences: tuple[PreferenceOverride, ...] = ()
    demand: dict[str, Share] = {}


def mistakes(routing: Routing | None, entrances: Mapping[str, Endpoint | None]) -> Iterator[tuple[Path_, str]]:
    """Everything wrong with `routing` for the regions of `entrances`, as key path and remedy."""
    if routing is None:
        return
    if not 0 <= routing.hold_down <= 86_400:
        yield ("routing", "hold_down"), "must lie between 0s and 1d"
    if routing.minimum_regions > max(1, len(entrances) - 1):
        yield ("routing", "minimum_regions"), (
            f"must be below {len(entrances)}, the number of regions. Otherwise users are kept away from none")
    if not 1 <= routing.ttl <= 300:
        yield ("routing", "ttl"), "must lie between 1s and 5m, since users wait that long before they look again"
    yield from _entrances(routing, entrances)
    yield from _orders(routing.preferences, list(entrances))
    yield from _places("demand", routing.demand)


def _entrances(routing: Routing, entrances: Mapping[str, Endpoint | None]) -> Iterator[tuple[Path_, str]]:
    owners: Counter[str] = Counter()
    for number, (region, entrance) in enumerate(entrances.items()):
        at = ("regions", number, "endpoint")
        if entrance is None:
            yield at[:2], f"{region} needs an endpoint, as there is a table [routing]. See docs/routing.md"
            continue
        if region not in geography.regions():
            yield (*at[:2], "name"), f"the place of {region} is unknown. Add it to chalicelib/geography/regions.csv"
        yield from ((at, what) for what in _entrance(entrance, routing.ipv6))
        owners.update({entrance.load_balancer} if entrance.load_balancer else entrance.addresses)
        if any(owners[one] > 1 for one in (entrance.load_balancer or "", *entrance.addresses)):
            yield at, f"{region} has the endpoint of another region. Each needs its own"
    if len({bool(entrance and entrance.capacity) for entrance in entrances.values()}) > 1:
        yield ("regions",), "give every region's endpoint a capacity, or none"


def _entrance(entrance: Endpoint, ipv6: bool) -> Iterator[str]:
    if bool(entrance.load_balancer) == bool(entrance.addresses):
        yield "give a load_balancer or addresses, one of the two"
    if bool(entrance.load_balancer) != bool(entrance.zone):
        yield "load_balancer and zone, the hosted zone id of the load balancer, come together"
    versions = set()
    for address in entrance.addresses:
        try:
            versions.add(ip_address(address).version)
        except ValueError:
            yield f"{address!r} is not an IP address"
    if entrance.addresses and not versions >= ({4, 6} if ipv6 else {4}):
        yield "needs an IPv4 address" + (" and, with ipv6 = true, an IPv6 one" if ipv6 else "")


def _orders(orders: Sequence[PreferenceOverride], regions: Sequence[str]) -> Iterator[tuple[Path_, str]]:
    named = Counter(place for own in orders for place in own.places)
    for number, own in enumerate(orders):
        yield from _places("preferences", own.places, number)
        unknown, missing = sorted(set(own.order) - set(regions)), sorted(set(regions) - set(own.order))
        if unknown:
            yield ("routing", "preferences", number, "order"), f"{', '.join(unknown)}: no region of this fleet"
        if missing:
            yield ("routing", "preferences", number, "order"), f"{', '.join(missing)} must be in the order, too"
        if len(set(own.order)) != len(own.order):
            yield ("routing", "preferences", number, "order"), "names a region twice"
        if twice := [place for place in own.places if named[place] > 1]:
            yield ("routing", "preferences", number, "places"), f"{', '.join(twice)}: in more than one order. Keep one"


def _places(key: str, named: Sequence[str] | Mapping[str, float], *number: int) -> Iterator[tuple[Path_, str]]:
    path: Path_ = ("routing", key, *number, *(("places",) if number else ()))
    for name in named:
        if name not in geography.places():
            yield path, f"{name!r} is no location of Route 53; {geography.hint(name)}"
