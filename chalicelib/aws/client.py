"""The only access to AWS, with one client per service and region, short time-outs, and the few calls that all share.

`Unavailable` means that a region does not answer or answers with its own failure (5xx, throttling). The same call may
succeed in another region, or later. Everything else that AWS refuses stays botocore's `ClientError`.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

# A region that is gone must cost seconds, not botocore's default of five minutes.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 1.5, 5, 2
# What a service answers that has too much to do, or still does what it was asked before.
INACTIVE = "ResourceNotReadyException"
_THROTTLING = frozenset({"Throttling", "ThrottlingException", "ProvisionedThroughputExceededException",
                         "RequestLimitExceeded", "PriorRequestNotComplete", "TooManyRequestsException",
                         # Lambda: "The function is inactive and its VPC connection is no longer available". The call
                         # has begun nothing, and wakes the function (API reference, Invoke).
                         INACTIVE})
_PASSING = frozenset({"InternalServerError", "ServiceUnavailable"})
# Another replica's write of the same item was under way, so this one was not made ("Multi-Region strong consistency",
# DynamoDB developer guide).
_CONFLICT = "ReplicatedWriteConflictException"
_SUBJECT_CHARACTERS = 99
# No fewer than the threads that call at once: botocore throws the connections of the others away, each with its TLS.
_CONNECTIONS = 128
# Networks forget a connection on which nothing has come for 350 s or so, and Invoke's answer may take longer than that
# (API reference, Invoke: "configure your HTTP client ... with timeout or keep-alive settings").
_KEEP_ALIVE_SECONDS = 60
_SQS_BATCH = 10
_SQS_BATCH_BYTES = 256 * 1024

T = TypeVar("T")
# The boto3 client of a service in a region.
Clients = Callable[[str, str], Any]


class Unavailable(Exception):
    """A region's service gave no usable answer. It may still have carried out what it was asked."""


class Throttled(Unavailable):
    """The service has too much to do and did nothing of what it was asked."""


class Conflicted(Unavailable):
    """Another region wrote the same item at that moment. The service did nothing of what it was asked."""


# Why a call may have come to nothing, for callers that go on without it.
AWS_ERRORS = (Unavailable, ClientError, BotoCoreError)


class Message(msgspec.Struct, frozen=True):
    """One SQS message: `body` as text, `delay` in seconds (0 to 900).

    A FIFO queue takes no delay, but a `group` (kept in order) and `once` (its deduplication id).
    """

    body: str
    delay: int = 0
    group: str = ""
    once: str = ""

    def entry(self, number: int) -> dict[str, Any]:
        """As SendMessageBatch wants it."""
        plain: dict[str, Any] = {"Id": str(number), "MessageBody": self.body}
        if self.group:
            return plain | {"MessageGroupId": self.group, "MessageDeduplicationId": self.once}
        return plain | {"DelaySeconds": self.delay}


@cache
def client(service: str, region: str) -> Any:
    """The process's one client for `service` in `region` (building one costs 20 to 100 ms of CPU)."""
    return _client(service, region)


@cache
def anonymous(service: str, region: str) -> Any:
    """The same for calls without credentials."""
    from botocore import UNSIGNED

    return _client(service, region, signature_version=UNSIGNED)


def _client(service: str, region: str, **more: Any) -> Any:
    from botocore.config import Config

    config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS,
                    retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                    max_pool_connections=_CONNECTIONS, **more)
    return sdk().create_client(service, region_name=region, config=config)


def waiting_client(service: str, region: str, seconds: float) -> Any:
    """The process's client for a call whose answer may take `seconds`. It makes each call once, whatever happens.

    The client is for the next call only, because each has its own time.
    """
    from botocore.httpsession import URLLib3Session

    api = _single_try_client(service, region)
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if hasattr(socket, "TCP_KEEPIDLE"):
        # botocore's own `tcp_keepalive` leaves the time to the system, which waits two hours.
        options += [(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_SECONDS),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_SECONDS)]
    session: Any = URLLib3Session  # its type stubs know neither of the two
    api._endpoint.http_session = session(timeout=(_CONNECT_SECONDS, seconds), socket_options=options)
    return api


