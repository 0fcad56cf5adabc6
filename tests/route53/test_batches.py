"""What a change batch may do, and that it does all or nothing."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.route53.batches import Around, Key, apply, listed
from sandbox.route53.errors import Refusal
from sandbox.route53.names import lies_in, normal, reversed_labels, written
from sandbox.route53.records import Record
from tests.route53.zones import NAME, ZONE_ID, alias, failover, geo, simple, weighted

AROUND = Around(ZONE_ID, "example.com.", frozenset({"known"}), {"lb.elb.amazonaws.com.": "ZELB"})


def many(values: int) -> dict[str, Any]:
    """A record set with so many values."""
    texts = [f"192.0.{number >> 8}.{number & 255}" for number in range(values)]
    return simple("") | {"ResourceRecords": [{"Value": text} for text in texts]}


def balancer(zone: str = "ZELB", prefix: str = "") -> Record:
    """An alias to a load balancer, said to be in this zone of AWS's."""
    target = {"HostedZoneId": zone, "DNSName": f"{prefix}lb.elb.amazonaws.com", "EvaluateTargetHealth": True}
    return {"Name": NAME, "Type": "A", "AliasTarget": target}


def changed(*changes: tuple[str, Record], start: tuple[Record, ...] = ()) -> dict[Key, Record]:
    """The record sets after these changes to `start`."""
    before = apply({}, [{"Action": "CREATE", "ResourceRecordSet": record} for record in start], AROUND)
    kept = dict(before)
    try:
        return apply(before, [{"Action": action, "ResourceRecordSet": record} for action, record in changes], AROUND)
    finally:
        assert before == kept


A, B = simple("192.0.2.1"), simple("192.0.2.2")
EU, OTHER_EU = simple("192.0.2.1", **geo("EU")), simple("192.0.2.2", **geo("EU", "other"))
FIRST, SECOND = simple("192.0.2.1", **weighted(1, "a")), simple("192.0.2.2", **weighted(1, "b"))
TARGET = simple("192.0.2.1", "t.example.com")
TO_TARGET = alias("t.example.com")
CNAME = simple("x.example.net", Type="CNAME")

GOOD: list[tuple[tuple[Record, ...], list[tuple[str, Record]], int]] = [
    ((), [("CREATE", A)], 1), ((), [("UPSERT", A)], 1), ((A,), [("UPSERT", B)], 1), ((A,), [("DELETE", A)], 0),
    ((A,), [("DELETE", A), ("CREATE", FIRST)], 1), ((FIRST,), [("CREATE", SECOND)], 2),
    ((), [("CREATE", TARGET), ("CREATE", TO_TARGET)], 2),
    ((TARGET, TO_TARGET), [("DELETE", TO_TARGET), ("DELETE", TARGET)], 0), ((), [("CREATE", balancer())], 1),
    ((), [("CREATE", balancer(prefix="dualstack."))], 1),
    ((), [("CREATE", simple("192.0.2.1", HealthCheckId="known"))], 1), ((CNAME,), [("DELETE", CNAME),
    ("CREATE", A)], 1),
    ((EU,), [("CREATE", simple("192.0.2.3", **geo("c:SE")))], 2), ((EU,), [("UPSERT", EU | {"TTL": 5})], 1),
    ((*(record | {"Name": "t.example.com."} for record in (FIRST, SECOND)), TO_TARGET),
     [("DELETE", FIRST | {"Name": "t.example.com."})], 2), ((A,), [("DELETE", A), ("CREATE", B)], 1),
    ((simple("192.0.2.1") | {"ResourceRecords": [{"Value": "192.0.2.1"}, {"Value": "192.0.2.2"}]},),
     [("DELETE", simple("") | {"ResourceRecords": [{"Value": "192.0.2.2"}, {"Value": "192.0.2.1"}]})], 0),
    ((), [("CREATE", simple("192.0.2.1", "WWW.Example.COM"))], 1),
    ((A,), [("DELETE", simple("192.0.2.1", "WWW.example.com"))], 0),
]


@pytest.mark.parametrize(("start", "changes", "left"), GOOD)
def test_what_is_taken(start: tuple[Record, ...], changes: list[tuple[str, Record]], left: int) -> None:
    assert len(changed(*changes, start=start)) == left


