"""A change batch, all of it or nothing. It is pure. A zone and changes give a new zone, or the list of faults.

The sources are ChangeResourceRecordSets in the API reference and "Quotas" in the developer guide. That targets must
come before the aliases that lead to them, and leave after them, is from octodns-route53 (`_mod_keyer`), which learned
it by trying.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sandbox.route53.errors import Refusal
from sandbox.route53.groups import place
from sandbox.route53.names import lies_in, normal, reversed_labels
from sandbox.route53.records import KINDS, Record, canonical, identity, mistakes, policy

Key = tuple[str, str, str]

ELEMENTS_MOST = 1000
CHARACTERS_MOST = 32_000
GROUP_MOST = 100
RECORDS_MOST = 10_000


class Around(msgspec.Struct, frozen=True):
    """The surroundings of a zone, with its id and name, the health checks, and aliases' targets outside by name."""

    id: str
    name: str
    checks: frozenset[str] = frozenset()
    outside: Mapping[str, str] = {}


def apply(records: Mapping[Key, Record], changes: Sequence[Mapping[str, Any]], around: Around) -> dict[Key, Record]:
    """The record sets after `changes`, in their order. `Refusal` with every mistake, and nothing is changed."""
    _measured(changes)
    after = dict(records)
    groups = _grouped(after)
    wrong: list[str] = list(_repeated(changes))
    for change in changes:
        wrong += _step(after, groups, change["Action"], canonical(change["ResourceRecordSet"]), around)
    if len(after) > RECORDS_MOST:
        wrong.append(f"The hosted zone has reached the limit of {RECORDS_MOST} record sets.")
    if wrong:
        raise Refusal("InvalidChangeBatch", wrong)
    return after


def _measured(changes: Sequence[Mapping[str, Any]]) -> None:
    """1,000 elements and 32,000 characters of values. An UPSERT counts twice, an alias is one element."""
    elements = characters = 0
    for change in changes:
        values = change["ResourceRecordSet"].get("ResourceRecords") or [{"Value": ""}]
        times = 2 if change["Action"] == "UPSERT" else 1
        elements += times * len(values)
        characters += times * sum(len(one["Value"]) for one in values)
    if elements > ELEMENTS_MOST:
        raise Refusal("InvalidChangeBatch", f"Number of records limit of {ELEMENTS_MOST} exceeded.")
    if characters > CHARACTERS_MOST:
        raise Refusal("InvalidChangeBatch", f"Number of characters limit of {CHARACTERS_MOST} exceeded.")


