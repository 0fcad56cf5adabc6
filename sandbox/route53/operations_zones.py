"""The operations on hosted zones, record sets and changes. Paging and order as in the API reference."""

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.route53.batches import Around, apply, listed
from sandbox.route53.errors import Refusal, invalid
from sandbox.route53.names import normal, reversed_labels, written
from sandbox.route53.records import Record, unfit
from sandbox.route53.state import Account, Change, Hosted

Asked = Mapping[str, Any]

ZONES_PAGE = 100
RECORDS_PAGE = 300
NAME_SERVERS = tuple(f"ns-{number}.route53-twin.example." for number in range(1, 5))
_SOA = f"{NAME_SERVERS[0]} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"
_ALPHABET = string.ascii_uppercase + string.digits


def plain(name: str) -> str:
    """The name of a load balancer without the prefix that an alias may give it."""
    return normal(name).removeprefix("dualstack.")


def create_zone(account: Account, asked: Asked, propagation: float) -> dict[str, Any]:
    """A public hosted zone with its SOA and NS record sets."""
    if any(zone.reference == asked["CallerReference"] for zone in account.zones.values()):
        raise Refusal("HostedZoneAlreadyExists", f"A hosted zone has the reference {asked['CallerReference']} already.")
    name = normal(asked["Name"])
    if (why := unfit(name)) or name.count(".") < 2:
        raise Refusal("InvalidDomainName", f"{name} cannot be a hosted zone: {why or 'it is a top-level domain'}")
    comment = str(asked.get("HostedZoneConfig", {}).get("Comment", ""))
    zone = Hosted(_id("Z"), name, asked["CallerReference"], comment)
    own: list[Record] = [
        {"Name": name, "Type": "NS", "TTL": 172_800, "ResourceRecords": [{"Value": server} for server in NAME_SERVERS]},
        {"Name": name, "Type": "SOA", "TTL": 900, "ResourceRecords": [{"Value": _SOA}]}]
    batch = [{"Action": "CREATE", "ResourceRecordSet": record} for record in own]
    account.zones[zone.id] = zone
    change = _change(account, zone, batch, propagation)
    return {"HostedZone": _described(zone), "ChangeInfo": _told(account, change),
            "DelegationSet": {"NameServers": list(NAME_SERVERS)}, "Location": f"/2013-04-01/hostedzone/{zone.id}"}


def get_zone(account: Account, asked: Asked, propagation: float) -> dict[str, Any]:
    """One hosted zone."""
    return {"HostedZone": _described(account.zone(asked["Id"])), "DelegationSet": {"NameServers": list(NAME_SERVERS)}}


def list_zones(account: Account, asked: Asked, propagation: float) -> dict[str, Any]:
    """Hosted zones in pages of at most 100, in the order of their creation."""
    ids = list(account.zones)
    start = _start(ids, asked.get("Marker"))
    size = page_size(asked, ZONES_PAGE)
    page = {"HostedZones": [_described(account.zones[id]) for id in ids[start:start + size]],
            "IsTruncated": start + size < len(ids), "MaxItems": str(size), "Marker": asked.get("Marker", "")}
    return page | ({"NextMarker": ids[start + size]} if page["IsTruncated"] else {})


def change_records(account: Account, asked: Asked, propagation: float) -> dict[str, Any]:
    """All of a batch, or nothing."""
    zone = account.zone(asked["HostedZoneId"])
    return {"ChangeInfo": _told(account, _change(account, zone, asked["ChangeBatch"]["Changes"], propagation))}


def list_records(account: Account, asked: Asked, propagation: float) -> dict[str, Any]:
    """Record sets in pages of at most 300, sorted by name with its labels reversed, then type, then identifier."""
    zone = account.zone(asked["HostedZoneId"])
    if "StartRecordType" in asked and "StartRecordName" not in asked:
        raise invalid("StartRecordType needs StartRecordName.")
    first = tuple(asked.get(key, "") for key in ("StartRecordType", "StartRecordIdentifier"))
    begin = (reversed_labels(asked["StartRecordName"]) if "StartRecordName" in asked else "", *first)
    size = page_size(asked, RECORDS_PAGE)
    rest = [record for record in listed(zone.records.values()) if _position(record) >= begin]
    page: dict[str, Any] = {"ResourceRecordSets": [_shown(record) for record in rest[:size]],
                            "IsTruncated": len(rest) > size, "MaxItems": str(size)}
    if len(rest) > size:
        following = rest[size]
        page |= {"NextRecordName": written(following["Name"]), "NextRecordType": following["Type"]}
        if "SetIdentifier" in following:
            page["NextRecordIdentifier"] = following["SetIdentifier"]
    return page


def get_change(account: Account, asked: Asked, propagation: float) -> dict[str, Any]:
    """PENDING until all name servers know, INSYNC then."""
    id = asked["Id"].rpartition("/")[2]
    if id not in account.changes:
        raise Refusal("NoSuchChange", f"Could not find resource with ID: {id}")
    return {"ChangeInfo": _told(account, account.changes[id])}


ALL: dict[str, Callable[[Account, Asked, float], dict[str, Any]]] = {
    "CreateHostedZone": create_zone, "GetHostedZone": get_zone, "ListHostedZones": list_zones,
    "ChangeResourceRecordSets": change_records, "ListResourceRecordSets": list_records, "GetChange": get_change}


def page_size(asked: Asked, most: int) -> int:
    """The size of a page, which is the requested one, and at most AWS's."""
    text = str(asked.get("MaxItems", most))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise invalid(f"MaxItems {text!r} is not a number from 1.")
    return min(int(text), most)


def _start(ids: Sequence[str], marker: str | None) -> int:
    if marker and marker not in ids:
        raise invalid(f"Marker {marker!r} is not one that was given.")
    return ids.index(marker) if marker else 0


def _position(record: Record) -> tuple[str, str, str]:
    return reversed_labels(record["Name"]), str(record["Type"]), str(record.get("SetIdentifier", ""))


def _shown(record: Record) -> dict[str, Any]:
    return {**record, "Name": written(record["Name"])}


def _change(account: Account, zone: Hosted, batch: Sequence[Mapping[str, Any]], propagation: float) -> Change:
    outside = {name: resource.zone_id for name, resource in account.resources.items()}
    after = apply(zone.records, batch, Around(zone.id, zone.name, frozenset(account.checks), outside))
    now = account.clock()
    change = Change(_id("C"), now, now + propagation)
    zone.publish(after, change.until)
    account.changes[change.id] = change
    return change


def _told(account: Account, change: Change) -> dict[str, Any]:
    status = "INSYNC" if account.clock() >= change.until else "PENDING"
    return {"Id": f"/change/{change.id}", "Status": status, "SubmittedAt": datetime.fromtimestamp(change.at, UTC)}


def _described(zone: Hosted) -> dict[str, Any]:
    return {"Id": f"/hostedzone/{zone.id}", "Name": zone.name, "CallerReference": zone.reference,
            "Config": {"Comment": zone.comment, "PrivateZone": False}, "ResourceRecordSetCount": len(zone.records)}


def _id(letter: str) -> str:
    return letter + "".join(secrets.choice(_ALPHABET) for _ in range(20))
