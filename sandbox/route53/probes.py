"""One probe of one endpoint, over a real connection.

Times and rules are from "How Amazon Route 53 determines whether a health check is healthy" in the developer guide. The
Host header and TLS 1.0 to 1.2 are from HealthCheckConfig in the API reference. A redirect is a success and is not
followed.
"""

import http.client
import io
import socket
import ssl
from time import monotonic
from typing import Any

import msgspec

from sandbox.route53.checks import HTTP, STRING, Config

CONNECT_SECONDS = {"TCP": 10.0}
HTTP_CONNECT_SECONDS = 4.0
STATUS_SECONDS = 2.0
BODY_SECONDS = 2.0
BODY_BYTES = 5120
AGENT = "Amazon-Route53-Health-Check-Service (twin)"


class Result(msgspec.Struct, frozen=True):
    """Whether the endpoint passed, and why in words."""

    passed: bool
    text: str


def probe(config: Config, address: str) -> Result:
    """Probe what `config` describes at `address`, for at most ten seconds. Never raises for what an endpoint does."""
    seconds = CONNECT_SECONDS.get(config["Type"], HTTP_CONNECT_SECONDS)
    try:
        connection = socket.create_connection((address, int(config["Port"])), seconds)
    except OSError as error:
        return Result(False, f"Failure: no connection to {address} port {config['Port']}: {error}")
    with connection:
        if config["Type"] not in HTTP:
            return Result(True, f"Success: connected to {address} port {config['Port']}")
        try:
            return _ask(config, connection, address)
        except (OSError, http.client.HTTPException) as error:
            return Result(False, f"Failure: {type(error).__name__}: {error}")


def _ask(config: Config, connection: socket.socket, address: str) -> Result:
    clock = _Deadline(STATUS_SECONDS)
    if str(config["Type"]).startswith("HTTPS"):
        connection = _secured(config, connection, clock)
    connection.settimeout(clock.left())
    connection.sendall(_request(config, address))
    response = http.client.HTTPResponse(_Timed(connection, clock))  # type: ignore[arg-type] # it only calls makefile
    try:
        response.begin()
        if not 200 <= response.status < 400:
            return Result(False, f"Failure: HTTP Status Code {response.status}, {response.reason}")
        if config["Type"] in STRING:
            clock.restart(BODY_SECONDS)
            if str(config["SearchString"]).encode() not in response.read(BODY_BYTES):
                return Result(False, f"Failure: the search string is not in the first {BODY_BYTES} bytes of the body")
        return Result(True, f"Success: HTTP Status Code {response.status}, {response.reason}")
    finally:
        response.close()
        connection.close()


def _secured(config: Config, connection: socket.socket, clock: "_Deadline") -> ssl.SSLSocket:
    # "HTTPS health checks don't validate SSL/TLS certificates."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # "The endpoint must support TLS v1.0, v1.1, or v1.2." OpenSSL has the first two at security level 0 only.
    context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    connection.settimeout(clock.left())
    named = config.get("FullyQualifiedDomainName") if config.get("EnableSNI") else None
    return context.wrap_socket(connection, server_hostname=named)


def _request(config: Config, address: str) -> bytes:
    host = config.get("FullyQualifiedDomainName") or (f"[{address}]" if ":" in address else address)
    usual = 443 if str(config["Type"]).startswith("HTTPS") else 80
    port = "" if config["Port"] == usual else f":{config['Port']}"
    path = str(config.get("ResourcePath") or "/")
    path = path if path.startswith("/") else "/" + path
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}{port}", f"User-Agent: {AGENT}", "Accept: */*", "Connection: close")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1", "replace")


class _Deadline:
    """So many seconds for all of it together, however slowly it drips."""

    def __init__(self, seconds: float) -> None:
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    def left(self) -> float:
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


class _Timed(io.RawIOBase):
    """The connection for http.client, with the remaining time before each read."""

    def __init__(self, connection: socket.socket, clock: _Deadline) -> None:
        self._connection = connection
        self._clock = clock

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._clock.left())
        return self._connection.recv_into(buffer)
