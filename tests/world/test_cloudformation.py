"""The sandbox refuses what CloudFormation refuses, and a deployment stays clear of it or says the way out."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config import fleet
from chalicelib.infrastructure import tables
from commands.deploy import packaging, permissions, rehearsal, release, stacks
from commands.deploy.account import Target
from commands.errors import UsageError
from sandbox.cloudformation import NAMES
from sandbox.faults import THROTTLED
from sandbox.world import ACCOUNT, Sandbox
from testing.eventually import eventually
from tests.world.test_deploy import Session

pytestmark = pytest.mark.world
HOME, OTHER = "eu-west-1", "eu-west-3"
SET = ["eu-west-1", "eu-central-1", "eu-west-3"]
QUIET = release.Quiet()
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


def with_environment(size: int) -> dict[str, Any]:
    """A Lambda and its role, whose environment has `size` bytes."""
    role = {"Type": "AWS::IAM::Role", "Properties": NAMED["IAM::Role"]}
    return {"Role": role, "Function": {"Type": "AWS::Lambda::Function", "Properties": {
        "Runtime": "python3.11", "Handler": "index.handler", "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Code": {"ZipFile": "def handler(event, context): pass"},
        "Environment": {"Variables": {"A": "x" * (size - 1)}}}}}


@pytest.mark.parametrize(("size", "status"), [(4096, "CREATE_COMPLETE"), (4097, "ROLLBACK_COMPLETE")])
def test_an_environment_has_4_kb_at_most(empty: Sandbox, size: int, status: str) -> None:
    found = created(empty, f"environment-{size}", json.dumps({"Resources": with_environment(size)}))
    assert found[0] == status and ("exceeded the 4KB limit" in found[1]) == (size > 4096)


class Told(release.Quiet):
    """Keeps the warnings of a release."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warned(self, lines: Sequence[str]) -> None:
        self.lines += lines


def package(
    tmp_path: Path, name: str, *, stage: str = "t", regions: Sequence[str] = (HOME,),
    coordination: Sequence[str] = (HOME,), more: dict[str, Any] | None = None,
) -> packaging.Package:
    """A package with the regional table and one queue."""
    declared = fleet.parse(
        f'name = "{name}"\nregions = {[{"name": region} for region in regions]}\n'.replace("'name': ", "name = ")
        + f"coordination = {{regions = {list(coordination)}}}\n")
    path = tmp_path / "package.zip"
    path.write_bytes(b"")
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Fn::Sub": "${AWS::StackName}-q"}}}
    table = tables.kept(tables.regional()["RegionalTable"], f"{name}-{stage}")
    parts = {"RegionalTable": table, "Q": queue, **(more or {})}
    return packaging.Package(
        declared, stage, path, "0" * 64, {"Resources": parts}, tables.coordination(declared, stage), ())


def deploy(world: Target, package: packaging.Package, show: release.Show = QUIET, **more: Any) -> dict[str, str]:
    """The result of each stack by region and name."""
    regions = [region.name for region in package.fleet.regions]
    done = release.release(world, package, regions, show, lambda: True, look_seconds=0.05, **more)
    assert not [one.error for one in done if one.error]
    return {f"{one.region} {one.stack}": one.status for one in done}


def names(world: Sandbox, region: str, begin: str) -> list[str]:
    """The stacks of a region that are there."""
    found = world.client("cloudformation", region).list_stacks()["StackSummaries"]
    return sorted(one["StackName"] for one in found
                  if one["StackName"].startswith(begin) and one["StackStatus"] != "DELETE_COMPLETE")


