"""DNS on the wire: real clients, and bytes that no client would send."""

import shutil
import socket
import struct
import subprocess
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.route53 import dns_server
from sandbox.route53.answers import Location
from sandbox.route53.checkers import Checkers
from sandbox.route53.places import Places
from sandbox.route53.resolver import Resolver
from sandbox.route53.service import Service, Settings
from sandbox.route53.state import Resource
from sandbox.route53.twin import Twin
from testing.eventually import SECONDS
from tests.route53.conftest import PLENTY, Clock
from tests.route53.zones import alias, failover, geo, simple

PLACES = {"203.0.113.0/24": Location("EU", "SE"), "198.51.100.0/24": Location("AS", "JP"),
 "127.0.0.0/8": Location("SA", "BR")}
RECORDS = [
    simple("192.0.2.1", **geo("EU")), simple("192.0.2.2", **geo("AS")), simple("192.0.2.3", **geo("SA")),
    simple("www.example.com", "name.example.com", Type="CNAME"),
    simple("elsewhere.example.net", "far.example.com", Type="CNAME"),
    simple("far.example.com", "chain.example.com", Type="CNAME"),
    simple("loop.example.com", "loop.example.com", Type="CNAME"), simple("ghost.example.com",
     "lost.example.com", Type="CNAME"),
    simple("192.0.2.5", "circle.example.com"), simple('"hello world"', "text.example.com", Type="TXT"),
    simple("10 mail.example.com", "mail.example.com", Type="MX"), simple("192.0.2.9", "*.wild.example.com"),
    simple('"' + "x" * 200 + '"', "big.example.com", Type="TXT") | {
        "ResourceRecords": [{"Value": f'"{number}{"x" * 200}"'} for number in range(20)]},
    {"Name": "lb.example.com", "Type": "A", "AliasTarget": {
        "HostedZoneId": "ZELB", "DNSName": "lb.elb.amazonaws.com", "EvaluateTargetHealth": True}},
    {"Name": "lb.example.com", "Type": "AAAA", "AliasTarget": {
        "HostedZoneId": "ZELB", "DNSName": "dualstack.lb.elb.amazonaws.com", "EvaluateTargetHealth": True}},
]


def service() -> Service:
    """A service with the zone example.com, without any server."""
    made = Service(Clock(), Checkers(Clock(), lambda name: None), Settings(rate=PLENTY))
    fill(made)
    return made


def fill(made: Service) -> None:
    """Give a service the zone example.com."""
    zone = made.call("CreateHostedZone", {"Name": "example.com", "CallerReference": "1"})["HostedZone"]["Id"]
    made.resource("lb.elb.amazonaws.com", Resource("ZELB", ("127.0.1.1", "::1", "127.0.1.2")))
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record} for record in RECORDS]}
    made.call("ChangeResourceRecordSets", {"HostedZoneId": zone, "ChangeBatch": batch})
    # Two aliases in a circle: nothing refuses the second, once the first has its target.
    round_about = [("CREATE", alias("circle.example.com", "turn.example.com")),
                   ("UPSERT", alias("turn.example.com", "circle.example.com"))]
    for action, record in round_about:
        record["AliasTarget"]["HostedZoneId"] = zone.rpartition("/")[2]
        one = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        made.call("ChangeResourceRecordSets", {"HostedZoneId": zone, "ChangeBatch": one})


SERVICE = service()
RESOLVER = Resolver(SERVICE, Places(PLACES), draw=lambda: 0.0)


def asked(name: str, kind: str = "A", *, client: str = "127.0.0.1", subnet: str = "", udp: bool = True,
          **more: Any) -> dns.message.Message:
    """The answer to one query."""
    options: list[dns.edns.Option] = [dns.edns.ECSOption(*_prefix(subnet))] if subnet else []
    query = dns.message.make_query(name, kind, use_edns=more.pop("edns", 0), options=options, **more)
    answer = RESOLVER.respond(query.to_wire(), client, udp=udp)
    assert answer is not None
    found = dns.message.from_wire(answer)
    assert query.is_response(found)
    return found


def _prefix(subnet: str) -> tuple[str, int]:
    address, _, length = subnet.partition("/")
    return address, int(length)


