"""The table of the conformance check: it has what the compiler makes, and says what our own evaluator says."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from random import Random
from typing import Any

import msgspec
import pytest

from chalicelib import geography
from chalicelib.routing.records import checks, resolver
from commands.conformance.cases import NOTHING, TABLE, Case, Table, full_name, in_order, records
from tests.routing.fleets import EIGHT, wanted

HOSTNAME = "lamp-test.example.com"
MADE = records("ZONE", HOSTNAME, {name: name for name in TABLE.checks})
CAPACITY = dict.fromkeys(EIGHT[:6], 0.4)
Shape = tuple[str, str, bool, bool]


def shapes(several: Iterable[Mapping[str, Any]]) -> set[Shape]:
    """Of each record set: the policy, what it leads to, whether health is evaluated there, whether it has a check."""
    known = [record for record in several if record["Type"] != "TXT"]
    sizes = Counter((record["Name"], record["Type"]) for record in known)
    return set(_shapes(known, sizes))


def _shapes(several: Iterable[Mapping[str, Any]], sizes: Mapping[tuple[str, str], int]) -> Iterator[Shape]:
    for record in several:
        policy = next((key for key in ("GeoLocation", "Failover", "Weight") if key in record), "simple")
        if policy == "Weight" and sizes[record["Name"], record["Type"]] == 1:
            policy = "Weight, alone"
        alias = record.get("AliasTarget", {})
        yield policy, "alias" if alias else "values", bool(alias.get("EvaluateTargetHealth")), "HealthCheckId" in record


@pytest.mark.parametrize("options", [
    {"regions": EIGHT[:1], "addresses": True}, {"regions": EIGHT[:3], "addresses": True}, {"regions": EIGHT[:3]},
    {"regions": EIGHT, "addresses": True}, {"regions": EIGHT[:6], "capacity": CAPACITY},
    {"regions": EIGHT[:6], "capacity": CAPACITY, "addresses": True}])
def test_every_shape_of_record_that_the_compiler_makes_is_tried(options: dict[str, Any]) -> None:
    assert shapes(wanted(**options).compiled.records) <= shapes(MADE)


@pytest.mark.parametrize("shape", [
    ("Failover", "alias", True, True), ("Weight, alone", "values", False, True), ("Weight", "alias", True, True)])
def test_regions_of_one_weighted_record_are_tried(shape: Shape) -> None:
    assert shape in shapes(MADE)


def test_every_type_of_check_that_the_compiler_makes_is_tried() -> None:
    made = wanted(EIGHT[:3]).checks.values()
    assert {(config["Type"] == "CALCULATED", bool(config.get("Inverted"))) for config in made} <= {
        (config["Type"] == "CALCULATED", bool(config.get("Inverted"))) for config in TABLE.checks.values()}


def test_every_rule_that_is_relied_on_has_a_question() -> None:
    assert {case.rule for case in TABLE.cases} == {
        "R1", "R2", "R3", "R4", "R5", "R7", "R8", "R12", "H4", "H6", "H7"}


def healthy(check: str) -> bool:
    """What a check of the table should say: one that is disabled counts as if its endpoint answered."""
    return checks.healthy(TABLE.checks, check, {"up": True, "down": True})


def test_the_statuses_are_those_of_our_own_arithmetic() -> None:
    assert {case.group: [*case.expected] for case in TABLE.statuses} == {
        f"status-{check}": ["healthy" if healthy(check) else "unhealthy"] for check in TABLE.checks}


# Our evaluator takes geolocation records as healthy, since the compiler's are, and knows no weight of zero.
BEYOND = {"entry-evaluates", "places-unhealthy", "places-dead", "weights-zero", "weights-last"}


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in TABLE.cases if case.group not in BEYOND],
                         ids=lambda case: f"{case.rule} {case.group} {case.client}")
def test_the_table_says_what_our_own_evaluator_says(case: Case) -> None:
    zone = resolver.Zone(resolver.Index(record for record in MADE), healthy)
    place = geography.places()[{"AU": "AU", "US-NY": "US-NY"}.get(case.client, case.client)]
    paths = zone.answers(full_name(case.group, HOSTNAME), "A", place)
    names = {address: name for name, address in TABLE.values.items()}
    shares: dict[str, Fraction] = {}
    for path in paths:
        name = names[path.values[0]]
        shares[name] = shares.get(name, Fraction(0)) + path.share
    assert set(shares) == set(case.expected) - {NOTHING}
    for name, share in shares.items():
        least, most = case.expected[name]
        assert least <= share * case.times <= most


def test_all_that_is_asked_is_there_and_all_that_is_there_is_of_use() -> None:
    asked = {full_name(case.group, HOSTNAME) for case in TABLE.cases}
    led = {record["AliasTarget"]["DNSName"] for record in MADE if "AliasTarget" in record}
    assert asked | led == {record["Name"] for record in MADE}
    assert {case.client for case in TABLE.cases} == set(TABLE.clients)
    answers = {value["Value"] for record in MADE for value in record.get("ResourceRecords", ())}
    assert answers == set(TABLE.values.values())
    assert {name for case in TABLE.cases for name in case.expected} <= {*TABLE.values, NOTHING}


def test_it_fits_into_one_request() -> None:
    assert len(MADE) <= 500
    assert len({(record["Name"], record["Type"], record.get("SetIdentifier")) for record in MADE}) == len(MADE)
    assert all(len(record["Name"]) < 255 - len(HOSTNAME) for record in MADE)


@pytest.mark.parametrize("seed", range(3))
def test_aliases_come_after_all_that_they_lead_to(seed: int) -> None:
    mixed = Random(seed).sample(MADE, len(MADE))
    ordered = in_order(mixed)
    assert sorted(map(str, ordered)) == sorted(map(str, MADE))
    for number, record in enumerate(ordered):
        assert record.get("AliasTarget", {}).get("DNSName") not in {other["Name"] for other in ordered[number:]}


@pytest.mark.parametrize(("wrong", "place"), [
    ({"cases": [["R1", "half", "SE", "first"]]}, r"\$.cases\[0\]"),
    ({"failover": {"half": [{"value": "first"}]}}, r"\$.failover\[...\]"),
    ({"weighted": {"all": [{"valve": "first"}]}}, r"unknown field `valve` - at `\$.weighted"),
    ({"group": {}}, r"unknown field `group`")])
def test_a_table_that_is_not_as_declared_is_refused(wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=place):
        msgspec.convert({**msgspec.to_builtins(TABLE), **wrong}, Table)
