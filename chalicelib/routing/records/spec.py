"""What routing is to bring about, apart from how: the compiler's input and its output."""

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.routing.records.geography import Order

Record = dict[str, Any]


class RegionTarget(msgspec.Struct, frozen=True):
    """Where a region's users are sent: the alias of its load balancer, or addresses."""

    region: str
    load_balancer: str = ""
    zone: str = ""
    addresses: tuple[str, ...] = ()


class WeightedFailover(msgspec.Struct, frozen=True):
    """Who serves an order's users when its first region is dead: weights (1 to 255, out of 255 together) by region."""

    weights: tuple[tuple[str, int], ...]


class Spec(msgspec.Struct, frozen=True):
    """All that the compiler needs: `orders` by place; `spreads` by order, where a capacity forces users to spread.

    `judged`: whether a region lives is told by the calculated parent of its hosts' health checks. `marked` are the
    regions that an S3 object can evacuate.
    """

    hostname: str
    zone: str
    owner: str
    targets: Mapping[str, RegionTarget]
    orders: Mapping[str, Order]
    spreads: Mapping[Order, WeightedFailover] = {}
    types: tuple[str, ...] = ("A",)
    ttl: int = 10
    uses_host_checks: bool = False
    evacuable: frozenset[str] = frozenset()


class Compiled(msgspec.Struct, frozen=True):
    """Record sets in the shape of boto3's `ResourceRecordSet`, in an order in which each alias comes after its target.

    `owner` is the TXT record set that says whose they are. Health checks are named in them by symbolic name.
    """

    hostname: str
    records: tuple[Record, ...]
    owner: Record
