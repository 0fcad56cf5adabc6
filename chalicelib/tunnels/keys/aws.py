"""The calls of a key rotation to Secrets Manager, Systems Manager, the group and its balancer. One each.

The private key is written and never read, and nothing here can fetch it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from chalicelib.aws import client as cloud
from chalicelib.engine.operation import Rejected
from chalicelib.tunnels import config_hosts as host
from chalicelib.tunnels.config import managed_name
from chalicelib.tunnels.keys.decide import CommandStatus, Host
from chalicelib.tunnels.keys.openssh import Key, listed, published

# For the agent to take the command; what it does then has the document's own time.
_DELIVERY_SECONDS = 60
_RUNNING = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


class Keys(Protocol):
    """The world of a key rotation. Every call may raise `cloud.Unreachable`."""

    def versions(self) -> tuple[str, str]:
        """The versions labelled AWSCURRENT and AWSPENDING, each empty if there is none. One label wins over two."""

    def published(self) -> list[dict[str, str]]:
        """Of each gateway, version -> public key, as it is told."""

    def publish(self, lines: list[str]) -> None:
        """Tell all gateways of these public keys, and of no other of this region."""

    def store(self, key: Key) -> None:
        """Keep a private key as AWSPENDING."""

    def discard(self, version: str) -> None:
        """Take AWSPENDING from a version."""

    def promote(self, version: str, old: str) -> None:
        """Make a version AWSCURRENT and no longer AWSPENDING."""

    def hosts(self) -> tuple[Host, ...]:
        """The members of the group that are not on their way out."""

    def reload(self, instance: str) -> str:
        """Let a host fetch its key. The command's id."""

    def reply(self, command: str, instance: str) -> CommandStatus:
        """The status of a command."""


class AwsKeys:
    """`Keys` by AWS, of one region's shipped tunnel hosts. `gateways` are the regions to which their ways lead."""

    def __init__(
        self, region: str, gateways: Sequence[str], stack: str, client: Callable[[str, str], Any] = cloud.client
    ) -> None:
        self._region, self._gateways, self._stack, self._client = region, gateways, stack, client

    def versions(self) -> tuple[str, str]:
        try:
            told = self._call("secretsmanager", "describe_secret", SecretId=host.private_key_secret(self._stack))
        except cloud.ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
            name = host.private_key_secret(self._stack)
            raise Rejected(f"{self._region} has no secret {name}: deploy [tunnels.hosts] first") from None
        labels = {label: version for version, stages in told.get("VersionIdsToStages", {}).items() for label in stages}
        current, pending = labels.get("AWSCURRENT", ""), labels.get("AWSPENDING", "")
        return current, pending if pending != current else ""

    def published(self) -> list[dict[str, str]]:
        return [self._published(gateway) for gateway in self._gateways]

    def _published(self, gateway: str) -> dict[str, str]:
        try:
            told = self._call("ssm", "get_parameter", gateway, Name=self._parameter)
        except cloud.ClientError as error:
            if _code(error) != "ParameterNotFound":
                raise
            return {}
        return published(told["Parameter"]["Value"])

    def publish(self, lines: list[str]) -> None:
        for gateway in self._gateways:
            self._call("ssm", "put_parameter", gateway, Name=self._parameter, Value=listed(lines), Type="String",
                       Overwrite=True)

    def store(self, key: Key) -> None:
        self._call("secretsmanager", "put_secret_value", SecretId=host.private_key_secret(self._stack),
                   ClientRequestToken=key.version, SecretString=key.private(), VersionStages=["AWSPENDING"])

    def discard(self, version: str) -> None:
        self._label("AWSPENDING", RemoveFromVersionId=version)

    def promote(self, version: str, old: str) -> None:
        self._label("AWSCURRENT", MoveToVersionId=version, **({"RemoveFromVersionId": old} if old else {}))
        self._label("AWSPENDING", RemoveFromVersionId=version)

    def hosts(self) -> tuple[Host, ...]:
        name = managed_name(self._stack)
        groups = self._call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
        if not groups["AutoScalingGroups"]:
            raise Rejected(f"{self._region} has no Auto Scaling group {name}: deploy [tunnels.hosts] first")
        healthy = self._healthy(name)
        members = [(one["InstanceId"], one["LifecycleState"]) for one in groups["AutoScalingGroups"][0]["Instances"]]
        return tuple(Host(id, state == "InService", id in healthy) for id, state in members
                     if not state.startswith(("Terminat", "Detach")))

    def reload(self, instance: str) -> str:
        sent = self._call("ssm", "send_command", InstanceIds=[instance], DocumentName=managed_name(self._stack),
                          Parameters={"Action": ["reload-keys"]}, TimeoutSeconds=_DELIVERY_SECONDS)
        return str(sent["Command"]["CommandId"])

    def reply(self, command: str, instance: str) -> CommandStatus:
        try:
            told = self._call("ssm", "get_command_invocation", CommandId=command, InstanceId=instance)
        except cloud.ClientError as error:
            if _code(error) != "InvocationDoesNotExist":
                raise
            return CommandStatus("running")  # for a moment after it was sent
        return _reply(told)

    def _healthy(self, name: str) -> set[str]:
        try:
            groups = self._call("elbv2", "describe_target_groups", Names=[name])
        except cloud.ClientError as error:
            raise Rejected(f"the target group {name} in {self._region}: {error}") from None
        arn = groups["TargetGroups"][0]["TargetGroupArn"]
        health = self._call("elbv2", "describe_target_health", TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {one["Target"]["Id"] for one in health if one["TargetHealth"]["State"] == "healthy"}

    def _label(self, label: str, **moves: str) -> None:
        self._call("secretsmanager", "update_secret_version_stage", SecretId=host.private_key_secret(self._stack),
                   VersionStage=label, **moves)

    @property
    def _parameter(self) -> str:
        return host.public_keys_parameter(self._stack, self._region)

    def _call(self, service: str, method: str, region: str = "", **arguments: Any) -> Any:
        where = region or self._region
        return cloud.aws_call(where, lambda: getattr(self._client(service, where), method)(**arguments))


def _reply(told: dict[str, Any]) -> CommandStatus:
    if told["Status"] in _RUNNING:
        return CommandStatus("running")
    out, err = told.get("StandardOutputContent", ""), told.get("StandardErrorContent", "")
    version = next((line.removeprefix("version=") for line in out.splitlines() if line.startswith("version=")), "")
    if told["Status"] == "Success" and version:
        return CommandStatus("done", version.strip())
    how = told.get("StatusDetails") or told["Status"]
    return CommandStatus("failed", said=f"{how}: {err.strip()[-300:] or 'it said nothing'}")


def _code(error: cloud.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))
