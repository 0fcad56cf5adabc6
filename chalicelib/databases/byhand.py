"""What is done by hand: tuning, fencing, promoting, and the report. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from chalicelib.databases import dialect, gtid, healing, promotion, watching
from chalicelib.databases.records import State, Trouble, body
from chalicelib.databases.seen import One, Throne
from chalicelib.plan import Action, Plan

_RDS = ("a server of Amazon RDS cannot be fenced by SQL: its read_only belongs to the parameter group. Promote with "
        "PromoteReadReplica of RDS, then name the region as master in fleet.toml; see docs/databases.md")
_HOW = {"close": "read-only, and its writers cut off", "proof": "its own watch has closed it",
        "forced": "cannot be closed, and is passed over as forced"}


def tune(one: One) -> Plan:
    """Sets what makes recovery fast, while replication is well: MariaDB fetches anew what was not applied."""
    look = one.look
    if not isinstance(look, State) or look.replication is None:
        return Plan(refusal=str(look or f"{one.around.region} has no server") if not isinstance(look, State) else
                    f"the server in {one.around.region} is no replica: there is nothing to tune")
    missing = untuned(look)
    if not missing:
        return Plan(notes=("all is set already",))
    if one.around.settings.flavour == "rds":
        return Plan(refusal=f"Amazon RDS takes these in its parameter group and on its own terms: {missing}")
    if why := healing.left_alone(one.around):
        return Plan(refusal=why)
    if healing.stopped(look) or look.replication.io.state != "running":
        return Plan(refusal="replication does not run: heal it first, tuning restarts it")
    return Plan((Action("tune", one.around.region, "replication recovers in seconds instead of minutes", missing),))


def untuned(look: State) -> dict[str, Any]:
    """What could be better, each with its value and the better one."""
    replication = look.replication
    found: dict[str, tuple[float | None, int]] = {"replica_net_timeout": (look.net_timeout, dialect.NET_TIMEOUT)}
    if replication:
        found["connect_retry"] = (replication.connect_retry, dialect.CONNECT_RETRY)
        if replication.heartbeat is not None:
            found["heartbeat_period"] = (replication.heartbeat, dialect.HEARTBEAT)
    return {name: {"is": value, "better": better} for name, (value, better) in found.items() if value != better}


def fence(one: One) -> Plan:
    """Closes this region's server by hand: the proof that a promotion elsewhere waits for."""
    around, region = one.around, one.around.region
    if not isinstance(one.look, State):
        return Plan(refusal=str(one.look or f"{region} has no server"))
    if around.settings.flavour == "rds":
        return Plan(refusal=_RDS)
    fenced = tuple(sorted({*around.master.fenced, region}))
    master = msgspec.structs.replace(around.master, fenced=fenced)
    return Plan((Action("mark", region, "nobody may write here; paths to it are not restored",
                        {"rev": around.rev, "master": body(master)}),
                 Action("close", region, "read-only, and its writers cut off", {"term": master.term})),
                notes=(f"to open it again: databases.promote of {region}",))


def promote(throne: Throne) -> Plan:
    """The promotion, step by step; the plan's digest stays as long as the same would be done."""
    if throne.around.settings.flavour == "rds" or not throne.around.settings.admin_secret:
        return Plan(refusal=_RDS if throne.around.settings.flavour == "rds" else
                    "databases.promote needs admin_secret in fleet.toml, see docs/databases.md")
    try:
        choice = promotion.choose(throne)
    except promotion.Refusal as refusal:
        return Plan(refusal=str(refusal))
    return Plan(tuple(_steps(throne, choice)), notes=choice.notes, report=_positions(throne))


def _steps(throne: Throne, choice: promotion.Choice) -> Iterator[Action]:
    master, to = throne.around.master, choice.to
    term = choice.claim.term if choice.claim else master.term
    facts: dict[str, Any] = {"to": to, "term": term, "forced": choice.forced}
    if choice.claim:
        yield Action("claim", to, f"term {term}: {choice.old} hands over to {to}",
                     facts | {"rev": throne.around.rev, "master": body(choice.claim)})
    for region, how in choice.close.items():
        reason = f"{_HOW[how]}: {choice.forced}" if how == "forced" else _HOW[how]
        yield Action("close", region, reason, facts | {"how": how})
    yield Action("drain", to, "applies all that it has received", facts | {"old": choice.old})
    yield Action("open", to, "becomes the master", facts)
    for region in choice.follow:
        host, port = watching.source_of(throne.around.settings, region, to)
        where = {"host": host, "port": port, "id": _id(throne, to)}
        yield Action("point", region, f"replicates from {to}", facts | where)
    yield Action("finish", to, f"{to} has the master", facts)


def _id(throne: Throne, region: str) -> str:
    look = throne.looks[region]
    return look.id if isinstance(look, State) else ""


def _positions(throne: Throne) -> dict[str, Any]:
    return {region: str(look) if isinstance(look, Trouble) else {
        "has": str(look.gtids), "received": str(gtid.lacking(look.gtids, look.received)), "read_only": look.read_only,
        "replicates": look.replication is not None} for region, look in throne.looks.items()}


def status(one: One, now: int) -> Plan:
    """What is known of every region, and what could be better here."""
    around, look = one.around, one.look
    own: dict[str, Any] = {}
    if look is not None:
        verdict = watching.ready(around, look)
        own = {"ready": verdict.ready, "why": verdict.why, "problems": dict(watching.problems(around, look, now)),
               "untuned": untuned(look) if isinstance(look, State) and look.replication else {}}
    regions = {region: {"age": round(around.at - report.at), "reachable": report.reachable,
                        "read_only": report.read_only, "has": str(report.gtids)}
               for region, report in sorted(around.reports.items())}
    return Plan(report={"master": body(around.master), "sure": around.sure, "here": own, "regions": regions})
