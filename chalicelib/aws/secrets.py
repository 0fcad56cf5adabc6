"""Secrets Manager: versions of a secret and their labels. A value is written here, and never read."""

from collections.abc import Mapping
from typing import Any, Protocol

from chalicelib.aws import client


class Secrets(Protocol):
    """One region's Secrets Manager. A method raises `ClientError` if AWS denies the call, `Unavailable` without answer.
    """

    def labels(self, secret: str) -> Mapping[str, str] | None:
        """The version that has each label, such as AWSCURRENT. `None` if there is no such secret."""

    def put(self, secret: str, version: str, value: str, label: str) -> None:
        """Keep `value` as `version` (a UUID) with `label`."""

    def move_label(self, secret: str, label: str, *, to: str = "", from_: str = "") -> None:
        """Take `label` from version `from_` and give it to version `to`. Either may be empty."""


class AwsSecrets:
    """`Secrets` by AWS."""

    def __init__(self, region: str, clients: client.Clients | None = None) -> None:
        self.region, self._clients = region, clients

    def labels(self, secret: str) -> Mapping[str, str] | None:
        try:
            answer = client.aws_call(self.region, lambda: self._client.describe_secret(SecretId=secret))
        except client.ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
                raise
            return None
        return {label: version for version, labels in answer.get("VersionIdsToStages", {}).items() for label in labels}

    def put(self, secret: str, version: str, value: str, label: str) -> None:
        client.aws_call(self.region, lambda: self._client.put_secret_value(
            SecretId=secret, ClientRequestToken=version, SecretString=value, VersionStages=[label]))

    def move_label(self, secret: str, label: str, *, to: str = "", from_: str = "") -> None:
        moves = ({"MoveToVersionId": to} if to else {}) | ({"RemoveFromVersionId": from_} if from_ else {})
        client.aws_call(self.region, lambda: self._client.update_secret_version_stage(
            SecretId=secret, VersionStage=label, **moves))

    @property
    def _client(self) -> Any:
        return (self._clients or client.client)("secretsmanager", self.region)