def values(found: dns.message.Message) -> list[str]:
    """All values of the answer section; those of one record set come in any order."""
    return [text for rrset in found.answer for text in sorted(item.to_text() for item in rrset)]


@pytest.mark.parametrize(("client", "subnet", "value", "scope"), [
    ("203.0.113.9", "", "192.0.2.1", None), ("127.0.0.1", "203.0.113.0/24", "192.0.2.1", 24),
    ("127.0.0.1", "198.51.100.0/24", "192.0.2.2", 24), ("127.0.0.1", "", "192.0.2.3", None),
    ("203.0.113.9", "0.0.0.0/0", "192.0.2.1", 0), ("127.0.0.1", "203.0.0.0/16", None, 18)])
def test_the_client_subnet_decides_and_the_scope_is_told(
        client: str, subnet: str, value: str | None, scope: int | None) -> None:
    found = asked("www.example.com", client=client, subnet=subnet)
    assert values(found) == ([value] if value else [])
    told = [option for option in found.options if isinstance(option, dns.edns.ECSOption)]
    assert [option.scopelen for option in told] == ([] if scope is None else [scope])
    assert [f"{option.address}/{option.srclen}" for option in told] == ([subnet] if subnet else [])


@pytest.mark.parametrize(("name", "kind", "expected"), [
    ("NAME.example.com", "A", ["www.example.com.", "192.0.2.3"]), ("name.example.com", "CNAME", ["www.example.com."]),
    ("far.example.com", "A", ["elsewhere.example.net."]),
    ("chain.example.com", "A", ["far.example.com.", "elsewhere.example.net."]),
    ("text.example.com", "TXT", ['"hello world"']), ("mail.example.com", "MX", ["10 mail.example.com."]),
    ("a.wild.example.com", "A", ["192.0.2.9"]), ("lb.example.com", "A", ["127.0.1.1", "127.0.1.2"]),
    ("lb.example.com", "AAAA", ["::1"]), ("example.com", "NS", [f"ns-{n}.route53-twin.example." for n in range(1, 5)])])
def test_values(name: str, kind: str, expected: list[str]) -> None:
    found = asked(name, kind)
    assert (values(found), found.rcode(), bool(found.flags & dns.flags.AA)) == (expected, dns.rcode.NOERROR, True)
    assert found.answer[0].name.to_text() == name + "."


@pytest.mark.parametrize(("name", "kind", "rcode", "soa"), [
    ("none.example.com", "A", "NXDOMAIN", True), ("www.example.com", "AAAA", "NOERROR", True),
    ("wild.example.com", "A", "NOERROR", True), ("www.example.org", "A", "REFUSED", False), ("", "A", "REFUSED", False),
    ("lost.example.com", "A", "NXDOMAIN", True), ("circle.example.com", "A", "SERVFAIL", False),
    ("loop.example.com", "A", "NOERROR", False), ("www.example.com", "ANY", "NOERROR", True)])
def test_no_values(name: str, kind: str, rcode: str, soa: bool) -> None:
    found = asked(name or ".", kind)
    assert (dns.rcode.to_text(found.rcode()), bool(found.authority)) == (rcode, soa)


def test_the_zone_with_the_longest_name_answers() -> None:
    made = service()
    zone = made.call("CreateHostedZone", {"Name": "deep.example.com", "CallerReference": "2"})["HostedZone"]["Id"]
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": simple("192.0.2.77", "a.deep.example.com")}]}
    made.call("ChangeResourceRecordSets", {"HostedZoneId": zone, "ChangeBatch": batch})
    query = dns.message.make_query("a.deep.example.com", "A")
    answer = Resolver(made, Places({})).respond(query.to_wire(), "127.0.0.1")
    assert answer is not None
    assert values(dns.message.from_wire(answer)) == ["192.0.2.77"]


def test_what_is_too_large_is_truncated_over_udp() -> None:
    found = asked("big.example.com", "TXT")
    assert found.flags & dns.flags.TC
    assert not found.answer
    assert len(values(asked("big.example.com", "TXT", udp=False))) == 20


