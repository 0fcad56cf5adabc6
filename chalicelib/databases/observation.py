"""The observations of the operations, as values."""

from collections.abc import Mapping

import msgspec

from chalicelib.config.databases import Databases, Server
from chalicelib.databases.state import PrimaryRecord, RegionReport, RepairState, WatchState
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql.status import Look

# What the regional table says of the tunnels: up, of so many slots, at.
Tunnels = tuple[int, int, float]


class FleetDatabases(msgspec.Struct, frozen=True):
    """The observation of every operation, with its region, the declared facts and the coordination table's.

    `sure` means that the table answered with a record that may be believed. Otherwise `primary` is the last one read.
    `version` is the item's, 0 if there is none. `order` is the fleet's regions. An item that cannot be read is in
    `unreadable`. Its report is missing then, and an unreadable primary item is as good as no answer.

    `believed_version` is that of the item that `primary` was read from. `newest_term` is the highest term that this
    region or a report has seen. A record that is earlier than the newest one `went_back`, as that of a restored table
    does.
    """

    region: str
    settings: Databases
    order: tuple[str, ...]
    at: float
    primary: PrimaryRecord
    version: int = 0
    believed_version: int = 0
    sure: bool = True
    reports: Mapping[str, RegionReport] = {}
    unreadable: tuple[Unreadable, ...] = ()
    newest_term: int = 0
    went_back: bool = False

    @property
    def server(self) -> Server | None:
        """This region's server."""
        return self.settings.server(self.region)


class WatchObservation(msgspec.Struct, frozen=True):
    """The observation of the watch in one minute. `look` is `None` where the region has no server, or the minute is
    done.

    `stored` is the watch's own state. One that cannot be read begins anew, because this region's watch alone writes it.
    """

    around: FleetDatabases
    stored: Stored[WatchState]
    look: Look | None = None
    unreadable: tuple[Unreadable, ...] = ()


class RepairObservation(msgspec.Struct, frozen=True):
    """The observation of repair in one minute. `tunnels` is `None` if nobody has judged them. `tunnelled` means that
    tunnels are declared.

    `stored` is repair's own state. While that is `unreadable` nothing is repaired, because it holds the budget of
    restarts. With `was_ahead` times of it were ahead of the clock, and count as now.

    `primary` is what the primary itself says just now. Only asked where a restart could lose something.
    """

    around: FleetDatabases
    stored: Stored[RepairState]
    look: Look | None = None
    tunnels: Tunnels | None = None
    tunnelled: bool = False
    primary: Look | None = None
    was_ahead: bool = False
    unreadable: tuple[Unreadable, ...] = ()


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
