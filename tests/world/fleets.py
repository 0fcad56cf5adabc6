"""An Auto Scaling group of hosts, for the tests of the hypervisor."""

import base64
from typing import Any

from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.hosts import IMAGE, PORT, address, get
from tests.world.sites import BALANCED, HOME


class Fleet:
    """A group of hosts, perhaps behind a network balancer."""

    def __init__(self, world: Sandbox, name: str, size: int = 2, *, balanced: bool = False, delay: int = 0,
                 **more: Any) -> None:
        self.world, self.name = world, name
        self.asg, self.elb, self.ec2 = (world.client(one, HOME) for one in ("autoscaling", "elbv2", "ec2"))
        self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={
            "ImageId": IMAGE, "UserData": base64.b64encode(f"data of {name}".encode()).decode()})
        self.group = self._balance(delay) if balanced else ""
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchTemplate={"LaunchTemplateName": name, "Version": "$Latest"}, MinSize=0,
            MaxSize=5, DesiredCapacity=size, TargetGroupARNs=[self.group] if balanced else [],
            AvailabilityZones=[f"{HOME}a", f"{HOME}b"], **more)

    def _balance(self, delay: int) -> str:
        balancer = self.elb.create_load_balancer(Name=self.name, Type="network")["LoadBalancers"][0]
        group = self.elb.create_target_group(
            Name=self.name, Protocol="TCP", Port=PORT, HealthCheckProtocol="HTTP", HealthCheckPath="/health",
            HealthCheckIntervalSeconds=5, HealthyThresholdCount=2, UnhealthyThresholdCount=2)["TargetGroups"][0]
        self.elb.modify_target_group_attributes(TargetGroupArn=group["TargetGroupArn"], Attributes=[
            {"Key": "deregistration_delay.timeout_seconds", "Value": str(delay)}])
        self.elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="TCP", Port=BALANCED,
                                 DefaultActions=[{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}])
        return str(group["TargetGroupArn"])

    def shown(self) -> Any:
        """The group as it is described."""
        return self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def states(self) -> dict[str, str]:
        """Instance -> lifecycle state."""
        return {one["InstanceId"]: one["LifecycleState"] for one in self.shown()["Instances"]}

    def steady(self, size: int, without: set[str] | None = None) -> list[str]:
        """Wait until exactly `size` instances are in service and answer, none of `without` among them."""
        def look() -> bool:
            states = self.states()
            ready = len(states) == size and set(states.values()) <= {"InService"}
            return ready and not set(states) & (without or set()) and all(
                get(address(self.world, HOME, one)) == one for one in states)
        eventually(look)
        return list(self.states())

    def health(self) -> dict[str, str]:
        """Target -> state."""
        found = self.elb.describe_target_health(TargetGroupArn=self.group)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: one["TargetHealth"]["State"] for one in found}
