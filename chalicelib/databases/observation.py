"""The observations of the operations, as values."""

from collections.abc import Mapping

import msgspec

from chalicelib.databases.config import Databases, Server
from chalicelib.databases.state import Look, PrimaryRecord, RegionReport, RepairState, WatchState

# What the regional table says of the tunnels: up, of so many slots, at.
Tunnels = tuple[int, int, float]


class FleetDatabases(msgspec.Struct, frozen=True):
    """The observation of every operation, with its region, the declared facts and the coordination table's.

    `sure` means that the table answered. Otherwise `master` is the last one read. `version` is the item's, 0 if there
    is none. `order` is the fleet's regions.
    """

    region: str
    settings: Databases
    order: tuple[str, ...]
    at: float
    master: PrimaryRecord
    version: int = 0
    sure: bool = True
    reports: Mapping[str, RegionReport] = {}

    @property
    def server(self) -> Server | None:
        """This region's server."""
        return self.settings.server(self.region)


class WatchObservation(msgspec.Struct, frozen=True):
    """The observation of the watch in one minute. `look` is `None` where the region has no server, or the minute is
    done."""

    around: FleetDatabases
    memory: WatchState
    version: int = 0
    look: Look | None = None


class RepairObservation(msgspec.Struct, frozen=True):
    """The observation of repair in one minute. `tunnels` is `None` if nobody has judged them. `tunnelled` means that
    tunnels are declared.

    `master` is what the primary itself says just now. Only asked where a restart could lose something.
    """

    around: FleetDatabases
    repairs: RepairState
    version: int = 0
    look: Look | None = None
    tunnels: Tunnels | None = None
    tunnelled: bool = False
    master: Look | None = None


class PromotionObservation(msgspec.Struct, frozen=True):
    """The observation of a promotion, with every server that answers and the arguments."""

    around: FleetDatabases
    looks: Mapping[str, Look]
    to: str = ""
    force: str = ""


class ServerObservation(msgspec.Struct, frozen=True):
    """This region's server, for operations manually."""

    around: FleetDatabases
    look: Look | None = None
