"""The resources of the conformance check in a hosted zone, and their removal in every case."""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.client import pages
from commands.conformance.cases import CHECKS, LABEL, MARK, Record, records
from commands.conformance.client import Calls
from commands.deploy import account
from commands.errors import UsageError

_SYNC_SECONDS = 300
_LOOK_SECONDS = 5


class Place(msgspec.Struct, frozen=True):
    """A hosted zone by its id, and the hostname in it, in small letters without the last dot."""

    zone: str
    hostname: str

    @property
    def prefix(self) -> str:
        """How the caller references of all health checks begin that were ever made for this place."""
        return f"{MARK}:{hashlib.sha256(f'{self.zone} {self.hostname}'.encode()).hexdigest()[:8]}:"


class Left(msgspec.Struct, frozen=True):
    """The remains of an earlier run in a place. `note` is its mark."""

    records: tuple[Record, ...] = ()
    checks: tuple[Record, ...] = ()
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.records or self.checks)


def find(calls: Calls, zone: str, hostname: str) -> Place:
    """The place, if the check may be made there at all. `UsageError` otherwise."""
    found = calls.route53.get_hosted_zone(Id=zone)["HostedZone"]
    place = Place(found["Id"].rpartition("/")[2], hostname.lower().rstrip("."))
    name = found["Name"].rstrip(".")
    if found.get("Config", {}).get("PrivateZone"):
        raise UsageError(f"{zone} is a private hosted zone. TestDNSAnswer knows public ones only, so name one of those")
    if not place.hostname.endswith(f".{name}"):
        raise UsageError(f"{hostname} does not lie within {name}, the hosted zone {zone}. Take one such as "
                      f"lamp-test.{name}")
    return place


def left(calls: Calls, place: Place) -> Left:
    """The remains of an earlier run. `UsageError` if there is anything else at the hostname or below."""
    there = list(records_at(calls, place))
    foreign = [record for record in there if not _ours(record, place)]
    if foreign:
        named = ", ".join(dict.fromkeys(f"{record['Type']} {record['Name']}" for record in foreign[:5]))
        raise UsageError(f"{place.hostname} has records already ({named}{', ...' if len(foreign) > 5 else ''}). "
                      "Take a hostname that nobody uses")
    notes = [one["Value"] for record in there if record["Type"] == "TXT" for one in record["ResourceRecords"]]
    return Left(tuple(there), tuple(checks(calls, place)), next(iter(notes), ""))


def records_at(calls: Calls, place: Place) -> Iterator[Record]:
    """The record sets at the hostname and below. They come together, because the listing goes by name with labels
    reversed."""
    for page in pages(calls.route53, "list_resource_record_sets", HostedZoneId=place.zone,
                      StartRecordName=f"{place.hostname}."):
        for record in page["ResourceRecordSets"]:
            if not f".{record['Name'].lower()}".endswith(f".{place.hostname}."):
                return
            yield record


def checks(calls: Calls, place: Place) -> Iterator[Record]:
    """The account's health checks that were made for this place."""
    for page in pages(calls.route53, "list_health_checks"):
        yield from (check for check in page["HealthChecks"] if check["CallerReference"].startswith(place.prefix))


def _ours(record: Mapping[str, Any], place: Place) -> bool:
    name, base = record["Name"].lower(), f"{LABEL}.{place.hostname}."
    if record["Type"] == "TXT":
        return bool(name == base and all(f",{MARK}=" in one["Value"] for one in record["ResourceRecords"]))
    return bool(name.endswith(f".{base}") and record.get("SetIdentifier", "").startswith(f"{MARK}:"))


@contextmanager
def made(calls: Calls, place: Place, note: str, keep: bool, extra: Mapping[str, Record]) -> Iterator[dict[str, str]]:
    """All records and health checks for the length of the block. Gives the checks' ids by name.

    They are removed at its end, also after an error or Ctrl-C, unless `keep`. Removal covers stored and found
    resources, because a request without an answer may have made one.
    """
    ids: dict[str, str] = {}
    try:
        _make(calls, place, note, extra, ids)
        yield ids
    finally:
        if not keep:
            clear(calls, place, tuple(ids.values()))


def _make(calls: Calls, place: Place, note: str, extra: Mapping[str, Record], ids: dict[str, str]) -> None:
    """Fills `ids` as it goes."""
    run = secrets.token_hex(4)
    for name, config in {**CHECKS, **extra}.items():
        full = {**config}
        if config["Type"] == "HTTP":
            full["FullyQualifiedDomainName"] = place.hostname
        if "ChildHealthChecks" in config:
            full["ChildHealthChecks"] = [ids[child] for child in config["ChildHealthChecks"]]
        ids[name] = calls.route53.create_health_check(CallerReference=f"{place.prefix}{run}:{name}",
                               HealthCheckConfig=full)["HealthCheck"]["Id"]
    wanted = records(place.zone, place.hostname, ids, note, tuple(extra))
    _change(calls, place, [{"Action": "CREATE", "ResourceRecordSet": record} for record in wanted])


def _change(calls: Calls, place: Place, changes: list[dict[str, Any]]) -> None:
    """One request, which Route 53 carries out entirely or not at all. Waits until all its servers know."""
    batch = {"Comment": f"Lamplighter's conformance check of {place.hostname}", "Changes": changes}
    info = calls.route53.change_resource_record_sets(HostedZoneId=place.zone, ChangeBatch=batch)["ChangeInfo"]
    until = calls.pace.now() + _SYNC_SECONDS
    while info["Status"] != "INSYNC":
        if calls.pace.now() > until:
            raise UsageError(f"{info['Id']} is {info['Status']} after {_SYNC_SECONDS} s. Try again later")
        calls.pace.sleep(_LOOK_SECONDS)
        info = calls.route53.get_change(Id=info["Id"])["ChangeInfo"]


def clear(calls: Calls, place: Place, known: tuple[str, ...] = ()) -> Left:
    """Removes all that any run made in this place, and says what that was. Also the health checks `known` by id."""
    try:
        gone = left(calls, place)
        changes = [{"Action": "DELETE", "ResourceRecordSet": record} for record in leaving(gone.records)]
        if changes:
            # Nothing depends on their being gone everywhere.
            calls.route53.change_resource_record_sets(HostedZoneId=place.zone, ChangeBatch={"Changes": changes})
        first = sorted(gone.checks, key=lambda check: check["HealthCheckConfig"]["Type"] != "CALCULATED")
        # Those that watch others were made last, and go first.
        for id in dict.fromkeys([*(check["Id"] for check in first), *reversed(known)]):
            _delete(calls, id)
        return gone
    except (ClientError, BotoCoreError) as error:
        raise UsageError(f"{account.explain(error, '')}\nnot all that was made is removed: run ./lamp routing "
                      f"conformance --zone {place.zone} --hostname {place.hostname} --clear") from error


def _delete(calls: Calls, id: str) -> None:
    with suppress(calls.route53.exceptions.NoSuchHealthCheck):
        calls.route53.delete_health_check(HealthCheckId=id)


def leaving(there: tuple[Record, ...]) -> list[Record]:
    """Record sets in an order for deletion, each alias before its target."""
    rest, found = list(there), list[Record]()
    while rest:
        aims = {record["AliasTarget"]["DNSName"].lower() for record in rest if "AliasTarget" in record}
        free = [record for record in rest if record["Name"].lower() not in aims]
        if not free:
            return [*found, *rest]
        found += free
        rest = [record for record in rest if record["Name"].lower() in aims]
    return found
