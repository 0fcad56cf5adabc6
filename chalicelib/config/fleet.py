"""fleet.toml as typed, checked values.

`load` reads the file or raises `FleetError`, whose text has one line per mistake, each with file, line, key and
remedy. docs/fleet.md describes every key. A test holds the two together. The file travels inside the Lambda zip, so
there is no configuration service to lose. Packaging also puts it there as `pack` made it: a Lambda reads that, and
imports the types of the sections that it asks for.
"""

import json
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from chalicelib.config.durations import Duration as Duration
from chalicelib.config.durations import duration
from chalicelib.config.workload import LAMBDA_SECONDS as LAMBDA_SECONDS
from chalicelib.config.workload import RESERVE_SECONDS as RESERVE_SECONDS
from chalicelib.config.workload import Ecs as Ecs
from chalicelib.config.workload import Http as Http
from chalicelib.config.workload import Name
from chalicelib.config.workload import Queue as Queue
from chalicelib.config.workload import Schedules as Schedules
from chalicelib.config.workload import Ssm as Ssm
from chalicelib.config.workload import Target as Target

if TYPE_CHECKING:
    from chalicelib.databases.config import Databases
    from chalicelib.routing.config import Routing
    from chalicelib.tunnels.config import Tunnels

# The file's name in the package, as `pack` makes it.
PACKED = "fleet.json"
# The sections that only their capability reads, and the type of each in the module `config` of that capability.
SECTIONS = {"routing": "Routing", "tunnels": "Tunnels", "databases": "Databases"}
# AWS allows 64 characters for a Lambda's name, `<name>-<stage>-<function>`, and 80 for a queue's,
# `<name>-<stage>-<queue>-dead.fifo`.
LONGEST_NAME = 20

# Sets of regions that may hold one strongly consistent global table; from "Multi-Region strong consistency" in the
# DynamoDB developer guide.
REGION_SETS = (
    frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    frozenset({"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1"}),
    frozenset({"ap-northeast-1", "ap-northeast-2", "ap-northeast-3"}),
)


class FleetError(Exception):
    """fleet.toml cannot be used. The text names each mistake with its line and its remedy."""


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a VPC in which the Lambdas run that must reach tunnels and databases."""

    subnets: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=r"^subnet-[0-9a-f]{8,17}\Z")], ...],
                       msgspec.Meta(min_length=1, max_length=16)]
    security_groups: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=r"^sg-[0-9a-f]{8,17}\Z")], ...],
                               msgspec.Meta(min_length=1, max_length=5)]


Share = Annotated[float, msgspec.Meta(gt=0)]


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry point of a region's users, a load balancer (DNS name and hosted zone id) or addresses.

    `capacity` is the most that the region can serve, in the unit of `routing.demand`, or as a share of everybody.
    `bucket` is an S3 bucket in this region for the marks that evacuate other regions.
    """

    load_balancer: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.-]+$")] | None = None
    zone: str | None = None
    addresses: tuple[str, ...] = ()
    capacity: Share | None = None
    bucket: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An AWS region that runs the product. The first is home. The order is the order of taking over."""

    name: str
    endpoint: Endpoint | None = None
    network: Network | None = None


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
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 80
    path: Annotated[str, msgspec.Meta(pattern=r"^/\S{0,254}$")] = "/"
    interval: Literal[10, 30] = 10
    failures: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    fixed_checks: Annotated[int, msgspec.Meta(ge=3, le=100)] = 4
    healthy_threshold: Annotated[int, msgspec.Meta(ge=2, le=99)] = 2
    rotating_checks: Annotated[int, msgspec.Meta(ge=1, le=5)] = 2


class Fleet(msgspec.Struct, frozen=True):
    """All that fleet.toml declares. `sections` are the values of `SECTIONS`, each plain until somebody asks for it."""

    name: Name
    regions: tuple[Region, ...]
    coordination: Coordination
    schedules: Schedules = Schedules()
    queues: tuple[Queue, ...] = ()
    health_checks: HealthChecks | None = None
    alarm_email: str | None = None
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

    def _section(self, name: str) -> Any:
        value = self.sections.get(name)
        if isinstance(value, dict):
            kind = getattr(import_module(f"chalicelib.{name}.config"), SECTIONS[name])
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


@cache
def load(path: Path = Path("fleet.toml"), stage: str = "") -> Fleet:
    """The fleet that `path` declares for `stage`. `FleetError` lists all that is wrong with it."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FleetError(f"{path}:1: cannot be read ({error}). Write it in UTF-8, see docs/fleet.md") from None
    return parse(text, str(path), stage)


def parse(text: str, file: str = "fleet.toml", stage: str = "") -> Fleet:
    """The fleet that `text` declares for `stage`. `file` is the name used in errors.

    The table `[stages.NAME]` holds in that stage alone, over the tables above. They merge key by key, and lists of
    tables by `name`.
    """
    from chalicelib.config import declared  # with the types of all capabilities, and their checks

    return declared.parse(text, file, stage)


def pack(text: str, stage: str) -> bytes:
    """What `text`, which `parse` has taken, says for `stage`, for `unpack`."""
    from chalicelib.config import declared

    return json.dumps(declared.raw(text, stage), sort_keys=True).encode()


def unpack(packed: bytes) -> Fleet:
    """The fleet that `pack` was given. No section is read before somebody asks for it."""
    plain = msgspec.json.decode(packed, type=dict[str, Any])
    sections = {name: plain.pop(name) for name in SECTIONS if name in plain}
    return msgspec.convert({**plain, "sections": sections}, Fleet, dec_hook=duration)


def to_builtins(fleet: Fleet) -> dict[str, Any]:
    """The fleet as plain values, durations in seconds (for `--json`)."""
    plain: dict[str, Any] = msgspec.to_builtins(fleet, enc_hook=int)
    del plain["sections"]
    return plain | {name: msgspec.to_builtins(getattr(fleet, name), enc_hook=int) for name in SECTIONS}
