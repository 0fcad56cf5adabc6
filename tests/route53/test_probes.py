"""Probes of real endpoints."""

import http.client
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from sandbox.route53 import probes
from sandbox.route53.probes import Result, probe
from testing.eventually import SECONDS
from tests.route53.endpoints import Serve, closed, endpoint, page, says


def ask(serve: Serve, **config: Any) -> Result:
    """What a probe says of an endpoint."""
    with endpoint(serve) as port:
        return probe({"Type": "HTTP", "Port": port, **config}, "127.0.0.1")


@pytest.mark.parametrize(("status", "passed"), [
    ("200 OK", True), ("204 No Content", True), ("301 Moved", True), ("399 Odd", True), ("400 Bad", False),
    ("404 Not Found", False), ("500 Broken", False), ("503 Unavailable", False)])
def test_2xx_and_3xx_pass(status: str, passed: bool) -> None:
    found = ask(page(status=status))
    assert found.passed is passed
    assert f"HTTP Status Code {status[:3]}, {status[4:]}" in found.text


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 5000])
def test_what_is_not_http_fails(answer: bytes) -> None:
    assert not ask(says(answer)).passed


@pytest.mark.parametrize(("body", "search", "passed"), [
    (b"all is well", "well", True), (b"all is WELL", "well", False), (b"", "well", False),
    (b"x" * 5116 + b"well", "well", True), (b"x" * 5117 + b"well", "well", False), ("så".encode(), "så", True)])
def test_the_search_string_is_in_the_first_5120_bytes(body: bytes, search: str, passed: bool) -> None:
    assert ask(page(body), Type="HTTP_STR_MATCH", SearchString=search).passed is passed


def test_a_match_needs_a_good_status_too() -> None:
    assert not ask(page(b"well", "500 Broken"), Type="HTTP_STR_MATCH", SearchString="well").passed


def test_a_chunked_body_is_searched() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwe \r\n4\r\nwell\r\n0\r\n\r\n"
    assert ask(says(chunked), Type="HTTP_STR_MATCH", SearchString="we well").passed


@pytest.mark.parametrize("kind", ["HTTP", "TCP"])
def test_a_closed_port_fails(kind: str) -> None:
    with closed() as port:
        found = probe({"Type": kind, "Port": port}, "127.0.0.1")
    assert not found.passed
    assert "no connection" in found.text


def test_tcp_needs_a_connection_only() -> None:
    assert ask(lambda connection: None, Type="TCP").passed


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_the_time_is_for_all_of_an_answer_that_drips(drip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STATUS_SECONDS", 0.1)
    over = threading.Event()

    def slow(connection: socket.socket) -> None:
        while not over.wait(0.02):
            connection.sendall(drip)

    with endpoint(slow) as port:
        found = probe({"Type": "HTTP", "Port": port}, "127.0.0.1")
        over.set()
    assert not found.passed
    assert found.text.startswith("Failure: TimeoutError")


@pytest.mark.parametrize(("status", "body", "passed"), [(1.9, 1.9, True), (2.1, 0.0, False), (0.0, 2.1, False)])
def test_status_and_body_have_two_seconds_each(
        status: float, body: float, passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(probes, "monotonic", lambda: now[0])
    reading = threading.Event()

    class Slow(http.client.HTTPResponse):
        """Time passes before the status is read, and again before the body is."""

        def begin(self) -> None:
            now[0] += status
            super().begin()

        def read(self, amount: int | None = None) -> bytes:
            now[0] += body
            reading.set()
            return super().read(amount)

    monkeypatch.setattr(http.client, "HTTPResponse", Slow)

    def late(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        if reading.wait(SECONDS if status < 2 else 0):
            connection.sendall(b"well")

    assert ask(late, Type="HTTP_STR_MATCH", SearchString="well").passed is passed


def test_a_body_that_does_not_come_fails_a_match_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "BODY_SECONDS", 0.1)
    over = threading.Event()

    def half(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwe")
        over.wait(SECONDS)

    for kind, passed in (("HTTP", True), ("HTTP_STR_MATCH", False)):
        over.clear()
        with endpoint(half) as port:
            assert probe({"Type": kind, "Port": port, "SearchString": "well"}, "127.0.0.1").passed is passed
            over.set()


@pytest.mark.parametrize(("config", "line"), [
    ({}, b"Host: 127.0.0.1:PORT"), ({"FullyQualifiedDomainName": "a.example.com"}, b"Host: a.example.com:PORT"),
    ({"ResourcePath": "/up?x=1"}, b"GET /up?x=1 HTTP/1.1"), ({"ResourcePath": "up"}, b"GET /up HTTP/1.1"),
    ({}, b"GET / HTTP/1.1"), ({}, b"User-Agent: Amazon-Route53-Health-Check-Service (twin)")])
def test_what_is_asked(config: dict[str, Any], line: bytes) -> None:
    seen: list[bytes] = []

    def keep(connection: socket.socket) -> None:
        seen.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with endpoint(keep) as port:
        assert probe({"Type": "HTTP", "Port": port, **config}, "127.0.0.1").passed
    assert line.replace(b"PORT", str(port).encode()) in seen[0].split(b"\r\n")


@pytest.mark.parametrize(("kind", "port", "host"), [
    ("HTTP", 80, "a.b"), ("HTTPS", 443, "a.b"), ("HTTP", 443, "a.b:443"), ("HTTPS", 80, "a.b:80")])
def test_the_usual_port_is_not_named(kind: str, port: int, host: str) -> None:
    request = probes._request({"Type": kind, "Port": port, "FullyQualifiedDomainName": "a.b"}, "127.0.0.1")
    assert f"\r\nHost: {host}\r\n".encode() in request


@pytest.mark.slow
def test_https_takes_any_certificate(tmp_path: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=nobody",
             "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=SECONDS)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: HTTPS is not probed here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")

    names: list[str | None] = []
    context.sni_callback = lambda inside, name, outer: names.append(name)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            page(b"well")(inside)

    for sni in (True, False):
        named = {"EnableSNI": sni, "FullyQualifiedDomainName": "a.example.com"}
        assert ask(secured, Type="HTTPS_STR_MATCH", SearchString="well", **named).passed
    assert names == ["a.example.com", None]
    assert not ask(page(), Type="HTTPS").passed
