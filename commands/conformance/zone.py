"""The resources of the conformance check in a hosted zone, and their removal in every case."""

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from chalicelib.aws.client import AWS_ERRORS
from chalicelib.aws.route53 import AwsRoute53, HealthCheck, Pace
from commands.conformance.cases import LABEL, MARK, Record, in_order, records
from commands.deploy import account
from commands.errors import UsageError

# Route 53's API is served from there, whatever region asks.
REGION = "us-east-1"
# Route 53 takes five requests a second from an account, and others need some, too.
_PAUSE_SECONDS = 0.25
_LOOK_SECONDS = 5


class Place:
    """A hostname in a hosted zone, with Route 53 at the pace that it allows.

    `client` is boto3's, for the calls that no operation needs and `route53` does not have. `UsageError` if the check
    may not be made there.
    """

    def __init__(self, client: Any, zone: str, hostname: str, *,
                 clock: Callable[[], float], wait: Callable[[float], None]) -> None:
        pace = Pace(_PAUSE_SECONDS, clock, wait)
        client.meta.events.register("before-call", lambda **_: pace.keep(), unique_id="conformance")
        self.client, self.clock, self.wait = client, clock, wait
        self.route53 = AwsRoute53(REGION, lambda service, region: client, pause_seconds=0)
        found = client.get_hosted_zone(Id=zone)
        self.zone, self.hostname = found["HostedZone"]["Id"].rpartition("/")[2], hostname.lower().rstrip(".")
        self.name_servers: Sequence[str] = found.get("DelegationSet", {}).get("NameServers", [])
        name = found["HostedZone"]["Name"].rstrip(".")
        if found["HostedZone"].get("Config", {}).get("PrivateZone"):
            raise UsageError(f"{zone} is a private hosted zone. TestDNSAnswer knows public ones only, so name one of "
                             "those")
        if not self.hostname.endswith(f".{name}"):
            raise UsageError(f"{hostname} does not lie within {name}, the hosted zone {zone}. Take one such as "
                             f"lamp-test.{name}")
        # How the caller references of all health checks begin that were ever made for this place.
        self.prefix = f"{MARK}:{hashlib.sha256(f'{self.zone} {self.hostname}'.encode()).hexdigest()[:8]}:"

    def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Whether it is `done` within `seconds`. Asked every five."""
        deadline = self.clock() + seconds
        while not done():
            if self.clock() > deadline:
                return False
            self.wait(_LOOK_SECONDS)
        return True


class Remains(NamedTuple):
    """The resources of an earlier run in a place."""

    records: Sequence[Record]
    checks: Sequence[HealthCheck]


def remains(place: Place) -> Remains:
    """The resources of an earlier run. `UsageError` if there is anything else at the hostname or below."""
    there = [record for record in place.route53.record_sets(place.zone)
             if f".{record['Name'].lower()}".endswith(f".{place.hostname}.")]
    foreign = [f"{record['Type']} {record['Name']}" for record in there if not (
        record["Name"].lower().endswith(f".{LABEL}.{place.hostname}.")
        and record.get("SetIdentifier", "").startswith(f"{MARK}:"))]
    if foreign:
        named = ", ".join(dict.fromkeys(foreign[:5]))
        raise UsageError(f"{place.hostname} has records already ({named}{', ...' if len(foreign) > 5 else ''}). "
                         "Take a hostname that nobody uses")
    return Remains(there, place.route53.health_checks(place.prefix))


@contextmanager
def made(place: Place, checks: Mapping[str, Record], keep: bool) -> Iterator[dict[str, str]]:
    """All records and health checks for the length of the block. Gives the checks' ids by name.

    They are removed at its end, also after an error or Ctrl-C, unless `keep`. Removal covers stored and found
    resources, because a request without an answer may have made one.
    """
    ids: dict[str, str] = {}
    run = secrets.token_hex(4)
    try:
        for name, declared in checks.items():
            config = dict(declared)
            if config["Type"] == "HTTP":
                config["FullyQualifiedDomainName"] = place.hostname
            if "ChildHealthChecks" in config:
                config["ChildHealthChecks"] = [ids[child] for child in config["ChildHealthChecks"]]
            ids[name] = place.route53.create_health_check(f"{place.prefix}{run}:{name}", config).id
        _change(place, "CREATE", records(place.zone, place.hostname, ids))
        yield ids
    finally:
        if not keep:
            clear(place, ids.values())


def clear(place: Place, known: Collection[str] = ()) -> Remains:
    """Removes all that any run made in this place, and says what that was. Also the health checks `known` by id."""
    try:
        gone = remains(place)
        if gone.records:
            _change(place, "DELETE", in_order(gone.records)[::-1])
        # Calculated checks go before those that they watch, and were made after them.
        listed = sorted(gone.checks, key=lambda check: check.config["Type"] != "CALCULATED")
        for id in dict.fromkeys([*(check.id for check in listed), *reversed([*known])]):
            with suppress(place.client.exceptions.NoSuchHealthCheck):
                place.route53.delete_health_check(id)
        return gone
    except AWS_ERRORS as error:
        raise UsageError(f"{account.explain(error, '')}\nnot all that was made is removed: run ./lamp routing "
                         f"conformance --zone {place.zone} --hostname {place.hostname} --clear") from error


def _change(place: Place, action: str, several: Sequence[Record]) -> None:
    """One request, which Route 53 carries out entirely or not at all."""
    changes = [{"Action": action, "ResourceRecordSet": record} for record in several]
    place.route53.change_record_sets(place.zone, changes, f"Lamplighter's conformance check of {place.hostname}")
