"""Every place is answered by its nearest living region, whatever dies; within Route 53's limits and few record sets."""

import itertools
import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import geography
from chalicelib.geography import places
from chalicelib.routing.records import compiler, prefix_sharing, verify
from chalicelib.routing.records.spec import Compiled
from sandbox.route53 import answers as twin
from tests.routing.fleets import EIGHT, location, wanted

ALL_REGIONS = sorted(geography.regions())

# Record sets of a hand-made prototype, which are to be matched or beaten.
MOST = {3: 92, 4: 189, 6: 509, 8: 794}


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, *(pytest.param(size, marks=pytest.mark.slow) for size in (7, 8))])
def test_all_places_and_all_subsets_are_right(size: int) -> None:
    made = wanted(EIGHT[:size])
    proof = verify.prove(made.spec, made.compiled, made.checks)
    assert proof.wrong == () and proof.wrong_answers == 0
    assert (proof.places, proof.subsets, proof.answers) == (305, 2**size - 1, 305 * 2**size)
    assert proof.states == (4**size if size > 1 else 2)
    assert proof.most_aliases <= 4 and proof.most_locations <= 100
    assert proof.records <= MOST.get(size, math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3, 4, 6, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("addresses", [True, False])
def test_it_is_right_also_where_a_region_s_life_is_the_verdict_of_its_hosts(size: int, addresses: bool) -> None:
    made = wanted(EIGHT[:size], judged=True, addresses=addresses)
    assert {name.partition("-")[0] for name in made.checks} == ({"open"} if size > 1 else set())
    proof = verify.prove(made.spec, made.compiled, made.checks)
    assert proof.wrong == () and proof.states == (4**size if size > 1 else 2)
    assert proof.most_aliases <= 5 and proof.records <= MOST.get(size, math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [
    {"HealthCheckId": "alive-eu-west-1"}, {"HealthCheckId": "open-us-east-1"}, {"HealthCheckId": "other"}])
def test_the_proof_finds_a_record_that_carries_the_wrong_check(broken: dict[str, Any]) -> None:
    made = wanted(judged=True)
    for number, record in enumerate(made.compiled.records):
        if "HealthCheckId" in record and record["HealthCheckId"] != broken["HealthCheckId"]:
            records = [*made.compiled.records]
            records[number] = {**record, **broken}
            compiled = Compiled("app.example.com", tuple(records), made.compiled.owner)
            assert verify.prove(made.spec, compiled, made.checks).wrong_answers, record


@pytest.mark.slow
def test_the_proof_finds_a_wrong_record() -> None:
    made = wanted(EIGHT[:4])
    for number, record in enumerate(made.compiled.records):
        if record.get("Failover") == "PRIMARY" or record.get("GeoLocation", {}).get("CountryCode") == "JP":
            other = [*made.compiled.records]
            del other[number]
            if record.get("Failover"):
                other.append({**record, "Failover": "SECONDARY", "SetIdentifier": "x"})
            compiled = Compiled("app.example.com", tuple(other), made.compiled.owner)
            assert verify.prove(made.spec, compiled, made.checks).wrong_answers, record


@pytest.mark.parametrize("broken", [{"HealthThreshold": 1}, {"Inverted": True}])
def test_the_proof_finds_a_wrong_check(broken: dict[str, Any]) -> None:
    made = wanted()
    wrong = {**made.checks, "serving-us-east-1": {**made.checks["serving-us-east-1"], **broken}}
    assert verify.prove(made.spec, made.compiled, wrong).wrong_answers


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 8])
def test_the_twin_of_route53_gives_the_same_answers(size: int) -> None:
    made = wanted(EIGHT[:size])
    zone = twin.Zone(made.compiled.records)
    some = list(verify.subsets(EIGHT[:size]))[::1 if size == 3 else 17]
    asked = list(places().values())[::1 if size == 3 else 7]
    for alive, place in itertools.product(some, asked):
        healthy = {compiler.serving(region): region in alive for region in made.spec.targets}
        answer = zone.answer("app.example.com.", "A", twin.Query(location(place), healthy))
        [region] = verify.expected(made.spec, place, alive)
        assert answer.values == (f"app.{region}.elb.amazonaws.com.",)
        assert len(answer.hops) <= 5  # groups visited: one more than aliases followed


@pytest.mark.slow
@settings(max_examples=12)
@given(st.lists(st.sampled_from(ALL_REGIONS), min_size=1, max_size=5, unique=True), st.data())
def test_any_regions_and_any_own_orders_are_right(regions: list[str], data: st.DataObject) -> None:
    named = data.draw(st.lists(st.sampled_from(sorted(places())), max_size=4, unique=True))
    own = [(name, data.draw(st.permutations(regions))) for name in named]
    more = "".join(f'[[routing.preferences]]\nplaces = ["{name}"]\norder = {list(order)!r}\n' for name, order in own)
    made = wanted(regions, more)
    proof = verify.prove(made.spec, made.compiled, made.checks)
    assert proof.wrong == () and proof.most_locations <= 100 and proof.most_aliases <= 4
    for name, order in own:
        assert made.spec.orders[name] == tuple(order)


