"""How far a replica is behind, by the heartbeats that have come through. Pure.

The watch of the primary's region writes a row each minute, with the primary's own clock in it, and remembers when.
Suppose that a replica has the row of 12:03:00 and not that of 12:04:00. At 12:04:20 it lags *at least* 20 s, since it
lacks a write of that time. It lags *at most* 80 s, since it has the write before. Seconds_Behind knows neither. It is
empty when a thread stands still, and 0 when nothing arrives.

Only the primary's clock counts. Rows carry it, and 'now' is our own clock plus the `skew` of the primary's watch
(server minus Lambda, half a round trip at most off). AWS synchronizes the clocks of Lambdas. The replica's own clock,
right or wrong, plays no part.
"""

from collections.abc import Sequence

import msgspec

from chalicelib.databases.state import FRESH, RegionReport
from chalicelib.mysql.status import ReplicaStatus, ServerStatus

# Rows carry microseconds; what comes back through a float may be off by less than this (s).
_SAME = 0.001


class Lag(msgspec.Struct, frozen=True):
    """Seconds behind the primary. `at_least` is certain, `at_most` the worst case, and `None` is unknown.

    `by` names the method, which is heartbeats, or only Seconds_Behind if no heartbeat is written or seen.
    """

    at_least: float | None
    at_most: float | None
    by: str


def lag(state: ServerStatus, primary: str, report: RegionReport | None) -> Lag:
    """The lag of a replica of the region `primary`, whose watch last reported `report`."""
    beat = state.heartbeats.get(primary)
    now = state.at + (report.skew if report else 0.0)
    if report is None or beat is None or not beating(report, now):
        return _without_heart(state.replication)
    return Lag(missing(report.heartbeats, beat, now), max(0.0, now - beat), "heartbeat")


def beating(report: RegionReport, now: float) -> bool:
    """Whether the primary's region writes heartbeats, `now` by the primary's clock."""
    return bool(report.heartbeats) and now - report.heartbeats[-1] < FRESH


def missing(beats: Sequence[float], seen: float, now: float) -> float:
    """For how long the oldest beat has been missing that was written after `seen`. 0 if none was."""
    later = [beat for beat in beats if beat > seen + _SAME]
    return max(0.0, now - min(later)) if later else 0.0


def _without_heart(replication: ReplicaStatus | None) -> Lag:
    """The fallback without heartbeats. It errs in both directions, so an alert says that they have stopped."""
    running = replication and replication.io.state == replication.sql.state == "running"
    told = replication.seconds_behind_source if replication and running else None
    behind = None if told is None else float(told)
    return Lag(behind, behind, "seconds_behind")
