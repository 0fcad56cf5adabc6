"""The conclusions of the watch in one minute, which are the readiness of the region's database and the conditions for
people. Pure."""

from collections.abc import Iterator, Mapping

import msgspec

from chalicelib.config.databases import Databases, address
from chalicelib.databases import details
from chalicelib.databases.decide.lag import Lag, beating, lag
from chalicelib.databases.observation import FleetDatabases
from chalicelib.databases.published.primary import position
from chalicelib.databases.state import FRESH, PrimaryRecord, RegionReport
from chalicelib.engine.limits import may_replace
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.status import ReplicaStatus, ServerError, ServerStatus

# What a watch cannot judge without an answer of its server, and without a primary's record that it may believe.
_OF_SERVER = ("SplitBrain", "HeartbeatMissing", "PrimaryReadOnly", "PrimaryReplicates", "ReplicaWritable",
              "NotReplicating", "IOThreadStopped", "SQLThreadStopped", "WrongSource", "NoHeartbeat", "ReplicaLag",
              "ReplicaStale")
_OF_RECORD = (*_OF_SERVER, "PromotionUnfinished")
# And without a report of the primary's region.
_OF_REPORT = ("WrongSource", "NoHeartbeat", "ReplicaLag", "ReplicaStale")
# What a promotion does to its candidate itself, when it stops its threads and resets its replication.
_OF_PROMOTION = ("NotReplicating", "IOThreadStopped", "SQLThreadStopped")
# What only a replica must not do. People would close or remake a server for it, so who the primary is must be sure.
_OF_REPLICA = ("ReplicaWritable", "NotReplicating")
# A promotion that has not ended by then (s) was interrupted.
_UNFINISHED = 600


class Ready(msgspec.Struct, frozen=True):
    """Whether the application may use the region's database, and why (not)."""

    ready: bool
    why: str


def ready(around: FleetDatabases, look: ServerStatus | ServerError) -> Ready:
    """The result about the region's server.

    A replica is ready while it surely lags less than `stale`. If the heartbeat itself stands still, all replicas would
    be stale at once. Then Seconds_Behind counts while both threads run.
    """
    if isinstance(look, ServerError):
        return Ready(False, str(look))
    if around.region == around.primary.region:
        return _primary_ready(around.primary, look)
    behind = lag(look, around.primary.region, around.reports.get(around.primary.region))
    if around.region in around.primary.fenced and look.replication is None:
        return Ready(False, f"was the primary until term {around.primary.term}, and does not replicate")
    if behind.at_most is None:
        return Ready(False, "its lag is unknown, since it has no heartbeat and replication does not run")
    if behind.at_most >= around.settings.stale:
        return Ready(False, f"may be {_seconds(behind.at_most)} behind, and the limit is {around.settings.stale} s")
    return Ready(True, f"at most {_seconds(behind.at_most)} behind, by {behind.by}")


def _primary_ready(primary: PrimaryRecord, look: ServerStatus) -> Ready:
    if not primary.may_write(look.region):
        return Ready(False, "is fenced, since another region becomes the primary")
    if look.read_only:
        return Ready(False, "is the primary, but read-only")
    return Ready(True, "is the primary")


def must_fence(around: FleetDatabases, look: ServerStatus | ServerError) -> bool:
    """Whether the server takes writes that belong elsewhere, so that it must be fenced at once.

    This holds only after a promotion. Before the first one fleet.toml may be wrong, and an alert is all.
    """
    if isinstance(look, ServerError) or look.read_only or not around.sure:
        return False
    primary = around.primary
    return (primary.term > 0 or bool(primary.fenced)) and not primary.may_write(around.region)


def newest_seen(known: Stored[PrimaryRecord], reports: Mapping[str, RegionReport]) -> tuple[int, int]:
    """The term and version of the newest record that was ever seen, by this region or by one that has reported.

    Terms and versions only grow, so an earlier record is that of a restored table. A higher term may have any version,
    because a restored table goes on from the versions that it has.
    """
    return max([position(known), *((report.term, report.primary_version) for report in reports.values())])


def not_judged(around: FleetDatabases, look: ServerStatus | ServerError, now: int) -> tuple[str, ...]:
    """The kinds of conditions that this minute cannot judge. That they are not found does not mean that they are over.
    """
    kinds = set(_OF_SERVER) if isinstance(look, ServerError) else set[str]()
    kinds |= set() if around.sure else set(_OF_RECORD)
    kinds |= set(_OF_REPORT) if _report_unreadable(around) else set()
    kinds |= set(_OF_PROMOTION) if _in_promotion(around, now) else set()
    kinds |= {"PrimaryRecordWentBack"} if not around.sure and not around.went_back else set()
    return tuple(sorted(kinds))


