"""TestDNSAnswer over the wire, through boto3: where the client is, what is refused, and that it is what DNS answers."""

from collections.abc import Iterator
from typing import Any

import dns.edns
import dns.message
import dns.query
import pytest

from sandbox.route53.answers import Location
from sandbox.route53.service import Settings
from sandbox.route53.twin import Twin
from testing.eventually import SECONDS
from tests.route53.conftest import PLENTY, Clock, client_of
from tests.route53.test_api import WEB, change, refused
from tests.route53.zones import failover, geo, simple

PLACES = {"203.0.113.0/25": Location("EU", "SE"), "203.0.113.128/25": Location("EU", "DE"),
          "198.51.100.0/24": Location("AS", "JP"), "2001:db8:1::/48": Location("NA", "US", "CA")}
VALUES = {"c:SE": "192.0.2.1", "EU": "192.0.2.2", "c:JP": "192.0.2.3", "c:US-CA": "192.0.2.4", "c:US": "192.0.2.5",
          "c:*": "192.0.2.6"}


@pytest.fixture
def twin(clock: Clock) -> Iterator[Twin]:
    with Twin(Settings(rate=PLENTY), clock=clock, checking=False, places=PLACES) as running:
        yield running


@pytest.fixture
def filled(client: Any, zone: str) -> str:
    change(client, zone, *(("CREATE", simple(value, **geo(place))) for place, value in VALUES.items()),
           ("CREATE", simple("www.example.com", "name.example.com", Type="CNAME")),
           ("CREATE", simple('"' + "x" * 200 + '"', "big.example.com", Type="TXT") | {
               "ResourceRecords": [{"Value": f'"{number}{"x" * 200}"'} for number in range(10)]}))
    return zone


def answer(client: Any, zone: str, name: str = "www.example.com", kind: str = "A", **more: str) -> Any:
    return client.test_dns_answer(HostedZoneId=zone, RecordName=name, RecordType=kind, **more)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "value"), [
    ({}, "192.0.2.5"),
    ({"ResolverIP": "203.0.113.1"}, "192.0.2.1"),
    ({"ResolverIP": "203.0.113.1", "EDNS0ClientSubnetIP": "198.51.100.9"}, "192.0.2.3"),
    ({"EDNS0ClientSubnetIP": "2001:db8:1::1"}, "192.0.2.4"),
    ({"ResolverIP": "192.0.2.200"}, "192.0.2.6"),
    # 24 bits by default: 203.0.113.200 in Germany becomes 203.0.113.0 in Sweden.
    ({"EDNS0ClientSubnetIP": "203.0.113.200"}, "192.0.2.1"),
    ({"EDNS0ClientSubnetIP": "203.0.113.200", "EDNS0ClientSubnetMask": "32"}, "192.0.2.2"),
    # RFC 7871: a mask of 0 tells nothing, so the resolver counts.
    ({"ResolverIP": "198.51.100.1", "EDNS0ClientSubnetIP": "203.0.113.1", "EDNS0ClientSubnetMask": "0"}, "192.0.2.3")])
def test_the_place_is_the_client_s_or_else_the_resolver_s(
        client: Any, filled: str, where: dict[str, str], value: str) -> None:
    assert answer(client, filled, **where)["RecordData"] == [value]


def test_it_has_all_that_the_model_promises(client: Any, filled: str) -> None:
    found = answer(client, filled.rpartition("/")[2])
    found.pop("ResponseMetadata")
    assert found == {"Nameserver": "ns-1.route53-twin.example", "RecordName": "www.example.com", "RecordType": "A",
                     "RecordData": ["192.0.2.5"], "ResponseCode": "NOERROR", "Protocol": "UDP"}


@pytest.mark.slow
def test_it_says_what_dns_says(client: Any, twin: Twin, filled: str) -> None:
    for name, kind in (("www.example.com", "A"), ("www.example.com", "AAAA"), ("nothing.example.com", "A"),
                       ("name.example.com", "A"), ("example.com", "SOA"), ("big.example.com", "TXT")):
        told = answer(client, filled, name, kind, ResolverIP="203.0.113.1", EDNS0ClientSubnetIP="203.0.113.1")
        query = dns.message.make_query(name, kind, use_edns=0, options=[dns.edns.ECSOption("203.0.113.1", 24)])
        response, over_tcp = dns.query.udp_with_fallback(query, "127.0.0.1", SECONDS, twin.dns_port)
        # The values of one record set come in any order.
        assert sorted(told["RecordData"]) == sorted(data.to_text() for rrset in response.answer for data in rrset)
        assert told["ResponseCode"] == {0: "NOERROR", 3: "NXDOMAIN"}[response.rcode()]
        assert told["Protocol"] == ("TCP" if over_tcp else "UDP")


def test_it_asks_the_zone_that_is_named_even_if_another_one_has_its_name(client: Any, filled: str) -> None:
    other = client.create_hosted_zone(Name="example.com", CallerReference="again")["HostedZone"]["Id"]
    change(client, other, ("CREATE", simple("192.0.2.99")))
    assert answer(client, other)["RecordData"] == ["192.0.2.99"]
    assert answer(client, filled)["RecordData"] == ["192.0.2.5"]


@pytest.mark.slow
@pytest.mark.parametrize(("sees", "value"), [(True, "192.0.2.2"), (False, "192.0.2.1")])
def test_it_looks_at_health_unless_told_not_to(sees: bool, value: str, clock: Clock) -> None:
    with Twin(Settings(rate=PLENTY, tool_sees_health=sees), clock=clock, checking=False) as twin:
        client = client_of(twin)
        zone = client.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]
        config = WEB | {"Disabled": True, "Inverted": True}
        check = client.create_health_check(CallerReference="1", HealthCheckConfig=config)["HealthCheck"]["Id"]
        change(client, zone, ("CREATE", simple("192.0.2.1", HealthCheckId=check, **failover(True))),
               ("CREATE", simple("192.0.2.2", **failover(False))))
        assert answer(client, zone)["RecordData"] == [value]
        query = dns.message.make_query("www.example.com", "A")
        assert "192.0.2.2" in str(dns.query.udp(query, "127.0.0.1", SECONDS, twin.dns_port))


@pytest.mark.slow
@pytest.mark.parametrize(("more", "code"), [
    ({"HostedZoneId": "ZNONE"}, "NoSuchHostedZone"), ({"RecordName": "www.example.net"}, "InvalidInput"),
    ({"RecordName": "a..example.com"}, "InvalidInput"), ({"RecordType": "ANY"}, "InvalidInput"),
    ({"RecordType": "TLSA"}, "InvalidInput"),
    ({"ResolverIP": "1.2.3"}, "InvalidInput"), ({"EDNS0ClientSubnetIP": "sweden"}, "InvalidInput"),
    ({"EDNS0ClientSubnetMask": "24"}, "InvalidInput"),
    ({"EDNS0ClientSubnetIP": "192.0.2.1", "EDNS0ClientSubnetMask": "33"}, "InvalidInput"),
    ({"EDNS0ClientSubnetIP": "2001:db8::1", "EDNS0ClientSubnetMask": "129"}, "InvalidInput"),
    ({"EDNS0ClientSubnetIP": "192.0.2.1", "EDNS0ClientSubnetMask": "-1"}, "InvalidInput")])
def test_what_is_refused(client: Any, filled: str, more: dict[str, str], code: str) -> None:
    asked = {"HostedZoneId": filled, "RecordName": "www.example.com", "RecordType": "A"} | more
    assert refused(client.test_dns_answer, **asked)[0] == code
