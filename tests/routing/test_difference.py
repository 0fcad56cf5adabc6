"""What differs is changed, group by group, in an order that leaves no name without an answer at any moment."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.route53 import HealthCheck
from chalicelib.geography import places
from chalicelib.routing.records import diff
from sandbox.route53 import answers as twin
from testing.route53 import FakeRoute53
from tests.routing.fleets import EIGHT, location, wanted

ALIAS = {"HostedZoneId": "Z", "DNSName": "A.example.com", "EvaluateTargetHealth": False}


@pytest.mark.parametrize(("one", "other"), [
    ({"Name": "App.Example.com", "Type": "A"}, {"Name": "app.example.com.", "Type": "A"}),
    ({"Name": "\\052.example.com.", "Type": "A"}, {"Name": "*.example.com.", "Type": "A"}),
    ({"Name": "a.", "Type": "AAAA", "ResourceRecords": [{"Value": "2001:DB8:0:0:0:0:0:1"}]},
     {"Name": "a.", "Type": "AAAA", "ResourceRecords": [{"Value": "2001:db8::1"}]}),
    ({"Name": "a.", "Type": "A", "ResourceRecords": [{"Value": "192.0.2.2"}, {"Value": "192.0.2.1"}]},
     {"Name": "a.", "Type": "A", "ResourceRecords": [{"Value": "192.0.2.1"}, {"Value": "192.0.2.2"}]}),
    ({"Name": "a.", "Type": "A", "AliasTarget": ALIAS},
     {"Name": "a.", "Type": "A", "AliasTarget": ALIAS | {"DNSName": "a.example.com."}, "ResourceRecords": []})])
def test_records_that_mean_the_same_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert diff.normal(one) == diff.normal(other)
    assert diff.changes(diff.groups([one]), diff.groups([other])) == []


@pytest.mark.parametrize("change", [{"TTL": 20}, {"HealthCheckId": "other"}, {"Weight": 2},
                                    {"ResourceRecords": [{"Value": "192.0.2.9"}]}])
def test_records_that_mean_something_else_differ(change: dict[str, Any]) -> None:
    record = {"Name": "a.", "Type": "A", "TTL": 10, "Weight": 1, "SetIdentifier": "x", "HealthCheckId": "h",
              "ResourceRecords": [{"Value": "192.0.2.1"}]}
    [[made]] = diff.changes(diff.groups([record | change]), diff.groups([record]))
    assert made["Action"] == "UPSERT"


def test_a_change_of_policy_deletes_before_it_creates_in_one_request() -> None:
    simple = {"Name": "a.", "Type": "A", "TTL": 10, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    weighted = simple | {"SetIdentifier": "x", "Weight": 1}
    [batch] = diff.batches(diff.changes(diff.groups([weighted]), diff.groups([simple])))
    assert [change["Action"] for change in batch] == ["DELETE", "CREATE"]


@pytest.mark.parametrize(("hostname", "key", "ours"), [
    ("app.example.com", ("app.example.com.", "A"), True), ("app.example.com", ("app.example.com.", "AAAA"), True),
    ("app.example.com", ("eu-west-1.us-east-1._order.app.example.com.", "A"), True),
    ("app.example.com", ("as._place.app.example.com.", "A"), True),
    ("app.example.com", ("_lamplighter.app.example.com.", "TXT"), True),
    ("app.example.com", ("app.example.com.", "MX"), False), ("app.example.com", ("www.app.example.com.", "A"), False),
    ("app.example.com", ("_order.app.example.com.", "A"), False), ("app.example.com", ("example.com.", "A"), False),
    ("app.example.com", ("a._order.myapp.example.com.", "A"), False)])
def test_what_is_ours(hostname: str, key: tuple[str, str], ours: bool) -> None:
    assert diff.is_ours(key, [hostname]) is ours


SIZES = st.lists(st.integers(1, 40), max_size=30)


@pytest.mark.slow
@given(SIZES, st.sampled_from(["CREATE", "UPSERT", "DELETE"]))
def test_batches_keep_the_limits_the_order_and_the_groups(sizes: list[int], action: str) -> None:
    groups = [[{"Action": action, "ResourceRecordSet": {"Name": f"{number}.{one}", "Type": "TXT", "ResourceRecords": [
        {"Value": "v" * 200}]}} for one in range(size)] for number, size in enumerate(sizes)]
    made = list(diff.batches(groups))
    assert [change for batch in made for change in batch] == [change for group in groups for change in group]
    for batch in made:
        elements, characters = diff.size(batch)
        assert elements <= diff.MOST_ELEMENTS and characters <= diff.MOST_CHARACTERS
    holders = [{change["ResourceRecordSet"]["Name"].split(".")[0] for change in batch} for batch in made]
    assert all(not one & other for one, other in itertools.pairwise(holders))


def test_an_upsert_counts_twice() -> None:
    record = {"Name": "a.", "Type": "A", "ResourceRecords": [{"Value": "192.0.2.1"}, {"Value": "192.0.2.22"}]}
    assert diff.size([{"Action": "UPSERT", "ResourceRecordSet": record}]) == (4, 38)
    alias = {"Name": "a.", "Type": "A", "AliasTarget": ALIAS}
    assert diff.size([{"Action": "CREATE", "ResourceRecordSet": alias}]) == (1, 0)


FLEETS = [EIGHT[:1], EIGHT[:2], EIGHT[:3], EIGHT[2:5], EIGHT[:5], (*EIGHT[1:5], EIGHT[0])]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(range(len(FLEETS)), 2)))
def test_every_place_has_an_answer_after_each_request(
    before: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "MOST_ELEMENTS", 300)
    route53 = FakeRoute53()
    zones = route53.zones
    route53.checks = {f"serving-{region}": HealthCheck(f"serving-{region}", 1, region, {}) for region in EIGHT}
    zones["ZONE"] = [diff.normal(record) for record in wanted(FLEETS[before]).compiled.records]
    there, goal = diff.groups(zones["ZONE"]), diff.groups(wanted(FLEETS[after]).compiled.records)
    chance, some = random.Random(before * 10 + after), list(places().values())[::23]
    for batch in diff.batches(diff.changes(goal, there)):
        route53.change_record_sets("ZONE", batch, "a change of regions")
        zone = twin.Zone(zones["ZONE"])
        healthy = {f"serving-{region}": chance.random() < 0.6 for region in EIGHT}
        for place in some:
            answer = zone.answer("app.example.com.", "A", twin.Query(location(place), healthy))
            assert answer.values and answer.values[0].startswith("app.") and answer.values[0].endswith("amazonaws.com.")
    assert diff.groups(zones["ZONE"]) == goal