# What is there, what is changed, and why it is refused.
BAD: list[tuple[tuple[Record, ...], list[tuple[str, Record]], str]] = [
    ((A,), [("CREATE", A)],
     "Tried to create resource record set [name='www.example.com.', type='A'] but it already exists"),
    ((), [("DELETE", A)], "[name='www.example.com.', type='A'] but it was not found"),
    ((A,), [("DELETE", B)], "but the values provided do not match the current values"),
    ((A,), [("DELETE", A | {"TTL": 11})], "but the values provided do not match the current values"),
    ((FIRST,), [("DELETE", SECOND)], "set identifier='b'] but it was not found"),
    ((), [("CREATE", simple("192.0.2.1", "www.example.org"))], "is not permitted in zone example.com."),
    ((), [("CREATE", simple("192.0.2.1", "badexample.com"))], "is not permitted in zone example.com."),
    ((A,), [("CREATE", FIRST)], "other RRSets exist with the same name and type but another routing policy"),
    ((FIRST,), [("CREATE", A)], "other RRSets exist with the same name and type but another routing policy"),
    ((EU,), [("CREATE", FIRST)], "another routing policy"), ((EU,), [("CREATE", OTHER_EU)], "the same GeoLocation"),
    ((simple("192.0.2.1", **failover(True)),), [("CREATE", simple("192.0.2.2", Failover="PRIMARY", SetIdentifier="x"))],
     "the same Failover"),
    ((simple("192.0.2.1", Region="eu-west-1", SetIdentifier="a"),),
     [("CREATE", simple("192.0.2.2", Region="eu-west-1", SetIdentifier="b"))], "the same Region"),
    ((), [("CREATE", EU | {"Weight": 1})], "found more than one"),
    ((), [("CREATE", A | {"SetIdentifier": "x"})], "found none"),
    ((), [("CREATE", A | {"Weight": 1})], "no SetIdentifier"),
    ((), [("CREATE", A | weighted(256, "x"))], "between 0 and 255"),
    ((FIRST,), [("CREATE", SECOND | {"TTL": 11})], "another TTL"),
    ((), [("CREATE", A | failover(True) | {"Failover": "THIRD"})], "PRIMARY or SECONDARY"),
    ((), [("CREATE", A | {"GeoLocation": {"ContinentCode": "XX"}, "SetIdentifier": "x"})],
     "continent XX does not exist"),
    ((), [("CREATE", A | {"GeoLocation": {"CountryCode": "se"}, "SetIdentifier": "x"})], "country se does not exist"),
    ((), [("CREATE", A | {"GeoLocation": {"CountryCode": "SE", "SubdivisionCode": "AB"}, "SetIdentifier": "x"})],
     "needs the"),
    ((), [("CREATE", A | {"GeoLocation": {"CountryCode": "SE", "ContinentCode": "EU"}, "SetIdentifier": "x"})],
     "either"),
    ((), [("CREATE", A | {"GeoLocation": {}, "SetIdentifier": "x"})], "either ContinentCode or CountryCode"),
    ((), [("CREATE", TO_TARGET)], "t.example.com., type A in zone ZEXAMPLE, but that target was not found"),
    ((), [("CREATE", TO_TARGET), ("CREATE", TARGET)], "but that target was not found"),
    ((TARGET,), [("CREATE", alias("t.example.com", Type="AAAA"))], "but that target was not found"),
    ((), [("CREATE", alias("t.example.org"))], "does not lie within the target zone"),
    ((EU,), [("CREATE", alias(NAME, **geo("c:*")))], "that is the alias itself"),
    ((), [("CREATE", balancer("ZOTHER"))], "but that target was not found"),
    ((TARGET, TO_TARGET), [("DELETE", TARGET)], "an alias still targets it"),
    ((TARGET, TO_TARGET), [("DELETE", TARGET), ("DELETE", TO_TARGET)], "an alias still targets it"),
    ((TARGET,), [("CREATE", alias("t.example.com", evaluate=False, **failover(True)))],
     "EvaluateTargetHealth must be true"),
    ((TARGET,), [("CREATE", alias("t.example.com", MultiValueAnswer=True, SetIdentifier="x"))], "cannot be an alias"),
    ((TARGET,), [("CREATE", TO_TARGET | {"TTL": 5})], "but found more than one"),
    ((), [("CREATE", {"Name": NAME, "Type": "A"})], "but found none"),
    ((), [("CREATE", {"Name": NAME, "Type": "A", "TTL": 5, "ResourceRecords": []})], "but found none"),
    ((CNAME,), [("CREATE", A)], "a conflicting RRSet of type CNAME"),
    ((A,), [("CREATE", CNAME)], "a conflicting RRSet of type A"),
    ((), [("CREATE", simple("x.example.net", "example.com", Type="CNAME"))], "not permitted at apex"),
    ((), [("CREATE", simple("x"))], "IllegalIPv4Address encountered with 'x'"),
    ((), [("CREATE", many(401))], "Too many values"),
    ((), [("CREATE", CNAME | {"ResourceRecords": [{"Value": "a.b"}, {"Value": "c.d"}]})], "Too many values"),
    ((simple("ns.example.net", "t.example.com", Type="NS"),), [("CREATE", alias("t.example.com", Type="NS"))],
     "An alias of type NS is not permitted"),
    ((), [("CREATE", simple("no-number", Type="MX"))], "encountered with 'no-number'"),
    ((), [("CREATE", simple("hello", Type="TXT"))], "should be enclosed in quotation marks"),
    ((), [("CREATE", simple("1 2 x", Type="SRV"))], "Invalid Resource Record"),
    ((), [("CREATE", simple("192.0.2.1", "a..example.com"))], "Domain label is empty"),
    ((), [("CREATE", simple("192.0.2.1", "a" * 64 + ".example.com"))], "Domain label is too long"),
    ((), [("CREATE", simple("192.0.2.1", "a." * 130 + "example.com"))], "Domain name is too long"),
    ((), [("CREATE", simple("192.0.2.1", Type="AAAA"))], "IllegalIPv6Address"),
    ((), [("CREATE", simple("x", Type="WKS"))], "Unsupported record type WKS"),
    ((), [("CREATE", A | {"ResourceRecords": [{"Value": "192.0.2.1"}] * 2})], "Duplicate Resource Record"),
    ((), [("CREATE", FIRST | {"ResourceRecords": [{"Value": "192.0.2.1"}, {"Value": "192.0.2.2"}]})],
     "Only one ResourceRecord"),
    ((), [("CREATE", A), ("CREATE", A)], "an invalid set of changes for a resource record set 'A www.example.com.'"),
    ((A,), [("DELETE", A), ("DELETE", A)], "an invalid set of changes"),
    ((), [("CREATE", simple("ns.example.com", Type="NS", **weighted(1, "x")))], "not permitted with the type NS"),
]