def _repeated(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seen: set[tuple[str, Key]] = set()
    for change in changes:
        # One record set may be deleted and created in one batch, but not twice the same.
        key = ("DELETE" if change["Action"] == "DELETE" else "SET", identity(change["ResourceRecordSet"]))
        if key in seen:
            name, kind, _ = key[1]
            yield f"The request contains an invalid set of changes for a resource record set '{kind} {name}'"
        seen.add(key)


Groups = dict[tuple[str, str], dict[Key, Record]]

# The policies in which no two record sets of a group may have the same value.
_ONCE = ("GeoLocation", "Failover", "Region")


def _grouped(records: Mapping[Key, Record]) -> Groups:
    groups: Groups = {}
    for key, record in records.items():
        groups.setdefault(key[:2], {})[key] = record
    return groups


def _step(after: dict[Key, Record], groups: Groups, action: str, record: Record, around: Around) -> list[str]:
    """Make one change in `after` and `groups`, or say what is wrong with it."""
    key = identity(record)
    group = groups.setdefault(key[:2], {})
    if action == "DELETE":
        wrong = [*_deletable(after, group, record, around)]
        if not wrong:
            del after[key], group[key]
        return wrong
    others = {other: found for other, found in group.items() if other != key}
    wrong = [*mistakes(record, around.name)] or [*_fits(groups, others, record), *_leads(groups, record, around)]
    if action == "CREATE" and key in after:
        wrong.append(f"Tried to create resource record set {_named(record)} but it already exists")
    if not wrong:
        after[key] = group[key] = record
    return wrong


def _deletable(
    after: Mapping[Key, Record], group: Mapping[Key, Record], record: Record, around: Around
) -> Iterator[str]:
    current = after.get(identity(record))
    name, kind, _ = identity(record)
    if current is None:
        yield f"Tried to delete resource record set {_named(record)} but it was not found"
    elif not _same(current, record):
        yield (f"Tried to delete resource record set {_named(record)} but the values provided do not match "
               f"the current values")
    elif name == around.name and kind in ("SOA", "NS"):
        yield "A HostedZone must contain exactly one SOA record and at least one NS record."
    elif len(group) == 1 and any(_aims(other, name, kind) for other in after.values()):
        yield f"Tried to delete resource record set {_named(record)} but an alias still targets it"


def _aims(record: Record, name: str, kind: str) -> bool:
    return bool(record["Type"] == kind and record.get("AliasTarget", {}).get("DNSName") == name)


def _same(one: Record, other: Record) -> bool:
    """Values in any order are the same values."""
    return _unordered(one) == _unordered(other)


def _unordered(record: Record) -> dict[str, Any]:
    values = sorted(str(one["Value"]) for one in record.get("ResourceRecords", ()))
    return {**record, "ResourceRecords": values}


def _fits(groups: Groups, others: Mapping[Key, Record], record: Record) -> Iterator[str]:
    """One policy per name and type, no two of one place, no CNAME beside others, at most 100."""
    name, kind, identifier = identity(record)
    what = f"RRSet with DNS name {name}, type {kind}" + (f", SetIdentifier {identifier}" if identifier else "")
    mine = policy(record)
    if any(policy(other) != mine for other in others.values()):
        yield f"{what} cannot be created as other RRSets exist with the same name and type but another routing policy."
    elif mine in _ONCE and any(_spot(other) == _spot(record) for other in others.values()):
        yield f"{what} cannot be created as another RRSet has the same {mine} {dict([_spot(record)])}."
    if mine and len(others) >= GROUP_MOST:
        yield f"{what} cannot be created: the limit of {GROUP_MOST} record sets with the same name and type is reached."
    ttls = {one["TTL"] for one in (record, *others.values()) if "TTL" in one}
    if mine == "Weight" and len(ttls) > 1:
        yield f"{what} cannot be created with another TTL than the other weighted RRSets."
    for other in sorted(KINDS - {kind}) if kind == "CNAME" else ["CNAME"]:
        if groups.get((name, other)):
            yield (f"RRSet of type {kind} with DNS name {name} is not permitted because a conflicting RRSet of type "
                   f"{other} with the same DNS name already exists")


def _spot(record: Record) -> tuple[str, str]:
    mine = policy(record)
    return place(record["GeoLocation"]) if mine == "GeoLocation" else (mine, str(record.get(mine)))


def _leads(groups: Groups, record: Record, around: Around) -> Iterator[str]:
    """A health check must exist, and so must an alias's target, earlier in the same batch or in the zone already."""
    check = record.get("HealthCheckId")
    if check is not None and check not in around.checks:
        raise Refusal("NoSuchHealthCheck", f"No health check exists with the specified ID: {check}")
    target = record.get("AliasTarget")
    if target is None:
        return
    name, zone = target["DNSName"], target["HostedZoneId"]
    tried = f"Tried to create an alias that targets {name}, type {record['Type']} in zone {zone}"
    if zone == around.id:
        if not lies_in(name, around.name):
            yield f"{tried}, but the alias target name does not lie within the target zone"
        if not groups.get((normal(name), record["Type"])):
            yield f"{tried}, but that target was not found"
        elif name == identity(record)[0]:
            yield f"{tried}, but that is the alias itself"
    elif around.outside.get(name.removeprefix("dualstack.")) != zone:
        yield f"{tried}, but that target was not found"


def _named(record: Record) -> str:
    name, kind, identifier = identity(record)
    more = f", set identifier='{identifier}'" if identifier else ""
    return f"[name='{name}', type='{kind}'{more}]"


def listed(records: Iterable[Record]) -> list[Record]:
    """Record sets in the order of ListResourceRecordSets."""
    return sorted(records, key=lambda record: (reversed_labels(record["Name"]), *identity(record)[1:]))
