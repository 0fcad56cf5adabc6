"""The sandbox refuses what CloudFormation refuses, and a deployment stays clear of it or says the way out."""

import json
from typing import Any

import pytest

from sandbox.cloudformation import NAMES
from sandbox.world import Sandbox
from testing.eventually import eventually

pytestmark = pytest.mark.world
HOME, OTHER = "eu-west-1", "eu-west-3"
KEYS = {"BillingMode": "PAY_PER_REQUEST", "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
DOCUMENT = {"schemaVersion": "2.2", "description": "x", "mainSteps": [
    {"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
NAMED: dict[str, dict[str, Any]] = {
    "CloudWatch::Alarm": {"Namespace": "a", "MetricName": "b", "Statistic": "Sum", "Period": 60, "Threshold": 0,
                          "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"},
    "DynamoDB::GlobalTable": {**KEYS, "Replicas": [{"Region": HOME}, {"Region": OTHER}]},
    "DynamoDB::Table": KEYS,
    "EC2::LaunchTemplate": {"LaunchTemplateData": {"InstanceType": "t4g.nano"}},
    "ElasticLoadBalancingV2::LoadBalancer": {"Type": "network", "Scheme": "internal", "Subnets": ["subnet-00000001"]},
    "ElasticLoadBalancingV2::TargetGroup": {"Protocol": "TCP", "Port": 1, "VpcId": "vpc-00000001"},
    "Events::Rule": {"ScheduleExpression": "rate(1 minute)"},
    "IAM::Role": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
    "Logs::LogGroup": {},
    "SNS::Topic": {},
    "SQS::Queue": {},
    "SSM::Document": {"DocumentType": "Command", "Content": DOCUMENT},
    "SSM::Parameter": {"Type": "String", "Value": "x"},
    "SecretsManager::Secret": {},
}


def template(kind: str, properties: dict[str, Any], name: str = "") -> str:
    """A template with one resource, which has this name."""
    named = {NAMES[f"AWS::{kind}"]: name} if name else {}
    return json.dumps({"Resources": {"Part": {"Type": f"AWS::{kind}", "Properties": {**properties, **named}}}})


def ended(world: Sandbox, stack: str) -> tuple[str, str]:
    """The stack's status once it rests, and the reason of its first failure."""
    client = world.client("cloudformation", HOME)

    def status() -> str:
        found: str = client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        return "" if found.endswith("_IN_PROGRESS") else found

    rests = eventually(status)
    events = client.describe_stack_events(StackName=stack)["StackEvents"]
    return rests, next((one["ResourceStatusReason"] for one in events[::-1] if "FAILED" in one["ResourceStatus"]), "")


def created(world: Sandbox, stack: str, body: str) -> tuple[str, str]:
    """A new stack, and how that ended."""
    world.client("cloudformation", HOME).create_stack(
        StackName=stack, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"])
    return ended(world, stack)


@pytest.mark.parametrize("kind", NAMED)
def test_a_name_that_another_stack_has_is_refused(empty: Sandbox, kind: str) -> None:
    body, stack = template(kind, NAMED[kind], "taken"), kind.replace("::", "")
    assert created(empty, f"{stack}-1", body) == ("CREATE_COMPLETE", "")
    assert created(empty, f"{stack}-2", body) == (
        "ROLLBACK_COMPLETE", f"Resource of type 'AWS::{kind}' with identifier 'taken' already exists.")
    empty.client("cloudformation", HOME).delete_stack(StackName=f"{stack}-1")


def test_a_changed_type_fails_the_change_set(empty: Sandbox) -> None:
    assert created(empty, "types", template("SNS::Topic", {}))[0] == "CREATE_COMPLETE"
    client = empty.client("cloudformation", HOME)
    client.create_change_set(StackName="types", ChangeSetName="c", TemplateBody=template("SQS::Queue", {}))
    found = client.describe_change_set(StackName="types", ChangeSetName="c")
    assert (found["Status"], found["Changes"]) == ("FAILED", [])
    assert found["StatusReason"] == ("Update of resource type is not permitted. The new template modifies resource "
                                     "type of the following resources: [Part]")


def test_a_named_resource_that_must_be_replaced_fails_the_update(empty: Sandbox) -> None:
    kind = "ElasticLoadBalancingV2::TargetGroup"
    assert created(empty, "ports", template(kind, NAMED[kind], "ports"))[0] == "CREATE_COMPLETE"
    empty.client("cloudformation", HOME).update_stack(
        StackName="ports", TemplateBody=template(kind, NAMED[kind] | {"Port": 2}, "ports"))
    status, reason = ended(empty, "ports")
    assert status == "UPDATE_ROLLBACK_COMPLETE" and "when a custom-named resource requires replacing" in reason


@pytest.mark.parametrize(("size", "status"), [(4096, "CREATE_COMPLETE"), (4097, "ROLLBACK_COMPLETE")])
def test_an_environment_has_4_kb_at_most(empty: Sandbox, size: int, status: str) -> None:
    role = {"Type": "AWS::IAM::Role", "Properties": NAMED["IAM::Role"]}
    function = {"Type": "AWS::Lambda::Function", "Properties": {
        "Runtime": "python3.11", "Handler": "index.handler", "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Code": {"ZipFile": "def handler(event, context): pass"},
        "Environment": {"Variables": {"A": "x" * (size - 1)}}}}
    found = created(empty, f"environment-{size}", json.dumps({"Resources": {"Role": role, "Function": function}}))
    assert found[0] == status and ("exceeded the 4KB limit" in found[1]) == (size > 4096)
