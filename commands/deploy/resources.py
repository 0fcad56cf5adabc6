"""The additions of fleet.toml to the stack, one queue with its dead letters per [[queues]], and every Lambda's
environment.

It is pure. A `Fleet` and the content of .chalice/ go in, parts of a CloudFormation template come out. Names are made
with the stack's own name, so the same template serves every stage and region.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from chalicelib.config.fleet import LAMBDA_SECONDS, RESERVE_SECONDS, Fleet, Queue
from commands.deploy import networks, policies, rules, tunnel_resources
from commands.errors import UsageError

Json = dict[str, Any]

# The queues that .chalice/resources.json declares: name -> logical id.
OWN_QUEUES = {
    "schedule-runs": "ScheduleRuns", "schedule-runs-dead": "ScheduleRunsDead",
    "schedule-reconciles": "ScheduleReconciles", "schedule-reconciles-dead": "ScheduleReconcilesDead",
}
# A message that keeps killing its worker is set aside after so many receives. The worker itself buries what has used up
# its retries long before; waiting for a free place counts as a receive too, so this is no place for a small number.
_MOST_RECEIVES = 1000
_KEPT_SECONDS = 14 * 86_400
# From a Lambda's time-out to the moment its messages show up again.
_VISIBILITY_MARGIN = 60


def logical(name: str) -> str:
    """The CloudFormation logical id of the queue or function `name`, such as `InvoicesDead` for `invoices-dead`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))


def merged(static: Json, fleet: Fleet, stage: str, functions: Sequence[str]) -> Json:
    """`static` (.chalice/resources.json) with everything that `fleet` adds. To be merged into Chalice's template."""
    resources = dict(static["Resources"])
    _told_apart(fleet)
    for queue in fleet.queues:
        resources |= _queue(fleet, queue, _work_seconds(fleet))
    resources |= rules.resources(fleet)
    if fleet.alarm_email:
        resources["AlertsByMail"] = {"Type": "AWS::SNS::Subscription", "Properties": {
            "TopicArn": {"Ref": "Alerts"}, "Protocol": "email", "Endpoint": fleet.alarm_email}}
    for function in functions:
        resources[logical(function)] = {"Properties": _function(fleet, stage, function)}
    conditions = {**static.get("Conditions", {}), **networks.conditions(fleet)}
    whole = {**static, **({"Conditions": conditions} if conditions else {}), "Resources": resources,
             "Outputs": {**static.get("Outputs", {}), **_outputs(fleet)}}
    return tunnel_resources.merged(whole, fleet, stage)


def coordination(fleet: Fleet) -> Json:
    """The template of the coordination table, strongly consistent in three regions, or plain in one."""
    name = {"Fn::Sub": "${AWS::StackName}"}
    shared: Json = {
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]}
    recovery = {"PointInTimeRecoveryEnabled": True}
    if fleet.coordination.strong:
        kind = "AWS::DynamoDB::GlobalTable"
        shared |= {"MultiRegionConsistency": "STRONG", "Replicas": [
            {"Region": region, "PointInTimeRecoverySpecification": recovery} for region in fleet.coordination.regions]}
    else:
        kind = "AWS::DynamoDB::Table"
        shared |= {"PointInTimeRecoverySpecification": recovery}
    table = {"Type": kind, "DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain",
             "Properties": shared}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Description": "Lamplighter: what its regions agree on",
            "Resources": {"Coordination": table}}


def resolved(policy: Json, fleet: Fleet) -> Json:
    """A policy of .chalice/policies/ with its `{placeholders}` filled in. Statements about nothing are left out."""
    statements = []
    for statement in policy["Statement"]:
        resource = statement["Resource"]
        if isinstance(resource, str) and resource.startswith("{"):
            resource = _placeholders(fleet)[resource.strip("{}")]
        if resource:
            statements.append(_fill({**statement, "Resource": resource}, fleet))
    return {**policy, "Statement": statements}


def queue_name(queue: Queue) -> str:
    """The part of the queue's SQS name after the stack's name. SQS wants `.fifo` at its end."""
    return queue.name + (".fifo" if queue.fifo else "")


def dead_name(fleet: Fleet, queue: Queue) -> str:
    """The same of its dead letters. The dead letters of a FIFO queue are one, too."""
    return fleet.dead_letters(queue) + (".fifo" if queue.fifo else "")


def _work_seconds(fleet: Fleet) -> int:
    """The time-out of `tasks.work`, the longest of its queues', and time to record the end."""
    return min(LAMBDA_SECONDS, max((queue.timeout for queue in fleet.queues), default=60) + RESERVE_SECONDS)


def _function(fleet: Fleet, stage: str, function: str) -> Json:
    more = {"Timeout": _work_seconds(fleet)} if function == "tasks_work" else {}
    if networks.private(function):
        more |= networks.config(fleet)
    return {"FunctionName": _sub(function), "Environment": {"Variables": {
        "LAMP_STAGE": stage, "LAMP_TABLE": {"Ref": "RegionalTable"}, "LAMP_ALERTS": {"Ref": "Alerts"},
        "LAMP_COORDINATION": {"Fn::Sub": "${AWS::StackName}-coordination"},
        "LAMP_QUEUES": {"Fn::Sub": json.dumps({name: f"${{{id}}}" for name, id in sorted(_queues(fleet).items())})},
        "POWERTOOLS_SERVICE_NAME": function, "POWERTOOLS_METRICS_NAMESPACE": "Lamplighter"}}, **more}


def _queues(fleet: Fleet) -> dict[str, str]:
    """Every queue of the stack as name in fleet.toml -> logical id."""
    found = dict(OWN_QUEUES)
    for queue in fleet.queues:
        found |= {queue.name: _id(queue.name), fleet.dead_letters(queue): _id(fleet.dead_letters(queue))}
    return found


