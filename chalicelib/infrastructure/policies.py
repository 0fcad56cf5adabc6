"""The policy of each Lambda's role, as .chalice/policies/ has it and as a fleet gets it. Pure."""

import json
from typing import Any

from chalicelib.config.declared import Fleet
from chalicelib.engine.deployment import Lambda, Permission, arn
from chalicelib.infrastructure import placeholders
from chalicelib.infrastructure.parts import Json

# Lambda makes the network interfaces of a function in a VPC with the function's own role.
NETWORK = Permission(
    "Network", "ec2:CreateNetworkInterface ec2:DeleteNetworkInterface ec2:DescribeNetworkInterfaces", "{network-any}",
    "Lambda makes the network interfaces of a function with the function's role",
    wildcard="interfaces get their ids as they are made, and AWS asks for all of them (Lambda execution role, VPC)")


def permissions(declared: Lambda) -> tuple[Permission, ...]:
    """All of one Lambda. It may write its own log, and nothing else that it does not declare."""
    group = arn("logs", f"log-group:/aws/lambda/${{AWS::StackName}}-{declared.function}:*")
    log = Permission("WriteLog", "logs:CreateLogStream logs:PutLogEvents", group, "its own log",
                     wildcard="Lambda names the streams of a group")
    return log, *declared.permissions, *((NETWORK,) if declared.private_network else ())


def policy(declared: Lambda) -> Json:
    """The policy of one Lambda, with `{placeholders}` for what fleet.toml declares."""
    return {"Version": "2012-10-17", "Statement": [_statement(each) for each in permissions(declared)]}


def file(declared: Lambda) -> str:
    """The path of a Lambda's policy within .chalice/."""
    return f"policies/policy-{declared.function}.json"


def resolved(policy: Json, fleet: Fleet) -> Json:
    """A policy of .chalice/policies/ with its `{placeholders}` filled in. Statements about nothing are left out."""
    values, statements = placeholders.resources(fleet), []
    for statement in policy["Statement"]:
        resource = statement["Resource"]
        if isinstance(resource, str) and resource.startswith("{"):
            resource = values[resource.strip("{}")]
        if resource:
            statements.append(_fill({**statement, "Resource": resource}, fleet))
    return {**policy, "Statement": statements}


def _fill(statement: Json, fleet: Fleet) -> Json:
    """A statement with the tags that its condition names, as fleet.toml has them."""
    if "Condition" not in statement:
        return statement
    text = json.dumps(statement)
    for place, (key, value) in placeholders.tags(fleet).items():
        text = text.replace(f"{{{place}-tag}}", json.dumps(key)[1:-1])
        text = text.replace(f'"{{{place}-value}}"', json.dumps(value))
    filled: Json = json.loads(text)
    return filled


def _statement(permission: Permission) -> Json:
    condition: dict[str, Any] = dict(permission.condition or {})
    if permission.keys:
        # One key is compared as it is, so that no name with a `*` or `?` could widen it.
        kind = "StringLike" if any("*" in key for key in permission.keys) else "StringEquals"
        condition[f"ForAllValues:{kind}"] = {"dynamodb:LeadingKeys": list(permission.keys)}
    return {"Sid": permission.sid, "Effect": "Allow", "Action": permission.actions.split(),
            "Resource": permission.resource, **({"Condition": condition} if condition else {})}