@pytest.mark.slow
def test_addresses_and_both_ip_versions() -> None:
    entrances = 'ipv6 = true\n'
    made = wanted(EIGHT[:3], entrances)
    proof = verify.prove(made.spec, made.compiled, made.checks)
    assert proof.wrong == () and proof.answers == 2 * 305 * 8
    with_addresses = wanted(EIGHT[:3], addresses=True)
    assert verify.prove(with_addresses.spec, with_addresses.compiled, with_addresses.checks).wrong == ()
    leaf = next(record for record in with_addresses.compiled.records if "ResourceRecords" in record)
    assert (leaf["TTL"], leaf["HealthCheckId"][:8]) == (10, "serving-")


def test_targets_come_before_what_leads_to_them() -> None:
    records = wanted(EIGHT).compiled.records
    last = {(record["Name"], record["Type"]): number for number, record in enumerate(records)}
    for number, record in enumerate(records):
        target = (record.get("AliasTarget", {}).get("DNSName", ""), record["Type"])
        assert last.get(target, -1) < number


def test_records_are_as_route53_wants_them() -> None:
    made = wanted(EIGHT)
    ids = [(record["Name"], record["Type"], record.get("SetIdentifier")) for record in made.compiled.records]
    assert len(set(ids)) == len(ids)
    for record in made.compiled.records:
        assert len(record["Name"]) <= 255 and all(len(label) <= 63 for label in record["Name"].split("."))
        assert ("AliasTarget" in record) != ("ResourceRecords" in record)
        assert sum(key in record for key in ("Failover", "GeoLocation", "Weight")) == 1


@pytest.mark.slow
def test_many_regions_have_short_enough_names_and_two_more_hops_at_most() -> None:
    made = wanted(ALL_REGIONS[:14])
    alive = {"serving-" + region for region in ALL_REGIONS[:14:3]}
    zone = twin.Zone(made.compiled.records)
    for place in list(places().values())[::11]:
        healthy = {compiler.serving(region): compiler.serving(region) in alive for region in made.spec.targets}
        answer = zone.answer("app.example.com.", "A", twin.Query(location(place), healthy))
        [region] = verify.expected(made.spec, place, tuple(ALL_REGIONS[:14:3]))
        assert answer.values == (f"app.{region}.elb.amazonaws.com.",) and len(answer.hops) <= 6
    assert max(len(record["Name"]) for record in made.compiled.records) <= 255


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_no_name_gets_more_than_a_hundred_geolocations_however_wild_the_orders(seed: int) -> None:
    chance = random.Random(seed)
    made = wanted(EIGHT[:3])
    orders = {name: tuple(chance.sample(EIGHT[:3], 3)) for name in places()}
    spec = msgspec.structs.replace(made.spec, orders=orders)
    proof = verify.prove(spec, compiler.compile_records(spec), made.checks)
    assert proof.most_locations <= 100 and proof.wrong == ()


@pytest.mark.slow
@given(st.integers(2, 8), st.data())
def test_lists_are_made_of_their_parts_within_their_levels(size: int, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.permutations("abcdefgh"[:size]), min_size=1, max_size=12))
    orders = [tuple(order) for order in drawn]
    splits = prefix_sharing.share(orders)
    for order in splits:
        first, rest = prefix_sharing.parts(order, splits)
        assert first and rest and all(part in splits for part in (first, rest) if len(part) > 1)
    assert max(prefix_sharing.levels(order, splits) for order in orders) <= prefix_sharing.LEVELS
    assert len(splits) <= len(prefix_sharing._merged(prefix_sharing._halves(order) for order in orders))
    assert splits == prefix_sharing.share(reversed(orders))


def test_the_evacuation_check_looks_into_another_region_and_is_inverted() -> None:
    made = wanted()
    host = "marks-ap-southeast-1.s3.ap-southeast-1.amazonaws.com"
    assert made.checks["open-us-east-1"] == {
        "Type": "HTTPS", "Port": 443, "FullyQualifiedDomainName": host,
        "ResourcePath": "/evacuated/us-east-1", "EnableSNI": True, "Inverted": True, "RequestInterval": 10,
        "FailureThreshold": 3}
    assert made.checks["serving-us-east-1"] == {
        "Type": "CALCULATED", "HealthThreshold": 2, "ChildHealthChecks": ["alive-us-east-1", "open-us-east-1"]}


def test_equal_fleets_compile_to_equal_records() -> None:
    assert msgspec.json.encode(wanted(EIGHT).compiled) == msgspec.json.encode(wanted(EIGHT).compiled)
