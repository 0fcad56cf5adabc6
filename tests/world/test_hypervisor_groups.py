"""Auto Scaling in the sandbox: groups launch real hosts, register them, replace the bad ones, and shrink."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.fleets import Fleet
from tests.world.hosts import IMAGE, add_image, address, disk, get, instance, launch, state
from tests.world.sites import HOME

pytestmark = pytest.mark.world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with an image of web servers, twenty times as fast as AWS."""
    with Sandbox.start() as made:
        add_image(made, tmp_path_factory.mktemp("image"))
        made.pace(20)
        yield made


def test_a_group_launches_what_its_template_says(world: Sandbox) -> None:
    fleet = Fleet(world, "launch", Tags=[{"Key": "Role", "Value": "web", "PropagateAtLaunch": True}])
    ids = fleet.steady(2)
    assert (disk(world, HOME, ids[0]) / "user-data").read_text() == "data of launch"
    tags = {tag["Key"]: tag["Value"] for tag in instance(world, HOME, ids[0])["Tags"]}
    assert tags == {"Role": "web", "aws:autoscaling:groupName": "launch"}
    assert {instance(world, HOME, one)["Placement"]["AvailabilityZone"] for one in ids} == {f"{HOME}a", f"{HOME}b"}
    entries = fleet.asg.describe_auto_scaling_instances(InstanceIds=ids)["AutoScalingInstances"]
    assert {(one["AutoScalingGroupName"], one["LifecycleState"], one["LaunchTemplate"]["Version"])
            for one in entries} == {("launch", "InService", "1")}
    assert fleet.shown()["LaunchTemplate"]["LaunchTemplateId"].startswith("lt-")


def test_a_launch_configuration_will_do(world: Sandbox) -> None:
    asg = world.client("autoscaling", HOME)
    asg.create_launch_configuration(LaunchConfigurationName="old", ImageId=IMAGE, InstanceType="t3.nano", UserData="hi")
    asg.create_auto_scaling_group(AutoScalingGroupName="old", LaunchConfigurationName="old", MinSize=1, MaxSize=1)
    found = eventually(lambda: asg.describe_auto_scaling_groups(AutoScalingGroupNames=["old"])[
        "AutoScalingGroups"][0]["Instances"])[0]
    eventually(lambda: get(address(world, HOME, found["InstanceId"])) == found["InstanceId"])
    assert (disk(world, HOME, found["InstanceId"]) / "user-data").read_text() == "hi"


def test_the_newest_version_of_the_template_is_launched_when_the_group_says_so(world: Sandbox) -> None:
    fleet = Fleet(world, "versions", 1)
    first = fleet.steady(1)
    fleet.ec2.create_launch_template_version(LaunchTemplateName="versions", LaunchTemplateData={
        "ImageId": IMAGE, "UserData": base64.b64encode(b"second").decode()})
    fleet.asg.terminate_instance_in_auto_scaling_group(InstanceId=first[0], ShouldDecrementDesiredCapacity=False)
    second = fleet.steady(1, set(first))
    assert (disk(world, HOME, second[0]) / "user-data").read_text() == "second"


def test_desired_capacity_is_followed_within_bounds(world: Sandbox) -> None:
    fleet = Fleet(world, "size", 1)
    first = fleet.steady(1)
    fleet.asg.set_desired_capacity(AutoScalingGroupName="size", DesiredCapacity=3)
    ids = fleet.steady(3)
    fleet.asg.update_auto_scaling_group(AutoScalingGroupName="size", DesiredCapacity=2)
    assert set(fleet.steady(2)) == set(ids) - set(first), "the oldest goes first"
    eventually(lambda: state(world, HOME, first[0]) == "terminated")
    for bad in (6, -1):
        with pytest.raises(ClientError, match=r"above max|below min"):
            fleet.asg.set_desired_capacity(AutoScalingGroupName="size", DesiredCapacity=bad)
    with pytest.raises(ClientError, match="Max bound"):
        fleet.asg.update_auto_scaling_group(AutoScalingGroupName="size", MinSize=9)
    told = [one["Description"] for one in fleet.asg.describe_scaling_activities(
        AutoScalingGroupName="size")["Activities"]]
    assert told[0] == f"Terminating EC2 instance: {first[0]}" and len(told) == 4


@pytest.mark.parametrize("end", ["terminate", "stop", "destroy", "power_off"])
def test_an_instance_that_ends_is_replaced(world: Sandbox, end: str) -> None:
    fleet = Fleet(world, f"ends-{end}".replace("_", "-"), balanced=True)
    ids = fleet.steady(2)
    act: dict[str, Callable[[], Any]] = {
        "terminate": lambda: fleet.ec2.terminate_instances(InstanceIds=[ids[0]]),
        "stop": lambda: fleet.ec2.stop_instances(InstanceIds=[ids[0]]),
        "destroy": lambda: world.destroy(ids[0]), "power_off": lambda: world.power_off(ids[0])}
    act[end]()
    now = fleet.steady(2, {ids[0]})
    assert ids[1] in now
    eventually(lambda: fleet.health() == dict.fromkeys(now, "healthy"))
    eventually(lambda: state(world, HOME, ids[0]) == "terminated")