def test_a_client_without_edns_gets_512_bytes_and_no_opt() -> None:
    query = dns.message.make_query("big.example.com", "TXT", use_edns=False)
    answer = RESOLVER.respond(query.to_wire(), "127.0.0.1")
    assert answer is not None
    assert len(answer) <= 512
    assert dns.message.from_wire(answer).edns == -1


def raw(*, flags: int = 0, questions: int = 1, body: bytes = b"\x01a\x00\x00\x01\x00\x01") -> bytes:
    """A message by its parts."""
    return struct.pack("!6H", 0x1234, flags, questions, 0, 0, 0) + body


@pytest.mark.parametrize(("data", "rcode"), [
    (raw(body=b""), "FORMERR"), (raw(body=b"\xff" * 9), "FORMERR"), (raw(questions=2), "FORMERR"),
    (raw() + b"trailing", "FORMERR"), (raw(body=b"\xc0\x0c\x00\x01\x00\x01"), "FORMERR"),
    (raw(flags=0x2800, questions=0, body=b""), "FORMERR"), (raw(flags=0x1000), "NOTIMP"),
    (raw(questions=0, body=b""), "FORMERR"), (raw(body=b"\x01a\x00\x00\x01\x00\x03"), "REFUSED")])
def test_what_is_wrong_gets_its_code(data: bytes, rcode: str) -> None:
    answer = RESOLVER.respond(data, "127.0.0.1")
    assert answer is not None
    assert answer[:2] == data[:2]
    assert answer[2] & 0x80
    assert dns.rcode.to_text(dns.rcode.Rcode(answer[3] & 15)) in (rcode, "NOTIMP" if data[2] & 0x78 else rcode)


@pytest.mark.parametrize("data", [b"", b"short", raw(flags=0x8000), raw(flags=0x8000, body=b"\xff")])
def test_silence_where_an_answer_would_do_harm(data: bytes) -> None:
    assert RESOLVER.respond(data, "127.0.0.1") is None


def test_another_version_of_edns_is_told_so() -> None:
    assert asked("www.example.com", edns=1).rcode() == dns.rcode.BADVERS


MESSAGES = st.builds(
    lambda name, kind, subnet, flags: _message(name, kind, subnet, flags),
    st.sampled_from(["www.example.com", "x.wild.example.com", "loop.example.com", "example.com", ".", "other.org"]),
    st.sampled_from(["A", "AAAA", "TXT", "MX", "ANY", "SOA", "TYPE65", "CNAME"]),
    st.sampled_from(["", "203.0.113.0/24", "2001:db8::/56", "0.0.0.0/0"]), st.integers(0, 0x7fff))


