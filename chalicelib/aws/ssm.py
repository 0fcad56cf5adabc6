"""Systems Manager: commands to instances (Run Command) and parameters."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from chalicelib.aws import client

# Ends of an invocation that are no success: "Command status" in the Systems Manager user guide.
FAILED = frozenset({"Failed", "TimedOut", "Cancelled", "Delivery Timed Out", "Execution Timed Out", "Undeliverable",
                    "Terminated", "Access Denied"})
RUNNING = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


class Invocation(msgspec.Struct, frozen=True):
    """A command on one instance. `status` and `details` are Status and StatusDetails of GetCommandInvocation."""

    status: str
    details: str = ""
    output: str = ""
    error_output: str = ""


class Ssm(Protocol):
    """One region's Systems Manager. A method raises `ClientError` if AWS denies the call, `Unavailable` without answer.
    """

    def send_command(
        self, instance: str, document: str, parameters: Mapping[str, str], *, timeout_seconds: int, comment: str = ""
    ) -> str:
        """Have `instance` run `document`. The command's id. It is not begun later than `timeout_seconds` from now."""

    def invocation(self, command: str, instance: str) -> Invocation:
        """The status of a command. `ClientError` InvocationDoesNotExist for a moment after it was sent."""

    def parameter(self, name: str) -> str | None:
        """The value of a parameter. `None` if there is none."""

    def put_parameter(self, name: str, value: str) -> None:
        """Give a text parameter a value, whether or not it had one."""


class AwsSsm:
    """`Ssm` by AWS."""

    def __init__(self, region: str, clients: client.Clients | None = None) -> None:
        self.region, self._clients = region, clients

    def send_command(
        self, instance: str, document: str, parameters: Mapping[str, str], *, timeout_seconds: int, comment: str = ""
    ) -> str:
        # Run Command takes at most 100 characters of comment.
        answer = client.aws_call(self.region, lambda: self._client.send_command(
            InstanceIds=[instance], DocumentName=document, TimeoutSeconds=timeout_seconds, Comment=comment[:100],
            Parameters={name: [value] for name, value in parameters.items()}))
        return str(answer["Command"]["CommandId"])

    def invocation(self, command: str, instance: str) -> Invocation:
        answer = client.aws_call(self.region, lambda: self._client.get_command_invocation(
            CommandId=command, InstanceId=instance))
        return Invocation(answer["Status"], answer.get("StatusDetails", ""), answer.get("StandardOutputContent", ""),
                          answer.get("StandardErrorContent", ""))

    def parameter(self, name: str) -> str | None:
        try:
            answer = client.aws_call(self.region, lambda: self._client.get_parameter(Name=name))
        except client.ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ParameterNotFound":
                raise
            return None
        return str(answer["Parameter"]["Value"])

    def put_parameter(self, name: str, value: str) -> None:
        client.aws_call(self.region, lambda: self._client.put_parameter(
            Name=name, Value=value, Type="String", Overwrite=True))

    @property
    def _client(self) -> Any:
        return (self._clients or client.client)("ssm", self.region)
