"""The resolved policies of Lambdas, hosts and deployments, against AWS's own reference of actions (policy_sentry)."""

import fnmatch
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.config import fleet
from chalicelib.infrastructure import limits
from chalicelib.tunnels.infrastructure import role
from commands.deploy import permissions
from tests.infrastructure.test_wildcards import TEXT, statements

actions = pytest.importorskip("policy_sentry.querying.actions", reason="installed with the group test")
arns = pytest.importorskip("policy_sentry.util.arns")

# Calls that change who may do what, each with its reason.
MANAGEMENT = {
    "s3:PutBucketPolicy": "routing.apply lets health checks read the flags of an evacuation",
    "s3:PutBucketPublicAccessBlock": "the same, and the bucket of the packages is closed",
    "iam:PassRole": "ECS gets the declared roles of a job, and Lambda its own in a deployment",
}
# Actions that are newer than the reference, with their source.
NEWER = {
    "lambda:GetFunctionScalingConfig": "resource type schema AWS::Lambda::Function",
}
# (Sid, action) that AWS limits to a resource by this reference, and yet asks for all.
EVERYTHING: frozenset[tuple[str, str]] = frozenset()


def resolved() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement with its owner, as AWS gets it."""
    declared = fleet.parse(TEXT)
    known = limits.pseudo_parameters("f-s", ["eu-west-1"])
    for one, _, statement in statements(declared):
        yield one.function, limits.resolved(statement, {}, known)
    for statement in role.statements(True):
        yield "host", limits.resolved(statement, {}, known)


def deployment() -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of the credentials of a deployment."""
    for document in permissions.documents(fleet.parse(TEXT), "s").values():
        for statement in document["Statement"]:
            yield "deployment", statement


STATEMENTS = [*resolved(), *deployment()]


def listed(value: Any) -> list[str]:
    """One or many as many."""
    return value if isinstance(value, list) else [value]


def reference(action: str) -> list[dict[str, Any]]:
    """AWS's entries for an action, one for each type of resource. A pattern has those of all that it stands for."""
    service, _, name = action.partition(":")
    if "*" in name:
        return [entry for known in actions.get_actions_for_service(service)
                if fnmatch.fnmatchcase(known.lower(), action.lower()) for entry in reference(known)]
    found: dict[str, list[dict[str, Any]]] = actions.get_action_data(service, name) or {}
    return [entry for entries in found.values() for entry in entries]


def found(owner: str, statement: dict[str, Any]) -> Iterator[str]:
    """A line for each action that AWS does not have, or that the statement allows on more or on other things."""
    resources = listed(statement["Resource"])
    for action in (one for one in listed(statement["Action"]) if one not in NEWER):
        formats = {entry["resource_arn_format"] for entry in reference(action)}
        if not formats:
            yield f"{owner} {statement['Sid']}: AWS has no action {action}"
        elif "*" in formats or (statement["Sid"], action) in EVERYTHING:
            continue
        elif resources == ["*"]:
            yield f"{owner} {statement['Sid']}: {action} is allowed on everything, and AWS limits it to {formats}"
        elif not any(_fits(one, known) for one in resources for known in formats):
            yield f"{owner} {statement['Sid']}: {action} is about {formats}, and allowed on {resources}"


def test_each_action_exists_and_is_limited_where_aws_can_limit_it() -> None:
    assert [line for owner, statement in STATEMENTS for line in found(owner, statement)] == []


def test_only_calls_with_a_reason_manage_permissions() -> None:
    # A deployment makes roles and policies by its nature.
    manages = {(statement["Sid"], action) for owner, statement in STATEMENTS if owner != "deployment"
               for action in listed(statement["Action"]) for entry in reference(action)
               if entry["access_level"] == "Permissions management"}
    assert {action for _, action in manages} <= MANAGEMENT.keys()


@pytest.mark.parametrize(("action", "resource", "says"), [
    ("sqs:SendMesage", "arn:aws:sqs:eu-west-1:123456789012:q", "AWS has no action"),
    ("sqs:SendMessage", "*", "is allowed on everything"),
    ("sqs:SendMessage", "arn:aws:sns:eu-west-1:123456789012:t", "and allowed on")])
def test_a_wrong_statement_would_be_found(action: str, resource: str, says: str) -> None:
    [line] = found("x", {"Sid": "S", "Action": [action], "Resource": [resource]})
    assert says in line


def _fits(resource: str, known: str) -> bool:
    """Whether the resource is of the type `known`. The streams of a log lie below its group."""
    if resource.endswith(":*/*"):  # all resources of the service
        return resource.split(":")[2] == known.split(":")[2]
    if ":log-group:" in resource and resource.endswith(":*"):
        return ":log-group:" in known
    return bool(arns.ARN(resource).same_resource_type(known))
