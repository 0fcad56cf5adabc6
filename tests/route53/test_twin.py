"""All of it together: real endpoints die, and DNS answers change."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest
from botocore.exceptions import BotoCoreError

from sandbox.route53.answers import Location
from sandbox.route53.service import Fault, Settings
from sandbox.route53.state import Resource
from sandbox.route53.twin import Twin
from testing.eventually import SECONDS
from tests.route53.conftest import PLENTY, Clock, client_of
from tests.route53.endpoints import Serve, endpoint, page
from tests.route53.zones import alias, geo, simple

REGIONS = ("eu", "us", "ap")
PLACES = {"127.0.0.2": Location("EU", "SE"), "127.0.0.3": Location("NA", "US", "CA"), "127.0.0.4": Location("AS", "JP")}


class Server:
    """An HTTP endpoint that can die and live again on the same port."""

    def __init__(self) -> None:
        self.alive = True
        self.page: Serve = page(b"token-1")

    def __call__(self, connection: Any) -> None:
        if self.alive:
            self.page(connection)


@contextmanager
def three_regions(twin: Twin, clock: Clock) -> Iterator[dict[str, Server]]:
    """Three regions with a health check each; EU, NA and AS go to their own, and to any other that lives."""
    client = client_of(twin)
    zone = client.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"].rpartition("/")[2]
    servers = {region: Server() for region in REGIONS}
    with ExitStack() as stack:
        checks = {region: client.create_health_check(CallerReference=region, HealthCheckConfig={
            "Type": "HTTP_STR_MATCH", "IPAddress": "127.0.0.1", "Port": stack.enter_context(endpoint(server)),
            "SearchString": "token-1",
             "RequestInterval": 10})["HealthCheck"]["Id"] for region, server in servers.items()}
        own = [simple(f"192.0.2.{number}", f"{region}.example.com", Weight=1, SetIdentifier=region,
                      HealthCheckId=checks[region]) for number, region in enumerate(REGIONS)]
        records = [*own, *(_geo(zone, region, where) for region, where in zip(REGIONS, ("EU", "NA",
         "AS"), strict=True)),
                   _geo(zone, "us", "c:*")]
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [
            {"Action": "CREATE", "ResourceRecordSet": record} for record in records]})
        yield servers


def _geo(zone: str, region: str, where: str) -> dict[str, Any]:
    record = alias(f"{region}.example.com", **geo(where))
    record["AliasTarget"]["HostedZoneId"] = zone
    return record


def answers(twin: Twin) -> list[str]:
    """What the clients in Sweden, California and Japan are answered."""
    query = dns.message.make_query("www.example.com", "A")
    return [dns.query.udp(query, "127.0.0.1", port=twin.dns_port, timeout=SECONDS, source=source).answer[0][0].to_text()
            for source in PLACES]


def run(twin: Twin, clock: Clock, seconds: float) -> None:
    """Let time pass, with real probes at each moment that one is due."""
    end = clock.now + seconds
    while (due := twin.checkers.next_due()) <= end:
        clock.now = max(clock.now, due)
        twin.checkers.step()
    clock.now = end


@pytest.mark.slow
def test_a_region_dies_and_comes_back(clock: Clock) -> None:
    with Twin(Settings(rate=PLENTY), clock=clock, checking=False, places=PLACES) as twin, \
            three_regions(twin, clock) as servers:
        run(twin, clock, 30)
        assert answers(twin) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
        twin.service.faults.append(Fault("*", times=-1))
        calls = twin.service.calls.total()
        servers["eu"].alive = False
        run(twin, clock, 40)
        assert answers(twin) == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        servers["ap"].page = page(b"a stranger's page")
        run(twin, clock, 40)
        assert answers(twin) == ["192.0.2.1", "192.0.2.1", "192.0.2.1"]
        servers["us"].alive = False
        run(twin, clock, 40)
        assert answers(twin) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
        servers["eu"].alive = True
        run(twin, clock, 40)
        assert answers(twin) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
        servers["us"].alive = True
        run(twin, clock, 40)
        assert answers(twin)[2] == "192.0.2.1"
        assert twin.service.calls.total() == calls


@pytest.mark.slow
def test_the_status_of_each_checker_is_told(clock: Clock) -> None:
    with Twin(Settings(rate=PLENTY), clock=clock, checking=False, places=PLACES) as twin, \
            three_regions(twin, clock) as servers:
        client = client_of(twin)
        check = client.list_health_checks()["HealthChecks"][0]["Id"]
        assert client.get_health_check_status(HealthCheckId=check)["HealthCheckObservations"] == []
        run(twin, clock, 10)
        seen = client.get_health_check_status(HealthCheckId=check)["HealthCheckObservations"]
        assert {one["StatusReport"]["Status"] for one in seen} == {"Success: HTTP Status Code 200, OK"}
        assert len({one["Region"] for one in seen}) == len(seen) == 8
        servers["eu"].alive = False
        run(twin, clock, 10)
        seen = client.get_health_check_status(HealthCheckId=check)["HealthCheckObservations"]
        assert all(one["StatusReport"]["Status"].startswith("Failure: ") for one in seen)
        assert max(one["StatusReport"]["CheckedTime"].timestamp() for one in seen) <= clock.now


@pytest.mark.slow
def test_checkers_probe_by_themselves_in_real_time() -> None:
    server = Server()
    with Twin(Settings(rate=PLENTY)) as twin, endpoint(server) as port:
        client = client_of(twin)
        config = {"Type": "HTTP", "IPAddress": "127.0.0.1", "Port": port, "RequestInterval": 10, "FailureThreshold": 1}
        made = twin.service.call("CreateHealthCheck", {"CallerReference": "1", "HealthCheckConfig": config | {
            "RequestInterval": 1}})["HealthCheck"]["Id"]
        assert twin.service.healthy() == {made: True}
        server.alive = False
        assert eventually(lambda: twin.service.healthy() == {made: False})
        client.update_health_check(HealthCheckId=made, Inverted=True)
        assert twin.service.healthy() == {made: True}
        client.update_health_check(HealthCheckId=made, Inverted=False, Disabled=True)
        assert twin.service.healthy() == {made: True}
        client.delete_health_check(HealthCheckId=made)
        assert twin.service.healthy() == {made: False}


def eventually(holds: Any, seconds: float = 180.0) -> bool:
    """Whether it holds before that time is over."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("name", "address"), [
    ("a.example.com", "192.0.2.1"), ("lb.elb.amazonaws.com", "127.0.1.1"), ("to-lb.example.com", "127.0.1.1"),
    ("none.example.com", None), ("name.example.com", None), ("example.org", None), ("six.elb.amazonaws.com", None)])
