"""Which replica becomes the primary, whether it may, and what could be lost. Pure.

The order is fixed. Claim the next term, fence every other server that may take writes, let the candidate apply its
events, open it, and change the sources of the rest. While an old primary may still be written to nothing is opened,
unless a person says why.
"""

from collections.abc import Iterator, Mapping

import msgspec

from chalicelib.databases.details import FenceMethod
from chalicelib.databases.observation import PromotionObservation
from chalicelib.databases.state import FRESH, PrimaryRecord, Promotion
from chalicelib.mysql import gtid
from chalicelib.mysql.gtid import GtidSet
from chalicelib.mysql.status import ServerError, ServerStatus


class Refusal(Exception):
    """It may not be done as asked. The text says why and what to do."""


class Choice(msgspec.Struct, frozen=True):
    """The decision of a promotion. `close` says for each region that may take writes how it gets fenced.

    `claim` is the primary item to write first, `None` to go on with the promotion that is under way. `notes` are for
    whoever decides.
    """

    to: str
    old: str
    close: dict[str, FenceMethod]
    follow: tuple[str, ...]
    claim: PrimaryRecord | None
    forced: str
    notes: tuple[str, ...]


def choose(seen: PromotionObservation) -> Choice:
    """The promotion to carry out. Raises `Refusal`."""
    primary = seen.around.primary
    resumed = primary.promotion if primary.promotion and seen.to in ("", primary.promotion.to) else None
    old = resumed.old if resumed else primary.region
    to = resumed.to if resumed else seen.to or best(seen, old)
    forced = seen.force or (resumed.forced if resumed else "")
    chosen = validated_candidate(seen, to, old, bool(resumed))
    close = dict(_close(seen, to, old, forced))
    notes = list(_notes(seen, chosen, to, old, close))
    if not resumed:
        notes += _stuck(chosen, forced)
        notes += _other_history(seen, chosen, old, forced)
        notes += _ahead(seen, chosen, old, forced)
    follow = tuple(region for region, look in seen.looks.items()
                   if region not in (to, old) and isinstance(look, ServerStatus) and look.replication)
    claim = None if resumed else _claim(seen, to, old, close, forced)
    return Choice(to, old, close, follow, claim, forced, tuple(notes))


def best(seen: PromotionObservation, old: str) -> str:
    """The replica that has most. Of equals the first of the fleet's order."""
    fit_ones = {region: gtids_after_promotion(look) for region, look in seen.looks.items()
                if region != old and isinstance(look, ServerStatus) and not promotion_blocker(look)}
    if not fit_ones:
        said = "; ".join(f"{region}: {look if isinstance(look, ServerError) else promotion_blocker(look)}"
                         for region, look in seen.looks.items() if region != old)
        raise Refusal(f"no replica can become the primary ({said or 'there is none'})")
    of_one_history = {region: gtids for region, gtids in fit_ones.items() if not _diverged(seen, gtids, old)}
    first = gtid.most_advanced(of_one_history or fit_ones)
    if not first:
        raise Refusal(f"each of {', '.join(fit_ones)} has transactions that another lacks: look at them, then name the "
                      'region to keep, {"region": "...", "force": "why"}')
    return min(first, key=seen.around.order.index)


def promotion_blocker(look: ServerStatus) -> str:
    """Why a replica cannot become the primary, if so."""
    if look.replication is None:
        return "does not replicate"
    if not look.replication.gtid:
        return "does not replicate by GTID"
    if not look.log_bin or not look.log_updates:
        return "has no binary log of what it replicates (log_bin and log_slave_updates)"
    return ""


def validated_candidate(seen: PromotionObservation, to: str, old: str, resumed: bool) -> ServerStatus:
    """The server of `to`, if it can become (or remain) the primary."""
    look = seen.looks.get(to)
    if look is None:
        raise Refusal(f"{to!r} has no [[databases.servers]]. There are: {', '.join(seen.looks)}")
    if isinstance(look, ServerError):
        raise Refusal(f"{look}. A server that does not answer cannot become the primary. Name another region")
    if to != old and not resumed and (why := promotion_blocker(look)):
        raise Refusal(f"the server in {to} {why}")
    return look


