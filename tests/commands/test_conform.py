"""`./lamp routing conformance` against the twin of Route 53, over the wire: right, wrong in one rule, cut off, resumed.

The twin's clock moves only when the command sleeps, so that minutes take no time and the limit of five requests a
second is the twin's own.
"""

import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from chalicelib.aws.route53 import AwsRoute53
from commands import cli
from commands.conformance import queries
from commands.conformance import run as conform
from commands.conformance.cases import TABLE
from commands.deploy import account
from sandbox.route53.answers import Location
from sandbox.route53.places import Places
from sandbox.route53.service import Fault, Settings
from sandbox.route53.throttle import PUBLISHED
from sandbox.route53.twin import Twin
from tests.commands import broken
from tests.route53.conftest import Clock, client_of
from tests.route53.zones import simple

PLACES = {"171.67.68.0/24": Location("NA", "US", "CA"), "128.59.1.0/24": Location("NA", "US", "NY"),
          "130.237.1.0/24": Location("EU", "SE"), "131.159.92.0/24": Location("EU", "DE"),
          "129.127.149.0/24": Location("OC", "AU")}
HOSTNAME = "lamp-test.example.com"


class World:
    """The twin, a hosted zone in it with a record of somebody else, and the command that talks to it."""

    def __init__(self, twin: Twin, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        self.twin, self._clock, self._capsys = twin, clock, capsys
        self.api = client_of(twin)
        self.zone = self.api.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]
        self.change("CREATE", simple("192.0.2.200", "lamp-test-2.example.com"))
        self.change("CREATE", simple("192.0.2.201", "www.example.com"))
        self.before = self.records()

    def client(self, service: str, region: str) -> Any:
        """The command's client."""
        assert (service, region) == ("route53", "us-east-1")
        return self.api

    def sleep(self, seconds: float) -> None:
        """So much time passes."""
        self._clock.now += seconds

    def change(self, action: str, record: dict[str, Any]) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.api.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch=batch)

    def records(self) -> list[dict[str, Any]]:
        return [record for page in self.api.get_paginator("list_resource_record_sets").paginate(HostedZoneId=self.zone)
                for record in page["ResourceRecordSets"]]

    def clean(self) -> bool:
        """Whether nothing is there but what was there before."""
        self._clock.now += 60
        return self.records() == self.before and not self.api.list_health_checks()["HealthChecks"]

    def run(self, *words: str, status: int = 0) -> Any:
        """The command's JSON."""
        ended = cli.main(["routing", "conformance", "--zone", self.zone.rpartition("/")[2], "--hostname", HOSTNAME,
                          "--json", "--yes", *words])
        out, err = self._capsys.readouterr()
        assert ended == status, err
        return json.loads(out) if out else " ".join(err.split())

    def wrong(self) -> set[str]:
        """The rules that were found broken."""
        report = self.run(status=1)
        assert self.clean()
        return {one["rule"] for one in report["rules"] if not one["agrees"]}


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    return getattr(request, "param", Settings(local=False, propagation=30))


@pytest.fixture
def world(clock: Clock, settings: Settings, capsys: pytest.CaptureFixture[str],
          monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("COLUMNS", "400")
    with Twin(settings, clock=clock, checking=False, places=PLACES, draw=Random(1).random) as twin:
        clock.now += 60
        found = World(twin, clock, capsys)
        monkeypatch.setattr(conform, "Account", lambda: found)
        monkeypatch.setattr(conform, "CLOCK", clock)
        monkeypatch.setattr(conform, "WAIT", found.sleep)
        monkeypatch.setattr(queries, "servers", lambda place: [("127.0.0.1", twin.dns_port)])
        clock.now += 60
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.slow
def test_the_twin_keeps_every_rule_and_nothing_stays(world: World) -> None:
    report = world.run()
    assert [one for one in report["rules"] if not one["agrees"]] == []
    assert len(report["rules"]) == len(TABLE.cases)
    assert (report["agrees"], report["asked"], report["hostname"]) == (True, "TestDNSAnswer", HOSTNAME)
    assert world.clean()


@pytest.mark.slow
def test_it_stays_below_five_requests_a_second(world: World) -> None:
    # This client makes no second try, so a refusal would end it.
    assert world.run()["agrees"]
    assert sum(world.twin.service.calls.values()) > 150


@pytest.mark.slow
@pytest.mark.parametrize("rule", [
    pytest.param(rule, marks=[] if rule in ("R2", "R8 group of one", "H7") else pytest.mark.slow)
    for rule in broken.RULES])
def test_a_route53_that_is_wrong_in_one_rule_is_found(
        rule: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken.break_rule(monkeypatch, rule)
    assert rule.split()[0] in world.wrong()


@pytest.mark.slow
def test_an_address_that_is_somewhere_else_is_found(world: World) -> None:
    world.twin.resolver._places = Places({**PLACES, "171.67.68.0/24": Location("SA", "BR")})
    assert world.wrong() == {"R4"}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [Settings(local=False, tool_sees_health=False)], indirect=True)
def test_if_the_tool_does_not_see_health_the_name_servers_are_asked(world: World) -> None:
    report = world.run()
    assert (report["agrees"], report["asked"]) == (True, "name servers")
    assert world.clean()


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "after"), [
    ("CreateHealthCheck", 3), ("ChangeResourceRecordSets", 0), ("TestDNSAnswer", 100),
    *(pytest.param(operation, 0, marks=pytest.mark.slow) for operation in (
        "CreateHealthCheck", "TestDNSAnswer"))])