def _message(name: str, kind: str, subnet: str, flags: int) -> bytes:
    options: list[dns.edns.Option] = [dns.edns.ECSOption(*_prefix(subnet))] if subnet else []
    data = bytearray(dns.message.make_query(name, kind, use_edns=0, options=options).to_wire())
    data[2:4] = flags.to_bytes(2, "big")
    return bytes(data)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A message with some of its bytes changed, left out or added."""
    data = bytearray(draw(MESSAGES))
    for at, byte in draw(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4)):
        data[at % len(data)] = byte
    return bytes(data[:draw(st.integers(0, 80))]) + draw(st.binary(max_size=6)) if draw(st.booleans()) else bytes(data)


@given(st.binary(max_size=80) | mangled(), st.booleans())
@example(b"\x00" * 12, True)
def test_any_bytes_get_a_message_or_silence(data: bytes, udp: bool) -> None:
    answer = RESOLVER.respond(data, "127.0.0.1", udp=udp)
    if answer is None:
        assert len(data) < 12 or data[2] & 0x80
        return
    assert answer[:2] == data[:2]
    assert answer[2] & 0x80
    assert len(answer) <= (1232 if udp else 65_535)
    dns.message.from_wire(answer, question_only=answer[2] & 0x78 != 0)


@pytest.fixture
def running() -> Any:
    with Twin(Settings(rate=PLENTY), clock=Clock(), checking=False, places=PLACES, draw=lambda: 0.0) as twin:
        fill(twin.service)
        yield twin


def test_real_clients_get_real_answers(running: Twin) -> None:
    query = dns.message.make_query("www.example.com", "A")
    for ask in (dns.query.udp, dns.query.tcp):
        found = ask(query, "127.0.0.1", port=running.dns_port, timeout=SECONDS)
        assert values(found) == ["192.0.2.3"]
    big, tcp = dns.query.udp_with_fallback(
        dns.message.make_query("big.example.com", "TXT"), "127.0.0.1", port=running.dns_port, timeout=SECONDS)
    assert (len(values(big)), tcp) == (20, True)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], running.dns_port
    assert [str(item) for item in resolver.resolve("name.example.com", "A")] == ["192.0.2.3"]
    with pytest.raises(dns.resolver.NXDOMAIN):
        resolver.resolve("none.example.com", "A")


def test_a_client_is_where_its_loopback_address_is() -> None:
    places = {"127.0.0.2/32": Location("EU", "SE"), "127.0.0.3/32": Location("AS", "JP")}
    with Twin(Settings(rate=PLENTY), clock=Clock(), checking=False, places=places) as twin:
        fill(twin.service)
        query = dns.message.make_query("www.example.com", "A")
        found = [values(dns.query.udp(query, "127.0.0.1", port=twin.dns_port, timeout=SECONDS, source=source))
                 for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4")]
    assert found == [["192.0.2.1"], ["192.0.2.2"], []]


def test_tcp_serves_message_after_message_and_ends_at_garbage(
    running: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = dns.message.make_query("www.example.com", "A").to_wire()
    # It must end the connection at once, not when nothing comes any more.
    monkeypatch.setattr(dns_server, "_TCP_SECONDS", 2 * SECONDS)
    with socket.create_connection(("127.0.0.1", running.dns_port), SECONDS) as connection:
        for _ in range(3):
            connection.sendall(struct.pack("!H", len(message)) + message)
            length = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
            assert connection.recv(length, socket.MSG_WAITALL)[:2] == message[:2]
        connection.sendall(b"\x00\x03abc")
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_dig(running: Twin) -> None:
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed (on Debian: apt-get install dnsutils): tried with dnspython's client only")

    def dig(*words: str) -> list[str]:
        command = ["dig", "@127.0.0.1", "-p", str(running.dns_port), "+time=5", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout.splitlines()

    assert dig("+short", "www.example.com") == ["192.0.2.3"]
    assert dig("+short", "+subnet=203.0.113.0/24", "www.example.com") == ["192.0.2.1"]
    assert dig("+short", "+tcp", "+subnet=198.51.100.7/32", "www.example.com") == ["192.0.2.2"]
    assert len(dig("+short", "big.example.com", "TXT")) == 20
    told = dig("+subnet=203.0.113.0/24", "www.example.com")
    assert "; CLIENT-SUBNET: 203.0.113.0/24/24" in told
    assert any("status: NXDOMAIN" in line for line in dig("none.example.com"))


def test_health_decides_at_the_moment_of_the_query(running: Twin) -> None:
    call = running.service.call
    pair = [alias("first.example.com", "pair.example.com", **failover(True)), simple("192.0.2.8",
     "pair.example.com", **failover(False))]
    zone = call("ListHostedZones", {})["HostedZones"][0]["Id"]
    metric = {"Type": "CLOUDWATCH_METRIC", "AlarmIdentifier": {"Region": "r", "Name": "n"}}
    check = call("CreateHealthCheck", {"CallerReference": "1", "HealthCheckConfig": metric})["HealthCheck"]["Id"]
    pair[0]["AliasTarget"]["HostedZoneId"] = zone.rpartition("/")[2]
    records = [simple("192.0.2.7", "first.example.com", HealthCheckId=check), *pair]
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record} for record in records]}
    call("ChangeResourceRecordSets", {"HostedZoneId": zone, "ChangeBatch": batch})
    query = dns.message.make_query("pair.example.com", "A")
    found = []
    for state in ("OK", "ALARM", "OK"):
        running.service.alarm("r", "n", state)
        found += values(dns.query.udp(query, "127.0.0.1", port=running.dns_port, timeout=SECONDS))
    assert found == ["192.0.2.7", "192.0.2.8", "192.0.2.7"]
    running.service.resource("lb.elb.amazonaws.com", Resource("ZELB", ("127.0.1.9",)))
    assert running.address("lb.example.com") == "127.0.1.9"