@pytest.mark.parametrize(("start", "changes", "why"), BAD)
def test_what_is_refused(start: tuple[Record, ...], changes: list[tuple[str, Record]], why: str) -> None:
    with pytest.raises(Refusal, match=re.escape(why)) as caught:
        changed(*changes, start=start)
    assert (caught.value.code, caught.value.status) == ("InvalidChangeBatch", 400)


def test_all_mistakes_are_told_and_nothing_is_done() -> None:
    with pytest.raises(Refusal) as caught:
        changed(("CREATE", simple("192.0.2.9", "new.example.com")), ("CREATE", A), ("DELETE", TARGET), start=(A,))
    assert len(caught.value.messages) == 2


def test_a_health_check_must_exist() -> None:
    with pytest.raises(Refusal, match=r"NoSuchHealthCheck: .* ghost"):
        changed(("CREATE", simple("192.0.2.1", HealthCheckId="ghost")))


def test_soa_and_ns_of_the_zone_stay() -> None:
    soa = simple("ns. x. 1 1 1 1 1", "example.com", Type="SOA")
    with pytest.raises(Refusal, match="exactly one SOA"):
        changed(("DELETE", soa), start=(soa,))


@pytest.mark.parametrize(("action", "elements", "taken"), [
    ("CREATE", 1000, True), ("CREATE", 1001, False), ("UPSERT", 500, True), ("UPSERT", 501, False)])
def test_a_batch_has_at_most_a_thousand_elements(action: str, elements: int, taken: bool) -> None:
    changes = [(action, simple("192.0.2.1", f"n{number}.example.com")) for number in range(elements)]
    if taken:
        assert len(changed(*changes)) == elements
    else:
        with pytest.raises(Refusal, match="limit of 1000 exceeded"):
            changed(*changes)