def _in_promotion(around: FleetDatabases, now: int) -> bool:
    """Whether this region's server is becoming the primary. A promotion that was interrupted excuses nothing."""
    promotion = around.primary.promotion
    return bool(promotion and promotion.to == around.region and now - promotion.began <= _UNFINISHED)


def _report_unreadable(around: FleetDatabases) -> bool:
    return any((item.key.pk, item.key.sk) == ("databases", around.primary.region) for item in around.unreadable)


def fence_refused(found: Stored[PrimaryRecord] | Unreadable | None, region: str, decided: details.Fence) -> str:
    """The reason not to fence the server of `region` any more, by the record as it is now, if so.

    A record that is gone or earlier than the decision's is a restored table. It closes no writer.
    """
    if isinstance(found, Unreadable):
        return f"{region}: not fenced, who the primary is cannot be read: {found}"
    if found is None or position(found) < (decided.term, decided.version):
        return f"{region}: not fenced, the primary's record was of term {decided.term}, and has gone back"
    return f"{region}: has become the primary meanwhile" if found.value.may_write(region) else ""


def became_primary(found: Stored[PrimaryRecord] | Unreadable | None, region: str) -> bool:
    """Whether a server that was just fenced is to be opened again, because it is the one to be written to."""
    return isinstance(found, Stored) and found.value.may_write(region)


def without_fence(primary: PrimaryRecord, region: str) -> PrimaryRecord:
    """The record once `region` has rejoined."""
    return msgspec.structs.replace(primary, fenced=tuple(one for one in primary.fenced if one != region))


def report_replaces(new: RegionReport, old: RegionReport) -> bool:
    """Whether a report may take the place of another."""
    return may_replace(new.at, old.at, FRESH)


def rejoined(around: FleetDatabases, look: ServerStatus | ServerError) -> bool:
    """Whether a fenced server has become a replica of the primary. Its fence has served then, and repair may touch it.
    """
    primary, report = around.primary, around.reports.get(around.primary.region)
    if not isinstance(look, ServerStatus) or look.replication is None or report is None or not around.sure:
        return False
    runs = look.replication.io.state == look.replication.sql.state == "running"
    return (around.region in primary.fenced and around.region != primary.region and primary.promotion is None and runs
            and look.read_only and bool(report.id) and look.replication.source == report.id)


def conditions(around: FleetDatabases, look: ServerStatus | ServerError, now: int) -> Iterator[tuple[str, str]]:
    """The conditions, as kind and text."""
    promotion = around.primary.promotion
    if promotion and now - promotion.began > _UNFINISHED:
        yield "PromotionUnfinished", (f"the promotion of {promotion.to} has got to {promotion.step!r} and no further. "
                                      f"Run databases.promote again, it goes on from there")
    if around.went_back:
        yield "PrimaryRecordWentBack", (
            f"a record of the primary of term {around.newest_term} was seen, and the table has an earlier one, as a "
            f"restored table has. Nothing is fenced, repaired or promoted. {around.primary.region} had the "
            f"primary by what {around.region} has seen last")
    if must_fence(around, look) and isinstance(look, ServerStatus):
        done = "the watch fences it at once" if around.settings.admin_secret else "run SET GLOBAL read_only = 1 there"
        yield "SplitBrain", (f"{around.region} takes writes that belong to {around.primary.region} (term "
                             f"{around.primary.term}): {done}{divergence(around.primary, look)}")
    if isinstance(look, ServerError):
        yield "DatabaseUnreachable", str(look)
    elif around.region == around.primary.region:
        yield from _of_primary(around, look)
    else:
        excused = (_OF_PROMOTION if _in_promotion(around, now) else ()) + (() if around.sure else _OF_REPLICA)
        yield from (found for found in _of_replica(around, look) if found[0] not in excused)


def _of_primary(around: FleetDatabases, look: ServerStatus) -> Iterator[tuple[str, str]]:
    if look.heartbeat_error:
        yield "HeartbeatMissing", look.heartbeat_error
    if look.read_only and around.primary.may_write(around.region):
        yield "PrimaryReadOnly", (f"{around.region} has the primary (term {around.primary.term}), but it is read-only, "
                                  "as after a restart. Run databases.promote for this same region to open it")
    if look.replication and around.primary.may_write(around.region):
        yield "PrimaryReplicates", (f"the primary in {around.region} is itself a replica of {look.replication.host}. "
                                   "Correct primary in fleet.toml, or run databases.promote")


