"""The judgments within a promotion, from its claim to its end. Pure.

Each step reads the primary's record again, so that a run whose promotion is no longer the one in the table stops.
"""

from collections.abc import Collection
from typing import Literal, get_args

import msgspec

from chalicelib.databases import details
from chalicelib.databases.decide.promotion import diverged_text, gtids_after_promotion
from chalicelib.databases.state import PrimaryRecord, Promotion, RegionReport, Steps
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.status import ServerError, ServerStatus

AGAIN = "Run databases.promote again, it goes on from here"
# How long a replica may take to fetch the rest from the old primary, and to apply what it has (s).
FETCH_SECONDS, APPLY_SECONDS = 60, 300

_ORDER = get_args(Steps)
_NONE = GtidSet()

Move = Literal["wait", "start-sql", "stop-io", "done", "later"]


class UnderWay(msgspec.Struct, frozen=True):
    """The promotion that is in the table, with its record as it was read."""

    stored: Stored[PrimaryRecord]
    promotion: Promotion

    @property
    def primary(self) -> PrimaryRecord:
        """The record."""
        return self.stored.value


class Verdict(msgspec.Struct, frozen=True):
    """The result of a step in words. With `rejected` it ends the run, with `again` until it runs again.

    `gtids` are the final transactions of a closed server, or those that are lost.
    """

    text: str = ""
    rejected: str = ""
    again: str = ""
    gtids: GtidSet = _NONE


class OldPrimary(msgspec.Struct, frozen=True):
    """The final transactions of the old primary as far as they are known, and whether it still gives them.

    `id` is that of a server that answers.
    """

    gtids: GtidSet = _NONE
    answers: bool = True
    rejected: str = ""
    id: str = ""


def claimed(primary: PrimaryRecord, now: int) -> PrimaryRecord:
    """The record of a claim, with its times."""
    if primary.promotion is None:
        return primary
    promotion = msgspec.structs.replace(primary.promotion, began=now)
    return msgspec.structs.replace(primary, since=now, promotion=promotion)


def under_way(found: Stored[PrimaryRecord] | Unreadable | None, step: details.Promotion) -> UnderWay | str:
    """The promotion that `step` belongs to, or the reason why it is no longer the one in the table."""
    if isinstance(found, Unreadable):
        return f"the record of the primary has become unreadable, so that this promotion stops here ({found})"
    primary = found.value if found else PrimaryRecord("")
    if found is None or primary.promotion is None or (primary.term, primary.promotion.to) != (step.term, step.to):
        return (f"term {step.term} is over: the primary is {primary.region or 'unknown'}, term {primary.term}; nothing "
                "more is done")
    return UnderWay(found, primary.promotion)


def closed(step: details.CloseWriter, outcome: ServerStatus | ServerError, cut: int, region: str) -> Verdict:
    """The result of the attempt to keep a server from taking writes. One that may take them stops the promotion."""
    if isinstance(outcome, ServerError):
        if step.forced:
            return Verdict(f"not closed ({outcome}), as forced")
        return Verdict(again=f"{outcome}: it may still be written to; {AGAIN}")
    if not outcome.read_only:
        return Verdict(rejected=f"{region} takes writes although it was told not to: {AGAIN}")
    return Verdict(f"read-only, {cut} connections cut off", gtids=outcome.executed_gtids)


def old_primary(
    old: ServerStatus | ServerError, report: Stored[RegionReport] | Unreadable | None, current: UnderWay,
    step: details.ApplyRelayLog,
) -> OldPrimary:
    """The final transactions of the old primary. Fenced, it gets no more.

    Without an answer, they are those at the time of the fence and those in its own region's report.
    """
    final = current.promotion.old_primary_final_gtids
    if isinstance(old, ServerStatus):
        opened = not old.read_only and not step.forced
        again = f"{step.old} takes writes again: something opens it; {AGAIN}" if opened else ""
        return OldPrimary(old.executed_gtids, rejected=again, id=old.id)
    if isinstance(report, Unreadable):
        # What it had when it was closed is all that it had, if that is known.
        unknown = (f"{step.old} does not answer, and what it had cannot be read: {report}. Mend that first, or accept "
                   'the loss: {"force": "why"}')
        return OldPrimary(final, False, "" if step.forced or final else unknown)
    return OldPrimary(gtid.union(final, report.value.executed_gtids if report else _NONE), False)


def fetched(status: ServerStatus, old: OldPrimary) -> bool:
    """Whether all events are there, or no more will come. A thread that connects to a dead primary waits for ever."""
    flows = status.replication is not None and (
        status.replication.io.state == "running" or (old.answers and status.replication.io.state == "connecting"))
    return not flows or gtid.is_subset(status.retrieved_gtids, old.gtids)


