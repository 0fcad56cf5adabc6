"""The invocation of a Lambda, over a real connection: once, patiently, and kept alive."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from chalicelib.aws import client
from chalicelib.aws.client import ClientError, Throttled, Unavailable
from chalicelib.aws.functions import AwsFunctions, Invocation


class Lambda(BaseHTTPRequestHandler):
    """Answers as it is told to."""

    status: ClassVar[int] = 200
    answers: ClassVar[dict[str, str]] = {}
    body: ClassVar[bytes] = b"{}"
    late: ClassVar[float] = 0
    seen: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.seen.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()},
                          "body": self.rfile.read(int(self.headers["Content-Length"])).decode()})
        time.sleep(self.late)
        self.send_response(self.status)
        for name, value in {**self.answers, "Content-Length": str(len(self.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Lambda]]:
    handler = type("Handler", (Lambda,), {"seen": []})
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        client._single_try_client.cache_clear()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield handler
        finally:
            server.shutdown()
            thread.join()
            client._single_try_client.cache_clear()


def invoke(wait_seconds: float = 5) -> Invocation:
    return AwsFunctions("eu-west-1").invoke("lamp-runner", b'{"a": 1}', wait_seconds=wait_seconds)


@pytest.mark.slow
def test_an_invocation_gives_payload_error_and_log(served: type[Lambda]) -> None:
    served.body, served.answers = b'{"errorType": "X"}', {
        "X-Amz-Function-Error": "Unhandled", "X-Amz-Log-Result": base64.b64encode(b"the log").decode()}
    assert invoke() == Invocation(b'{"errorType": "X"}', "Unhandled", "the log")
    [asked] = served.seen
    assert asked["path"].endswith("/functions/lamp-runner/invocations")
    assert (asked["x-amz-log-type"], asked["x-amz-invocation-type"]) == ("Tail", "RequestResponse")
    assert json.loads(asked["body"]) == {"a": 1}


def test_an_answer_that_does_not_come_in_time_is_asked_for_once(served: type[Lambda]) -> None:
    served.late = 0.6
    with pytest.raises(Unavailable):
        invoke(0.2)
    time.sleep(0.6)
    assert len(served.seen) == 1
    # The next one has its own time.
    assert invoke(5).payload == b"{}"


@pytest.mark.parametrize(("status", "code", "error"), [
    (429, "TooManyRequestsException", Throttled), (502, "ResourceNotReadyException", Throttled),
    (500, "ServiceException", Unavailable),
    (403, "AccessDeniedException", ClientError), (404, "ResourceNotFoundException", ClientError)])
def test_a_refusal_is_asked_for_once(served: type[Lambda], status: int, code: str, error: type[Exception]) -> None:
    served.status, served.answers, served.body = status, {"x-amzn-ErrorType": code}, b'{"Message": "no"}'
    with pytest.raises(error) as raised:
        invoke()
    assert type(raised.value) is error or error is ClientError
    assert len(served.seen) == 1


def test_the_connection_is_kept_alive_while_the_function_works(
    served: type[Lambda], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, original = list[tuple[int, ...]](), socket.socket.setsockopt

    def spy(self: socket.socket, *option: Any) -> None:
        options.append(option)
        original(self, *option)

    monkeypatch.setattr(socket.socket, "setsockopt", spy)
    invoke()
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in options
    if hasattr(socket, "TCP_KEEPIDLE"):
        [idle] = {option[2] for option in options if option[:2] == (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)}
        assert idle < 350
