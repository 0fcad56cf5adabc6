"""The record sets that Route 53 accepts by themselves, whatever else is in the zone. Pure.

The sources are ResourceRecordSet, GeoLocation and AliasTarget in the API reference. The wording is AWS's if it is
known.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dns.exception
import dns.name
import dns.rdata

from sandbox.route53.names import lies_in, normal

Record = Mapping[str, Any]

POLICIES = ("Weight", "Region", "GeoLocation", "Failover", "MultiValueAnswer")
CONTINENTS = frozenset({"AF", "AN", "AS", "EU", "OC", "NA", "SA"})
KINDS = frozenset({"SOA", "A", "TXT", "NS", "CNAME", "MX", "NAPTR", "PTR", "SRV", "SPF", "AAAA", "CAA", "DS"})
VALUES_MOST = 400


def policy(record: Record) -> str:
    """The routing policy by its field, such as `Weight`. Empty for a simple record set."""
    return next((key for key in POLICIES if record.get(key) is not None), "")


def canonical(record: Record) -> dict[str, Any]:
    """The record set with its names as the zone keeps them."""
    kept = {**record, "Name": normal(record["Name"])}
    if "AliasTarget" in kept:
        kept["AliasTarget"] = {**kept["AliasTarget"], "DNSName": normal(kept["AliasTarget"]["DNSName"])}
    return kept


def identity(record: Record) -> tuple[str, str, str]:
    """The identity of a record set in its zone, which is name, type and set identifier."""
    return normal(record["Name"]), str(record["Type"]), str(record.get("SetIdentifier", ""))


def mistakes(record: Record, zone: str) -> Iterator[str]:
    """The faults of `record` in a zone of the name `zone`."""
    name, kind = normal(record["Name"]), record["Type"]
    if not lies_in(name, zone):
        yield f"RRSet with DNS name {name} is not permitted in zone {zone}"
    if (why := unfit(name)):
        yield f"FATAL problem: {why} encountered with '{name}'"
    if kind not in KINDS:
        yield f"Unsupported record type {kind} in RRSet with DNS name {name}"
        return
    if kind == "CNAME" and name == normal(zone):
        yield f"RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone}"
    yield from _body(record)
    yield from _policy(record)
    yield from _location(record)


def unfit(name: str) -> str:
    """Why DNS has no place for a name. Empty if it has labels of 1 to 63 characters, 255 together (RFC 1035)."""
    labels = normal(name)[:-1].split(".")
    if not all(labels):
        return "DomainLabelEmpty (Domain label is empty)"
    if max(map(len, labels)) > 63:
        return "DomainLabelTooLong (Domain label is too long)"
    return "DomainNameTooLong (Domain name is too long)" if len(normal(name)) > 254 else ""


def _body(record: Record) -> Iterator[str]:
    own = "TTL" in record and bool(record.get("ResourceRecords"))
    target = record.get("AliasTarget")
    if bool(target) is own or (target and ("TTL" in record or "ResourceRecords" in record)):
        found = "more than one" if target else "none"
        yield (f"Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or "
               f"TrafficPolicyInstanceId], but found {found} in Change with {words(record)}")
        return
    if target:
        if record["Type"] in ("NS", "SOA"):
            yield f"An alias of type {record['Type']} is not permitted: {words(record)}"
        if record.get("MultiValueAnswer"):
            yield f"A multivalue answer record set cannot be an alias: {words(record)}"
    else:
        yield from _values(record)


def _values(record: Record) -> Iterator[str]:
    values = [str(one["Value"]) for one in record["ResourceRecords"]]
    if len(set(values)) != len(values):
        yield f"Duplicate Resource Record: {words(record)}"
    if len(values) > VALUES_MOST or (record["Type"] == "CNAME" and len(values) > 1):
        yield f"Too many values in {words(record)}"
    if policy(record) in ("Weight", "Region", "MultiValueAnswer") and len(values) > 1:
        yield f"Only one ResourceRecord is permitted in {words(record)}"
    yield from (f"Invalid Resource Record: FATAL problem: {wrong} encountered with '{value}'" for value in values
                if (wrong := _unreadable(str(record["Type"]), value)))


def _unreadable(kind: str, value: str) -> str:
    """Why a value is none of its type. Empty if it is one."""
    if kind in ("TXT", "SPF") and not value.startswith('"'):
        return "InvalidCharacterString (Value should be enclosed in quotation marks)"
    try:
        dns.rdata.from_text("IN", kind, value, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        return {"A": "ARRDATAIllegalIPv4Address", "AAAA": "AAAARRDATAIllegalIPv6Address"}.get(kind, str(error))
    return ""


def _policy(record: Record) -> Iterator[str]:
    used = [key for key in POLICIES if record.get(key) is not None]
    if len(used) > 1 or (bool(used) is not ("SetIdentifier" in record)):
        found = "more than one" if len(used) > 1 else "none" if not used else "no SetIdentifier"
        yield (f"Invalid request: Expected exactly one of [Weight, Region, Failover, GeoLocation, or "
               f"MultiValueAnswer], with a SetIdentifier, but found {found} in Change with {words(record)}")
    if not 0 <= record.get("Weight", 0) <= 255:
        yield f"Weight must be between 0 and 255: {words(record)}"
    if record.get("Failover", "PRIMARY") not in ("PRIMARY", "SECONDARY"):
        yield f"Failover must be PRIMARY or SECONDARY: {words(record)}"
    if record.get("Failover") and record.get("AliasTarget") and not record["AliasTarget"]["EvaluateTargetHealth"]:
        yield f"EvaluateTargetHealth must be true in a failover alias: {words(record)}"
    if used and record["Type"] in ("NS", "SOA", "DS"):
        yield f"A routing policy is not permitted with the type {record['Type']}: {words(record)}"


def _location(record: Record) -> Iterator[str]:
    geo = record.get("GeoLocation")
    if geo is None:
        return
    continent, country, subdivision = (geo.get(key) for key in ("ContinentCode", "CountryCode", "SubdivisionCode"))
    if bool(continent) is bool(country) or (continent and subdivision):
        yield f"GeoLocation must have either ContinentCode or CountryCode: {words(record)}"
    elif subdivision and country != "US":
        yield f"SubdivisionCode needs the CountryCode US: {words(record)}"
    elif continent and continent not in CONTINENTS:
        yield f"The continent {continent} does not exist: {words(record)}"
    elif country and country != "*" and not (len(country) == 2 and country.isascii() and country.isupper()):
        yield f"The country {country} does not exist: {words(record)}"


def words(record: Record) -> str:
    """The record set in the words of AWS's messages."""
    identifier = f", SetIdentifier={record['SetIdentifier']}" if "SetIdentifier" in record else ""
    return f"[Name={normal(record['Name'])}, Type={record['Type']}{identifier}]"
