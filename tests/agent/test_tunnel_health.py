"""The health port as it runs on a tunnel host, in front of endpoints that a test plays."""

import ast
import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chalicelib.tunnels import observe_target
from sandbox import mysql_stub
from testing.eventually import eventually
from testing.servers import health
from testing.servers.process import PATIENCE, Peer, loopback, place
from testing.servers.ssh import Place

PROGRAM = health.FILES[0]


@contextlib.contextmanager
def tunnel() -> Iterator[socket.socket]:
    """A stopped ssh: what is accepted from it is a probe."""
    with socket.create_server((loopback(), 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


@contextlib.contextmanager
def served(listener: socket.socket, *options: str) -> Iterator[tuple[Place, Peer]]:
    near = place()
    with health.port(near, listener.getsockname(), *options) as running:
        yield near, running


def answer(listener: socket.socket, *packets: bytes) -> None:
    """The next probe is told `packets`, one after each thing that it says."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        for packet in packets:
            connection.sendall(packet)
            if packet is not packets[-1]:
                assert connection.recv(4096)


WELL = (mysql_stub.greeting(), mysql_stub.denial())


def test_a_host_can_read_it() -> None:
    """Python 3.9, and nothing but its standard library and the greeting beside it."""
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {*sys.stdlib_module_names, "collections.abc", "handshake", "chalicelib.mysql.handshake"}
    # What came after 3.9 to modules that it uses.
    assert not {"TaskGroup", "timeout", "Runner", "to_thread"} & {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.slow
def test_it_says_200_only_once_the_database_has_answered() -> None:
    with tunnel() as listener, served(listener, "--every", "0.1", "--fresh", "60") as (near, running):
        assert health.ask(near) == (503, "ambiguous starting")
        answer(listener, *WELL)
        assert running.await_line("up answered")
        assert health.ask(near) == (200, "up answered 10.11.19-MariaDB")


@pytest.mark.slow
@pytest.mark.parametrize(("packets", "said"), [
    ((), "far closed"), ((mysql_stub.refusal(1129, "Host is blocked"),), "far blocked 1129 Host is blocked"),
    ((b"SSH-2.0-x\r\n",), "far garbage SSH-2.0-x??"), (WELL[:1], "ambiguous cut 10.11.19-MariaDB"),
])
def test_a_failed_probe_is_a_503_with_its_reason_at_once(packets: tuple[bytes, ...], said: str) -> None:
    with tunnel() as listener, served(listener, "--every", "0.1", "--fresh", "60") as (near, running):
        answer(listener, *WELL)
        running.await_line("up answered")
        answer(listener, *packets)
        eventually(lambda: health.ask(near) == (503, said))


@pytest.mark.slow
def test_a_hung_tunnel_is_a_503_as_soon_as_the_last_success_is_too_old_and_gets_one_probe() -> None:
    with tunnel() as listener, served(listener, "--every", "0.1", "--fresh", "0.5") as (near, running):
        answer(listener, *WELL)
        running.await_line("up answered")
        eventually(lambda: health.ask(near)[0] == 503)
        assert eventually(lambda: (said := health.ask(near)[1]).startswith("ambiguous hung for 1 s") and said)
        answer(listener, *WELL)
        eventually(lambda: health.ask(near)[0] == 200)


@pytest.mark.slow
def test_a_port_where_nobody_listens_is_refused_and_found_again() -> None:
    with tunnel() as listener:
        gone = listener.getsockname()
    with health.port(place(), gone, "--every", "0.05") as running:
        running.await_line("local refused")
        with socket.create_server(gone) as back:
            back.settimeout(PATIENCE)
            answer(back, *WELL)
            running.await_line("up answered")


@pytest.mark.slow
def test_another_server_is_a_503() -> None:
    # As a service file has it, whose value may begin with a dash.
    with tunnel() as listener, served(listener, "--expect", "-MariaDB-us") as (near, running):
        answer(listener, *WELL)
        running.await_line("far wrong-server")
        assert health.ask(near) == (503, "far wrong-server 10.11.19-MariaDB")


def raw(near: Place, data: bytes) -> bytes:
    """All that comes back for `data`."""
    with socket.create_connection(near, timeout=PATIENCE) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.slow
def test_who_asks_oddly_is_told_or_dropped_and_harms_nobody() -> None:
    with tunnel() as listener, served(listener) as (near, _), contextlib.ExitStack() as dawdlers:
        for _ in range(50):
            dawdlers.enter_context(socket.create_connection(near))
        assert health.ask(near, "HEAD") == (503, "")
        assert health.ask(near, "POST") == (405, "GET or HEAD")
        assert raw(near, b"x" * 10_000) == b""
        assert raw(near, b"GET / HTTP/1.1\r\n") == b""
        assert b" 405 " in raw(near, b"\r\n\r\n")
        assert health.ask(near)[0] == 503


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["--listen", "127.0.0.1", "--tunnel", "127.0.0.1:3306"],
    ["--listen", "127.0.0.1:99999", "--tunnel", "127.0.0.1:3306"],
    ["--tunnel", "127.0.0.1:3306"], [],
])
def test_bad_arguments_are_refused_with_what_they_should_be(words: list[str]) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), *words], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "ADDRESS:PORT" in done.stderr


@pytest.mark.slow
def test_it_probes_at_its_own_pace_however_many_ask() -> None:
    def asked(listener: socket.socket, accept: Callable[[], object]) -> int:
        listener.setblocking(False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                accept()
                count += 1
        return count

    with tunnel() as listener, served(listener, "--every", "3600") as (near, running):
        answer(listener, *WELL)
        running.await_line("up answered")
        assert {health.ask(near)[0] for _ in range(200)} <= {200, 503}
        assert asked(listener, listener.accept) == 0


@pytest.mark.slow
def test_it_tells_where_the_tunnel_was_last_started_to(tmp_path: Path) -> None:
    way = tmp_path / "way.env"
    with tunnel() as listener, served(listener, "--way", str(way)) as (near, _):
        assert health.ask(near, path="/primary-region") == (404, "not known")
        for region in ("eu-west-1", "us-east-1"):
            way.write_text(f"PRIMARY={region}\nGATEWAY=10.0.0.9\n")
            assert health.ask(near, path="/primary-region") == (200, region)
            assert asyncio.run(observe_target.connected_regions({"a": near[0]}, near[1], 30)) == {"a": region}
        assert health.ask(near)[0] == 503
    with tunnel() as listener, served(listener) as (near, _):
        assert health.ask(near, path="/primary-region")[0] == 404
        assert asyncio.run(observe_target.connected_regions({"a": near[0]}, near[1], 30)) == {}
