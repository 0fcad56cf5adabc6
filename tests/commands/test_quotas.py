"""The account's quotas against what a deployment adds. The answers of AWS are in its shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.config import fleet
from commands.deploy import packaging, quotas
from testing.paging import EmptyFirstPage

FLEET = """
name = "f"
regions = [{name = "eu-west-1"}, {name = "us-east-1"}]
coordination = {regions = ["eu-west-1"]}
runners = {memory_mb = 4096}
health_checks = {target_groups = ["web"]}
"""
REGIONS = ("eu-west-1", "us-east-1")


class Account:
    """An account with so many roles, alarms, health checks and executions."""

    def __init__(self, *, roles: int = 0, alarms: int = 0, checks: int = 0, executions: int = 1000) -> None:
        self.roles, self.alarms, self.checks, self.executions, self.denied = roles, alarms, checks, executions, ""

    def client(self, service: str, region: str) -> Any:
        if service == self.denied:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "Get")
        return EmptyFirstPage(service, self)

    def regions(self) -> Sequence[str]:
        return REGIONS

    def get_account_summary(self) -> Any:
        return {"SummaryMap": {"Roles": self.roles, "RolesQuota": 1000}}

    def describe_alarms(self, **asked: Any) -> Any:
        return {"MetricAlarms": [{}] * self.alarms, "CompositeAlarms": []}

    def get_account_limit(self, Type: str) -> Any:
        assert Type == "MAX_HEALTH_CHECKS_BY_OWNER"
        return {"Limit": {"Type": Type, "Value": 200}, "Count": self.checks}

    def get_account_settings(self) -> Any:
        return {"AccountLimit": {"ConcurrentExecutions": self.executions}}


def package(roles: int = 0, alarms: int = 0) -> packaging.Package:
    """A package whose stack has so many."""
    parts = {f"R{n}": {"Type": "AWS::IAM::Role"} for n in range(roles)} | {
        f"A{n}": {"Type": "AWS::CloudWatch::Alarm"} for n in range(alarms)}
    return packaging.Package(fleet.parse(FLEET), "s", Path(), "d", {"Resources": parts}, {}, ())


NOTHING: dict[str, Any] = dict.fromkeys(REGIONS)


@pytest.mark.parametrize(("roles", "before", "count"), [
    (920, NOTHING, 0), (921, NOTHING, 1), (960, NOTHING | {"us-east-1": package(40).template}, 0),
    (1000, dict.fromkeys(REGIONS, package(40).template), 0)])
def test_roles_beyond_the_accounts_quota_are_refused(roles: int, before: Any, count: int) -> None:
    found = list(quotas.short_of_roles(Account(roles=roles), package(roles=40), before))
    assert len(found) == count and all("may have 1,000 IAM roles" in line for line in found)


@pytest.mark.parametrize(("account", "words"), [
    (Account(), []),
    (Account(alarms=4991), ["eu-west-1: there are 4,991 alarms and this deployment adds 10", "us-east-1: there are"]),
    (Account(checks=187), ["may have 200 health checks and has 187, but [health_checks] makes 14"]),
    (Account(executions=10), ["eu-west-1: runners.memory is 4,096 MB", "us-east-1: runners.memory is"])])
def test_other_quotas_are_told(account: Account, words: list[str]) -> None:
    found = list(quotas.told(account, package(alarms=10), NOTHING))
    assert len(found) == len(words) and all(word in line for word, line in zip(words, found, strict=True))


def test_what_is_deployed_already_needs_no_more() -> None:
    old = {**package(alarms=10).template["Resources"], "HealthChecksRotateRule": {"Type": "AWS::Events::Rule"}}
    before = {region: {"Resources": old} for region in REGIONS}
    assert list(quotas.told(Account(alarms=5000, checks=200), package(alarms=10), before)) == []


@pytest.mark.parametrize(("service", "says"), [
    ("cloudwatch", "alarms: the quota was not checked"), ("route53", "health checks: the quota was not checked")])
def test_a_quota_that_nobody_may_ask_for_is_told_and_stops_nothing(service: str, says: str) -> None:
    account = Account()
    account.denied = service
    [line] = quotas.told(account, package(alarms=1), NOTHING)
    assert says in line and "AWS denied Get" in line
