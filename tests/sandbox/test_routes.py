"""Every route of the emulator is enumerated from its own source, and passes the gate only if it is listed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ministack
import pytest

from sandbox.auth_middleware import UNSIGNED, AuthMiddleware
from sandbox.faults import Faults
from sandbox.routes import BEFORE_SIGNATURES

SOURCE = Path(ministack.__file__).parent
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PATH = re.compile(r"/[A-Za-z0-9_.@{}$:/~-]*")
# What `app` of the emulator calls that answers nobody: start-up, and the step that checks signatures and permissions.
CHECKED = {"_handle_lifespan", "_dispatch_service_request"}


def routes(files: str = "**/*.py") -> Iterator[str]:
    """Each text in the emulator's source that reads as a path."""
    for file in sorted(SOURCE.glob(files)):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _PATH.fullmatch(node.value):
                yield node.value


class Gate:
    """The gate before an emulator that notes what reaches it. There is one bucket, `marks`, in eu-west-1."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, str]] = []
        self.ran: list[str] = []
        self._gate = AuthMiddleware(self._app, "secret", lambda key: key == "OURS",
                                    lambda bucket: "eu-west-1" if bucket == "marks" else "", Faults(),
                                    {"burn": lambda asked: self.ran.append("burn")})

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append((scope["method"], scope["path"]))

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, kind: str = "http") -> int:
        status = [0]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: Any) -> None:
            status[0] = message.get("status", status[0])

        named = {"host": "127.0.0.1:4566", **(headers or {})}
        asked: Any = self._gate({"type": kind, "method": method, "path": path, "query_string": b"", "headers": [
            (name.encode(), value.encode()) for name, value in named.items()]}, receive, send)
        # Nothing here waits, so that no event loop is needed for tens of thousands of requests.
        with pytest.raises(StopIteration):
            asked.send(None)
        return status[0]


def signed(key: str) -> dict[str, str]:
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/sqs/aws4_request, Signature=0"}


@pytest.mark.slow
def test_no_route_passes_unsigned_and_none_of_the_emulators_own_passes_signed() -> None:
    gate, found = Gate(), sorted(set(routes()))
    assert len(found) > 300 and {"/_ministack/reset", "/iceberg", "/oauth2/token"} <= set(found)
    for path in found:
        for method in METHODS:
            for before in ("", "/_public/eu-west-1", "/_world"):
                assert gate.ask(method, before + path) >= 400, (method, before + path)
            assert gate.ask(method, path, signed("THEIRS")) == 403
            if path.startswith("/_"):
                assert gate.ask(method, path, signed("OURS")) == 403, (method, path)
    assert (gate.reached, gate.ran) == ([], [])


@pytest.mark.parametrize(("method", "path", "reached"), [
    ("GET", "/marks/evacuated/x", True), ("HEAD", "/marks/evacuated/x", True),
    ("GET", "/_public/eu-west-1/marks/evacuated/x", True),
    ("GET", "/_public/us-east-1/marks/evacuated/x", False), ("PUT", "/marks/x", False), ("DELETE", "/marks/x", False),
    ("GET", "/marks", False), ("GET", "/marks/", False), ("GET", "/iceberg/v1/config", False),
    ("GET", "/_public/eu-west-1/iceberg/v1/config", False), ("GET", "/_public/eu-west-1/restapis/a/b", False)])
def test_an_object_of_a_bucket_that_exists_is_all_that_is_read_unsigned(method: str, path: str, reached: bool) -> None:
    gate = Gate()
    gate.ask(method, path)
    assert bool(gate.reached) is reached


def test_the_list_of_unsigned_routes_is_this_one() -> None:
    assert set(UNSIGNED) == {"control", "public", "object"}


def test_a_web_socket_reaches_nothing() -> None:
    gate = Gate()
    gate.ask("GET", "/_aws/execute-api/a/b", signed("OURS"), kind="websocket")
    assert gate.reached == []


@pytest.mark.slow
def test_each_step_of_the_emulator_that_checks_nothing_is_closed() -> None:
    tree = ast.parse((SOURCE / "app.py").read_text())
    app = next(node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == "app")
    called = {node.func.id for node in ast.walk(app) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    steps = {name for name in called if name.startswith(("_handle_", "_dispatch_"))}
    assert steps == CHECKED | BEFORE_SIGNATURES.keys()
