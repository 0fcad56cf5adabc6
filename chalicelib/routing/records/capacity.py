"""Second choices that overload nobody. The others share a dead region's users within their capacity.

For the loss of each single region, its users go to the next region of their order as far as that has room. If many
orders want the same room, each gets the same part of it, and the rest goes on to the region after. Two or more dead
regions at once are not planned for. Their users go on to the next living region, whatever its capacity.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chalicelib.geography import Order, places
from chalicelib.routing.records.spec import WeightedFailover

# Route 53's largest weight; all weights of one order add up to it, so rounding moves less than 1/255 of its users.
WHOLE = 255
_NOTHING = 1e-9


class CapacityError(ValueError):
    """The regions cannot take on what a single loss would hand them. The text says how much is missing."""


class Loss(NamedTuple):
    """The load that the loss of a region gives to the others, in the unit of demand."""

    region: str
    users: float
    handed: dict[str, float]


def loads(orders: Mapping[str, Order], demand: Mapping[str, float]) -> dict[Order, float]:
    """How much each order is asked for."""
    found: dict[Order, float] = {}
    for place, users in demand.items():
        found[orders[place]] = found.get(orders[place], 0.0) + users
    return found


def urban_population_shares() -> dict[str, float]:
    """The default demand, each place's share of the world's urban population. Capacities are then shares of all users.
    """
    total = sum(place.people for place in places().values())
    return {name: place.people / total for name, place in places().items() if place.people}


def weighted_failovers(orders: Mapping[str, Order], demand: Mapping[str, float], capacity: Mapping[str, float]
            ) -> dict[Order, WeightedFailover]:
    """The weights of those orders whose second region alone could not take their users. `CapacityError` if none can."""
    asked = loads(orders, demand)
    own = {region: sum(users for order, users in asked.items() if order[0] == region) for region in capacity}
    _whole(own, capacity)
    found: dict[Order, WeightedFailover] = {}
    for lost in capacity:
        room = {region: capacity[region] - own[region] for region in capacity if region != lost}
        groups = {order: users for order, users in asked.items() if order[0] == lost and users > 0}
        if groups and room:
            found |= _spread(lost, groups, room)
    return found


def losses(
    orders: Mapping[str, Order], demand: Mapping[str, float], spread: Mapping[Order, WeightedFailover]
) -> list[Loss]:
    """The load that each single loss gives to each region, with these weights."""
    asked = loads(orders, demand)
    found = []
    for lost in sorted({order[0] for order in asked}):
        handed: dict[str, float] = {}
        for order, users in asked.items():
            if order[0] == lost and len(order) > 1:
                for region, part in shares(order, spread).items():
                    handed[region] = handed.get(region, 0.0) + users * part
        found.append(Loss(lost, sum(users for order, users in asked.items() if order[0] == lost), handed))
    return found


def shares(order: Order, spread: Mapping[Order, WeightedFailover]) -> dict[str, float]:
    """The share of each region in an order's users when its first region is dead."""
    if order not in spread:
        return {order[1]: 1.0}
    total = sum(weight for _, weight in spread[order].weights)
    return {region: weight / total for region, weight in spread[order].weights}


def _whole(own: Mapping[str, float], capacity: Mapping[str, float]) -> None:
    for region, users in own.items():
        if users > capacity[region] + _NOTHING:
            raise CapacityError(f"{region} is nearest to {users:.3g} and declares {capacity[region]:.3g}. "
                                "Raise it, or give places an order of their own")


def _spread(lost: str, groups: Mapping[Order, float], room: dict[str, float]) -> dict[Order, WeightedFailover]:
    """Weights for the orders of one lost region. Every region keeps back the room that rounding may move."""
    total = sum(groups.values())
    plain: dict[str, float] = {}
    for order, users in groups.items():
        plain[order[1]] = plain.get(order[1], 0.0) + users
    if all(users <= room[region] + _NOTHING for region, users in plain.items()):
        return {}
    parts = _fill(groups, {region: max(0.0, free - total / WHOLE) for region, free in room.items()})
    missing = total - sum(sum(part.values()) for part in parts.values())
    if missing > _NOTHING:
        raise CapacityError(f"if {lost} dies, {total:.3g} must go elsewhere, but there is room for "
                            f"{total - missing:.3g}. Declare more capacity (rounding needs a part in 255)")
    rounded = {order: _weights(parts[order], groups[order]) for order in groups}
    return {order: spread for order, spread in rounded.items() if spread.weights != ((order[1], WHOLE),)}


def _fill(groups: Mapping[Order, float], room: dict[str, float]) -> dict[Order, dict[str, float]]:
    """Choice by choice, each region's room divided in proportion among those that want it."""
    parts: dict[Order, dict[str, float]] = {order: {} for order in groups}
    left = dict(groups)
    for choice in range(1, len(next(iter(groups)))):
        wants: dict[str, list[Order]] = {}
        for order in sorted(groups):
            wants.setdefault(order[choice], []).append(order)
        for region, wanting in wants.items():
            wanted = sum(left[order] for order in wanting)
            fraction = min(1.0, room[region] / wanted) if wanted > _NOTHING else 0.0
            for order in wanting:
                if left[order] * fraction > _NOTHING:
                    parts[order][region] = left[order] * fraction
                    left[order] -= parts[order][region]
            room[region] -= wanted * fraction
    return parts


def _weights(part: Mapping[str, float], users: float) -> WeightedFailover:
    """Shares as whole weights that add up to 255, rounded down, then one more for those that lost most."""
    exact = {region: WHOLE * users_there / users for region, users_there in part.items()}
    weights = {region: int(value) for region, value in exact.items()}
    by_loss: Sequence[str] = sorted(exact, key=lambda region: (weights[region] - exact[region], region))
    for region in by_loss[:WHOLE - sum(weights.values())]:
        weights[region] += 1
    return WeightedFailover(tuple((region, weight) for region, weight in weights.items() if weight))