def test_one_coordination_region_does_not_become_three_but_another_stage_has_them(
    empty: Sandbox, tmp_path: Path
) -> None:
    deploy(empty, package(tmp_path, "grow"))
    for wanted in (SET, SET[1:] + SET[:1], ["eu-central-1"]):
        with pytest.raises(UsageError, match=r'Write regions = \["eu-west-1"\] again, or deploy with another --stage|'
                                             r"eu-west-1 grow-t-coordination has the coordination table"):
            deploy(empty, package(tmp_path, "grow", coordination=wanted))
    assert names(empty, HOME, "grow-") == ["grow-t", "grow-t-coordination"]
    assert names(empty, "eu-central-1", "grow-") == []
    assert set(deploy(empty, package(tmp_path, "grow", stage="u", coordination=SET)).values()) == {"deployed"}
    with pytest.raises(UsageError, match=r'Write regions = \["eu-central-1", "eu-west-1", "eu-west-3"\] again'):
        deploy(empty, package(tmp_path, "grow", stage="u"))
    now = package(tmp_path, "grow", coordination=SET).fleet
    [refused], told = rehearsal.wrong(empty, {"t": now, "u": now, "never": now})
    assert "the table grow-t-coordination is in eu-west-1" in refused and told == []


def test_a_deployment_needs_no_more_than_the_printed_policy(empty: Sandbox, tmp_path: Path) -> None:
    made, iam = package(tmp_path, "least", coordination=SET), empty.client("iam", HOME)
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="least", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    for name, document in permissions.documents(made.fleet, made.stage).items():
        iam.put_role_policy(RoleName="least", PolicyName=name, PolicyDocument=json.dumps(document))
    keys = empty.client("sts", HOME).assume_role(RoleArn=role, RoleSessionName="least")["Credentials"]
    deploy(Session(empty, keys), made)
    deploy(Session(empty, keys), package(tmp_path, "least", coordination=SET, more={"R": {"Type": "AWS::SNS::Topic"}}))
    mine = [call for call in empty.calls() if call["principal"] == "least"]
    assert len(mine) > 10 and not [call for call in mine if call["denied"]]


def test_another_order_of_the_coordination_regions_changes_nothing(empty: Sandbox, tmp_path: Path) -> None:
    deploy(empty, package(tmp_path, "order", coordination=SET))
    for wanted in (SET[::-1], SET[1:] + SET[:1]):
        assert deploy(empty, package(tmp_path, "order", coordination=wanted)) == {
            f"{HOME} order-t-coordination": "unchanged", f"{HOME} order-t": "unchanged"}


@pytest.mark.parametrize("wanted", [[HOME], SET])
def test_an_installation_comes_back_over_the_tables_that_were_kept(
    empty: Sandbox, tmp_path: Path, wanted: list[str]
) -> None:
    name = f"kept-{len(wanted)}"
    deploy(empty, package(tmp_path, name, coordination=wanted))
    item = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    for table in (f"{name}-t", f"{name}-t-coordination"):
        empty.client("dynamodb", HOME).put_item(TableName=table, Item=item)
        stacks.remove(empty, stacks.Stack(HOME, table), stacks.Pace(0.05))
    if len(wanted) > 1:
        with pytest.raises(UsageError, match="DynamoDB changes neither the regions"):
            deploy(empty, package(tmp_path, name))
    assert deploy(empty, package(tmp_path, name, coordination=wanted[::-1])).keys() == {
        f"{wanted[-1]} {name}-t-coordination", f"{HOME} {name}-t"}
    for table in (f"{name}-t", f"{name}-t-coordination"):
        assert empty.client("dynamodb", HOME).get_item(TableName=table, Key=item)["Item"] == item


@pytest.mark.parametrize("is_older", [False, True])
def test_a_first_stack_that_rolls_back_leaves_its_table(empty: Sandbox, tmp_path: Path, is_older: bool) -> None:
    name, item = f"rolled-{is_older}".lower(), {"pk": {"S": "a"}, "sk": {"S": "b"}}
    dynamodb = empty.client("dynamodb", HOME)
    if is_older:
        deploy(empty, package(tmp_path, name))
        dynamodb.put_item(TableName=f"{name}-t", Item=item)
        stacks.remove(empty, stacks.Stack(HOME, f"{name}-t"), stacks.Pace(0.05))
    wrong = with_environment(5000)
    wrong["Function"]["DependsOn"] = ["RegionalTable"]
    failed = release.release(empty, package(tmp_path, name, more=wrong), [HOME], QUIET, lambda: True, 0.05)[-1]
    assert failed.status == "failed" and "nothing of it is left but its table, which the next" in failed.error
    assert names(empty, HOME, f"{name}-t") == [f"{name}-t-coordination"]
    if not is_older:
        dynamodb.put_item(TableName=f"{name}-t", Item=item)
    assert deploy(empty, package(tmp_path, name))[f"{HOME} {name}-t"] == "deployed"
    assert dynamodb.get_item(TableName=f"{name}-t", Key=item)["Item"] == item