def test_an_instance_that_its_balancer_finds_unhealthy_is_replaced_after_the_grace_period(world: Sandbox) -> None:
    fleet = Fleet(world, "sick", balanced=True, HealthCheckType="ELB", HealthCheckGracePeriod=20_000)
    ids = fleet.steady(2)
    eventually(lambda: fleet.health() == dict.fromkeys(ids, "healthy"))
    world.hang(ids[0], "web")
    eventually(lambda: fleet.health()[ids[0]] == "unhealthy")
    assert fleet.states() == dict.fromkeys(ids, "InService"), "replaced within the grace period"
    fleet.asg.update_auto_scaling_group(AutoScalingGroupName="sick", HealthCheckGracePeriod=1)
    assert ids[1] in fleet.steady(2, {ids[0]})
    cause = [one["Cause"] for one in fleet.asg.describe_scaling_activities(AutoScalingGroupName="sick")["Activities"]]
    assert any("ELB system health check failure" in one for one in cause)


def test_with_ec2_checks_an_unhealthy_target_stays(world: Sandbox) -> None:
    fleet = Fleet(world, "blind", 1, balanced=True, HealthCheckType="EC2")
    one = fleet.steady(1)[0]
    (disk(world, HOME, one) / "health").write_text("500")
    eventually(lambda: fleet.health().get(one) == "unhealthy")
    marker = Fleet(world, "marker", 1)
    marker.steady(1)  # the loop has gone round many times meanwhile
    assert fleet.states() == {one: "InService"}


def test_terminating_in_a_group_replaces_or_shrinks(world: Sandbox) -> None:
    fleet = Fleet(world, "term")
    ids = fleet.steady(2)
    answer = fleet.asg.terminate_instance_in_auto_scaling_group(
        InstanceId=ids[0], ShouldDecrementDesiredCapacity=False)
    assert answer["Activity"]["Description"] == f"Terminating EC2 instance: {ids[0]}"
    now = fleet.steady(2, {ids[0]})
    fleet.asg.terminate_instance_in_auto_scaling_group(InstanceId=now[0], ShouldDecrementDesiredCapacity=True)
    left = fleet.steady(1, {now[0]})
    fleet.asg.update_auto_scaling_group(AutoScalingGroupName="term", MinSize=1)
    with pytest.raises(ClientError, match="min size constraint"):
        fleet.asg.terminate_instance_in_auto_scaling_group(InstanceId=left[0], ShouldDecrementDesiredCapacity=True)
    with pytest.raises(ClientError, match="No managed instance found"):
        fleet.asg.terminate_instance_in_auto_scaling_group(
            InstanceId="i-0123456789abcdef0", ShouldDecrementDesiredCapacity=True)


def test_an_instance_drains_before_it_is_terminated(world: Sandbox) -> None:
    fleet = Fleet(world, "drain", balanced=True, delay=3600)
    ids = fleet.steady(2)
    eventually(lambda: fleet.health() == dict.fromkeys(ids, "healthy"))
    fleet.asg.terminate_instance_in_auto_scaling_group(InstanceId=ids[0], ShouldDecrementDesiredCapacity=True)
    eventually(lambda: fleet.states()[ids[0]] == "Terminating")
    assert fleet.health()[ids[0]] == "draining" and get(address(world, HOME, ids[0])) == ids[0]
    world.power_off(ids[0])  # nothing is left to drain
    eventually(lambda: fleet.states() == {ids[1]: "InService"})


