"""All that fleet.toml declares, as typed values. docs/fleet.md describes every key.

The file travels inside the Lambda zip, so that there is no configuration service to lose. It is there as `fleet.pack`
made it, and `unpack` reads that. A section that only one capability needs has a module of its own in this package. It
is imported when somebody asks for the section.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from chalicelib.config.durations import Duration as Duration
from chalicelib.config.durations import duration
from chalicelib.config.workload import LAMBDA_SECONDS as LAMBDA_SECONDS
from chalicelib.config.workload import RESERVE_SECONDS as RESERVE_SECONDS
from chalicelib.config.workload import RUNNER_JOB_SECONDS as RUNNER_JOB_SECONDS
from chalicelib.config.workload import Ecs as Ecs
from chalicelib.config.workload import Http as Http
from chalicelib.config.workload import Name, Port
from chalicelib.config.workload import Queue as Queue
from chalicelib.config.workload import Runners as Runners
from chalicelib.config.workload import Schedules as Schedules
from chalicelib.config.workload import Ssm as Ssm
from chalicelib.config.workload import Target as Target
from chalicelib.config.workload import Tasks as Tasks

if TYPE_CHECKING:
    from chalicelib.config.databases import Databases
    from chalicelib.config.routing import Routing
    from chalicelib.config.tunnels import Tunnels

# The file's name in the package, as `pack` makes it.
PACKED = "fleet.json"
# The sections that not every Lambda needs, and the type of each in the module of its name.
SECTIONS = {"routing": "Routing", "tunnels": "Tunnels", "databases": "Databases"}
# AWS allows 64 characters for a Lambda's name, `<name>-<stage>-<function>`, and 80 for a queue's,
# `<name>-<stage>-<queue>-dead.fifo`.
LONGEST_NAME = 20
# No load balancer's name begins with the first (API reference, CreateLoadBalancer), no document's with the next three
# (API reference, CreateDocument), no bucket's with the last two ("Bucket naming rules", S3 user guide).
RESERVED = ("internal-", "aws", "amazon", "amzn", "sthree-", "xn--")

# Sets of regions that may hold one strongly consistent global table; from "Multi-Region strong consistency" in the
# DynamoDB developer guide.
REGION_SETS = (
    frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    frozenset({"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1"}),
    frozenset({"ap-northeast-1", "ap-northeast-2", "ap-northeast-3"}),
)

# How the regions of another partition than `aws` begin.
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b",
               "us-isof-": "aws-iso-f", "eu-isoe-": "aws-iso-e", "eusc-": "aws-eusc"}


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a VPC in which the Lambdas run that must reach tunnels and databases."""

    subnets: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=r"^subnet-[0-9a-f]{8,17}\Z")], ...],
                       msgspec.Meta(min_length=1, max_length=16)]
    security_groups: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=r"^sg-[0-9a-f]{8,17}\Z")], ...],
                               msgspec.Meta(min_length=1, max_length=5)]


class EcsNetwork(Network, frozen=True, forbid_unknown_fields=True):
    """The part of a VPC in which the Fargate tasks of jobs run. In public subnets they need `assign_public_ip`."""

    assign_public_ip: bool = False


Share = Annotated[float, msgspec.Meta(gt=0)]


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry point of a region's users, a load balancer (DNS name and hosted zone id) or addresses.

    `capacity` is the most that the region can serve, in the unit of `routing.demand`, or as a share of everybody.
    `bucket` is an S3 bucket in this region for the marks that evacuate other regions.
    """

    load_balancer: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.-]+\Z")] | None = None
    zone: str | None = None
    addresses: tuple[str, ...] = ()
    capacity: Share | None = None
    bucket: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")] | None = None


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An AWS region that runs the product. The first is home. The order is the order of taking over."""

    name: str
    endpoint: Endpoint | None = None
    network: Network | None = None
    ecs: EcsNetwork | None = None

    @property
    def ecs_network(self) -> EcsNetwork | None:
        """Where its Fargate tasks run: beside the Lambdas, unless `ecs` says otherwise."""
        if self.ecs is None and self.network:
            return EcsNetwork(self.network.subnets, self.network.security_groups)
        return self.ecs


