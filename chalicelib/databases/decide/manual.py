"""The manual operations, which tune, fence, promote and report. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from chalicelib.databases import details
from chalicelib.databases.decide import conditions, promotion, repair
from chalicelib.databases.observation import FleetDatabases, PromotionObservation, ServerObservation
from chalicelib.databases.state import PRIMARY_KEY, body
from chalicelib.engine import alert_text
from chalicelib.engine.plan import Action, Plan
from chalicelib.mysql import dialect, gtid
from chalicelib.mysql.status import ServerError, ServerStatus

_RDS = ("SQL cannot fence a server of Amazon RDS, since its read_only belongs to the parameter group. Promote with "
        "PromoteReadReplica of RDS, then name the region as primary in fleet.toml. See docs/databases.md")
_HOW = {"set-read-only": "read-only, and its writers cut off", "proof": "its own watch has closed it",
        "forced": "does not close, and the force passes over it"}
_CONNECT_ERRORS = "max_connect_errors"


def tune(one: ServerObservation) -> Plan:
    """Applies the settings for a fast recovery, while replication is healthy, because MariaDB fetches unapplied events
    anew. On every server, also the primary, it lets connections that do not log in block no host."""
    look, region = one.look, one.around.region
    if not isinstance(look, ServerStatus):
        return Plan(rejected_because=str(look or f"{region} has no server"))
    missing = untuned(look)
    if not missing and look.replication is None:
        return Plan(rejected_because=f"the server in {region} is no replica, so there is nothing to tune")
    if not missing:
        return Plan(notes=("all settings have their values already",))
    if one.around.settings.flavour == "rds":
        return Plan(rejected_because=f"Amazon RDS takes these in its parameter group and on its own terms ({missing})")
    errors = {name: value for name, value in missing.items() if name == _CONNECT_ERRORS}
    tolerate = (Action("tolerate-connects", region, "a port scan through a tunnel would stop replication for all",
                       errors),)
    if not (slow := {name: value for name, value in missing.items() if name != _CONNECT_ERRORS}):
        return Plan(tolerate)
    if why := repair.repair_forbidden(one.around):
        return Plan(rejected_because=why)
    if repair.stopped(look) or look.replication is None or look.replication.io.state != "running":
        return Plan(rejected_because="replication does not run. Repair it first, since tuning restarts it")
    restart = Action("tune", region, "replication recovers in seconds instead of minutes", slow)
    return Plan((restart, *(tolerate if errors else ())))


def untuned(look: ServerStatus) -> dict[str, Any]:
    """Possible improvements, each with its value and the better one."""
    replication = look.replication
    found: dict[str, tuple[float | None, int]] = {}
    if replication:
        found["replica_net_timeout"] = (look.replica_net_timeout, dialect.NET_TIMEOUT)
        found["connect_retry"] = (replication.connect_retry, dialect.CONNECT_RETRY)
        if replication.heartbeat is not None:
            found["heartbeat_period"] = (replication.heartbeat, dialect.HEARTBEAT)
    if 0 < look.max_connect_errors < dialect.CONNECT_ERRORS:
        found[_CONNECT_ERRORS] = (look.max_connect_errors, dialect.CONNECT_ERRORS)
    return {name: {"is": value, "better": better} for name, (value, better) in found.items() if value != better}


def fence(one: ServerObservation) -> Plan:
    """Fences this region's server manually. This is the proof that a promotion elsewhere waits for."""
    around, region = one.around, one.around.region
    if not isinstance(one.look, ServerStatus):
        return Plan(rejected_because=str(one.look or f"{region} has no server"))
    if around.settings.flavour == "rds":
        return Plan(rejected_because=_RDS)
    if why := _primary_unknown(around):
        return Plan(rejected_because=why)
    fenced = tuple(sorted({*around.primary.fenced, region}))
    primary = msgspec.structs.replace(around.primary, fenced=fenced)
    return Plan((Action("record-fence", region, "nobody may write here; paths to it are not restored",
                        details.RecordFence(around.version, primary)),
                 Action("set-read-only", region, "read-only, and its writers cut off", details.Fence(primary.term))),
                notes=(f"to open it again: databases.promote of {region}",))


