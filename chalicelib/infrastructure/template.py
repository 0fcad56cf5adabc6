"""The stack's template beside Chalice's Lambdas. Pure.

`static` is .chalice/resources.json: what every fleet has, and the rules of all capabilities. `merged` leaves out the
rules of capabilities that fleet.toml does not declare, and adds its queues, its tunnel hosts and every environment.
Names are made with the stack's own name, so the same template serves every stage and region.
"""

from collections.abc import Sequence

from chalicelib import registry
from chalicelib.config.declared import RESERVE_SECONDS, Fleet
from chalicelib.config.fleet import FleetError
from chalicelib.engine.deployment import Lambda
from chalicelib.infrastructure import concurrency, limits, networks, queues, rules, tables
from chalicelib.infrastructure.parts import Json, logical, named, resource
from chalicelib.schedules.lambdas import RUNNER as JOB_RUNNER
from chalicelib.schedules.lambdas import RUNS_QUEUE
from chalicelib.tasks.lambdas import RUNNER as TASK_RUNNER
from chalicelib.tasks.lambdas import RUNNER_MARGIN_SECONDS
from chalicelib.tunnels.infrastructure import resources as tunnel_hosts

# The memory of a worker of tasks that waits for the runner. Tasks that share its Lambda have what its row says.
_WAITING_MB = 256
_JOB_WORKER = "schedules_work"
# The pinned tz database of the package, for users' code, too. Without it `zoneinfo` asks Python's build settings for
# the machine's, which takes 3 ms of each start.
_ZONES = "/var/task/tzdata/zoneinfo"


def static(declared: Sequence[Lambda]) -> Json:
    """The part that does not depend on a fleet."""
    return {"Description": "Lamplighter: crontabs and background tasks without a host", "Resources": {
        **tables.regional(), **tables.topic(), **queues.own(declared), **rules.resources(declared)}}


def merged(static: Json, fleet: Fleet, stage: str, functions: Sequence[str]) -> Json:
    """`static` for `fleet`, with everything that it adds. To be merged into Chalice's template.

    `FleetError` names each value that would be too long for AWS.
    """
    resources = {id: _stripped(part) for id, part in static["Resources"].items() if _wanted(part, fleet)}
    resources |= queues.of_fleet(fleet)
    if runs := resources.get(logical(RUNS_QUEUE.name)):
        resources[logical(RUNS_QUEUE.name)] = queues.of_runs(runs, fleet)
    if table := resources.get("RegionalTable"):
        resources["RegionalTable"] = tables.kept(table, f"{fleet.name}-{stage}")
    if fleet.alarm_email:
        resources["AlertsByMail"] = resource("SNS::Subscription", {
            "TopicArn": {"Ref": "Alerts"}, "Protocol": "email", "Endpoint": fleet.alarm_email})
    for function in functions:
        resources[logical(function)] = {"Properties": _function(fleet, stage, function)}
    conditions = {**static.get("Conditions", {}), **networks.conditions(fleet)}
    outputs = {"Queues": {"Description": "LAMP_QUEUES for senders outside of Lambda",
                          "Value": queues.addresses(fleet)}}
    whole = {**static, **({"Conditions": conditions} if conditions else {}), "Resources": resources,
             "Outputs": {**static.get("Outputs", {}), **outputs}}
    whole = tunnel_hosts.merged(whole, fleet)
    if wrong := list(limits.mistakes(whole, f"{fleet.name}-{stage}", [region.name for region in fleet.regions])):
        raise FleetError("\n".join(wrong))
    return whole


def _wanted(part: Json, fleet: Fleet) -> bool:
    """Whether fleet.toml has the section that the part is for."""
    return concurrency.has_section(fleet, part.get("Metadata", {}).get("Section", ""))


def _stripped(part: Json) -> Json:
    return {name: value for name, value in part.items() if name != "Metadata"}


# AWS would stop the chains of these, which end by a limit of their own.
_LOOPING = frozenset(each.function for each in registry.lambdas() if each.loops_until)


def _function(fleet: Fleet, stage: str, function: str) -> Json:
    more: Json = {"Timeout": queues.work_seconds(fleet)} if function == queues.server() else {}
    if function == queues.server() and fleet.tasks.isolation == "isolated":
        more["MemorySize"] = _WAITING_MB
    if function == TASK_RUNNER:
        more["Timeout"] = queues.work_seconds(fleet) - RUNNER_MARGIN_SECONDS
    if function in (_JOB_WORKER, JOB_RUNNER):
        # The worker claims, waits for the runner, and records, all within its own life.
        more["Timeout"] = fleet.runners.lambda_timeout - (RESERVE_SECONDS if function == JOB_RUNNER else 0)
    if function in (JOB_RUNNER, TASK_RUNNER):
        more["MemorySize"] = fleet.runners.memory_mb
    if function in _LOOPING:
        more["RecursiveLoop"] = "Allow"
    if kept := concurrency.reserved(fleet).get(function):
        more["ReservedConcurrentExecutions"] = kept
    if networks.private(function):
        more |= networks.config(fleet)
    return {"FunctionName": named(function), "Environment": {"Variables": {
        "LAMP_STAGE": stage, "LAMP_TABLE": {"Ref": "RegionalTable"}, "LAMP_ALERTS": {"Ref": "Alerts"},
        "LAMP_COORDINATION": {"Fn::Sub": "${AWS::StackName}-coordination"}, "LAMP_QUEUE_PREFIX": queues.prefix(),
        **({"LAMP_MESSAGE_KIB": str(fleet.tasks.message_kib)} if queues.size(fleet) else {}),
        "POWERTOOLS_SERVICE_NAME": function, "POWERTOOLS_METRICS_NAMESPACE": "Lamplighter",
        "PYTHONTZPATH": _ZONES}}, **more}
