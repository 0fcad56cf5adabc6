"""The wanted routing, apart from its records. It is the compiler's input and its output."""

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.geography import Order

Record = dict[str, Any]


class RegionTarget(msgspec.Struct, frozen=True):
    """The target of a region's users, the alias of its load balancer or addresses."""

    region: str
    load_balancer: str = ""
    zone: str = ""
    addresses: tuple[str, ...] = ()


class WeightedFailover(msgspec.Struct, frozen=True):
    """The regions that serve an order's users when its first region is dead, with weights (1 to 255, out of 255
    together)."""

    weights: tuple[tuple[str, int], ...]


class Spec(msgspec.Struct, frozen=True):
    """The input of the compiler, with `orders` by place, and `spreads` by order if a capacity forces users to spread.

    `uses_host_checks` means that the calculated check of a region's hosts gives its status. `evacuable` are the regions
    that an S3 object can evacuate.
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