def _told_apart(fleet: Fleet) -> None:
    """CloudFormation's ids have letters and digits only, so two names may give one. `Mistake` if they do."""
    names: dict[str, str] = {}
    for name, id in _queues(fleet).items():
        if other := names.get(id):
            raise UsageError(
                f"fleet.toml: the queues {other!r} and {name!r} would both be {id} in the stack. Call one of "
                "them otherwise"
            )
        names[id] = name


def _id(name: str) -> str:
    return f"Queue{logical(name)}"


def _queue(fleet: Fleet, queue: Queue, work_seconds: int) -> Json:
    """A queue, its dead letters (unless another queue serves as such), the mapping to the Lambda, and an alarm."""
    id, dead = _id(queue.name), _id(fleet.dead_letters(queue))
    declared = {other.name for other in fleet.queues}
    parts: Json = {id: _sqs(queue_name(queue), queue.fifo, {
        "VisibilityTimeout": work_seconds + _VISIBILITY_MARGIN,
        "RedrivePolicy": {"deadLetterTargetArn": _att(dead, "Arn"), "maxReceiveCount": _MOST_RECEIVES}})}
    if fleet.dead_letters(queue) not in declared:
        parts[dead] = _sqs(dead_name(fleet, queue), queue.fifo, {})
        parts[f"{dead}Alarm"] = _dead_alarm(fleet.dead_letters(queue), dead)
    parts[f"{id}Source"] = {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {
        "EventSourceArn": _att(id, "Arn"), "FunctionName": {"Ref": "TasksWork"}, "BatchSize": queue.batch,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        **({"ScalingConfig": {"MaximumConcurrency": queue.concurrency}} if queue.concurrency else {})}}
    return parts


def _sqs(name: str, fifo: bool, more: Json) -> Json:
    return {"Type": "AWS::SQS::Queue", "Properties": {
        "QueueName": _sub(name), "SqsManagedSseEnabled": True, "MessageRetentionPeriod": _KEPT_SECONDS,
        **({"FifoQueue": True} if fifo else {}), **more}}


def _dead_alarm(name: str, id: str) -> Json:
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": {
        "AlarmName": _sub(f"{name}-not-empty"),
        "AlarmDescription": f"Tasks ended in {name}: look with tasks.peek, mend, then tasks.redrive",
        "Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": _att(id, "QueueName")}], "Statistic": "Maximum", "Period": 60,
        "EvaluationPeriods": 1, "DatapointsToAlarm": 1, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0,
        "TreatMissingData": "notBreaching", "AlarmActions": [{"Ref": "Alerts"}], "OKActions": [{"Ref": "Alerts"}]}}


def _outputs(fleet: Fleet) -> Json:
    told = {name: f"${{{id}}}" for name, id in sorted(_queues(fleet).items())}
    return {"Queues": {"Description": "LAMP_QUEUES for senders outside of Lambda",
                       "Value": {"Fn::Sub": json.dumps(told)}}}


def _placeholders(fleet: Fleet) -> dict[str, Any]:
    """The values of `{...}` in a policy, lists of ARNs that depend on fleet.toml, empty if there is nothing."""
    tasks = {queue_name(queue) for queue in fleet.queues}
    dead = {dead_name(fleet, queue) for queue in fleet.queues}
    own_dead = {name for name in OWN_QUEUES if name.endswith("-dead")}
    ecs, ssm = fleet.schedules.ecs, fleet.schedules.ssm
    return {
        "task-queues": _queue_arns(tasks), "task-dead": _queue_arns(dead),
        "all-live": _queue_arns(tasks | OWN_QUEUES.keys() - own_dead), "all-dead": _queue_arns(dead | own_dead),
        "all-queues": _queue_arns(tasks | dead | OWN_QUEUES.keys()),
        "ecs-definition": [_arn("ecs", f"task-definition/{_family(ecs.task_definition)}:*")] if ecs else [],
        "ecs-tasks": [_arn("ecs", f"task/{_last(ecs.cluster)}/*")] if ecs else [],
        "ecs-roles": [{"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/*"}] if ecs else [],
        "ssm-document": [{"Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-RunShellScript"}]
        if ssm else [],
        "ssm-instances": [_arn("ec2", "instance/*"), _arn("ssm", "managed-instance/*")] if ssm else [],
        # These three take no resource: service authorization reference, "AWS Systems Manager".
        "ssm-any": "*" if ssm else [],
        **policies.placeholders(fleet),
    }


def _queue_arns(names: Iterable[str]) -> list[Json]:
    return [_arn("sqs", f"${{AWS::StackName}}-{name}") for name in sorted(names)]


def _fill(statement: Json, fleet: Fleet) -> Json:
    """A statement with the tags that its condition names, as fleet.toml has them."""
    if "Condition" not in statement:
        return statement
    text, ssm = json.dumps(statement), fleet.schedules.ssm
    key, _, value = (fleet.tunnels.tag if fleet.tunnels and fleet.tunnels.tag else "=").partition("=")
    tags = {"{tunnel-tag}": key, "{tunnel-value}": value} | (
        {"{ssm-tag}": ssm.tag, "{ssm-value}": ssm.value} if ssm else {})
    for place, tag in tags.items():
        text = text.replace(place, tag)
    filled: Json = json.loads(text)
    return filled


def _family(definition: str) -> str:
    return _last(definition).partition(":")[0]


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]


def _sub(name: str) -> Json:
    return {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def _att(id: str, attribute: str) -> Json:
    return {"Fn::GetAtt": [id, attribute]}


def _arn(service: str, rest: str) -> Json:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}"}

