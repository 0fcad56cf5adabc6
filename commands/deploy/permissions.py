"""`lamp deploy --print-policy`: the permissions that the credentials of a deployment need, for the fleet at hand. Pure.

CloudFormation calls each service with the credentials of the deployment. The calls of each type of resource are those
that its schema names. A resource has the stack's name in its own, so most statements are limited to that.
"""

import json
from collections.abc import Iterator, Sequence

from chalicelib import registry
from chalicelib.config.declared import Fleet, partition
from chalicelib.config.tunnel_hosts import private_key_secret
from chalicelib.config.tunnels import managed_name
from chalicelib.infrastructure import files, tables
from chalicelib.infrastructure.parts import Json, generated
from chalicelib.infrastructure.template import merged
from commands.deploy import resource_types

# The characters of a managed policy, without blanks ("IAM and AWS STS quotas", user guide).
MOST_CHARACTERS = 6144
# What Chalice adds for each function.
_OF_CHALICE = ("AWS::Lambda::Function", "AWS::IAM::Role", "AWS::Logs::LogGroup")
# Properties that no template here has: keys of one's own, streams, layers of others, data protection.
_UNUSED = frozenset({
    "dynamodb:DescribeImport", "dynamodb:DisableKinesisStreamingDestination",
    "dynamodb:EnableKinesisStreamingDestination", "dynamodb:ImportTable", "lambda:GetCodeSigningConfig",
    "lambda:GetLayerVersion",
    "lambda:PassCapacityProvider", "lambda:DeleteFunctionCodeSigningConfig", "lambda:PutFunctionCodeSigningConfig",
    "lambda:PutFunctionScalingConfig", "logs:AssociateKmsKey", "logs:CreateLogDelivery", "logs:CreateLogStream",
    "logs:DeleteDataProtectionPolicy", "logs:DescribeLogStreams", "logs:DisassociateKmsKey", "logs:PutLogEvents",
    "logs:PutDataProtectionPolicy", "logs:PutResourcePolicy", "iam:AttachRolePolicy",
    "iam:DeleteRolePermissionsBoundary", "iam:PutRolePermissionsBoundary", "secretsmanager:GetRandomPassword",
    "secretsmanager:RemoveRegionsFromReplication", "secretsmanager:ReplicateSecretToRegions",
    "sns:PutDataProtectionPolicy", "cloudwatch:PutMetricData", "s3:ListBucket"})
# They have statements of their own, with conditions.
_ROLES = ("iam:PassRole", "iam:CreateServiceLinkedRole")


def documents(fleet: Fleet, stage: str) -> dict[str, Json]:
    """Name -> IAM policy document. One document each is as much as a managed policy holds."""
    parts: list[list[Json]] = [[]]
    for statement in statements(fleet, stage):
        if _size([*parts[-1], statement]) > MOST_CHARACTERS:
            parts.append([])
        parts[-1].append(statement)
    return {f"{fleet.name}-{stage}-deploy-{number}": _document(part) for number, part in enumerate(parts, 1)}


def statements(fleet: Fleet, stage: str) -> Iterator[Json]:
    """All that `lamp deploy` and CloudFormation do for this fleet, then the calls of the commands that look at it."""
    stack, arn = f"{fleet.name}-{stage}", f"arn:{partition(fleet.home)}"
    yield from _own(fleet, stack, arn)
    found: dict[str, set[str]] = {}
    for kind in kinds(fleet, stage):
        for action in resource_types.known().types[kind].actions:
            if action not in _UNUSED and action not in _ROLES:
                found.setdefault(action.partition(":")[0], set()).add(action)
    anywhere: list[str] = []
    for service, actions in sorted(found.items()):
        places = _places(service, stack, arn, fleet)
        bound = sorted(actions - resource_types.known().without_resource) if places else []
        anywhere += sorted(actions - set(bound))
        if bound:
            yield _allow(f"Stack{service.replace('-', '').capitalize()}", bound, places)
    yield _allow("WithoutResource", anywhere, ["*"])
    yield from _roles(fleet, stack, arn)


def kinds(fleet: Fleet, stage: str) -> list[str]:
    """The types of resources in the stacks of the fleet."""
    functions = [each.function for each in registry.lambdas()]
    static = json.loads(files.files()["resources.json"])
    whole = [merged(static, fleet, stage, functions), tables.coordination(fleet, stage)]
    return sorted({*_OF_CHALICE, *(part["Type"] for one in whole for part in one["Resources"].values()
                                   if "Type" in part)})


