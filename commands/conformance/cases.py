"""The resources of `./lamp routing conformance` and its expectations of Route 53. Pure.

Each record set of `chalicelib/routing` has the shape of one in `GROUPS` (a test compares them), and each rule behind it
has a question in `CASES`. Rules are numbered as in docs/route53-twin.md, where their sources are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Record = dict[str, Any]
Lead = dict[str, Any]
Group = tuple[Record, ...]

# A label of all names, and how all set identifiers begin: by these a later run knows what an earlier one left.
LABEL = "_conform"
MARK = "lamp-conform"

# Addresses for documentation (RFC 5737): nobody can be there. Answers are told by these names.
VALUES = {name: f"192.0.2.{number}" for number, name in enumerate((
    "first", "second", "third", "fourth", "fifth", "healthy", "unhealthy", "US-CA", "US", "NA", "SE", "EU", "default"),
    1)}
NOTHING = "nothing"

# Clients whose place is no doubt: networks of universities. The cases of `places` ask Route 53 where it sees them.
CLIENTS = {"US-CA": "171.67.68.1",  # Stanford
           "US-NY": "128.59.1.1",  # Columbia, New York
           "SE": "130.237.1.1",  # Stockholm
           "DE": "131.159.92.1",  # TU Munich
           "AU": "129.127.149.1"}  # Adelaide

_DISABLED = {"Type": "HTTP", "Port": 80, "RequestInterval": 30, "FailureThreshold": 3, "Disabled": True}
# Nothing is probed. "After you disable a health check, Route 53 considers the status of the health check to always be
# healthy", and "in disabled state, you can also invert the status" (UpdateHealthCheck, Disabled).
CHECKS: Mapping[str, Record] = {
    "up": {**_DISABLED, "Inverted": False},
    "down": {**_DISABLED, "Inverted": True},
    "all": {"Type": "CALCULATED", "HealthThreshold": 2, "ChildHealthChecks": ["up", "down"]},
    "any": {"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": ["up", "down"]},
    "reverse": {"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": ["down"], "Inverted": True},
}


class Case(msgspec.Struct, frozen=True):
    """One question. Of `times` queries for `group` from `client`, each answer comes so many times (at least, at most).

    Answers are names of `VALUES`, or `NOTHING`.
    """

    rule: str
    group: str
    expected: Mapping[str, tuple[int, int]]
    says: str
    client: str = "SE"
    times: int = 1


def value(name: str, check: str = "") -> Lead:
    """A record set with an address of its own."""
    return {"TTL": 10, "ResourceRecords": [{"Value": VALUES[name]}], **_checked(check)}


def to(group: str, check: str = "", evaluate: bool = True) -> Lead:
    """An alias to another group."""
    return {"AliasTarget": {"DNSName": group, "EvaluateTargetHealth": evaluate}, **_checked(check)}


def pair(first: Lead, second: Lead) -> Group:
    """Failover records, primary and secondary."""
    return ({"Failover": "PRIMARY", "SetIdentifier": "primary", **first},
            {"Failover": "SECONDARY", "SetIdentifier": "secondary", **second})


def status(check: str) -> Group:
    """Says in DNS how a check is."""
    return pair(value("healthy", check), value("unhealthy"))


def shares(*leads: tuple[int, Lead]) -> Group:
    """Weighted record sets."""
    return tuple({"Weight": weight, "SetIdentifier": f"{number}", **lead}
                 for number, (weight, lead) in enumerate(leads, 1))


def areas(leads: Mapping[str, Lead]) -> Group:
    """Geolocation record sets. `US-CA` is a state, `SE` a country, `EU` and `NA` are continents, `default` is the rest.
    """
    return tuple({"GeoLocation": _area(place), "SetIdentifier": place, **lead} for place, lead in leads.items())


def _area(place: str) -> dict[str, str]:
    if place in ("EU", "NA"):
        return {"ContinentCode": place}
    country, _, state = place.partition("-")
    return {"CountryCode": "*" if place == "default" else country, **({"SubdivisionCode": state} if state else {})}


def _checked(check: str) -> Lead:
    return {"HealthCheckId": check} if check else {}


def _places(*places: str, **checks: str) -> Group:
    return areas({place: value(place, checks.get(place.replace("-", "_"), "")) for place in places})


# Targets before the aliases that lead to them.
GROUPS: Mapping[str, Group] = {
    **{f"status-{check}": status(check) for check in CHECKS},
    "alive": pair(value("first", "up"), value("second", "up")),
    "half": pair(value("first", "down"), value("second", "up")),
    "other-half": pair(value("first", "up"), value("second", "down")),
    "dead": pair(value("first", "down"), value("second", "down")),
    "bare": pair(value("first"), value("second", "down")),
    # One alias before an address that is well.
    "alias-alive": pair(to("alive"), value("third", "up")),
    "alias-half": pair(to("half"), value("third", "up")),
    "alias-dead": pair(to("dead"), value("third", "up")),
    "alias-own-down": pair(to("alive", "down"), value("third", "up")),
    "alias-own-up": pair(to("dead", "up"), value("third", "up")),
    "alias-both": pair(to("half", "up"), value("third", "up")),
    # The compiler's chains: lists within lists, and a place that leads to one without looking at its health.
    "low-dead": pair(to("dead"), value("third", "down")),
    "middle-dead": pair(to("low-dead"), value("fourth", "down")),
    "chain-backs-out": pair(to("middle-dead"), value("fifth", "up")),
    "low": pair(value("third", "down"), to("half")),
    "middle": pair(value("fourth", "down"), to("low")),
    "chain-deep": pair(to("middle"), value("fifth", "up")),
    "chain-dead": pair(to("middle-dead"), value("fifth", "down")),
    "entry": areas({"SE": to("chain-deep", evaluate=False), "EU": to("chain-backs-out", evaluate=False),
                    "default": to("chain-dead", evaluate=False)}),
    "entry-fails-open": areas({"SE": to("dead", evaluate=False), "default": value("third")}),
    "entry-evaluates": areas({"SE": to("dead"), "default": value("third")}),
    # Places.
    "places": _places("US-CA", "US", "NA", "SE", "EU", "default"),
    "places-unhealthy": _places("US-CA", "US", "NA", "SE", "EU", "default", US_CA="down", US="down", SE="down",
                                EU="down"),
    "places-dead": _places("SE", "EU", "default", SE="down", EU="down", default="down"),
    "places-within": areas({"SE": value("SE"), "default": value("EU")}),
    "places-nested": areas({"EU": to("places-within", evaluate=False), "default": value("default")}),
    "places-hole": _places("SE"),
    # Weights.
    "weights": shares((192, value("first", "up")), (64, value("second", "up"))),
    "weights-one": shares((192, value("first", "down")), (64, value("second", "up"))),
    "weights-zero": shares((0, value("first", "up")), (10, value("second", "up"))),
    "weights-last": shares((0, value("first", "up")), (10, value("second", "down"))),
    "weights-dead": shares((1, value("first", "down")), (1, value("second", "down"))),
    "weights-alias": shares((128, to("dead")), (127, to("half"))),
    "spread": pair(value("third", "down"), to("weights-alias")),
    # Regions of one weighted record each, whose check is the parent of the region's hosts; the alias that leads to it
    # carries the inverted check of the mark.
    "region-up": shares((1, value("first", "any"))),
    "region-down": shares((1, value("second", "all"))),
    "region-other": shares((1, value("third", "any"))),
    "region-alive": pair(to("region-up", "reverse"), to("region-other", "reverse")),
    "region-dead": pair(to("region-down", "reverse"), to("region-other", "reverse")),
    "region-away": pair(to("region-up", "down"), to("region-other", "reverse")),
    "regions-gone": pair(to("region-down", "reverse"), to("region-up", "down")),
    "regions-chain": pair(to("regions-gone"), to("region-other", "reverse")),
    "list-2": pair(to("region-down", "reverse"), to("region-up", "reverse")),
    "list-3": pair(to("regions-gone"), to("list-2")),
    "list-4": pair(to("regions-gone"), to("list-3")),
    "list-5": pair(to("regions-gone"), to("list-4")),
    "list-gone": pair(to("regions-gone"), to("region-down", "reverse")),
    "entry-regions": areas({"SE": to("list-5", evaluate=False), "default": to("list-gone", evaluate=False)}),
    "regions-spread": shares((128, to("region-down", "reverse")), (127, to("region-other", "reverse"))),
}


def _one(rule: str, group: str, answer: str, says: str, client: str = "SE", times: int = 1) -> Case:
    return Case(rule, group, {answer: (times, times)}, says, client, times)


# Of weights 192 and 64, 120 queries give the first 90 times on average: outside of these bounds three times in a row
# (what disagrees is asked again twice) less than once in 10^8 runs; equal shares would lie within them once in 100.
_MANY = 120

STATUSES = (
    _one("H6", "status-up", "healthy", "a disabled check is healthy"),
    _one("H7", "status-down", "unhealthy", "a disabled and inverted check is unhealthy"),
    _one("H4", "status-all", "unhealthy", "a calculated check with one of two children healthy, and a threshold of 2"),
    _one("H4", "status-any", "healthy", "the same with a threshold of 1"),
    _one("H7", "status-reverse", "healthy", "an inverted calculated check whose only child is unhealthy"))

CASES = (
    _one("R12", "alive", "first", "primary and secondary healthy, so the primary"),
    _one("R12", "half", "second", "primary unhealthy, so the secondary"),
    _one("R12", "other-half", "first", "secondary unhealthy, so the primary"),
    _one("R2", "dead", "first", "both unhealthy, as if both were healthy, so the primary"),
    _one("R3", "bare", "first", "a record without a check is healthy"),
    _one("R7", "alias-alive", "first", "an alias that evaluates its target, which is healthy"),
    _one("R8", "alias-half", "second", "... of which only the second record is"),
    _one("R8", "alias-dead", "third", "... of which none is, so back out of this branch"),
    _one("R7", "alias-own-down", "third", "an alias with an unhealthy check of its own, over a healthy target"),
    _one("R7", "alias-own-up", "third", "an alias with a healthy check of its own, over an unhealthy target"),
    _one("R7", "alias-both", "second", "an alias with a healthy check of its own, over a healthy target"),
    _one("R8", "entry", "second", "four aliases deep only one record lives, so it answers"),
    _one("R8", "entry", "fifth", "a branch of three aliases is dead, so back out of all of it", "DE"),
    _one("R2", "entry", "first", "everything four aliases deep is dead, so the first of the first", "AU"),
    _one("R7", "entry-fails-open", "first", "a place's alias that does not evaluate its dead target answers still"),
    _one("R7", "entry-evaluates", "third", "a place's alias that evaluates a dead target gives way to a larger place"),
    _one("R4", "places", "US-CA", "a state before its country", "US-CA"),
    _one("R4", "places", "US", "a country before its continent", "US-NY"),
    _one("R4", "places", "SE", "a country before its continent"),
    _one("R4", "places", "EU", "a continent for a country without a record", "DE"),
    _one("R4", "places", "default", "the default for all other places", "AU"),
    _one("R4", "places-unhealthy", "NA", "state and country unhealthy, so the continent", "US-CA"),
    _one("R4", "places-unhealthy", "default", "country and continent unhealthy, so the default"),
    _one("R2", "places-dead", "SE", "all unhealthy, so the smallest place again"),
    _one("R4", "places-nested", "SE", "places within a place, the country"),
    _one("R4", "places-nested", "EU", "places within a place, the inner default", "DE"),
    _one("R4", "places-nested", "default", "places within a place, the outer default", "AU"),
    _one("R4", "places-hole", NOTHING, "no place fits and there is no default, so an empty answer", "AU"),
    Case("R5", "weights", {"first": (75, 105), "second": (15, 45)}, "weights of 192 and 64", times=_MANY),
    _one("R1", "weights-one", "second", "the heavier one is unhealthy, always the other", times=5),
    _one("R5", "weights-zero", "second", "a weight of zero, never while another is healthy", times=5),
    _one("R5", "weights-last", "first", "a weight of zero when no other is healthy", times=5),
    Case("R2", "weights-dead", {"first": (1, 29), "second": (1, 29)}, "all unhealthy, by weight again", times=30),
    _one("R8", "weights-alias", "second", "weighted aliases, one over a dead target, always the other", times=5),
    _one("R8", "spread", "second", "the same below a failover pair", times=5),
    _one("R8", "region-alive", "first", "a region of one weighted record whose check is healthy, as the alias's is"),
    _one("R8", "region-dead", "third", "the check on the only weighted record counts through the alias"),
    _one("R7", "region-away", "third", "the check on the alias counts beside that of its target"),
    _one("R2", "regions-gone", "second", "one region dead, the other kept away, so the first"),
    _one("R8", "regions-chain", "third", "the same within a list, so back out to the next region"),
    _one("R8", "entry-regions", "first", "five aliases deep only one region lives, so it answers"),
    _one("R2", "entry-regions", "second", "no region lives, so the first of the first", "AU"),
    _one("R8", "regions-spread", "third", "weights over regions, one dead, always the other", times=5),
)


def records(
    zone: str, hostname: str, ids: Mapping[str, str], note: str, extra: Sequence[str] = ()
) -> list[Record]:
    """All record sets in boto3's shape, targets first. The first is the mark, with a `note` on this run.

    `ids` has Route 53's ids of the checks by name. Each of `extra` gets a group `status-...` as well.
    """
    groups = {**GROUPS, **{f"status-{check}": status(check) for check in extra}}
    mark = {"Name": f"{LABEL}.{hostname}.", "Type": "TXT", "TTL": 10,
            "ResourceRecords": [{"Value": f'"heritage=lamplighter,{MARK}={note}"'}]}
    return [mark, *(_complete(record, group, zone, hostname, ids)
                    for group, several in groups.items() for record in several)]


def full_name(group: str, hostname: str) -> str:
    """The DNS name of a group."""
    return f"{group}.{LABEL}.{hostname}."


def _complete(record: Record, group: str, zone: str, hostname: str, ids: Mapping[str, str]) -> Record:
    full = {"Name": full_name(group, hostname), "Type": "A", **record,
            "SetIdentifier": f"{MARK}:{record['SetIdentifier']}"}
    if "AliasTarget" in record:
        full["AliasTarget"] = {**record["AliasTarget"], "HostedZoneId": zone,
                               "DNSName": full_name(record["AliasTarget"]["DNSName"], hostname)}
    return {**full, "HealthCheckId": ids[record["HealthCheckId"]]} if "HealthCheckId" in record else full
