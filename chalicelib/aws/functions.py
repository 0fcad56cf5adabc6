"""Lambda: the invocation of one function by another."""

import base64
from typing import Any, Protocol

import msgspec

from chalicelib.aws import client


class Invocation(msgspec.Struct, frozen=True):
    """The end of an invocation. `payload` is the function's answer, or Lambda's error if `error` is not empty.

    `log` is the end of the function's log, 4 KB at most.
    """

    payload: bytes
    error: str = ""
    log: str = ""


class Functions(Protocol):
    """One region's Lambda."""

    def invoke(self, function: str, payload: bytes, *, wait_seconds: float) -> Invocation:
        """Call `function` once and wait for its answer.

        `Throttled` if it did not begin for want of concurrency. `Unavailable` without an answer, also after
        `wait_seconds`: it may have begun all the same. `ClientError` if AWS denies the call.
        """


class AwsFunctions:
    """`Functions` by AWS."""

    def __init__(self, region: str, clients: client.Clients | None = None) -> None:
        self.region, self._clients = region, clients

    def invoke(self, function: str, payload: bytes, *, wait_seconds: float) -> Invocation:
        api = (self._clients("lambda", self.region) if self._clients else
               client.waiting_client("lambda", self.region, wait_seconds))
        return client.aws_call(self.region, lambda: _invoked(api.invoke(
            FunctionName=function, Payload=payload, InvocationType="RequestResponse", LogType="Tail")))


def _invoked(answer: dict[str, Any]) -> Invocation:
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    return Invocation(answer["Payload"].read(), answer.get("FunctionError", ""), log)
