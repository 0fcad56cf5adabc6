"""EC2 instances by id or by tag, and their stop and start."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from chalicelib.aws import client

# A filter takes 200 values.
_IDS_PER_REQUEST = 100

InstanceState = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]


class Instance(msgspec.Struct, frozen=True):
    """One instance. `address` is its private IPv4 address, `public_address` its public one. Each may be empty."""

    id: str
    state: InstanceState
    address: str = ""
    public_address: str = ""


class Ec2(Protocol):
    """One region's EC2. A method raises `ClientError` if AWS denies the call, `Unavailable` without an answer."""

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        """Those of `ids` that exist, by id."""

    def tagged(self, key: str, value: str) -> Mapping[str, Instance]:
        """All instances with the tag `key` = `value`, by id."""

    def stop(self, instance: str) -> None:
        """Stop `instance`."""

    def start(self, instance: str) -> None:
        """Start `instance`."""


class AwsEc2:
    """`Ec2` by AWS."""

    def __init__(self, region: str, clients: client.Clients | None = None) -> None:
        self.region, self._clients = region, clients

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        # A filter, unlike InstanceIds, does not fail for an id that is gone.
        found: dict[str, Instance] = {}
        for start in range(0, len(ids), _IDS_PER_REQUEST):
            found |= self._described("instance-id", ids[start:start + _IDS_PER_REQUEST])
        return {id: found[id] for id in ids if id in found}

    def tagged(self, key: str, value: str) -> Mapping[str, Instance]:
        return self._described(f"tag:{key}", [value])

    def stop(self, instance: str) -> None:
        client.aws_call(self.region, lambda: self._client.stop_instances(InstanceIds=[instance]))

    def start(self, instance: str) -> None:
        client.aws_call(self.region, lambda: self._client.start_instances(InstanceIds=[instance]))

    def _described(self, name: str, values: Sequence[str]) -> dict[str, Instance]:
        pages = client.region_pages(self.region, self._client, "describe_instances",
                                    Filters=[{"Name": name, "Values": list(values)}])
        return {one["InstanceId"]: Instance(one["InstanceId"], one["State"]["Name"], one.get("PrivateIpAddress", ""),
                                          one.get("PublicIpAddress", ""))
                for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]}

    @property
    def _client(self) -> Any:
        return (self._clients or client.client)("ec2", self.region)