def gtids_after_promotion(look: ServerStatus) -> GtidSet:
    """The transactions that a replica will have when it opens. Those in its relay log count only if it can apply them.

    It cannot if the SQL thread has stopped with an error. On MariaDB it also cannot if both threads stand still,
    because starting either empties the relay log.
    """
    replication = look.replication
    if replication is None or replication.sql.state == "running":
        return look.retrieved_gtids
    both = replication.io.state == "stopped" and look.engine == "mariadb"
    return look.executed_gtids if replication.sql.errno or both else look.retrieved_gtids


def proven(seen: PromotionObservation, region: str) -> bool:
    """Whether the own watch of a region that does not answer us has lately seen it fenced and read-only."""
    report, primary = seen.around.reports.get(region), seen.around.primary
    return bool(report and region in primary.fenced and report.fenced and report.reachable and report.read_only
                and report.term == primary.term and seen.around.at - report.at <= FRESH)


def _close(seen: PromotionObservation, to: str, old: str, forced: str) -> Iterator[tuple[str, FenceMethod]]:
    """Each region but the chosen one that takes writes, or may."""
    under_way = seen.around.primary.promotion
    suspects = ({old} | ({under_way.to, under_way.old} if under_way else set())) - {to}
    for region, look in seen.looks.items():
        if isinstance(look, ServerStatus) and region != to and (region in suspects or not look.read_only):
            yield region, "set-read-only"
        elif isinstance(look, ServerError) and region in suspects:
            if not proven(seen, region) and not forced:
                raise Refusal(_unproven(region, look))
            yield region, "proof" if proven(seen, region) else "forced"


def _unproven(region: str, look: ServerError) -> str:
    return (f"{look}: it may still be written to. Run databases.fence in {region} if its Lambda answers, and try again "
            f'when its watch has confirmed. Or, if you know that it is dead and stays so, say why: {{"force": "..."}}')


def _stuck(chosen: ServerStatus, forced: str) -> Iterator[str]:
    """The received transactions that the candidate cannot apply, a reason to refuse."""
    if not (unusable := gtid.subtract(gtids_after_promotion(chosen), chosen.retrieved_gtids)):
        return
    error = chosen.replication.sql.error if chosen.replication else ""
    error = error or "both threads stand still, and MariaDB empties its relay log when one starts"
    text = f"{chosen.region} has received {unusable} ({unusable.count} transactions) and cannot apply it ({error})"
    if not forced:
        raise Refusal(f'{text}. Mend that first, or accept the loss: {{"force": "why"}}')
    yield f"{text}. That is lost, as forced"


def _diverged(seen: PromotionObservation, gtids: GtidSet, old: str) -> GtidSet:
    """The transactions by which a replica with these is of another history than the old primary, as far as known."""
    look, report, opened = seen.looks.get(old), seen.around.reports.get(old), seen.around.primary.position
    if isinstance(look, ServerStatus):
        return gtid.diverged(look.executed_gtids, look.id, gtids)
    if report is None or not opened:
        return GtidSet()
    # It got nothing from others since it was opened.
    return gtid.diverged(gtid.union(opened, report.executed_gtids), report.id, gtids)


def diverged_text(to: str, more: GtidSet, old: str) -> str:
    """The reason not to promote a replica of another history."""
    return (f"{to} has {more} ({more.count} transactions), which {old} never had. The two have diverged, so that GTIDs "
            f"do not show what {to} lacks")


def _other_history(seen: PromotionObservation, chosen: ServerStatus, old: str, forced: str) -> Iterator[str]:
    """The reason to refuse a replica that followed another server when the old primary became one."""
    more = _diverged(seen, chosen.retrieved_gtids, old) if chosen.region != old else GtidSet()
    if more and not forced:
        raise Refusal(f"{diverged_text(chosen.region, more, old)}. Make it anew from {old}, choose another region, or "
                      'accept the loss: {"force": "why"}')
    if more:
        yield f"{diverged_text(chosen.region, more, old)}. That is lost, as forced"


