"""The account's quotas, compared with what a deployment adds, before anything is changed.

Roles are refused, because the deployment would fail half-way. AWS may have raised the others, whose value no API tells
for free, so they are told. `concurrency` has the concurrent executions of Lambda.
"""

from collections.abc import Iterator, Mapping

from chalicelib.aws.client import AWS_ERRORS, pages
from chalicelib.infrastructure.parts import Json
from commands.deploy.account import Target, explain, spoken
from commands.deploy.packaging import Package

# "CloudWatch service quotas" (user guide), for each region.
_ALARMS = 5000
# New accounts have less than 10,240 MB and less than 1,000 executions at a time ("Lambda quotas", developer guide). The
# number of MB is in the error that they get (awslabs/genai-bedrock-agent-chatbot issue 4).
_MEMORY_OF_NEW_ACCOUNTS_MB, _EXECUTIONS = 3008, 1000
_RAISE = "Raise it in Service Quotas"

Deployed = Mapping[str, Json | None]


def short_of_roles(target: Target, package: Package, before: Deployed) -> Iterator[str]:
    """A sentence if the account may not have as many roles. `before` is the template that each region has now."""
    home = package.fleet.home
    new = sum(max(0, _count(package.template, "AWS::IAM::Role") - _count(old, "AWS::IAM::Role"))
              for old in before.values())
    if not new:
        return
    with spoken(home):
        found = target.client("iam", home).get_account_summary()["SummaryMap"]
    if found["Roles"] + new > found["RolesQuota"]:
        yield (f"this account may have {found['RolesQuota']:,} IAM roles and has {found['Roles']:,}, but this "
               f"deployment adds {new:,}. {_RAISE} (IAM, Roles per account)")


def told(target: Target, package: Package, before: Deployed) -> Iterator[str]:
    """A sentence for each other quota that this deployment may exceed, and for each that nobody could ask for."""
    for check in (_alarms, _health_checks, _memory):
        try:
            yield from check(target, package, before)
        except AWS_ERRORS as error:
            yield f"{check.__name__.strip('_').replace('_', ' ')}: the quota was not checked ({explain(error, '')})"


def _alarms(target: Target, package: Package, before: Deployed) -> Iterator[str]:
    kind = "AWS::CloudWatch::Alarm"
    for region, old in before.items():
        if (new := _count(package.template, kind) - _count(old, kind)) <= 0:
            continue
        there = sum(len(page.get("MetricAlarms", ())) + len(page.get("CompositeAlarms", ()))
                    for page in pages(target.client("cloudwatch", region), "describe_alarms"))
        if there + new > _ALARMS:
            yield (f"{region}: there are {there:,} alarms and this deployment adds {new:,}, but a region has "
                   f"{_ALARMS:,} unless AWS raised that. {_RAISE} (CloudWatch, alarms)")


def _health_checks(target: Target, package: Package, before: Deployed) -> Iterator[str]:
    settings = package.fleet.health_checks
    if settings is None:
        return
    new = sum("HealthChecksRotateRule" not in (old or {}).get("Resources", {}) for old in before.values())
    # The calculated one of each region is one more.
    wanted = new * (settings.fixed_checks + settings.rotating_checks + 1)
    if not wanted:
        return
    limit = target.client("route53", "us-east-1").get_account_limit(Type="MAX_HEALTH_CHECKS_BY_OWNER")
    if limit["Count"] + wanted > limit["Limit"]["Value"]:
        yield (f"this account may have {limit['Limit']['Value']:,} health checks and has {limit['Count']:,}, but "
               f"[health_checks] makes {wanted:,}. {_RAISE} (Route 53, health checks), or declare fewer")


def _memory(target: Target, package: Package, before: Deployed) -> Iterator[str]:
    memory = package.fleet.runners.memory_mb
    if memory <= _MEMORY_OF_NEW_ACCOUNTS_MB:
        return
    for region in before:
        limit = target.client("lambda", region).get_account_settings()["AccountLimit"]
        if limit["ConcurrentExecutions"] < _EXECUTIONS:
            yield (f"{region}: runners.memory is {memory:,} MB, and a new account may give a Lambda "
                   f"{_MEMORY_OF_NEW_ACCOUNTS_MB:,} MB. If the deployment fails for that, ask AWS Support for more, or "
                   "declare less")


def _count(template: Json | None, kind: str) -> int:
    return sum(part.get("Type") == kind for part in (template or {}).get("Resources", {}).values())
