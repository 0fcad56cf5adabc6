"""What the operations see, as values."""

from collections.abc import Mapping

import msgspec

from chalicelib.databases.declared import Databases, Server
from chalicelib.databases.records import Look, Master, Memory, Repairs, Report

# What the regional table says of the tunnels: up, of so many slots, at.
Tunnels = tuple[int, int, float]


class Around(msgspec.Struct, frozen=True):
    """What every operation sees: where it is, what is declared, and what the coordination table says.

    `sure`: that table answered; otherwise `master` is what was last read. `rev` is the item's, 0 if there is none.
    `order` is the fleet's regions.
    """

    region: str
    settings: Databases
    order: tuple[str, ...]
    at: float
    master: Master
    rev: int = 0
    sure: bool = True
    reports: Mapping[str, Report] = {}

    @property
    def server(self) -> Server | None:
        """This region's server."""
        return self.settings.server(self.region)


class Watched(msgspec.Struct, frozen=True):
    """What a minute of the watch sees. `look` is `None` where the region has no server, or the minute is done."""

    around: Around
    memory: Memory
    rev: int = 0
    look: Look | None = None


class Sick(msgspec.Struct, frozen=True):
    """What a minute of healing sees. `tunnels` is `None` if nobody has judged them; `tunnelled`: some are declared.

    `master` is what the master itself says just now; only asked where a restart could lose something.
    """

    around: Around
    repairs: Repairs
    rev: int = 0
    look: Look | None = None
    tunnels: Tunnels | None = None
    tunnelled: bool = False
    master: Look | None = None


class Throne(msgspec.Struct, frozen=True):
    """What a promotion sees: every server, as far as it answers, and what is asked for."""

    around: Around
    looks: Mapping[str, Look]
    to: str = ""
    force: str = ""


class One(msgspec.Struct, frozen=True):
    """This region's server, for operations by hand."""

    around: Around
    look: Look | None = None