def test_each_value_is_an_element_and_so_is_each_alias() -> None:
    names = [f"n{number}.example.com" for number in range(1001)]
    values = [many(334) | {"Name": name} for name in names[:3]]
    for records in (values, [alias("t.example.com", name) for name in names]):
        with pytest.raises(Refusal, match="limit of 1000 exceeded"):
            changed(*(("CREATE", record) for record in records), start=(TARGET,))


@pytest.mark.parametrize(("action", "taken"), [("CREATE", True), ("UPSERT", False)])
def test_values_have_at_most_32000_characters(action: str, taken: bool) -> None:
    changes = [(action, simple(f'"{"x" * 158}"', f"n{number}.example.com", Type="TXT")) for number in range(200)]
    if taken:
        assert len(changed(*changes)) == 200
        changes.append((action, simple('"', Type="TXT")))
    with pytest.raises(Refusal, match="limit of 32000 exceeded"):
        changed(*changes)


def test_a_group_has_at_most_a_hundred() -> None:
    changes = [("CREATE", simple("192.0.2.1", **weighted(1, str(number)))) for number in range(101)]
    assert len(changed(*changes[:100])) == 100
    with pytest.raises(Refusal, match="limit of 100 record sets"):
        changed(*changes)


@pytest.mark.slow
def test_a_zone_has_at_most_ten_thousand() -> None:
    zone: dict[Key, Record] = {}
    for start in range(0, 10_000, 1000):
        zone = apply(zone, [{"Action": "CREATE", "ResourceRecordSet": simple("192.0.2.1", f"n{number}.example.com")}
                            for number in range(start, start + 1000)], AROUND)
    with pytest.raises(Refusal, match="limit of 10000"):
        apply(zone, [{"Action": "CREATE", "ResourceRecordSet": A}], AROUND)


NAMES = st.text("ab", min_size=1, max_size=2).map(lambda text: f"{text}.example.com")
SETS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    NAMES.map(lambda name: simple("192.0.2.1", name)), st.tuples(NAMES, NAMES).map(lambda pair: alias(*pair)),
    st.tuples(NAMES, st.integers(0, 2)).map(lambda pair: simple("192.0.2.1", pair[0], **weighted(1, str(pair[1])))))
CHANGES = st.lists(st.tuples(st.sampled_from(["CREATE", "UPSERT", "DELETE"]), SETS), max_size=6)


@pytest.mark.slow
@given(st.lists(CHANGES, max_size=4))
def test_whatever_is_asked_the_zone_stays_sound(batches: list[list[tuple[str, Record]]]) -> None:
    zone: dict[Key, Record] = {}
    for batch in batches:
        try:
            zone = apply(zone, [{"Action": action, "ResourceRecordSet": record} for action, record in batch], AROUND)
        except Refusal:
            continue
    for key, record in zone.items():
        others = [other for other in zone if other[:2] == key[:2]]
        assert len(others) == 1 or all(other[2] for other in others)
        assert "AliasTarget" not in record or any(
            other[:2] == (record["AliasTarget"]["DNSName"], record["Type"]) for other in zone)


def test_lists_are_sorted_by_labels_from_the_right() -> None:
    names = ["b.example.com", "example.com", "a.b.example.com", "*.example.com", "a.example.com", "b-c.example.com"]
    found = [record["Name"] for record in listed(simple("192.0.2.1", name) for name in names)]
    assert found == ["example.com", "*.example.com", "a.example.com", "b-c.example.com", "b.example.com",
                     "a.b.example.com"]
    assert reversed_labels("www.example.com") == "com.example.www."


@pytest.mark.parametrize(("name", "same", "shown"), [
    ("WWW.Example.com", "www.example.com.", "www.example.com."),
    ("\\052.example.com.", "*.example.com.", "\\052.example.com."),
    ("a_b-c.d", "a_b-c.d.", "a_b-c.d."), ("*.x", "*.x.", "\\052.x.")])
def test_names_are_one_however_they_are_written(name: str, same: str, shown: str) -> None:
    assert (normal(name), written(name)) == (same, shown)
    assert normal(written(name)) == same


@pytest.mark.parametrize(("name", "inside"), [
    ("example.com", True), ("a.EXAMPLE.com.", True), ("badexample.com", False), ("com", False)])
def test_a_name_lies_in_its_zone(name: str, inside: bool) -> None:
    assert lies_in(name, "example.com.") is inside
