"""The look at a region's endpoint, with real servers: what it takes for an answer, and for how long it waits."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from chalicelib.config.declared import Endpoint
from chalicelib.config.routing import Routing
from chalicelib.routing import observe

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
    monkeypatch.setattr(observe, "_ANSWER_SECONDS", 0.3)
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


def test_a_certificate_is_not_looked_at(tmp_path: Path) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=another", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    def speak(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            answer("200 OK")(inside)

    with served(speak) as place:
        assert asked("https", place)
