"""The place of an operation, with its region, the fleet file, and the services that it reaches from there.

A context is a plain value made of small parts, so a simulation or a test builds one from parts of its own.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from chalicelib import queue_addresses
from chalicelib.aws import client
from chalicelib.aws.store import DynamoStore, ReplicatedStore, Store
from chalicelib.config import declared
from chalicelib.config.declared import Fleet

if TYPE_CHECKING:
    from chalicelib.aws.ports import AwsPorts

# The zip's root in Lambda, the repository's elsewhere.
ROOT = Path(__file__).resolve().parent.parent


class Queue(Protocol):
    """The destination of messages. See `client.SqsQueue`."""

    def send(self, messages: Sequence[client.Message]) -> None:
        """All of `messages`, at least once each."""

    def change_visibility(self, receipt: str, seconds: int) -> None:
        """Keep a received message from everybody for `seconds`."""


class Topic(Protocol):
    """The destination of alerts. See `client.SnsTopic`."""

    def publish(self, subject: str, text: str) -> None:
        """One notice."""


class RegionContext(msgspec.Struct, frozen=True):
    """The region of an operation and the services that it reaches from there.

    `root` is the folder with the compiled schedules. `clock` gives epoch seconds. `aws_regions` has the AWS services of
    each region of the fleet, and `aws` those of this one. Without threads, as in a simulation, nothing is done at once.
    """

    region: str
    stage: str
    fleet: Fleet
    shared_store: Store
    local_store: Store
    queues: Mapping[str, Queue]
    alerts: Topic
    account: str = ""
    root: Path = ROOT
    clock: Callable[[], float] = time.time
    has_threads: bool = True
    aws_regions: "Mapping[str, AwsPorts]" = {}

    @property
    def aws(self) -> "AwsPorts":
        """The AWS services of this region."""
        return self.aws_regions[self.region]

    @property
    def rank(self) -> int:
        """The number of regions before this one. Home has 0."""
        return self.fleet.rank(self.region)


class RealRegions(Mapping[str, "AwsPorts"]):
    """The real AWS services of each of `names`. The ports are imported with the first look, because many Lambdas need
    only the tables, the queues and the alerts."""

    def __init__(self, names: Sequence[str], account: str) -> None:
        self._names, self._account = tuple(names), account

    def __getitem__(self, name: str) -> "AwsPorts":
        if name not in self._names:
            raise KeyError(name)
        from chalicelib.aws.ports import real_ports

        return real_ports(name, self._account)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@cache
def here() -> RegionContext:
    """The context that this Lambda's environment describes. Built once a process."""
    environment = os.environ
    region = environment["AWS_REGION"]
    fleet = declared.unpack((ROOT / declared.PACKED).read_bytes())
    account = environment["LAMP_ALERTS"].split(":")[4]
    return RegionContext(
        region=region,
        stage=environment["LAMP_STAGE"],
        fleet=fleet,
        shared_store=_coordination(environment["LAMP_COORDINATION"], region, fleet.coordination.regions),
        local_store=DynamoStore(environment["LAMP_TABLE"], region),
        queues={name: client.SqsQueue(url, region) for name, url in queue_addresses.urls(environment).items()},
        alerts=client.SnsTopic(environment["LAMP_ALERTS"], region),
        account=account,
        aws_regions=RealRegions([known.name for known in fleet.regions], account),
    )


def _coordination(name: str, region: str, regions: Sequence[str]) -> Store:
    # A replica in the own region is the nearest; the others follow as declared.
    near_first = sorted(regions, key=lambda replica: replica != region)
    return ReplicatedStore([DynamoStore(name, replica) for replica in near_first])
