"""Elastic Load Balancing: the targets of a target group."""

from collections.abc import Mapping
from typing import Any, Protocol

from chalicelib.aws import client


class Elb(Protocol):
    """One region's load balancers. A method raises `ClientError` if AWS denies the call, `Unavailable` without answer.

    A target group is given by its name.
    """

    def targets(self, group: str) -> Mapping[str, str]:
        """The state of each target by instance id: healthy, unhealthy, initial, draining, unused or unavailable."""

    def register(self, group: str, instance: str) -> None:
        """Send new connections to `instance`, too."""

    def deregister(self, group: str, instance: str) -> None:
        """Send no new connections to `instance`. An attribute of the group decides about the open connections."""


class AwsElb:
    """`Elb` by AWS."""

    def __init__(self, region: str, clients: client.Clients | None = None) -> None:
        self.region, self._clients = region, clients
        self._arns: dict[str, str] = {}

    def targets(self, group: str) -> Mapping[str, str]:
        arn = self._look_up(group)
        answer = client.aws_call(self.region, lambda: self._client.describe_target_health(TargetGroupArn=arn))
        return {one["Target"]["Id"]: one["TargetHealth"]["State"] for one in answer["TargetHealthDescriptions"]}

    def register(self, group: str, instance: str) -> None:
        arn = self._arn(group)
        client.aws_call(self.region, lambda: self._client.register_targets(TargetGroupArn=arn,
                                                                          Targets=[{"Id": instance}]))

    def deregister(self, group: str, instance: str) -> None:
        arn = self._arn(group)
        client.aws_call(self.region, lambda: self._client.deregister_targets(
            TargetGroupArn=arn, Targets=[{"Id": instance}]))

    def _arn(self, group: str) -> str:
        """As of the last look at the targets, because only the change itself may stand between decision and change."""
        return self._arns.get(group) or self._look_up(group)

    def _look_up(self, group: str) -> str:
        [arn] = [str(one["TargetGroupArn"])
                 for page in client.region_pages(self.region, self._client, "describe_target_groups", Names=[group])
                 for one in page["TargetGroups"]]
        self._arns[group] = arn
        return arn

    @property
    def _client(self) -> Any:
        return (self._clients or client.client)("elbv2", self.region)