def promote(seen: PromotionObservation) -> Plan:
    """The promotion, step by step. The plan's digest stays as long as the same would be done."""
    if seen.around.settings.flavour == "rds" or not seen.around.settings.admin_secret:
        return Plan(rejected_because=_RDS if seen.around.settings.flavour == "rds" else
                    "databases.promote needs admin_secret in fleet.toml, see docs/databases.md")
    if why := _primary_unknown(seen.around, seen.force) or _report_unknown(seen):
        return Plan(rejected_because=why)
    try:
        choice = promotion.choose(seen)
    except promotion.Refusal as refusal:
        return Plan(rejected_because=str(refusal))
    return Plan(tuple(_steps(seen, choice)), notes=choice.notes, report=_positions(seen))


def _primary_unknown(around: FleetDatabases, force: str = "") -> str:
    """Why nobody may change who the primary is, if so."""
    if around.went_back and not force:
        return (f"a record of the primary of term {around.newest_term} was seen, and the table has an earlier one. See "
                "which server takes writes (databases.status). Then promote the region that has the primary, and say "
                'why: {"region": "...", "force": "the table was restored"}')
    return next((f"the record of the primary is unreadable ({item}). Look at it with {alert_text.show_command(item)}"
                 for item in around.unreadable if (item.key.pk, item.key.sk) == PRIMARY_KEY), "")


def _report_unknown(seen: PromotionObservation) -> str:
    """Why what a region has is not known at all, if so: its server does not answer, and its report cannot be read."""
    if seen.force:
        return ""
    return next((f"{item.key.sk} does not answer, and its report cannot be read: {item}. Mend that first, or accept "
                 'that what it had is lost: {"force": "why"}' for item in seen.around.unreadable
                 if isinstance(seen.looks.get(item.key.sk), ServerError)), "")


def _steps(seen: PromotionObservation, choice: promotion.Choice) -> Iterator[Action]:
    to, forced = choice.to, choice.forced
    term = choice.claim.term if choice.claim else seen.around.primary.term
    if choice.claim:
        yield Action("claim", to, f"term {term}: {choice.old} hands over to {to}",
                     details.ClaimTerm(to, term, forced, seen.around.version, choice.claim))
    for region, how in choice.close.items():
        reason = f"{_HOW[how]}: {forced}" if how == "forced" else _HOW[how]
        yield Action("set-read-only", region, reason, details.CloseWriter(to, term, forced, how))
    yield Action("apply-relay-log", to, "applies all that it has received",
                 details.ApplyRelayLog(to, term, forced, choice.old))
    yield Action("set-writable", to, "becomes the primary", details.Promotion(to, term, forced))
    for region in choice.follow:
        host, port = conditions.source_of(seen.around.settings, region, to)
        source = details.ReplicationSource(host, port, _id(seen, to))
        yield Action("change-source", region, f"replicates from {to}",
                     details.ChangeSource(to, term, forced, source))
    yield Action("finish", to, f"{to} has the primary", details.Promotion(to, term, forced))


def _id(seen: PromotionObservation, region: str) -> str:
    look = seen.looks[region]
    return look.id if isinstance(look, ServerStatus) else ""


def _positions(seen: PromotionObservation) -> dict[str, Any]:
    return {
        region: str(look)
        if isinstance(look, ServerError)
        else {
            "has": str(look.executed_gtids),
            "received": str(gtid.subtract(look.executed_gtids, look.retrieved_gtids)),
            "read_only": look.read_only,
            "replicates": look.replication is not None,
        }
        for region, look in seen.looks.items()
    }


def status(one: ServerObservation, now: int) -> Plan:
    """The known state of every region, and possible improvements here."""
    around, look = one.around, one.look
    own: dict[str, Any] = {}
    if look is not None:
        verdict = conditions.ready(around, look)
        own = {"ready": verdict.ready, "why": verdict.why, "problems": dict(conditions.conditions(around, look, now)),
               "untuned": untuned(look) if isinstance(look, ServerStatus) else {}}
    regions = {region: {"age": round(around.at - report.at), "reachable": report.reachable,
                        "read_only": report.read_only, "has": str(report.executed_gtids)}
               for region, report in sorted(around.reports.items())}
    return Plan(report={"primary": body(around.primary), "sure": around.sure, "here": own, "regions": regions,
                        "unreadable": [str(item) for item in around.unreadable]})