def next_move(status: ServerStatus, old: OldPrimary, waited_seconds: float, made: Collection[Move]) -> Move:
    """The next move of the candidate, which fetches what the old primary still gives and applies all that it can.

    `waited_seconds` count from the beginning, and anew once the IO thread was stopped. `made` are the moves so far.
    """
    replication = status.replication
    if replication is None:
        return "done"
    if replication.io.state != "stopped" and "stop-io" not in made:
        if not fetched(status, old) and waited_seconds < FETCH_SECONDS:
            return "wait"
        # While the IO thread runs, starting the other one keeps the relay log.
        startable = replication.sql.state == "stopped" and not replication.sql.errno
        return "start-sql" if startable and "start-sql" not in made else "stop-io"
    if gtid.is_subset(status.executed_gtids, gtids_after_promotion(status)):
        return "done"
    return "wait" if waited_seconds < APPLY_SECONDS else "later"


def drained(status: ServerStatus, old: OldPrimary, current: UnderWay, step: details.ApplyRelayLog) -> Verdict:
    """The transactions that are lost with the candidate as it is now. Nothing is, unless a person has accepted it."""
    # A candidate that has drained before may be open already, with transactions of its own since.
    is_first = _ORDER.index(current.promotion.step) < _ORDER.index("drained")
    more = gtid.diverged(old.gtids, old.id, status.retrieved_gtids) if old.id and is_first else _NONE
    if more and not step.forced:
        return Verdict(rejected=f"{diverged_text(step.to, more, step.old)}. To go back, promote {step.old}; to accept "
                                'the loss, say why: {"force": "..."}')
    lost = gtid.subtract(status.executed_gtids, gtid.union(old.gtids, status.retrieved_gtids))
    if lost and not step.forced:
        return Verdict(rejected=(
            f"{step.to} lacks {lost} ({lost.count} transactions) that the old primary or its own relay log has. To go "
            f'back, promote {step.old}; to accept the loss, say why: {{"force": "..."}}'))
    return Verdict(f"{step.to} has applied what it can" + (
        f"; lost: {lost}, {lost.count} transactions" if lost else ", all of it"), gtids=lost)


def advanced(
    current: UnderWay, step: Steps, *, forced: str, final: GtidSet = _NONE, lost: GtidSet | None = None
) -> PrimaryRecord:
    """The record once `step` is done, with what the old primary had at last. A run behind another one changes no step.

    A force that was given later than the claim counts from then on, as that of a claim does.
    """
    later = _ORDER.index(step) > _ORDER.index(current.promotion.step)
    promotion = msgspec.structs.replace(
        current.promotion, step=step if later else current.promotion.step, forced=forced or current.promotion.forced,
        old_primary_final_gtids=gtid.union(current.promotion.old_primary_final_gtids, final))
    new = msgspec.structs.replace(current.primary, promotion=promotion)
    return msgspec.structs.replace(new, lost=lost) if later and lost is not None else new


def named(current: UnderWay, position: GtidSet) -> PrimaryRecord:
    """The record that names the new primary. Its fence is taken away, also one that was put up manually meanwhile."""
    primary, promotion, to = current.primary, current.promotion, current.promotion.to
    first = _ORDER.index(promotion.step) < _ORDER.index("opening")
    if not first and to not in primary.fenced:
        return primary
    return msgspec.structs.replace(
        primary, region=to, fenced=tuple(region for region in primary.fenced if region != to),
        position=position if first else primary.position,
        promotion=msgspec.structs.replace(promotion, step="opening") if first else promotion)


def left_alone(status: ServerStatus, source: details.ReplicationSource, primary: PrimaryRecord) -> str:
    """The reason why a replica's source is not changed, if so. It diverges, or replicates from there already."""
    if more := gtid.subtract(primary.position, status.executed_gtids):
        return f"left alone: it has {more}, which the primary lacks; make it anew"
    replication = status.replication
    if replication is None or replication.io.state != "running":
        return ""
    same = (replication.host, replication.port, replication.source) == (source.host, source.port, source.id)
    return f"replicates from {source.host}:{source.port} already" if same else ""


def unopened(status: ServerStatus | ServerError, region: str) -> str:
    """The reason why the promotion is not over yet, if so. The new primary must be seen to take writes."""
    if isinstance(status, ServerError):
        return str(status)
    return f"{region} is read-only" if status.read_only else ""


def finished(primary: PrimaryRecord, now: int) -> PrimaryRecord:
    """The record of a promotion that is over."""
    return msgspec.structs.replace(primary, promotion=None, since=now)
