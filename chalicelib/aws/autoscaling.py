"""EC2 Auto Scaling: the members of a group, and the end of one of them."""

from typing import Any, Protocol

import msgspec

from chalicelib.aws import client


class GroupMember(msgspec.Struct, frozen=True):
    """An instance of a group. `lifecycle` is its state there, such as InService, Terminating:Wait or Warmed:Stopped."""

    id: str
    lifecycle: str


class AutoScaling(Protocol):
    """One region's Auto Scaling. A method raises `ClientError` if AWS denies the call, `Unavailable` without answer."""

    def members(self, group: str) -> tuple[GroupMember, ...] | None:
        """The instances of `group`. `None` if the region has no such group."""

    def terminate(self, instance: str) -> None:
        """End `instance`. Its group launches another one."""


class AwsAutoScaling:
    """`AutoScaling` by AWS."""

    def __init__(self, region: str, clients: client.Clients | None = None) -> None:
        self.region, self._clients = region, clients

    def members(self, group: str) -> tuple[GroupMember, ...] | None:
        found = [one for page in client.region_pages(self.region, self._client, "describe_auto_scaling_groups",
                                                     AutoScalingGroupNames=[group])
                 for one in page["AutoScalingGroups"]]
        if not found:
            return None
        return tuple(GroupMember(member["InstanceId"], member["LifecycleState"]) for member in found[0]["Instances"])

    def terminate(self, instance: str) -> None:
        client.aws_call(self.region, lambda: self._client.terminate_instance_in_auto_scaling_group(
            InstanceId=instance, ShouldDecrementDesiredCapacity=False))

    @property
    def _client(self) -> Any:
        return (self._clients or client.client)("autoscaling", self.region)