def _own(fleet: Fleet, stack: str, arn: str) -> Iterator[Json]:
    """The calls that `lamp` makes itself."""
    bucket = f"{arn}:s3:::{fleet.name}-*"
    yield _allow("Identity", ["sts:GetCallerIdentity"], ["*"])
    yield _allow("Packages", [
        "s3:CreateBucket", "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:PutBucketPublicAccessBlock",
        "s3:PutEncryptionConfiguration"], [bucket, f"{bucket}/*"])
    yield _allow("Stacks", [
        "cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack",
        "cloudformation:DescribeChangeSet", "cloudformation:DescribeStackEvents", "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet", "cloudformation:GetTemplate", "cloudformation:ListStackResources"],
        [f"{arn}:cloudformation:*:*:stack/{stack}/*", f"{arn}:cloudformation:*:*:stack/{stack}-coordination/*"])
    yield _allow("Transform", ["cloudformation:CreateChangeSet"],
                 [f"{arn}:cloudformation:*:aws:transform/Serverless-2016-10-31"])
    yield _allow("Pauses", ["dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:PutItem", "dynamodb:Query"],
                 [f"{arn}:dynamodb:*:*:table/{stack}-coordination"])
    yield _allow("Quotas", [
        "iam:GetAccountSummary", "lambda:GetAccountSettings",
        *(["route53:GetAccountLimit"] if fleet.health_checks or fleet.routing else [])], ["*"])
    yield _allow("CountAlarms", ["cloudwatch:DescribeAlarms"], [f"{arn}:cloudwatch:*:*:alarm:*"])
    yield _allow("Operate", ["lambda:GetFunctionConcurrency", "lambda:InvokeFunction"],
                 [f"{arn}:lambda:*:*:function:{stack}-*"])
    yield _allow("LookForOperations", ["lambda:ListFunctions"], ["*"])
    yield _allow("ReadLogs", ["logs:FilterLogEvents"], [f"{arn}:logs:*:*:log-group:/aws/lambda/{stack}-*"])


def _places(service: str, stack: str, arn: str, fleet: Fleet) -> list[str]:
    """The resources of a service with the stack's name. None where AWS gives the id itself and asks for all."""
    tunnels = managed_name(stack)
    return [f"{arn}:{service}:{rest}" for rest in {
        "autoscaling": [f"*:*:autoScalingGroup:*:autoScalingGroupName/{tunnels}"],
        "cloudwatch": [f"*:*:alarm:{stack}-*"],
        "dynamodb": [f"*:*:table/{stack}", f"*:*:table/{stack}-coordination"],
        "ec2": ["*:*:*/*"],
        "elasticloadbalancing": [f"*:*:{kind}/{tunnels}/*" for kind in ("loadbalancer/net", "targetgroup",
                                                                        "listener/net")],
        "events": [f"*:*:rule/{stack}-*"],
        "iam": [f":*:role/{generated(stack)}", f":*:instance-profile/{generated(stack)}"],
        "lambda": [f"*:*:function:{stack}-*", "*:*:event-source-mapping:*"],
        "logs": [f"*:*:log-group:/aws/lambda/{stack}-*"],
        "s3": [f"::{fleet.name}-*/*"],
        "secretsmanager": [f"*:*:secret:{private_key_secret(stack)}-*"],
        "sns": [f"*:*:{stack}-*"], "sqs": [f"*:*:{stack}-*"],
        # The newest image of Amazon Linux is a public parameter.
        "ssm": [f"*:*:document/{tunnels}", f"*:*:parameter/lamplighter/{stack}/*", "*::parameter/aws/service/*"],
    }.get(service, [])]


def _roles(fleet: Fleet, stack: str, arn: str) -> Iterator[Json]:
    hosts = fleet.tunnels is not None and fleet.tunnels.hosts is not None
    services = ["lambda.amazonaws.com", *(["ec2.amazonaws.com"] if hosts else [])]
    linked = [*(["replication.dynamodb.amazonaws.com"] if fleet.coordination.strong else []),
              *(["autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com"] if hosts else [])]
    yield {**_allow("PassRoles", ["iam:PassRole"], [f"{arn}:iam::*:role/{generated(stack)}"]),
           "Condition": {"StringEquals": {"iam:PassedToService": services}}}
    if linked:
        yield {**_allow("ServiceLinkedRoles", ["iam:CreateServiceLinkedRole"],
                        [f"{arn}:iam::*:role/aws-service-role/*"]),
               "Condition": {"StringEquals": {"iam:AWSServiceName": linked}}}


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> Json:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _document(statements: Sequence[Json]) -> Json:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _size(statements: Sequence[Json]) -> int:
    return len(json.dumps(_document(statements), separators=(",", ":")))