class Coordination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The regions of the coordination table, either one region or three of one region set (strongly consistent)."""

    regions: tuple[str, ...]

    @property
    def strong(self) -> bool:
        """Whether the table survives the loss of any region."""
        return len(self.regions) > 1


class HealthChecks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the hosts of each region are probed from outside.

    There are `fixed_checks` + `rotating_checks` Route 53 checks and a calculated one.
    """

    target_groups: tuple[str, ...]
    protocol: Literal["http", "https"] = "http"
    port: Port = 80
    path: Annotated[str, msgspec.Meta(pattern=r"^/\S{0,254}\Z")] = "/"
    interval: Literal[10, 30] = 10
    failures: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    fixed_checks: Annotated[int, msgspec.Meta(ge=3, le=100)] = 4
    healthy_threshold: Annotated[int, msgspec.Meta(ge=2, le=99)] = 2
    rotating_checks: Annotated[int, msgspec.Meta(ge=1, le=5)] = 2


class Basics(msgspec.Struct, frozen=True):
    """The part of fleet.toml that many Lambdas need."""

    name: Name
    regions: tuple[Region, ...]
    coordination: Coordination
    schedules: Schedules = Schedules()
    runners: Runners = Runners()
    tasks: Tasks = Tasks()
    queues: tuple[Queue, ...] = ()
    health_checks: HealthChecks | None = None
    alarm_email: str | None = None
    reserved_concurrency: bool = True


class Fleet(Basics, frozen=True):
    """All that fleet.toml declares. `sections` are the values of `SECTIONS`, each plain until somebody asks for it."""

    sections: dict[str, Any] = {}

    @property
    def routing(self) -> "Routing | None":
        """The table [routing]."""
        found: Routing | None = self._section("routing")
        return found

    @property
    def tunnels(self) -> "Tunnels | None":
        """The table [tunnels]."""
        found: Tunnels | None = self._section("tunnels")
        return found

    @property
    def databases(self) -> "Databases | None":
        """The table [databases]."""
        found: Databases | None = self._section("databases")
        return found

    @property
    def files(self) -> dict[str, str]:
        """The files of the project that it names, by their keys. No package and no copy of the fleet is whole without
        them."""
        named = {"runners.policy": self.runners.policy, "databases.ca": self.databases.ca if self.databases else None}
        return {key: name for key, name in named.items() if name}

    def _section(self, name: str) -> Any:
        value = self.sections.get(name)
        if isinstance(value, dict):
            kind = getattr(import_module(f"chalicelib.config.{name}"), SECTIONS[name])
            value = self.sections[name] = msgspec.convert(value, kind, dec_hook=duration)
        return value

    @property
    def home(self) -> str:
        """The region that starts jobs. The others wait."""
        return self.regions[0].name

    def rank(self, region: str) -> int:
        """The number of regions before `region`. Home has 0."""
        return [known.name for known in self.regions].index(region)

    def dead_letters(self, queue: Queue) -> str:
        """Name of the queue that takes what `queue` could not do."""
        return queue.dead_letter or f"{queue.name}-dead"


def partition(region: str) -> str:
    """The partition of AWS that `region` belongs to, as in its ARNs."""
    return next((name for begin, name in _PARTITIONS.items() if region.startswith(begin)), "aws")


def unpack(packed: bytes) -> Fleet:
    """The fleet that `pack` was given. No section is read before somebody asks for it."""
    plain = msgspec.json.decode(packed, type=dict[str, Any])
    sections = {name: plain.pop(name) for name in SECTIONS if name in plain}
    return msgspec.convert({**plain, "sections": sections}, Fleet, dec_hook=duration)
