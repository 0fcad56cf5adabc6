"""The access control of the embedded AWS. Only requests signed with keys of this run pass, and never a web page.

The emulator behind the gate runs code for whoever asks and takes any key. So a request passes only if it

- carries no `Origin` (every cross-site request of a browser does) and names a loopback host (DNS rebinding does not),
- is signed with a key that this run gave out. The ids are random. The emulator then checks the signature itself,
- asks for a path of an AWS API, and not for one of the emulator's own (`/_...`).

Without a signature there are three routes, `UNSIGNED`, and no other. `/_world/` is the control API, with the run's
secret in a header. Any client but a web page may read objects that S3 lets everybody read, because a health check has
no keys. They are at `/BUCKET/KEY`, as in S3, and below `/_public/REGION/`. Only buckets that exist are asked for.
`sandbox.routes` closes what the emulator would answer before it checks a signature.
"""

import hmac
import inspect
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from sandbox.faults import Faults, Rule

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Commands = dict[str, Callable[[dict[str, Any]], Any]]

SECRET_HEADER = "x-world-secret"  # noqa: S105 - the name of a header, not its value
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
# Route 53 has one API for the world, in this region; boto3 signs for it unless the endpoint is given, as here.
_HOME_OF_ROUTE53 = "us-east-1"


_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
# Each route that needs no signature.
UNSIGNED = {
    "control": re.compile(r"/_world/(?P<command>[^/]+)"),
    "public": re.compile(rf"/_public/(?P<region>[a-z0-9-]+)(?P<path>/(?P<bucket>{_BUCKET})/.+)"),
    "object": re.compile(rf"(?P<path>/(?P<bucket>{_BUCKET})/.+)"),
}
# What begins so is the emulator's own, and no API of AWS.
_OWN = "/_"


def public(region: str, bucket: str, path: str) -> str:
    """The path at which the gate shows `path` of a bucket to those without keys."""
    return f"/_public/{region}/{bucket}{path if path.startswith('/') else '/' + path}"


class AuthMiddleware:
    """An ASGI application in front of `app`.

    `known` tells whether an access key id is one of this run's. `home` is the region of a bucket, "" if there is none.
    """

    def __init__(self, app: App, secret: str, known: Callable[[str], bool], home: Callable[[str], str], faults: Faults,
                 commands: Commands) -> None:
        self._app = app
        self._secret = secret
        self._known = known
        self._home = home
        self._faults = faults
        self._commands = commands

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        # Anything else (a WebSocket) is left unanswered: the server closes it.

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if "origin" in headers or not _HOST.fullmatch(headers.get("host", "")):
            await _answer(send, 403, {"__type": "AccessDenied", "message": "web pages may not talk to this sandbox"})
        elif found := UNSIGNED["control"].fullmatch(scope["path"]):
            await self._control(found["command"], headers, receive, send)
        elif found := UNSIGNED["public"].fullmatch(scope["path"]):
            await self._object(found["region"], found, scope, receive, send)
        elif scope["path"].startswith(_OWN):
            await _refuse(send, 403, "AccessDenied", "this path is the emulator's own, and closed", headers)
        elif "authorization" not in headers and (found := UNSIGNED["object"].fullmatch(scope["path"])):
            await self._object(self._home(found["bucket"]), found, scope, receive, send)
        else:
            await self._aws(scope, headers, receive, send)

    async def _aws(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        signed = _CREDENTIAL.match(headers.get("authorization", ""))
        if signed is None or not self._known(signed[1]):
            message = "this sandbox takes only requests signed with the keys of its own run"
            await _refuse(send, 403, "InvalidClientTokenId", message, headers)
        elif (region := _HOME_OF_ROUTE53 if signed[3] == "route53" else signed[2]) in self._faults.stopped:
            await _refuse(send, 503, "ServiceUnavailable", f"{region} is stopped", headers)
        else:
            await self._app(scope, receive, send)

    async def _object(self, region: str, found: re.Match[str], scope: Scope, receive: Receive, send: Send) -> None:
        path = found["path"]
        if not region or self._home(found["bucket"]) != region:
            await _send(send, 403, "text/xml", xml_error("AccessDenied", "no such bucket is shown here"))
        elif scope["method"] not in ("GET", "HEAD") or scope["query_string"]:
            await _send(send, 405, "text/xml", xml_error("MethodNotAllowed", "this address only reads objects"))
        elif region in self._faults.stopped:
            await _send(send, 503, "text/xml", xml_error("ServiceUnavailable", f"{region} is stopped"))
        else:
            # Without a signature S3 shows what the bucket's policy lets everybody read, and nothing else does anything.
            await self._app({**scope, "path": path, "raw_path": path.encode(), "headers": [
                (b"host", f"s3.{region}.amazonaws.com".encode())]}, receive, send)

    async def _control(self, name: str, headers: dict[str, str], receive: Receive, send: Send) -> None:
        if not hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), self._secret.encode()):
            await _answer(send, 403, {"message": "not the secret of this run"})
        elif name not in self._commands:
            await _answer(send, 404, {"message": f"{name!r} is not a command. There are {', '.join(self._commands)}"})
        else:
            await self._run(name, json.loads(await _body(receive) or b"{}"), send)

    async def _run(self, name: str, arguments: dict[str, Any], send: Send) -> None:
        try:
            result = self._commands[name](arguments)
            if inspect.isawaitable(result):
                result = await result
        except (KeyError, TypeError, ValueError) as error:
            await _answer(send, 400, {"message": f"{name}: {type(error).__name__}: {error}"})
            return
        await _answer(send, 200, {"result": result})


def fault_commands(faults: Faults) -> Commands:
    """The control commands that change `faults`."""
    return {
        "fault": lambda asked: faults.add(msgspec.convert(asked, Rule)),
        "clear": lambda asked: faults.clear(),
        "lag": lambda asked: setattr(faults, "lag", float(asked["seconds"])),
        "calls": lambda asked: faults.seen(),
        "needed": lambda asked: faults.needed(),
        "forget": lambda asked: faults.forget(),
    }


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _refuse(send: Send, status: int, code: str, message: str, headers: dict[str, str]) -> None:
    """An error in the protocol of the client. The older services and S3 want XML."""
    if speaks_xml(headers):
        await _send(send, status, "text/xml", xml_error(code, message))
    else:
        await _answer(send, status, {"__type": code, "message": message})


def speaks_xml(headers: dict[str, str]) -> bool:
    """Whether the request's service answers in XML, as those of the query protocol, S3 and Route 53 do."""
    query = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return query or re.search(r"/(s3|route53)/aws4_request", headers.get("authorization", "")) is not None


def xml_error(code: str, message: str) -> bytes:
    """An error as S3 (`Error` at the top) and as the query protocol (`Error` inside) can both read it."""
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    inner = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    return f"<ErrorResponse>{error}{inner}<RequestId>0</RequestId></ErrorResponse>".encode()


async def _answer(send: Send, status: int, content: dict[str, Any]) -> None:
    await _send(send, status, "application/x-amz-json-1.0", json.dumps(content).encode())


async def _send(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