def _of_replica(around: FleetDatabases, look: ServerStatus) -> Iterator[tuple[str, str]]:
    if not look.read_only and not must_fence(around, look):
        yield "ReplicaWritable", (f"the replica in {around.region} takes writes that no other server gets. Fence it, "
                                  "and set read_only = 1 in its configuration")
    if look.replication is None:
        # Told here as well as with the split brain, which is over within the minute and may not have got through.
        yield "NotReplicating", (f"the server in {around.region} is no replica, so it gets nothing from the primary"
                                 f"{divergence(around.primary, look)}")
        return
    yield from stopped(around.region, look.replication)
    if where := wrong_source(around, look):
        yield "WrongSource", (f"still replicates from {where}, which is not the primary. The operation "
                              "databases.heal repoints it")
    report = around.reports.get(around.primary.region)
    if look.heartbeat_error:
        yield "HeartbeatMissing", look.heartbeat_error
    elif around.sure and not _report_unreadable(around) and (
            report is None or not beating(report, around.at + report.skew)):
        yield "NoHeartbeat", (f"{around.primary.region} has written no heartbeat for {FRESH} s or more. Look at "
                              "databases.watch there. Lag stays unknown until the next heartbeat")
    yield from _late(around.settings, lag(look, around.primary.region, report), look.replication)


def divergence(primary: PrimaryRecord, look: ServerStatus) -> str:
    """The extra transactions of an old primary, which the new one lacked when it opened."""
    more = gtid.subtract(primary.position, look.executed_gtids) if primary.position else GtidSet()
    if not more:
        return ""
    return f". It has up to {more.count} transactions that the new primary never got ({more})"[:600]


def stopped(region: str, replication: ReplicaStatus) -> Iterator[tuple[str, str]]:
    """The threads that stand still, each with its last error."""
    for name, thread in (("IO", replication.io), ("SQL", replication.sql)):
        if thread.state == "stopped":
            error = f"error {thread.errno}: {thread.error}" if thread.errno else "without an error. Somebody stopped it"
            yield f"{name}ThreadStopped", f"the {name} thread in {region} stands still, {error}"


def wrong_source(around: FleetDatabases, look: ServerStatus) -> str:
    """The server from which the replica still replicates although it is not the primary, by its address or its id.

    Before the first promotion it is as somebody has set it up.
    """
    replication = look.replication
    for server in around.settings.servers:
        if replication and around.primary.term and server.region not in (around.region, around.primary.region):
            places = {(server.host, server.port)} | ({address(server.remote_address)}
                                                     if server.remote_address else set())
            report = around.reports.get(server.region)
            same = bool(report and report.id and report.id == replication.source)
            if same or (replication.host, replication.port) in places:
                return f"{replication.host}:{replication.port} ({server.region})"
    return ""


def source_of(settings: Databases, region: str, primary: str) -> tuple[str, int]:
    """The replication source of `region` for the primary of region `primary`, which is the tunnels' own address or the
    server's."""
    own, server = settings.server(region), settings.server(primary)
    if own and own.replication_source:
        return address(own.replication_source)
    if server is None:
        raise ValueError(f"{primary} has no [[databases.servers]]")
    return address(server.remote_address) if server.remote_address else (server.host, server.port)


def _late(settings: Databases, behind: Lag, replication: ReplicaStatus) -> Iterator[tuple[str, str]]:
    errors = "; ".join(thread.error for thread in (replication.io, replication.sql) if thread.error)
    tail = f"; IO thread {replication.io.state}, SQL thread {replication.sql.state}" + (f": {errors}" if errors else "")
    if behind.at_least is not None and behind.at_least >= settings.lag_alarm:
        yield "ReplicaLag", f"at least {_seconds(behind.at_least)} behind the primary, by {behind.by}{tail}"
    if behind.at_most is not None and behind.at_most >= settings.stale:
        yield "ReplicaStale", f"may be {_seconds(behind.at_most)} behind, so the region's database is not ready{tail}"


def missing_gtids(state: ServerStatus, report: RegionReport | None) -> GtidSet:
    """The transactions of the primary at its region's last report that this server lacks."""
    if report is None or not report.executed_gtids:
        return GtidSet()
    return gtid.subtract(state.executed_gtids, report.executed_gtids)


def _seconds(value: float) -> str:
    return f"{value:.0f} s"