def _ahead(seen: PromotionObservation, chosen: ServerStatus, old: str, forced: str) -> Iterator[str]:
    """The transactions of others that the candidate lacks, a reason to refuse."""
    mine = gtids_after_promotion(chosen)
    for region, more in _more(seen, chosen, mine, old):
        text = f"{region} has {more} ({more.count} transactions), which {chosen.region} lacks"
        if not forced:
            raise Refusal(f'{text}. Mend replication first, choose {region}, or accept the loss: {{"force": "why"}}')
        yield f"{text}. That is lost, as forced"


def _more(seen: PromotionObservation, chosen: ServerStatus, mine: GtidSet, old: str) -> Iterator[tuple[str, GtidSet]]:
    if (
        isinstance(seen.looks.get(old), ServerStatus)
        and chosen.replication
        and chosen.replication.io.state == "running"
    ):
        # All that others have came from the old primary: once that is closed the rest is waited for.
        return
    for region, look in seen.looks.items():
        report = seen.around.reports.get(region)
        has = look.retrieved_gtids if isinstance(look,
                                                 ServerStatus) else report.retrieved_gtids if report else GtidSet()
        if region != chosen.region and (more := gtid.subtract(mine, has)):
            yield region, more


def _notes(
    seen: PromotionObservation, chosen: ServerStatus, to: str, old: str, close: Mapping[str, FenceMethod]
) -> Iterator[str]:
    waiting = gtid.subtract(chosen.executed_gtids, gtids_after_promotion(chosen))
    if waiting:
        yield f"{to} has still to apply {waiting.count} transactions that it has received"
    if to != old:
        yield loss(seen, chosen, old)
    for region, look in seen.looks.items():
        if isinstance(look, ServerError) and region not in close:
            yield f"{look}. When it is there again, databases.heal in {region} repoints it"
        if close.get(region) == "forced":
            yield f"{region} has no fence. Writes there from now on are lost when it comes back"


def loss(seen: PromotionObservation, chosen: ServerStatus, old: str) -> str:
    """The transactions of the old primary that nobody received. They are GTIDs if it answers, and otherwise a span of
    time."""
    look, report = seen.looks.get(old), seen.around.reports.get(old)
    if isinstance(look, ServerStatus):
        more = gtid.subtract(gtids_after_promotion(chosen), look.executed_gtids)
        return (f"{old} answers. {more.count} transactions are under way, and the promotion waits for them once it "
                "is closed" if more else
                f"{old} answers, and {chosen.region} has all its data, so nothing is lost")
    known = gtid.subtract(gtids_after_promotion(chosen), report.executed_gtids) if report else GtidSet()
    beat = chosen.heartbeats.get(old)
    skew = report.skew if report else 0.0
    span = f"at most the writes of the last {max(0.0, seen.around.at + skew - beat):.0f} s" if beat else \
        "no heartbeat says how much at most"
    sure = f"; of that, its watch had seen {known} ({known.count} transactions)" if known else ""
    return f"{old} does not answer. Nobody knows the writes that no replica received, {span}{sure}"


def _claim(
    seen: PromotionObservation, to: str, old: str, close: Mapping[str, FenceMethod], forced: str
) -> PrimaryRecord:
    """The item to write. Its times are put in when it is, so that they do not change the plan's digest."""
    primary = seen.around.primary
    fenced = tuple(sorted({*primary.fenced, *close, *({old} - {to})}))
    # A record that went back does not count the terms that were seen since.
    term = max(primary.term, seen.around.newest_term) + 1
    return PrimaryRecord(primary.region, term, 0, fenced, Promotion(to, old, "claimed", 0, forced),
                  primary.position, primary.lost)