def test_what_was_made_goes_after_an_error_in_the_middle(operation: str, after: int, world: World) -> None:
    world.twin.service.faults.append(Fault(operation, "InternalFailure", after=after))
    assert "InternalFailure" in world.run(status=2)
    assert world.clean()


@pytest.mark.slow
def test_ctrl_c_removes_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        assert len(world.api.list_health_checks()["HealthChecks"]) == len(TABLE.checks)
        raise KeyboardInterrupt

    monkeypatch.setattr(queries, "results", interrupted)
    world.run(status=130)
    assert world.clean()


@pytest.mark.slow
def test_checks_that_a_lagging_list_does_not_show_yet_go_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AwsRoute53, "health_checks", lambda self, prefix="": [])
    world.run()
    assert world.clean()


@pytest.mark.slow
def test_throttling_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    world.api = client_of(world.twin, account.CONFIG)
    for operation in ("CreateHealthCheck", "TestDNSAnswer", "DeleteHealthCheck"):
        world.twin.service.faults.append(Fault(operation, "Throttling", times=3))
    world.twin.service.faults.append(Fault("ChangeResourceRecordSets", "PriorRequestNotComplete", times=3))
    assert world.run()["agrees"]
    assert world.clean()


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "after"), [
    pytest.param("CreateHealthCheck", 2, marks=pytest.mark.slow),
    pytest.param("ChangeResourceRecordSets", 0, marks=pytest.mark.slow), ("TestDNSAnswer", 20)])
def test_a_second_run_removes_what_a_killed_one_left(operation: str, after: int, world: World) -> None:
    kill(world, operation, after)
    assert not world.clean()
    assert world.run()["agrees"]
    assert world.clean()


def kill(world: World, operation: str, after: int) -> None:
    """A run that ends without a chance to clear up: from some call on, none is answered any more."""
    world.twin.service.faults.append(Death(operation, "InternalFailure", after=after))
    world.run(status=2)
    world.twin.service.faults.clear()


class Death(Fault):
    """Once `after` calls of its operation have passed, every call of any is refused."""

    def meets(self, operation: str) -> bool:
        self.after -= operation == self.operation
        return self.after < 0


@pytest.mark.slow
def test_what_could_not_be_removed_is_told(world: World) -> None:
    world.twin.service.faults.append(Death("TestDNSAnswer", "InternalFailure", after=20))
    told = world.run(status=2)
    assert "not all that was made is removed: run ./lamp routing conformance --zone" in told
    assert f"--hostname {HOSTNAME} --clear" in told
    world.twin.service.faults.clear()
    assert world.run("--clear") == {"removed": {"records": 114, "checks": len(TABLE.checks)}}
    assert world.clean()
    assert world.run("--clear") == {"removed": None}


@pytest.mark.slow
def test_keep_keeps(world: World) -> None:
    assert world.run("--keep")["kept"]
    assert not world.clean()
    assert world.run()["agrees"]
    assert world.clean()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [(HOSTNAME, "A"), (f"deep.{HOSTNAME}", "TXT"),
                                            (f"_conform.{HOSTNAME}", "TXT"), (f"dead._conform.{HOSTNAME}", "A")])
def test_a_hostname_with_records_is_refused_and_left_alone(name: str, kind: str, world: World) -> None:
    world.change("CREATE", simple("192.0.2.1" if kind == "A" else '"mine"', name, Type=kind))
    world.before = world.records()
    told = world.run(status=2)
    assert f"{HOSTNAME} has records already ({kind} {name}.). Take a hostname that nobody uses" in told
    assert world.clean()
    assert "has records already" in world.run("--clear", status=2)


@pytest.mark.slow
def test_what_another_place_made_stays(world: World) -> None:
    config = {"Type": "HTTP", "FullyQualifiedDomainName": "a.example", "Disabled": True}
    world.api.create_health_check(CallerReference="lamp-conform:00000000:1:up", HealthCheckConfig=config)
    assert world.run()["agrees"]
    assert len(world.api.list_health_checks()["HealthChecks"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("words", "error"), [
    (["--hostname", "example.com"], "does not lie within example.com"),
    (["--hostname", "lamp-test.example.net"], "Take one such as lamp-test.example.com"),
    (["--zone", "ZNONE"], "NoSuchHostedZone"),
])
def test_mistakes(words: list[str], error: str, world: World) -> None:
    assert error in world.run(*words, status=2)
    assert world.clean()


@pytest.mark.slow
def test_it_asks_before_it_begins(world: World, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    words = ["routing", "conformance", "--zone", world.zone, "--hostname", HOSTNAME]
    assert cli.main(words) == 2
    assert "nobody can answer here" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda question, default: asked.append(question))
    assert cli.main(words) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert asked == ["Begin?"]
    assert f"makes 114 record sets below _conform.{HOSTNAME}, and in the account 5 health checks" in told
    assert "costs $3.00 by list prices" in told
    assert world.clean()


@pytest.mark.slow
def test_the_table_says_what_was_expected_and_what_came(world: World, monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    broken.break_rule(monkeypatch, "R2")
    assert cli.main(["routing", "conformance", "--zone", world.zone, "--hostname", HOSTNAME, "--yes"]) == 1
    told = capsys.readouterr().out
    [line] = [line for line in told.splitlines() if "both unhealthy, as if both were healthy" in line]
    assert re.split(r"  +", line)[2:] == ["SE", "first", "second (when asked again)", "WRONG"]
    assert "rules R2" in told


@pytest.mark.slow
@pytest.mark.parametrize("settings", [Settings(local=False, rate=PUBLISHED)], indirect=True)
def test_the_newer_limits_are_kept_too(world: World) -> None:
    assert world.run()["agrees"]
