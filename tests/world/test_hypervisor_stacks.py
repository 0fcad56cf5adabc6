"""Templates with groups, balancers and target groups make the same as calls do; policies hold; regions come back."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import processes
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.conftest import make_lambda
from tests.world.fleets import Fleet
from tests.world.hosts import IMAGE, PORT, add_image, disk, get
from tests.world.sites import BALANCED, HOME

pytestmark = pytest.mark.world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with an image of web servers, twenty times as fast as AWS."""
    with Sandbox.start() as made:
        add_image(made, tmp_path_factory.mktemp("image"))
        made.pace(20)
        yield made


TEMPLATE: dict[str, Any] = {
    "Template": {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": {
        "ImageId": IMAGE, "UserData": {"Fn::Base64": {"Fn::Sub": "in ${AWS::Region}"}}}}},
    "Balancer": {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer", "Properties": {"Type": "network"}},
    "Targets": {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {
        "Protocol": "TCP", "Port": PORT, "VpcId": "vpc-00000001", "HealthCheckProtocol": "HTTP",
        "HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 5, "HealthyThresholdCount": 2}},
    "Listener": {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": {
        "LoadBalancerArn": {"Ref": "Balancer"}, "Port": BALANCED, "Protocol": "TCP",
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Targets"}}]}},
    "Group": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": {
        "MinSize": "2", "MaxSize": "4", "TargetGroupARNs": [{"Ref": "Targets"}], "HealthCheckType": "ELB",
        "AvailabilityZones": [f"{HOME}a"], "LaunchTemplate": {
            "LaunchTemplateId": {"Ref": "Template"},
            "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}}}}}


def test_a_template_makes_and_takes_away_the_same(world: Sandbox) -> None:
    stacks, asg = world.client("cloudformation", HOME), world.client("autoscaling", HOME)
    stacks.create_stack(StackName="site", TemplateBody=json.dumps({
        "Resources": TEMPLATE, "Outputs": {"Name": {"Value": {"Fn::GetAtt": ["Balancer", "DNSName"]}},
                                           "Group": {"Value": {"Ref": "Group"}}}}))
    stacks.get_waiter("stack_create_complete").wait(StackName="site", WaiterConfig={"Delay": 1})
    outputs = {one["OutputKey"]: one["OutputValue"]
               for one in stacks.describe_stacks(StackName="site")["Stacks"][0]["Outputs"]}

    def ids() -> set[str]:
        found = asg.describe_auto_scaling_groups(AutoScalingGroupNames=[outputs["Group"]])["AutoScalingGroups"]
        return {one["InstanceId"] for group in found for one in group["Instances"]}

    host = world.addresses()[outputs["Name"]].host
    eventually(lambda: len(ids()) == 2 and {get(host, port=BALANCED) for _ in range(4)} == ids())
    before = ids()
    assert (disk(world, HOME, min(before)) / "user-data").read_text() == f"in {HOME}"
    stacks.delete_stack(StackName="site")
    stacks.get_waiter("stack_delete_complete").wait(StackName="site", WaiterConfig={"Delay": 1})
    eventually(lambda: all(not processes.marked(f"{world.state.mark}/{HOME}/{one}/") for one in before))
    assert get(host, port=BALANCED) == ""


def test_an_update_that_names_no_capacity_leaves_it_as_it_is(world: Sandbox) -> None:
    stacks, asg = world.client("cloudformation", HOME), world.client("autoscaling", HOME)
    resources = {name: TEMPLATE[name] for name in ("Template", "Group")}
    plain = {key: value for key, value in resources["Group"]["Properties"].items() if key != "TargetGroupARNs"}
    group = {"Type": resources["Group"]["Type"], "Properties": plain | {"AutoScalingGroupName": "kept"}}
    stacks.create_stack(StackName="kept", TemplateBody=json.dumps({"Resources": resources | {"Group": group}}))
    stacks.get_waiter("stack_create_complete").wait(StackName="kept", WaiterConfig={"Delay": 1})
    asg.set_desired_capacity(AutoScalingGroupName="kept", DesiredCapacity=4)
    group["Properties"]["MaxSize"] = "3"
    stacks.update_stack(StackName="kept", TemplateBody=json.dumps({"Resources": resources | {"Group": group}}))
    stacks.get_waiter("stack_update_complete").wait(StackName="kept", WaiterConfig={"Delay": 1})
    shown = asg.describe_auto_scaling_groups(AutoScalingGroupNames=["kept"])["AutoScalingGroups"][0]
    assert (shown["MinSize"], shown["DesiredCapacity"], shown["MaxSize"]) == (2, 3, 3)


def test_a_template_with_a_bad_target_group_fails(world: Sandbox) -> None:
    stacks = world.client("cloudformation", HOME)
    bad = {"Type": TEMPLATE["Targets"]["Type"],
           "Properties": TEMPLATE["Targets"]["Properties"] | {"HealthCheckPort": "soon"}}
    stacks.create_stack(StackName="bad", TemplateBody=json.dumps({"Resources": {"Targets": bad}}))
    eventually(lambda: stacks.describe_stacks(StackName="bad")["Stacks"][0]["StackStatus"] == "ROLLBACK_COMPLETE")
    told = [event.get("ResourceStatusReason", "") for event in stacks.describe_stack_events(
        StackName="bad")["StackEvents"]]
    assert any("Health check port 'soon'" in one for one in told)


CALLER = """
import boto3
def handler(event, context):
    try:
        boto3.client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=event, ShouldDecrementDesiredCapacity=False)
    except Exception as error:
        return str(error)
    return "done"
"""


def test_policies_hold_for_the_group_of_an_instance(world: Sandbox) -> None:
    mine, other = Fleet(world, "mine", 1), Fleet(world, "other", 1)
    ids, others = mine.steady(1), other.steady(1)
    make_lambda(world, HOME, "replacer", CALLER, allow=[{
        "Effect": "Allow", "Action": "autoscaling:TerminateInstanceInAutoScalingGroup",
        "Resource": f"arn:aws:autoscaling:{HOME}:*:autoScalingGroup:*:autoScalingGroupName/mine"}])

    def call(one: str) -> str:
        answer = world.client("lambda", HOME).invoke(FunctionName="replacer", Payload=json.dumps(one))
        return str(json.loads(answer["Payload"].read()))

    assert "not authorized" in call(others[0])
    assert call(ids[0]) == "done"
    mine.steady(1, set(ids))
    assert other.steady(1) == others


def test_a_region_comes_back_with_its_groups_as_they_were(world: Sandbox) -> None:
    fleet = Fleet(world, "returns", balanced=True)
    ids = fleet.steady(2)
    world.stop_region(HOME)
    world.start_region(HOME)
    assert set(fleet.steady(2)) == set(ids)
    eventually(lambda: fleet.health() == dict.fromkeys(ids, "healthy"))
