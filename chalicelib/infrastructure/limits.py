"""The limits that AWS sets to the values of the template once they are resolved. Pure.

cfn-lint sees the names with `${AWS::StackName}` in them, so it can count neither their characters nor their bytes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib.infrastructure.parts import Json

_SHORTER = "Take a shorter name in fleet.toml, or a shorter stage"
_FEWER_QUEUES = ("Declare fewer [[queues]], let several share one dead_letter queue, or give a part of the tasks a "
                 "fleet of their own")
MOST_RESOURCES = 500
MOST_POLICY_CHARACTERS = 10_240


class Limit(NamedTuple):
    """The most characters of a property, and what to do about more."""

    most: int
    remedy: str = _SHORTER


# The quotas of each service's API reference. The one of SSM is that of its standard parameters, and the one of Lambda
# counts the bytes of all variables of a function.
LIMITS: Mapping[tuple[str, str], Limit] = {
    ("AWS::Serverless::Function", "FunctionName"): Limit(64),
    ("AWS::Serverless::Function", "Environment"): Limit(4096),
    ("AWS::SQS::Queue", "QueueName"): Limit(80),
    ("AWS::Events::Rule", "Name"): Limit(64),
    ("AWS::CloudWatch::Alarm", "AlarmName"): Limit(255),
    ("AWS::CloudWatch::Alarm", "AlarmDescription"): Limit(1024),
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"): Limit(32),
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"): Limit(32),
    ("AWS::AutoScaling::AutoScalingGroup", "AutoScalingGroupName"): Limit(255),
    ("AWS::EC2::LaunchTemplate", "LaunchTemplateName"): Limit(128),
    ("AWS::SecretsManager::Secret", "Name"): Limit(512),
    ("AWS::SSM::Document", "Name"): Limit(128),
    ("AWS::SSM::Parameter", "Name"): Limit(1011),
    ("AWS::SSM::Parameter", "Value"): Limit(
        4096, "Give each gateway fewer or shorter host_keys. One ssh-ed25519 key has 80 characters"),
    ("AWS::DynamoDB::Table", "TableName"): Limit(255),
    ("AWS::DynamoDB::GlobalTable", "TableName"): Limit(255),
}


def mistakes(template: Json, stack: str, regions: Sequence[str]) -> Iterator[str]:
    """Every value of `template` that AWS would refuse in the stack `stack` of any of `regions`, with its remedy."""
    resources, known = template["Resources"], pseudo_parameters(stack, regions)
    for id, part in resources.items():
        for name, value in part.get("Properties", {}).items():
            limit = LIMITS.get((part.get("Type", _function(part)), name))
            if limit is None:
                continue
            found = resolved(value, resources, known)
            size = _size(found)
            if size > limit.most:
                shown = f"{found!r} has" if isinstance(found, str) and size <= 300 else "has"
                yield (f"{stack}: {name} of {id} {shown} {size:,} characters, and AWS allows {limit.most:,} "
                       f"characters. {limit.remedy}")


def oversized(template: Json, stack: str, regions: Sequence[str]) -> Iterator[str]:
    """Everything in the whole of `template`, Chalice's part among it, that is more than AWS takes, with the remedy.

    "CloudFormation quotas" (user guide) has the resources of a template. "IAM and AWS STS quotas" (user guide) has the
    characters of all inline policies of a role, without blanks.
    """
    resources, known = template["Resources"], pseudo_parameters(stack, regions)
    if len(resources) > MOST_RESOURCES:
        yield (f"{stack}: the stack would have {len(resources)} resources, and AWS allows {MOST_RESOURCES}. "
               f"{_FEWER_QUEUES}")
    for id, part in resources.items():
        policies = part["Properties"].get("Policies", []) if part["Type"] == "AWS::IAM::Role" else []
        text = json.dumps(resolved([each["PolicyDocument"] for each in policies], resources, known))
        size = len(re.sub(r"\s", "", text))
        if size > MOST_POLICY_CHARACTERS:
            yield (f"{stack}: the policy of {id} has {size:,} characters, and AWS allows {MOST_POLICY_CHARACTERS:,}. "
                   f"{_FEWER_QUEUES}")


def pseudo_parameters(stack: str, regions: Sequence[str]) -> dict[str, str]:
    """The values that CloudFormation has by itself, for the region with the longest name."""
    return {"AWS::StackName": stack, "AWS::Region": max(regions, key=len), "AWS::AccountId": "123456789012",
            "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}


def resolved(value: Any, resources: Json, known: Mapping[str, str]) -> Any:
    """`value` as CloudFormation fills it in, as far as that is known before there is a stack."""
    if isinstance(value, list):
        return [resolved(one, resources, known) for one in value]
    if not isinstance(value, dict):
        return value
    if "Fn::Sub" in value and isinstance(value["Fn::Sub"], str):
        return re.sub(r"\$\{([^}!]+)\}", lambda found: _named(found[1], resources, known), value["Fn::Sub"])
    if "Ref" in value:
        return _named(value["Ref"], resources, known)
    return {name: resolved(one, resources, known) for name, one in value.items()}


def _named(id: str, resources: Json, known: Mapping[str, str]) -> str:
    """A reference gives the address of a queue, the ARN of a topic, and the name of anything else."""
    part = resources.get(id, {})
    properties = part.get("Properties", {})
    for name in ("QueueName", "TopicName", "TableName", "FunctionName", "Name"):
        if name in properties:
            own = str(resolved(properties[name], resources, known))
            if part["Type"] == "AWS::SQS::Queue":
                return f"https://sqs.{known['AWS::Region']}.{known['AWS::URLSuffix']}/{known['AWS::AccountId']}/{own}"
            if part["Type"] == "AWS::SNS::Topic":
                return f"arn:aws:sns:{known['AWS::Region']}:{known['AWS::AccountId']}:{own}"
            return own
    return known.get(id, f"${{{id}}}")


def _size(value: Any) -> int:
    """The characters of a text. Of a function's environment, the bytes of its variables' names and values."""
    if isinstance(value, dict) and isinstance(value.get("Variables"), dict):
        return sum(len(f"{name}{text}".encode()) for name, text in value["Variables"].items())
    return len(value) if isinstance(value, str) else 0


def _function(part: Json) -> str:
    """The type of a part that has none of its own: it is merged into Chalice's function."""
    return "AWS::Serverless::Function" if "FunctionName" in part.get("Properties", {}) else ""
