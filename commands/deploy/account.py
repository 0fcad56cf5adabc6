"""The AWS account that a command works on, and its refusals in words that say what to do."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from chalicelib.aws.client import AWS_ERRORS, Unavailable
from commands.errors import UsageError

CONFIG = Config(connect_timeout=5, read_timeout=120, retries={"mode": "standard", "total_max_attempts": 5})
_UNKNOWN = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch",
            "InvalidToken", "AuthFailure", "IncompleteSignature"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"}


class Target(Protocol):
    """The destination of a deployment, a real account or the sandbox. The only difference is what its clients talk to.
    """

    def client(self, service: str, region: str) -> Any:
        """A boto3 client, safe to share among threads."""

    def regions(self) -> Sequence[str]:
        """Every region in which an installation may have left a stack."""


class Account:
    """AWS with the user's own credentials, found as the AWS CLI finds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        with spoken(""):
            self._session = boto3.Session()

    def regions(self) -> Sequence[str]:
        """Every region of AWS that this boto3 knows, whether or not the account has enabled it."""
        session = self._session
        return [region for partition in session.get_available_partitions()
                for region in session.get_available_regions("cloudformation", partition)]

    def client(self, service: str, region: str) -> Any:
        """A boto3 client. One per service and region."""
        with self._lock:  # a session is not made for several threads
            if (service, region) not in self._clients:
                self._clients[service, region] = self._session.client(
                    service, region_name=region, config=CONFIG)
            return self._clients[service, region]


def number(target: Target, region: str) -> str:
    """The account's twelve digits. `UsageError` when the credentials are missing or no good in `region`."""
    with spoken(region):
        return str(target.client("sts", region).get_caller_identity()["Account"])


@contextmanager
def spoken(region: str) -> Iterator[None]:
    """An AWS error inside becomes a `UsageError` that says what to do."""
    try:
        yield
    except AWS_ERRORS as error:
        raise UsageError(explain(error, region)) from None


def explain(error: Unavailable | ClientError | BotoCoreError, region: str) -> str:
    """An error of AWS as one line, with the denied call, the place, and the remedy."""
    place = f"{region}: " if region else ""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return f"{place}no AWS credentials found. Sign in (aws sso login, aws configure) or set AWS_PROFILE"
    if isinstance(error, ProfileNotFound):
        return f"{place}{error}. Set AWS_PROFILE to one of your profiles"
    if isinstance(error, EndpointConnectionError):
        return f"{place}{error}. Is it the name of an AWS region, and does this machine reach the internet?"
    if isinstance(error, ClientError):
        return place + _refusal(error)
    return f"{place}{error}"


def _refusal(error: ClientError) -> str:
    said = error.response.get("Error", {})
    code, message = said.get("Code", ""), said.get("Message", "")
    if code in _UNKNOWN:
        return (f"AWS does not know these credentials ({code}). Sign in again, or enable the region for this account "
                "if it is an opt-in region")
    if code in _EXPIRED:
        return f"the AWS session has expired ({code}). Sign in again"
    if code in _DENIED:
        return f"AWS denied {error.operation_name} ({message}). Ask for that permission (docs/deploy.md lists them all)"
    return f"{error.operation_name}: {code}: {message}"
