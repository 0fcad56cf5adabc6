"""The differences between the wanted and the existing record sets, and the order of the changes.

A group (one name and type) is changed as a whole, in one request, which Route 53 carries out entirely or not at all.
New and changed groups come first, each after those that it leads to. Groups that are no longer wanted go last, each
before those that it leads to. So after every request each name that had an answer has one, and a run that was cut off
is carried on by looking again.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chalicelib.routing.records.compiler import OWNER
from chalicelib.routing.records.spec import Record

# Of one ChangeResourceRecordSets request; an UPSERT counts twice for both ("Quotas on entities", Route 53).
MOST_ELEMENTS = 1000
MOST_CHARACTERS = 32_000

Key = tuple[str, str]
Change = dict[str, Any]
Group = dict[str, Record]
_LABELS = ("_place", "_order", "_spread", "_region")


def normal(record: Mapping[str, Any]) -> Record:
    """`record` in the one form in which equal records are equal, because Route 53 gives names back in its own way."""
    plain = {key: value for key, value in record.items() if value not in (None, [], ())}
    plain["Name"] = _name(record["Name"])
    if "AliasTarget" in plain:
        plain["AliasTarget"] = {**plain["AliasTarget"], "DNSName": _name(plain["AliasTarget"]["DNSName"])}
    if "ResourceRecords" in plain:
        values = sorted(_value(one["Value"], record["Type"]) for one in plain["ResourceRecords"])
        plain["ResourceRecords"] = [{"Value": value} for value in values]
    return plain


def groups(records: Iterable[Mapping[str, Any]]) -> dict[Key, Group]:
    """Records by name and type, then by set identifier, in the order in which they come."""
    found: dict[Key, Group] = {}
    for record in map(normal, records):
        found.setdefault((record["Name"], record["Type"]), {})[record.get("SetIdentifier", "")] = record
    return found


def owned(records: Iterable[Mapping[str, Any]], owner: str) -> set[str]:
    """The hostnames that belong to `owner`, by their TXT records."""
    said = f'"heritage=lamplighter,owner={owner}"'
    return {_name(record["Name"]).removeprefix(f"{OWNER}.").rstrip(".") for record in records
            if record["Type"] == "TXT" and _name(record["Name"]).startswith(f"{OWNER}.")
            and any(one["Value"] == said for one in record.get("ResourceRecords", ()))}


def is_ours(key: Key, hostnames: Iterable[str]) -> bool:
    """Whether a group is Lamplighter's, given its hostnames. It owns those names themselves, and the names below them.
    """
    name, kind = key
    for hostname in hostnames:
        if kind in ("A", "AAAA") and (name == f"{hostname}." or name.endswith(tuple(
                f".{label}.{hostname}." for label in _LABELS))):
            return True
        if kind == "TXT" and name == f"{OWNER}.{hostname}.":
            return True
    return False


def changes(wanted: Mapping[Key, Group], there: Mapping[Key, Group]) -> list[list[Change]]:
    """The changes of each group that differs, in the order in which they may be made."""
    made = [_group(group, there.get(key, {})) for key, group in wanted.items()]
    gone = [_group({}, group) for key, group in sorted(there.items(), key=_leaving) if key not in wanted]
    return [change for change in (*made, *gone) if change]


def batches(several: Iterable[Sequence[Change]]) -> Iterator[list[Change]]:
    """Requests within Route 53's limits. No group is divided."""
    batch: list[Change] = []
    for group in several:
        if batch and not _fits([*batch, *group]):
            yield batch
            batch = []
        batch = [*batch, *group]
    if batch:
        yield batch


def size(batch: Iterable[Change]) -> tuple[int, int]:
    """The size of a request as Route 53 counts it, in elements and characters of values."""
    elements = characters = 0
    for change in batch:
        times = 2 if change["Action"] == "UPSERT" else 1
        values = change["ResourceRecordSet"].get("ResourceRecords", ())
        elements += times * max(1, len(values))
        characters += times * sum(len(one["Value"]) for one in values)
    return elements, characters


def _fits(batch: Sequence[Change]) -> bool:
    elements, characters = size(batch)
    return elements <= MOST_ELEMENTS and characters <= MOST_CHARACTERS


def _group(wanted: Group, there: Group) -> list[Change]:
    # One name and type takes one routing policy: what goes must go before what comes.
    gone = [_change("DELETE", record) for id, record in there.items() if id not in wanted]
    kept = [_change("UPSERT" if id in there else "CREATE", record) for id, record in wanted.items()
            if there.get(id) != record]
    return [*gone, *kept]


def _change(action: str, record: Record) -> Change:
    return {"Action": action, "ResourceRecordSet": record}


def _leaving(item: tuple[Key, Group]) -> tuple[int, int, int, Key]:
    """Hostnames, places, longer lists before shorter ones, a list before its spread, regions. The owner last."""
    (name, kind), _ = item
    if kind == "TXT":
        return (4, 0, 0, (name, kind))
    label = next((label for label in _LABELS if f".{label}." in name), "")
    if label in ("", "_place"):
        return (0 if not label else 1, 0, 0, (name, kind))
    if label == "_region":
        return (3, 0, 0, (name, kind))
    return (2, -name.split(f".{label}.")[0].count("."), int(label == "_spread"), (name, kind))


def _name(name: str) -> str:
    """In small letters, with the last dot, and Route 53's octal escapes as characters."""
    plain = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), name)
    return plain.lower().rstrip(".") + "."


def _value(value: str, kind: str) -> str:
    return str(ipaddress.ip_address(value)) if kind in ("A", "AAAA") else value
