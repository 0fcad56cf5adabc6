"""From the fleet file to the wanted state of Route 53, as spec, record sets and checks."""

from typing import NamedTuple

from chalicelib import geography
from chalicelib.config import routing as config
from chalicelib.config.declared import Fleet
from chalicelib.routing import evacuation_flags
from chalicelib.routing.records import capacity, checks, compiler
from chalicelib.routing.records.spec import Compiled, RegionTarget, Spec


class RoutingError(ValueError):
    """The fleet cannot be routed as it is declared. The text says what to change."""


class Wanted(NamedTuple):
    """All that is to be there."""

    spec: Spec
    compiled: Compiled
    checks: checks.Checks


def wanted(fleet: Fleet, stage: str = "") -> Wanted:
    """What `fleet` wants. `RoutingError` if it declares no routing, or one that cannot be had."""
    if fleet.routing is None:
        raise RoutingError("fleet.toml has no table [routing]. See docs/routing.md for how to write one")
    try:
        made = spec(fleet, fleet.routing, stage)
        return Wanted(made, compiler.compile_records(made), checks.compile_checks(fleet, fleet.routing))
    except capacity.CapacityError as error:
        raise RoutingError(f"fleet.toml: {error}") from None


def spec(fleet: Fleet, routing: config.Routing, stage: str = "") -> Spec:
    """The compiler's input."""
    orders = geography.orders([region.name for region in fleet.regions],
                              {place: own.order for own in routing.preferences for place in own.places})
    most = {region.name: region.endpoint.capacity for region in fleet.regions
            if region.endpoint and region.endpoint.capacity}
    demand = dict(routing.demand) or capacity.urban_population_shares()
    return Spec(
        routing.hostname, routing.zone, f"{fleet.name}-{stage}".strip("-"),
        {region.name: _target(region.name, region.endpoint) for region in fleet.regions if region.endpoint}, orders,
        capacity.weighted_failovers(orders, demand, most) if most else {}, ("A", "AAAA") if routing.ipv6 else ("A",),
        int(routing.ttl), uses_host_checks=fleet.health_checks is not None,
        evacuable=frozenset(region.name for region in fleet.regions
                            if evacuation_flags.flag_region(fleet, region.name)))


def _target(region: str, entrance: config.Endpoint) -> RegionTarget:
    return RegionTarget(region, (entrance.load_balancer or "").lower().rstrip("."), entrance.zone or "",
                        entrance.addresses)