def test_the_stack_of_a_region_that_has_left_is_told_and_may_be_removed(empty: Sandbox, tmp_path: Path) -> None:
    deploy(empty, package(tmp_path, "left", regions=(OTHER, HOME)))
    smaller, told = package(tmp_path, "left"), Told()
    assert set(deploy(empty, smaller, told).values()) == {"unchanged"}
    assert len(told.lines) == 1 and "--remove-region eu-west-3" in told.lines[0]
    assert rehearsal.wrong(empty, {"t": smaller.fleet}) == ([], told.lines)
    with pytest.raises(UsageError, match="no stack of this installation is left there"):
        deploy(empty, smaller, remove_regions=[HOME])
    sqs = empty.client("sqs", OTHER)
    url = sqs.get_queue_url(QueueName="left-t-q")["QueueUrl"]
    late = release.release(
        empty, smaller, [HOME], QUIET, lambda: bool(sqs.send_message(QueueUrl=url, MessageBody="x")),
        look_seconds=0.05, remove_regions=[OTHER])[-1]
    assert (late.status, late.region) == ("failed", OTHER) and names(empty, OTHER, "left-") == ["left-t"]
    assert late.error.splitlines()[0] == f"{OTHER} left-t: Q (left-t-q) would be lost with its messages, 1 by now"
    assert "was not deleted. Stop what sends there" in late.error and "--drop-messages" in late.error
    with pytest.raises(UsageError, match=r"Q \(left-t-q\) would be lost with its messages, 1 by now"):
        deploy(empty, smaller, remove_regions=[OTHER])
    found = deploy(empty, smaller, remove_regions=[OTHER], drop_messages=True)
    assert found[f"{OTHER} left-t"] == "removed" and names(empty, OTHER, "left-") == []
    told.lines.clear()
    deploy(empty, smaller, told)
    assert told.lines == []


def test_a_region_that_gives_no_answer_does_not_count_as_empty(empty: Sandbox, tmp_path: Path) -> None:
    deploy(empty, package(tmp_path, "mute", regions=(OTHER, HOME)))
    smaller, told, silence = package(tmp_path, "mute"), Told(), rf"{OTHER} could not be asked: .*DescribeStacks"
    try:
        empty.refuse("cloudformation:DescribeStacks", OTHER, THROTTLED)
        assert set(deploy(empty, smaller, told).values()) == {"unchanged"}
        assert len(told.lines) == 1 and re.match(silence, told.lines[0])
        with pytest.raises(UsageError, match=silence):
            deploy(empty, smaller, remove_regions=[OTHER])
        empty.clear_faults()
        empty.refuse("cloudformation:DescribeStacks", HOME, THROTTLED)
        moved = package(tmp_path, "mute", regions=[OTHER], coordination=[OTHER])
        with pytest.raises(UsageError, match=rf"{HOME} could not be asked(.|\n)*A second table would begin without"):
            deploy(empty, moved)
    finally:
        empty.clear_faults()
    assert names(empty, OTHER, "mute-") == ["mute-t"]


def test_a_change_that_would_fail_half_way_is_refused_before_anything_is_changed(
    empty: Sandbox, tmp_path: Path
) -> None:
    def hosts(port: int) -> dict[str, Any]:
        kind = "ElasticLoadBalancingV2::TargetGroup"
        return {"TunnelsTargets": json.loads(template(kind, NAMED[kind] | {"Port": port}, "half"))["Resources"]["Part"]}

    deploy(empty, package(tmp_path, "half", more=hosts(1)))
    with pytest.raises(UsageError, match=r"TunnelsTargets .* for its new Port.*Deploy once without \[tunnels\.hosts\]"):
        deploy(empty, package(tmp_path, "half", more=hosts(2)))
    deploy(empty, package(tmp_path, "half"))
    assert set(deploy(empty, package(tmp_path, "half", more=hosts(2))).values()) == {"unchanged", "deployed"}
