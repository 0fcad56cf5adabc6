"""The table of `./lamp routing conformance`, read from cases.toml, and the record sets that it stands for."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import geography

Record = dict[str, Any]
# A label of all names, and how all set identifiers begin: by these a later run knows the resources of an earlier one.
LABEL = "_conform"
MARK = "lamp-conform"
NOTHING = "nothing"


class Case(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One question, which `client` asks so many `times`. `answer` may give each answer's count (at least, at most)."""

    rule: str
    group: str
    client: str
    answer: str | dict[str, tuple[int, int]]
    says: str
    times: int = 1

    @property
    def expected(self) -> Mapping[str, tuple[int, int]]:
        """How many times each answer comes, at least and at most."""
        return {self.answer: (self.times, self.times)} if isinstance(self.answer, str) else self.answer


class Lead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The target of a record set, a value of its own or another group. `check` is the name of its health check."""

    value: str = ""
    alias: str = ""
    check: str = ""
    evaluate: bool = True
    weight: int = 0


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of cases.toml. Groups are by their routing policy."""

    cases: tuple[Case, ...]
    values: dict[str, str]
    clients: dict[str, str]
    checks: dict[str, Record]
    failover: dict[str, tuple[Lead, Lead]]
    weighted: dict[str, tuple[Lead, ...]]
    places: dict[str, dict[str, Lead]]

    @property
    def statuses(self) -> Sequence[Case]:
        """The cases that ask for the status of a check."""
        return [case for case in self.cases if case.group.startswith("status-")]


TABLE = msgspec.convert(tomllib.loads(Path(__file__).with_name("cases.toml").read_text()), Table)


def records(zone: str, hostname: str, ids: Mapping[str, str]) -> list[Record]:
    """All record sets in boto3's shape, each after those that it leads to. `ids` has Route 53's ids of checks by name.
    """
    return in_order(_record(group, policy, lead, zone, hostname, ids) for group, policy, lead in _policies(ids))


def in_order(several: Iterable[Record]) -> list[Record]:
    """Record sets, each after those that it leads to, as Route 53 accepts them. It deletes them in reverse."""
    found = list(several)
    targets: dict[str, set[str]] = {record["Name"]: set() for record in found}
    for record in found:
        if "AliasTarget" in record:
            targets[record["Name"]].add(record["AliasTarget"]["DNSName"])
    names = {name: number for number, name in enumerate(TopologicalSorter(targets).static_order())}
    return sorted(found, key=lambda record: names[record["Name"]])


def full_name(group: str, hostname: str) -> str:
    """The DNS name of a group."""
    return f"{group}.{LABEL}.{hostname}."


def _policies(checks: Iterable[str]) -> Iterator[tuple[str, Record, Lead]]:
    """Each record set as its group, its routing policy, and its lead."""
    statuses = {f"status-{check}": (Lead("healthy", check=check), Lead("unhealthy")) for check in checks}
    for group, pair in {**statuses, **TABLE.failover}.items():
        for side, lead in zip(("PRIMARY", "SECONDARY"), pair, strict=True):
            yield group, {"Failover": side, "SetIdentifier": side.lower()}, lead
    for group, leads in TABLE.weighted.items():
        for number, lead in enumerate(leads, 1):
            yield group, {"Weight": lead.weight, "SetIdentifier": f"{number}"}, lead
    for group, areas in TABLE.places.items():
        for place, lead in areas.items():
            yield group, {"GeoLocation": geography.places()[place].geolocation, "SetIdentifier": place}, lead


def _record(
    group: str, policy: Record, lead: Lead, zone: str, hostname: str, ids: Mapping[str, str]
) -> Record:
    record = {"Name": full_name(group, hostname), "Type": "A", **policy,
              "SetIdentifier": f"{MARK}:{policy['SetIdentifier']}"}
    if lead.alias:
        record["AliasTarget"] = {"HostedZoneId": zone, "DNSName": full_name(lead.alias, hostname),
                                 "EvaluateTargetHealth": lead.evaluate}
    else:
        record |= {"TTL": 10, "ResourceRecords": [{"Value": TABLE.values[lead.value]}]}
    return {**record, "HealthCheckId": ids[lead.check]} if lead.check else record
