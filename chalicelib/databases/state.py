"""The state of the databases, as values. Times are epoch seconds by this Lambda's clock unless they say otherwise.

The regional table has under `databases` the items `watch` (a `WatchState`) and `heal` (a `RepairState`). Under
`readiness`/`database` it has the `Readiness` for the application and routing. The coordination table has
`primary`/`current` (a `PrimaryRecord`), which every controller obeys, and `databases`/<region> (a `RegionReport`), the
last report of each region's watch.
"""

from typing import Any, TypeVar

import msgspec

from chalicelib.databases.published.primary import PRIMARY as PRIMARY
from chalicelib.databases.published.primary import PRIMARY_KEY as PRIMARY_KEY
from chalicelib.databases.published.primary import PrimaryRecord as PrimaryRecord
from chalicelib.databases.published.primary import Promotion as Promotion
from chalicelib.databases.published.primary import Steps as Steps
from chalicelib.engine.limits import Cooldown, Spent
from chalicelib.engine.schema import ItemKey, Schema, State, Unreadable, decode, encode
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.status import ServerStatus

MEMORY = ("databases", "watch")
REPAIRS = ("databases", "heal")
READINESS = ("readiness", "database")
# What a region's watch saw is news for so long (s): three of its minutes.
FRESH = 180
# The beats of an hour.
BEATS = 60

T = TypeVar("T")


class RegionReport(State, frozen=True):
    """The observation of a region's watch at `at`, for other regions that may not reach the server.

    `term` is that of the primary that it knew, and `primary_version` the version of that record's item. `fenced` is
    whether it knew itself fenced. `skew` is the server's clock minus the Lambda's. `heartbeats` has those written
    there, by its clock. Of a server that is not `reachable` the rest is what it said last.
    """

    at: float
    reachable: bool
    read_only: bool = True
    term: int = 0
    fenced: bool = False
    executed_gtids: GtidSet = GtidSet()
    retrieved_gtids: GtidSet = GtidSet()
    skew: float = 0.0
    heartbeats: tuple[float, ...] = ()
    id: str = ""
    primary_version: int = 0


def reported(look: ServerStatus, term: int, fenced: bool, *, primary_version: int = 0) -> RegionReport:
    """The facts about a server that answers, for other regions."""
    skew = look.clock - look.at
    return RegionReport(look.at, True, look.read_only, term, fenced, look.executed_gtids, look.retrieved_gtids, skew,
                        id=look.id, primary_version=primary_version)


class WatchState(State, frozen=True):
    """The state that the watch stores for the next minute.

    `minute` is the last one that a run has claimed. `primary` is the last one that was believed, and `primary_version`
    its item's, because the table may be away, or may be restored to an earlier one.
    """

    minute: int
    heartbeats: tuple[float, ...] = ()
    primary: PrimaryRecord | None = None
    primary_version: int = 0


class RepairState(State, frozen=True):
    """The state that repair stores for the next minute, with the times of restarts and the wait after the last one.

    `minute` is the last one that a run has claimed. `healthy_since` is since when replication has been running.
    """

    minute: int
    restarts: Spent = ()
    cooldown: Cooldown = Cooldown()
    healthy_since: int = 0


class Readiness(State, frozen=True):
    """Whether the application may use the region's database, and why (not).

    It says nothing beyond `until`. `lag` is the worst case of a replica (s), where it is known.
    """

    ready: bool
    why: str
    primary: str
    term: int
    at: float
    until: float
    lag: float | None = None


REPORT = Schema(RegionReport, 1)
WATCH = Schema(WatchState, 1)
REPAIR = Schema(RepairState, 1)
READY = Schema(Readiness, 1)
_SCHEMAS: dict[type, Schema[Any]] = {schema.type: schema for schema in (PRIMARY, REPORT, WATCH, REPAIR, READY)}


def body(value: State) -> dict[str, Any]:
    """The body of the item that has a value."""
    return encode(value, _SCHEMAS[type(value)])


def read(plain: dict[str, Any], kind: type[T]) -> T:
    """The value of an item's body. Raises `msgspec.ValidationError` for one that cannot be read."""
    schema: Schema[T] = _SCHEMAS[kind]
    found = decode(plain, schema, ItemKey("", kind.__name__, ""))
    if isinstance(found, Unreadable):
        raise msgspec.ValidationError(found.because)
    return found.value
