"""The look at a region's endpoint, with real servers: what it takes for an answer, and for how long it waits."""

import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.declared import Endpoint
from chalicelib.config.routing import Routing
from chalicelib.routing import observe, probe
from chalicelib.routing.records import checks
from sandbox.route53 import probes as twin

Speak = Callable[[socket.socket], None]


@contextmanager
def served(speak: Speak) -> Iterator[tuple[str, int]]:
    """A server on loopback that deals with each connection by `speak`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        speak(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def asked(check: str, place: tuple[str, int]) -> bool:
    """Whether the endpoint at `place` answers."""
    routing = Routing(hostname="app.example.com", zone="Z1", check=check, port=place[1])  # type: ignore[arg-type]
    return observe.answers(routing, Endpoint(addresses=(place[0],)))


def answer(status: str) -> Speak:
    """An HTTP answer to the one request."""
    def speak(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return speak


@pytest.mark.parametrize(("status", "alive"), [("200 OK", True), ("302 Found", True), ("503 Away", False)])
def test_an_answer_counts_by_its_status(status: str, alive: bool) -> None:
    with served(answer(status)) as place:
        assert asked("http", place) is alive


def test_one_that_takes_the_connection_answers_tcp() -> None:
    with served(lambda connection: None) as place:
        assert asked("tcp", place)
    assert not asked("tcp", place)


def test_an_answer_that_drips_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_ANSWER_SECONDS", 0.3)
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            while not ended.wait(0.05):
                connection.sendall(b"H")
        finally:
            ended.set()

    with served(drip) as place:
        assert not asked("http", place)
    # It was the probe that ended the connection.
    assert ended.is_set()


NAMED = Endpoint(load_balancer="localhost", zone="Z2")
AT = Endpoint(addresses=("127.0.0.1",))


def of(check: str, port: int, entrance: Endpoint) -> dict[str, Any]:
    """The check that Route 53 gets for an endpoint."""
    routing = Routing(hostname="app.example.com", zone="Z1", check=check, port=port, path="/up?x=1")  # type: ignore[arg-type]
    return checks.of_endpoint(routing, entrance)


def both(check: dict[str, Any]) -> list[bool]:
    """What `hold` and `status` say of an endpoint, and what the twin's checkers say."""
    return [probe.passes(check), twin.probe(check, check.get("IPAddress", "127.0.0.1")).passed]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `key` and `crt`, of a name that nobody asks for."""
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another",
                    "-keyout", str(folder / "key"), "-out", str(folder / "crt")], check=True, capture_output=True)
    return folder


def secure(keys: Path, version: str, names: list[str | None]) -> ssl.SSLContext:
    """A server that speaks this version of TLS only, and notes the names that it is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "crt", keys / "key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.sni_callback = lambda inside, name, outer: names.append(name)
    return context


@pytest.mark.slow
@pytest.mark.parametrize(("version", "passes"), [
    ("TLSv1", True), ("TLSv1_1", True), ("TLSv1_2", True), ("TLSv1_3", False)])
def test_tls_is_offered_as_route_53_does_with_any_certificate(keys: Path, version: str, passes: bool) -> None:
    names: list[str | None] = []
    context = secure(keys, version, names)

    def speak(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            answer("200 OK")(inside)

    with served(speak) as place:
        assert both(of("https", place[1], NAMED)) == both(of("https", place[1], AT)) == [passes] * 2
    # The handshake fails before the name is looked at.
    assert names == (["localhost"] * 2 + ["app.example.com"] * 2 if passes else [])


@pytest.mark.parametrize(("entrance", "host"), [(NAMED, "localhost"), (AT, "app.example.com")])
def test_the_host_is_the_name_that_the_check_has(entrance: Endpoint, host: str) -> None:
    seen: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        seen.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with served(speak) as place:
        assert both(of("http", place[1], entrance)) == [True, True]
    for request in seen:
        assert request.startswith(b"GET /up?x=1 HTTP/1.1\r\n")
        assert f"\r\nHost: {host}:{place[1]}\r\n".encode() in request


@pytest.mark.parametrize("entrance", [NAMED, AT, Endpoint(addresses=("2001:db8::1",))])
@pytest.mark.parametrize("port", [80, 443, 8443])
@pytest.mark.parametrize("kind", ["http", "https"])
def test_the_host_is_that_of_the_twin(kind: str, port: int, entrance: Endpoint) -> None:
    check = of(kind, port, entrance)
    unnamed = {key: value for key, value in check.items() if key != "FullyQualifiedDomainName"}
    for one in (check, unnamed) if entrance.addresses else (check,):
        asked = twin._request(one, one.get("IPAddress", "192.0.2.1")).decode()
        assert f"\r\nHost: {probe.host_header(one)}\r\n" in asked


def test_a_balancer_with_one_address_that_answers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(answer("200 OK")) as place:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, place[1])) for host in ("127.0.0.9", "127.0.0.1")]
        asked: list[Any] = []

        def resolved(*words: Any) -> list[Any]:
            asked.append(words)
            return found

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        # What `create_connection` resolves is an address already.
        monkeypatch.setattr(socket, "create_connection", connect)
        assert probe.passes(of("http", place[1], NAMED))
        assert asked == [("localhost", place[1], socket.AF_INET, socket.SOCK_STREAM)]
        found.clear()
        assert not probe.passes(of("http", place[1], NAMED))


def connect(address: tuple[str, int], seconds: float) -> socket.socket:
    """A connection without a resolver."""
    made = socket.socket()
    made.settimeout(seconds)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made
