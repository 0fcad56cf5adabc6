"""Sweeps over endpoints of every kind: one verdict each, one parked probe for a hung one, and no round is lost."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from chalicelib.tunnels.probe import sweep as probe
from chalicelib.tunnels.probe.pending import Probe
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.probe.sweep import PendingProbes, Target, sweep
from sandbox import mysql_stub
from tests.tunnels import endpoints
from tests.tunnels.endpoints import Play, endpoint, saying

# Endpoints that answer do so long before; a test with a hung one has to wait for the whole of it.
PLENTY, SHORT = 180.0, 1.0


def seen(targets: list[Target], parked: PendingProbes, seconds: float = SHORT) -> dict[str, ProbeResult]:
    """A sweep in an event loop of its own."""
    return asyncio.run(sweep(targets, time.monotonic() + seconds, parked))


def descriptors() -> set[int]:
    """The open descriptors of this process."""
    return {int(path.name) for path in Path("/proc/self/fd").iterdir()}


def words(verdicts: dict[str, ProbeResult]) -> dict[str, str]:
    """`side why` by endpoint."""
    return {id: f"{verdict.side} {verdict.why}" for id, verdict in verdicts.items()}


PLAYS: dict[str, tuple[Play, str]] = {
    "well": (endpoints.answers, "up answered"),
    "far side refuses": (endpoints.closes, "far closed"),
    "resets": (endpoints.resets, "local reset"),
    "cut": (endpoints.resets_after_greeting, "ambiguous cut"),
    "garbage": (saying(b"\x16\x03\x01\x02\x00\x01\x00garbage"), "far garbage"),
    "http": (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "far garbage"),
    "a megabyte": (saying(mysql_stub.packet(b"\n" + b"9" * (1 << 20))), "far too-long"),
    "a megabyte of nothing": (saying(b"\0" * (1 << 20)), "far garbage"),
    "blocked": (saying(mysql_stub.refusal(1129, "Host is blocked")), "far blocked"),
    "full": (saying(mysql_stub.refusal(1040, "Too many connections")), "far too-many-connections"),
    "not allowed": (saying(mysql_stub.refusal(1130, "Host is not allowed")), "far not-allowed"),
}


def test_every_kind_of_endpoint_gets_its_verdict_in_one_sweep() -> None:
    async def scene() -> dict[str, ProbeResult]:
        async with AsyncExitStack() as stack:
            targets = [await stack.enter_async_context(endpoint(id, play)) for id, (play, _) in PLAYS.items()]
            targets.append(await stack.enter_async_context(endpoint("other", endpoints.answers, "-log")))
            targets.append(stack.enter_context(endpoints.nobody("nobody")))
            return await sweep(targets, time.monotonic() + PLENTY, parked)

    parked = PendingProbes()
    expected = {id: words for id, (_, words) in PLAYS.items()}
    assert words(asyncio.run(scene())) == expected | {"other": "far wrong-server", "nobody": "local refused"}
    assert len(parked) == 0


def test_who_says_nothing_is_ambiguous_and_parked() -> None:
    async def scene() -> dict[str, ProbeResult]:
        async with AsyncExitStack() as stack:
            targets = [await stack.enter_async_context(endpoint(id, play)) for id, play in (
                ("slow", saying(mysql_stub.greeting()[:20])), ("mute", endpoints.mute))]
            targets += [stack.enter_context(endpoints.frozen("hung"))[0], stack.enter_context(endpoints.full("full"))]
            verdicts = await sweep(targets, time.monotonic() + SHORT, parked)
            assert ("slow" in parked, "mute" in parked, "hung" in parked, "full" in parked) == (True, True, True, False)
            return verdicts

    with closing(PendingProbes()) as parked:
        assert words(asyncio.run(scene())) == {
            "slow": "ambiguous slow", "mute": "ambiguous mute", "hung": "ambiguous hung", "full": "local unanswered"}


def test_a_hung_endpoint_keeps_one_probe_which_is_answered_when_it_thaws() -> None:
    with closing(PendingProbes()) as parked, endpoints.frozen("hung") as (target, listener):
        assert words(seen([target], parked)) == {"hung": "ambiguous hung"}
        for _ in range(150):
            # Each in a loop of its own, and none waits: the endpoint has its probe already.
            assert words(seen([target], parked, PLENTY)) == {"hung": "ambiguous hung"}
        with thawed(listener) as connection:
            connection.sendall(mysql_stub.greeting())
            assert words(seen([target], parked)) == {"hung": "ambiguous mute"}
            assert b"lamp-probe" in connection.recv(4096)
            connection.sendall(mysql_stub.denial())
            connection.shutdown(socket.SHUT_WR)
            verdict = seen([target], parked, PLENTY)["hung"]
            assert (verdict.side, len(parked)) == ("up", 0)
            assert connection.recv(4096) == b""
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@contextmanager
def thawed(listener: socket.socket) -> Iterator[socket.socket]:
    connection, _ = listener.accept()
    with connection:
        # Each byte goes out by itself, whether or not the one before has been acknowledged.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


@pytest.mark.slow
def test_a_drip_of_bytes_is_one_probe_and_becomes_up() -> None:
    with closing(PendingProbes()) as parked, endpoints.frozen("drip") as (target, listener):
        said = [f"{seen([target], parked)['drip'].why}"]
        with thawed(listener) as connection:
            for byte in mysql_stub.greeting():
                connection.sendall(bytes([byte]))
                said.append(seen([target], parked, 0.01)["drip"].why)
            assert connection.recv(4096)
            for byte in mysql_stub.denial()[:-1]:
                connection.sendall(bytes([byte]))
                said.append(seen([target], parked, 0.01)["drip"].why)
            connection.sendall(mysql_stub.denial()[-1:])
            assert words(seen([target], parked, PLENTY)) == {"drip": "up answered"}
    assert list(dict.fromkeys(said)) == ["hung", "slow", "mute"]


def test_a_parked_probe_that_is_ended_makes_way_for_a_new_one_at_the_next_sweep() -> None:
    with closing(PendingProbes()) as parked, endpoints.frozen("hung") as (target, listener):
        seen([target], parked)
        with thawed(listener):
            pass
        assert words(seen([target], parked, PLENTY)) == {"hung": "far closed"}
        assert words(seen([target], parked)) == {"hung": "ambiguous hung"}
        with thawed(listener) as connection:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


def test_an_endpoint_with_a_new_address_is_probed_there() -> None:
    with closing(PendingProbes()) as parked, endpoints.frozen("a") as (old, listener), endpoints.nobody("a") as new:
        seen([old], parked)
        assert words(seen([new], parked, PLENTY)) == {"a": "local refused"}
        with thawed(listener) as connection:
            assert connection.recv(1) == b""


def test_a_parked_probe_of_an_endpoint_that_is_not_swept_is_answered_all_the_same() -> None:
    with closing(PendingProbes()) as parked, endpoints.frozen("a") as (target, listener):
        seen([target], parked)
        with thawed(listener) as connection:
            connection.sendall(mysql_stub.greeting() + mysql_stub.denial())
            assert seen([], parked, PLENTY) == {}
            assert (b"lamp-probe" in connection.recv(4096), len(parked)) == (True, 0)


def test_patience_with_a_parked_probe_ends() -> None:
    with closing(PendingProbes(patience=0.0)) as parked, endpoints.frozen("a") as (target, listener):
        for _ in range(3):
            assert words(seen([target], parked)) == {"a": "ambiguous hung"}
        assert len(parked) == 1
        for ended in (True, True, False):
            with thawed(listener) as connection:
                connection.setblocking(False)
                if ended:
                    assert connection.recv(1) == b""
                else:
                    with pytest.raises(BlockingIOError):
                        connection.recv(1)


def test_a_server_that_counts_the_probe_is_let_alone() -> None:
    calls = []

    async def counts(reader: endpoints.Reader, writer: endpoints.Writer) -> None:
        calls.append(1)
        await endpoints.says(writer, mysql_stub.greeting())
        await reader.read(4096)
        await endpoints.says(writer, mysql_stub.refusal(1043, "Bad handshake", 2, "08S01"))

    async def scene(parked: PendingProbes) -> list[dict[str, str]]:
        async with endpoint("a", counts) as target:
            return [words(await sweep([target], time.monotonic() + PLENTY, parked)) for _ in range(3)]

    assert asyncio.run(scene(PendingProbes())) == [{"a": "far counted"}] * 3
    assert len(calls) == 1
    assert asyncio.run(scene(PendingProbes(hush=0.0))) == [{"a": "far counted"}] * 3
    assert len(calls) == 4


def test_no_socket_left_is_told_and_not_held_against_the_endpoint() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        parked = stack.enter_context(closing(PendingProbes()))
        targets = [stack.enter_context(endpoints.frozen(f"e{number}"))[0] for number in range(20)]
        # The ninth free number is the limit: the event loop takes three, the poller one.
        resource.setrlimit(resource.RLIMIT_NOFILE, (sorted(set(range(soft)) - descriptors())[8], hard))
        try:
            verdicts = seen(targets, parked)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    whys = [verdict.why for verdict in verdicts.values()]
    assert (set(whys), len(verdicts)) == ({"hung", "not-probed"}, 20)
    assert "Too many open files" in next(v.detail for v in verdicts.values() if v.why == "not-probed")


def test_what_is_not_begun_in_time_is_not_held_against_the_endpoint() -> None:
    with closing(PendingProbes()) as parked, endpoints.nobody("a") as target:
        assert words(seen([target], parked, -1.0)) == {"a": "ambiguous not-probed"}


def test_a_sweep_that_is_given_up_keeps_its_probes_parked_and_loses_no_descriptor() -> None:
    async def scene() -> None:
        running = asyncio.create_task(sweep([target], time.monotonic() + PLENTY, parked))
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        running.cancel()
        with connection, pytest.raises(asyncio.CancelledError):
            await running

    before = len(descriptors())
    with closing(PendingProbes()) as parked, endpoints.frozen("a") as (target, listener):
        listener.setblocking(False)
        asyncio.run(scene())
        assert len(parked) == 1
    assert len(descriptors()) == before


def test_a_mistake_of_ours_ends_the_sweep_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a mistake")

    async def scene() -> None:
        async with endpoint("a", endpoints.answers) as target:
            await sweep([target], time.monotonic() + PLENTY, parked)

    monkeypatch.setattr(probe._Sweep, "_hear", broken)
    with closing(PendingProbes()) as parked, pytest.raises(AssertionError, match="a mistake"):
        asyncio.run(scene())


def test_two_endpoints_with_one_id_are_refused() -> None:
    target = Target("a", "127.0.0.1", 3306)
    with pytest.raises(ValueError, match="same id"):
        seen([target, target], PendingProbes())


@pytest.mark.parametrize(("address", "port", "says"), [
    ("db.example.com", 3306, "not an IP address"), ("", 3306, "not an IP"), ("::1", 0, "not a TCP port")])
def test_a_target_that_cannot_be_one_is_refused(address: str, port: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Target("a", address, port)


@pytest.mark.parametrize(("code", "found"), [
    (errno.ECONNREFUSED, ("local", "refused")), (errno.EHOSTUNREACH, ("local", "unreachable")),
    (errno.ENETUNREACH, ("local", "unreachable")), (errno.ETIMEDOUT, ("local", "unreachable")),
    (errno.ECONNRESET, ("local", "reset")), (errno.EPIPE, ("local", "reset")),
    (errno.EMFILE, ("ambiguous", "not-probed")), (errno.EADDRNOTAVAIL, ("ambiguous", "not-probed")),
])
def test_errors_of_the_system_say_whose_they_are(code: int, found: tuple[str, str]) -> None:
    with socket.socket() as connection:
        made = probe._failure(code, Probe(Target("a", "127.0.0.1", 1), connection, 0.0))
    assert made[:2] == found


def test_ipv6_is_probed_as_well() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with socket.socket(socket.AF_INET6) as holder:
        try:
            holder.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this machine has no ::1: {error}")
        target = Target("six", "::1", holder.getsockname()[1])
        assert words(seen([target], PendingProbes(), PLENTY)) == {"six": "local refused"}
