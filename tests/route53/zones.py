"""Record sets in the shape of boto3, written short."""

from typing import Any

NAME = "www.example.com."
ZONE_ID = "ZEXAMPLE"


def simple(value: str, name: str = NAME, **more: Any) -> dict[str, Any]:
    """A record set with one value of its own."""
    kind = more.pop("Type", "A")
    return {"Name": name, "Type": kind, "TTL": 10, "ResourceRecords": [{"Value": value}], **more}


def alias(target: str, name: str = NAME, *, evaluate: bool = True, **more: Any) -> dict[str, Any]:
    """A record set that leads to another name."""
    aim = {"HostedZoneId": ZONE_ID, "DNSName": target, "EvaluateTargetHealth": evaluate}
    return {"Name": name, "Type": more.pop("Type", "A"), "AliasTarget": aim, **more}


def geo(where: str, identifier: str = "") -> dict[str, Any]:
    """`EU` a continent, `c:SE` a country, `c:US-CA` a subdivision, `c:*` the default; with a set identifier."""
    if not where.startswith("c:"):
        area = {"ContinentCode": where}
    elif "-" in where:
        area = dict(zip(("CountryCode", "SubdivisionCode"), where[2:].split("-"), strict=True))
    else:
        area = {"CountryCode": where[2:]}
    return {"GeoLocation": area, "SetIdentifier": identifier or where}


def failover(primary: bool) -> dict[str, Any]:
    """One of a failover pair."""
    return {"Failover": "PRIMARY" if primary else "SECONDARY", "SetIdentifier": "first" if primary else "second"}


def weighted(weight: int, identifier: str) -> dict[str, Any]:
    """One of a weighted group."""
    return {"Weight": weight, "SetIdentifier": identifier}
