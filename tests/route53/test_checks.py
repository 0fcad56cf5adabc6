"""Which health checks Route 53 takes, and which changes to them."""

from typing import Any

import pytest

from sandbox.route53.checks import REGIONS, Check, create, update
from sandbox.route53.errors import Refusal

WEB = {"Type": "HTTP", "IPAddress": "8.8.8.8", "Port": 80}
MATCH = {"Type": "HTTPS_STR_MATCH", "FullyQualifiedDomainName": "a.example.com", "SearchString": "well"}
METRIC = {"Type": "CLOUDWATCH_METRIC", "AlarmIdentifier": {"Region": "eu-west-1", "Name": "slow"}}
CHILD = create("child", "c", WEB, {}, local=False)
PARENT = create("parent", "p", {"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": ["child"]},
                {"child": CHILD}, local=False)
KNOWN = {"child": CHILD, "parent": PARENT}


def made(config: dict[str, Any], *, local: bool = False) -> Check:
    """A health check of this configuration."""
    return create("id", "reference", config, KNOWN, local=local)


@pytest.mark.parametrize(("config", "defaults"), [
    (WEB, {"RequestInterval": 30, "FailureThreshold": 3, "Inverted": False, "Disabled": False, "MeasureLatency": False,
           "EnableSNI": False}),
    (MATCH, {"Port": 443, "EnableSNI": True, "RequestInterval": 30, "FailureThreshold": 3}),
    ({"Type": "HTTP", "FullyQualifiedDomainName": "a.b"}, {"Port": 80}),
    (METRIC, {"Inverted": False, "Disabled": False}),
    ({"Type": "TCP", "IPAddress": "2600:1f18::1", "Port": 22}, {"RequestInterval": 30})])
def test_what_is_not_said_is_filled_in(config: dict[str, Any], defaults: dict[str, Any]) -> None:
    found = made(config)
    assert found.config == {**found.config, **config, **defaults}
    assert found.version == 1


def test_what_does_not_probe_has_no_interval() -> None:
    assert "RequestInterval" not in made(METRIC).config
    assert "FailureThreshold" not in PARENT.config


# Each is refused, and the text that says why.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "Type None"), ({"Type": "PING"}, "Type 'PING'"), ({"Type": "RECOVERY_CONTROL"}, "Type 'RECOVERY_CONTROL'"),
    ({"Type": "HTTP"}, "One of IPAddress and FullyQualifiedDomainName"), (WEB | {"Port": 0}, "Port 0"),
    (WEB | {"Port": 65_536}, "Port 65536"), (WEB | {"RequestInterval": 20}, "RequestInterval 20"),
    (WEB | {"FailureThreshold": 0}, "FailureThreshold 0"), (WEB | {"FailureThreshold": 11}, "FailureThreshold 11"),
    (WEB | {"IPAddress": "somewhere"}, "is not an IP address"), (WEB | {"SearchString": "x"}, "SearchString"),
    (MATCH | {"SearchString": ""}, "SearchString"), (MATCH | {"SearchString": "x" * 256}, "longer than 255"),
    (WEB | {"ResourcePath": "/" * 256}, "longer than 255"), ({"Type": "TCP", "IPAddress": "8.8.8.8"}, "Port is needed"),
    (WEB | {"Regions": ["eu-west-1", "us-east-1"]}, "at least three"),
    (WEB | {"Regions": ["eu-west-1", "us-east-1", "mars"]}, "at least three"),
    ({"Type": "CALCULATED"}, "HealthThreshold is needed"), ({"Type": "CALCULATED", "HealthThreshold": 257}, "257"),
    ({"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": ["ghost"]}, "ghost does not exist"),
    ({"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": ["parent"]}, "parent is itself CALCULATED"),
    ({"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": ["child"] * 2}, "each once"),
    ({"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": [str(n) for n in range(256)]}, "at most 255"),
    ({"Type": "CALCULATED", "HealthThreshold": 1, "Port": 80}, "Port cannot be given"),
    ({"Type": "CALCULATED", "HealthThreshold": 1, "RequestInterval": 10}, "RequestInterval cannot be given"),
    (METRIC | {"FailureThreshold": 3}, "FailureThreshold cannot be given"),
    (METRIC | {"Regions": list(REGIONS)}, "Regions cannot be given"),
    ({"Type": "CLOUDWATCH_METRIC"}, "AlarmIdentifier"),
    (METRIC | {"IPAddress": "8.8.8.8"}, "IPAddress cannot be given"),
    (METRIC | {"InsufficientDataHealthStatus": "Maybe"}, "InsufficientDataHealthStatus"),
    *((WEB | {"IPAddress": address}, "local, private, non-routable or multicast") for address in (
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104
        "224.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "255.255.255.255", "::1", "fe80::1", "fc00::1",
        "ff02::1", "2001:db8::1")),
]


