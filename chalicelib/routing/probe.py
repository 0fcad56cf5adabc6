"""One look at an endpoint, as a health checker of Route 53 takes it.

Host header, address and TLS versions are from HealthCheckConfig (Route 53 API reference). Times are from "How Amazon
Route 53 determines whether a health check is healthy" (developer guide).
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

_CONNECT_SECONDS, _TCP_SECONDS, _ANSWER_SECONDS = 4, 10, 2
_USUAL_PORTS = {"HTTP": 80, "HTTPS": 443}
# A balancer has an address per zone. A checker takes any one of them, and a fifth of all checkers is enough.
_ADDRESSES = 3


def passes(check: Mapping[str, Any]) -> bool:
    """Whether an endpoint answers as `check` asks, which has the shape of boto3's `HealthCheckConfig`.

    The type is TCP, HTTP or HTTPS. TCP connects, and HTTP gives 2xx or 3xx.
    """
    host = check.get("IPAddress") or check["FullyQualifiedDomainName"]
    try:
        return _connects(host, check["Port"]) if check["Type"] == "TCP" else _good(check, host)
    except (OSError, http.client.HTTPException):
        return False


def host_header(check: Mapping[str, Any]) -> str:
    """The `Host` of a request: the check's name, else its address, with a port that is not the usual one."""
    address = check.get("IPAddress", "")
    name = check.get("FullyQualifiedDomainName") or (f"[{address}]" if ":" in address else address)
    return name if check["Port"] == _USUAL_PORTS[check["Type"]] else f"{name}:{check['Port']}"


def _connects(host: str, port: int) -> bool:
    with _connection(host, port, _TCP_SECONDS):
        return True


def _connection(host: str, port: int, seconds: float) -> socket.socket:
    """A connection to one of the host's addresses within `seconds` in all. Checkers know a name's IPv4 ones only."""
    family = socket.AF_UNSPEC if ":" in host else socket.AF_INET
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[:_ADDRESSES]
    failed, end = OSError(f"{host} has no address"), time.monotonic() + seconds
    for left, (_, _, _, _, address) in zip(range(len(found), 0, -1), found, strict=True):
        try:
            return socket.create_connection((str(address[0]), port), max(0.1, (end - time.monotonic()) / left))
        except OSError as error:
            failed = error
    raise failed


def _good(check: Mapping[str, Any], host: str) -> bool:
    connection = http.client.HTTPConnection(host, check["Port"])
    with _connected(host, check["Port"]) as connection.sock:
        if check["Type"] == "HTTPS":
            name = check.get("FullyQualifiedDomainName") if check.get("EnableSNI") else None
            connection.sock = _tls().wrap_socket(connection.sock, server_hostname=name)
        try:
            connection.request("GET", check["ResourcePath"], headers={
                "Host": host_header(check), "User-Agent": "Lamplighter"})
            return 200 <= connection.getresponse().status < 400
        finally:
            connection.close()


@cache
def _tls() -> ssl.SSLContext:
    """TLS 1.0 to 1.2 with any certificate. OpenSSL calls the first two insecure, and offers them at level 0 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


@contextmanager
def _connected(host: str, port: int) -> Iterator[socket.socket]:
    """A connection that is shut when the answer takes too long in all, because each single byte may come in time."""
    with _connection(host, port, _CONNECT_SECONDS) as connection, connection.dup() as same:
        timer = threading.Timer(_ANSWER_SECONDS, _shut, (same,))
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            timer.join()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