def test_instance_health_can_be_set_by_hand(world: Sandbox) -> None:
    fleet = Fleet(world, "hand", HealthCheckGracePeriod=20_000)
    ids = fleet.steady(2)
    fleet.asg.set_instance_health(InstanceId=ids[0], HealthStatus="Unhealthy", ShouldRespectGracePeriod=True)
    assert {one["HealthStatus"] for one in fleet.shown()["Instances"]} == {"Healthy"}
    fleet.asg.set_instance_health(InstanceId=ids[0], HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    assert ids[1] in fleet.steady(2, {ids[0]})


def test_instances_are_attached_and_detached(world: Sandbox) -> None:
    fleet, one = Fleet(world, "join", 1, balanced=True), launch(world, HOME)[0]
    own = fleet.steady(1)
    fleet.asg.attach_instances(AutoScalingGroupName="join", InstanceIds=[one])
    assert set(fleet.steady(2)) == {one, *own} and fleet.shown()["DesiredCapacity"] == 2
    eventually(lambda: fleet.health() == dict.fromkeys((one, *own), "healthy"))
    with pytest.raises(ClientError, match="in a group already"):
        fleet.asg.attach_instances(AutoScalingGroupName="join", InstanceIds=[one])
    fleet.asg.detach_instances(AutoScalingGroupName="join", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    assert fleet.steady(1) == own and state(world, HOME, one) == "running"
    eventually(lambda: fleet.health() == dict.fromkeys(own, "healthy"))
    fleet.asg.detach_instances(AutoScalingGroupName="join", InstanceIds=own, ShouldDecrementDesiredCapacity=False)
    fleet.steady(1, set(own))
    assert state(world, HOME, own[0]) == "running"


def test_target_groups_are_attached_and_detached(world: Sandbox) -> None:
    fleet = Fleet(world, "late", 1)
    one = fleet.steady(1)[0]
    fleet.group = fleet._balance(0)
    fleet.asg.attach_load_balancer_target_groups(AutoScalingGroupName="late", TargetGroupARNs=[fleet.group])
    eventually(lambda: fleet.health() == {one: "healthy"})
    assert fleet.shown()["TargetGroupARNs"] == [fleet.group]
    listed = fleet.asg.describe_load_balancer_target_groups(AutoScalingGroupName="late")
    assert [item["LoadBalancerTargetGroupARN"] for item in listed["LoadBalancerTargetGroups"]] == [fleet.group]
    fleet.asg.detach_load_balancer_target_groups(AutoScalingGroupName="late", TargetGroupARNs=[fleet.group])
    eventually(lambda: fleet.health() == {})
    assert fleet.shown()["TargetGroupARNs"] == []


def test_a_target_that_was_deregistered_by_hand_stays_out(world: Sandbox) -> None:
    fleet = Fleet(world, "out", balanced=True, HealthCheckType="ELB", HealthCheckGracePeriod=20_000)
    ids = fleet.steady(2)
    eventually(lambda: fleet.health() == dict.fromkeys(ids, "healthy"))
    fleet.elb.deregister_targets(TargetGroupArn=fleet.group, Targets=[{"Id": ids[0]}])
    fleet.asg.update_auto_scaling_group(AutoScalingGroupName="out", HealthCheckGracePeriod=1)
    marker = Fleet(world, "marker-2", 1)
    marker.steady(1)
    eventually(lambda: fleet.health() == {ids[1]: "healthy"} and fleet.states() == dict.fromkeys(ids, "InService"))


def test_a_group_goes_only_with_its_instances(world: Sandbox) -> None:
    fleet = Fleet(world, "gone", 1)
    one = fleet.steady(1)[0]
    with pytest.raises(ClientError, match="ResourceInUse"):
        fleet.asg.delete_auto_scaling_group(AutoScalingGroupName="gone")
    fleet.asg.delete_auto_scaling_group(AutoScalingGroupName="gone", ForceDelete=True)
    eventually(lambda: state(world, HOME, one) == "terminated")
    assert fleet.asg.describe_auto_scaling_groups(AutoScalingGroupNames=["gone"])["AutoScalingGroups"] == []


@pytest.mark.parametrize(("more", "says"), [
    ({}, "names neither"), ({"LaunchConfigurationName": "old", "MinSize": 3}, "Max bound"),
    ({"LaunchConfigurationName": "old", "DesiredCapacity": 5}, "must be between"),
    ({"LaunchConfigurationName": "old", "TargetGroupARNs": ["arn:aws:x:y:z:targetgroup/no/1"]}, "may not be valid")])
def test_a_group_that_cannot_be_is_refused(world: Sandbox, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ClientError, match=says):
        world.client("autoscaling", HOME).create_auto_scaling_group(
            **{"AutoScalingGroupName": "refused", "MinSize": 1, "MaxSize": 2, **more})


def test_what_cannot_be_launched_is_told_and_launched_once_it_can(world: Sandbox) -> None:
    asg = world.client("autoscaling", HOME)
    asg.create_auto_scaling_group(AutoScalingGroupName="soon", LaunchConfigurationName="soon", MinSize=1, MaxSize=1)
    told = eventually(lambda: asg.describe_scaling_activities(AutoScalingGroupName="soon")["Activities"])[0]
    assert told["StatusCode"] == "Failed" and "no launch configuration 'soon'" in told["Cause"]
    asg.create_launch_configuration(LaunchConfigurationName="soon", ImageId=IMAGE, InstanceType="t3.micro")
    eventually(lambda: asg.describe_auto_scaling_groups(AutoScalingGroupNames=["soon"])[
        "AutoScalingGroups"][0]["Instances"])


def test_a_refresh_that_would_be_a_lie_is_refused(world: Sandbox) -> None:
    Fleet(world, "fresh", 0)
    with pytest.raises(ClientError, match="no instance refresh"):
        world.client("autoscaling", HOME).start_instance_refresh(AutoScalingGroupName="fresh")