def test_an_endpoint_is_found_by_name(twin: Twin, client: Any, zone: str, name: str, address: str | None) -> None:
    twin.service.resource("lb.elb.amazonaws.com", Resource("ZELB", ("::1", "127.0.1.1")))
    twin.service.resource("six.elb.amazonaws.com", Resource("ZELB", ("::1",)))
    outside = {"HostedZoneId": "ZELB", "DNSName": "lb.elb.amazonaws.com", "EvaluateTargetHealth": True}
    client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [
        {"Action": "CREATE", "ResourceRecordSet": record} for record in (
            simple("192.0.2.1", "a.example.com"), simple("a.example.com", "name.example.com", Type="CNAME"),
            {"Name": "to-lb.example.com", "Type": "A", "AliasTarget": outside})]})
    assert twin.address(name) == address


def test_a_load_balancer_without_healthy_targets_is_passed_by(clock: Clock) -> None:
    with Twin(Settings(rate=PLENTY), clock=clock, checking=False) as twin:
        client = client_of(twin)
        zone = client.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]
        for number, side in enumerate(("PRIMARY", "SECONDARY"), 1):
            name = f"{side.lower()}.elb.amazonaws.com"
            twin.service.resource(name, Resource("ZELB", (f"127.0.1.{number}",)))
            record = {"Name": "example.com", "Type": "A", "Failover": side, "SetIdentifier": side, "AliasTarget": {
                "HostedZoneId": "ZELB", "DNSName": name, "EvaluateTargetHealth": True}}
            client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [
                {"Action": "CREATE", "ResourceRecordSet": record}]})
        assert twin.address("example.com") == "127.0.1.1"
        twin.service.resource("primary.elb.amazonaws.com", Resource("ZELB", ("127.0.1.1",), healthy=False))
        assert twin.address("example.com") == "127.0.1.2"


def test_the_example_of_the_page_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "route53-twin.md").read_text()
    example = re.findall(r"```python\n(.*?)```", page, re.S)[0]
    exec(compile(example, "docs/route53-twin.md", "exec"), {})  # noqa: S102 # our own page
    assert re.fullmatch(r"dig @127.0.0.1 -p \d+ www.example.com \+subnet=203.0.113.0/24\n", capsys.readouterr().out)


def test_nothing_is_left_when_the_block_ends(clock: Clock) -> None:
    with Twin(clock=clock) as twin:
        port, client = twin.dns_port, client_of(twin)
        client.list_hosted_zones()
    # Its connection is still open.
    with pytest.raises(BotoCoreError):
        client.list_hosted_zones()
    with pytest.raises(OSError, match=r"refused|reset"):
        dns.query.tcp(dns.message.make_query("a.", "A"), "127.0.0.1", port=port, timeout=1)