@pytest.mark.parametrize(("config", "why"), REFUSED)
def test_what_aws_refuses_is_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(Refusal, match=why) as caught:
        made(config)
    assert (caught.value.code, caught.value.status) == ("InvalidInput", 400)


@pytest.mark.parametrize("config", [
    WEB | {"IPAddress": "127.0.0.1"}, WEB | {"IPAddress": "10.0.0.1"}, WEB | {"RequestInterval": 1}])
def test_the_sandbox_may_probe_itself(config: dict[str, Any]) -> None:
    assert made(config, local=True).config["Type"] == "HTTP"
    with pytest.raises(Refusal):
        made(config)


def test_an_update_changes_what_is_named_and_counts() -> None:
    found = update(made(WEB), {"HealthCheckId": "id", "HealthCheckVersion": 1, "Port": 81, "Inverted": True}, KNOWN,
                   local=False)
    assert found.config == made(WEB).config | {"Port": 81, "Inverted": True}
    assert (found.version, found.epoch) == (2, 1)


@pytest.mark.parametrize(("changes", "moved"), [
    ({"IPAddress": "8.8.4.4"}, True), ({"ResourcePath": "/x"}, True), ({"FullyQualifiedDomainName": "x"}, True),
    ({"Inverted": True}, False), ({"FailureThreshold": 1}, False), ({"Disabled": True}, False),
    ({"IPAddress": "8.8.8.8"}, False), ({"Regions": list(REGIONS[:3])}, False)])
def test_a_new_target_is_a_new_epoch(changes: dict[str, Any], moved: bool) -> None:
    assert update(made(WEB), changes, KNOWN, local=False).epoch == moved


@pytest.mark.parametrize("version", [1, 3])
def test_a_version_that_is_not_the_current_one_is_a_mismatch(version: int) -> None:
    second = update(made(WEB), {}, KNOWN, local=False)
    with pytest.raises(Refusal, match=f"version {version} .* current version 2") as caught:
        update(second, {"HealthCheckVersion": version, "Port": 81}, KNOWN, local=False)
    assert (caught.value.code, caught.value.status) == ("HealthCheckVersionMismatch", 409)


@pytest.mark.parametrize(("config", "changes", "why"), [
    (WEB, {"Type": "TCP"}, "Type of a health check cannot be changed"),
    (WEB, {"RequestInterval": 10}, "RequestInterval of a health check cannot be changed"),
    (WEB, {"MeasureLatency": True}, "MeasureLatency of a health check cannot be changed"),
    (MATCH, {"IPAddress": "8.8.8.8"}, "IPAddress cannot be added"),
    (WEB, {"IPAddress": "10.0.0.1"}, "private"), (WEB, {"Port": 70_000}, "Port 70000"),
    (WEB, {"ResetElements": ["IPAddress"]}, "IPAddress cannot be reset"),
    (WEB, {"ResetElements": ["ResourcePath"], "ResourcePath": "/"}, "both reset and given"),
    (MATCH, {"ResetElements": ["FullyQualifiedDomainName"]}, "One of IPAddress and FullyQualifiedDomainName"),
    (METRIC, {"Port": 80}, "Port cannot be given"), (WEB, {"SearchString": "x"}, "SearchString")])
def test_updates_that_aws_refuses_are_refused(config: dict[str, Any], changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Refusal, match=why):
        update(made(config), changes, KNOWN, local=False)


def test_what_is_reset_is_gone() -> None:
    path = made(WEB | {"ResourcePath": "/x", "Regions": list(REGIONS[:3])})
    found = update(path, {"ResetElements": ["ResourcePath", "Regions"]}, KNOWN, local=False)
    assert found.config == made(WEB).config


def test_a_calculated_one_cannot_watch_itself_or_its_like() -> None:
    for child in ("parent", "other"):
        others = {**KNOWN, "other": PARENT}
        with pytest.raises(Refusal, match="is itself CALCULATED"):
            update(PARENT, {"ChildHealthChecks": [child]}, others, local=False)