@cache
def _single_try_client(service: str, region: str) -> Any:
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    return sdk().create_client(service, region_name=region, config=config)


@cache
def sdk() -> Any:
    """The process's one session of botocore. Its import costs more CPU than all the rest of a Lambda.

    boto3 would be a third more, for transfers and resources that nothing here uses.
    """
    from botocore.session import Session

    return Session()


def aws_call(region: str, call: Callable[[], T]) -> T:
    """The answer of `call`. `Unavailable` when `region` gave none or failed by itself."""
    try:
        return call()
    except (ConnectionError, HTTPClientError) as error:
        raise Unavailable(f"{region}: {error}") from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if error_code(error) in _THROTTLING:
            raise Throttled(f"{region}: {error}") from error
        if error_code(error) == _CONFLICT:
            raise Conflicted(f"{region}: {error}") from error
        if status >= 500 or error_code(error) in _PASSING:
            raise Unavailable(f"{region}: {error}") from error
        raise


def pages(api: Any, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Every page of a list call of the client `api`, in the order of AWS. `operation` is boto3's name of the call.

    A page may be empty and have successors. A list that is filtered by tags often begins with one, as with
    DescribeInstanceInformation (aws/aws-cli issue 2626) and with EC2's filters (boto/boto3 issue 2888).
    """
    yield from api.get_paginator(operation).paginate(**arguments)


def region_pages(region: str, api: Any, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """`pages`, each one by `aws_call`."""
    rest = pages(api, operation, **arguments)
    while (page := aws_call(region, lambda: next(rest, None))) is not None:
        yield page


def error_code(error: ClientError) -> str:
    """Why AWS denied a call, in its own word: `NoSuchKey`."""
    return str(error.response.get("Error", {}).get("Code", ""))


class SqsQueue:
    """A queue in one region. Sends in batches of ten."""

    def __init__(self, url: str, region: str) -> None:
        self.url = url
        self.region = region

    def send(self, messages: Sequence[Message]) -> None:
        """All of `messages`, at least once each. Raises `Unavailable` when any was not taken."""
        for batch in _batches(messages):
            self._send([message.entry(number) for number, message in enumerate(batch)])

    def change_visibility(self, receipt: str, seconds: int) -> None:
        """Keep a received message from everybody for `seconds` (0 to 43,200)."""
        aws_call(self.region, lambda: self._client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=seconds))

    def _send(self, entries: list[dict[str, Any]]) -> None:
        answer = aws_call(self.region, lambda: self._client.send_message_batch(QueueUrl=self.url, Entries=entries))
        for failure in answer.get("Failed", ()):
            raise Unavailable(f"{self.url}: message not taken: {failure.get('Message') or failure.get('Code')}")

    @property
    def _client(self) -> Any:
        return client("sqs", self.region)


class SnsTopic:
    """A topic that people listen to."""

    def __init__(self, arn: str, region: str) -> None:
        self.arn = arn
        self.region = region

    def publish(self, subject: str, text: str) -> None:
        """One notice. SNS takes fewer than 100 printable characters of subject, and no space before them (API
        reference, Publish).
        """
        plain = "".join(char if " " <= char <= "~" else " " for char in subject).lstrip()[:_SUBJECT_CHARACTERS]
        aws_call(self.region, lambda: client("sns", self.region).publish(
            TopicArn=self.arn, Subject=plain, Message=text[:200_000]))


def _batches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    start = size = 0
    for number, message in enumerate(messages):
        length = len(message.body.encode())
        if number - start == _SQS_BATCH or (number > start and size + length > _SQS_BATCH_BYTES):
            yield messages[start:number]
            start, size = number, 0
        size += length
    if start < len(messages):
        yield messages[start:]


__all__ = ["BotoCoreError", "ClientError", "Message", "SnsTopic", "SqsQueue", "Throttled", "Unavailable", "aws_call",
           "client", "error_code", "pages", "region_pages", "waiting_client"]
