"""Health checks of Elastic Load Balancing against targets of every kind: each gets a verdict, none an exception."""

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.compute.elb_probes import probe
from sandbox.compute.health import Verdict
from sandbox.compute.settings import Group, Target

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FAILED = "Target.FailedHealthChecks"


def says(*pieces: bytes) -> Serve:
    """A target that says this once it has been asked."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"".join(pieces))
        writer.close()
    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A target that never says anything."""
    await reader.read()
    writer.close()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A target that says one letter after the other, and never ends."""
    while not writer.is_closing() and not reader.at_eof():
        writer.write(b"H")
        await asyncio.sleep(0.01)
    writer.close()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A target that resets the connection."""
    writer.transport.abort()


def group(protocol: str = "HTTP", *, network: bool = True) -> Group:
    """A group whose probes wait a third of a second."""
    return Group("127.0.0.1", network, protocol, "/", "200-299", 5, 0.3, 2, 2, True, True, {})


def verdict(serve: Serve | None, settings: Group, secure: ssl.SSLContext | None = None) -> Verdict:
    """What a probe of such a target finds; None is nobody listening."""
    served: list[asyncio.StreamWriter] = []

    async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        await (serve or silent)(reader, writer)

    async def run() -> Verdict:
        server = await asyncio.start_server(watched, "127.0.0.1", 0, ssl=secure)
        port = server.sockets[0].getsockname()[1]
        if serve is None:
            server.close()
            await server.wait_closed()
        try:
            return await probe(settings, Target("127.0.0.1", port, port))
        finally:
            server.close()
            for writer in served:
                with suppress(OSError):
                    await writer.wait_closed()
    return asyncio.run(run())


@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 204\r\n\r\n", b"HTTP/1.1 299 \r\n"])
def test_a_good_status_passes(status: bytes) -> None:
    assert verdict(says(status), group()) == Verdict(True)


@pytest.mark.parametrize("serve", [
    says(b"garbage\r\n"), says(b""), says(b"\xff" * 2**20), says(b"HTTP/1.1 OK\r\n"), says(b"SSH-2.0-x\r\n"), resets,
    None])
@pytest.mark.parametrize("network", [True, False])
def test_what_is_no_http_has_failed(serve: Serve | None, network: bool) -> None:
    assert verdict(serve, group(network=network)) == Verdict(False, FAILED, "Health checks failed")


@pytest.mark.parametrize("serve", [silent, drips])
def test_what_does_not_answer_in_time_has_failed(serve: Serve) -> None:
    assert verdict(serve, group()) == Verdict(False, FAILED, "Health checks failed")
    assert verdict(serve, group(network=False)) == Verdict(False, "Target.Timeout", "Request timed out")


def test_a_bad_status_has_failed() -> None:
    bad = says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    assert verdict(bad, group()).reason == FAILED
    assert verdict(bad, group(network=False)) == Verdict(
        False, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]")


def test_a_tcp_check_only_connects() -> None:
    assert verdict(silent, group("TCP")) == Verdict(True)
    assert verdict(None, group("TCP")).reason == FAILED


def test_an_https_check_takes_any_certificate_and_no_plain_answer(tmp_path: Path) -> None:
    good = says(b"HTTP/1.1 200 OK\r\n\r\n")
    assert verdict(good, group("HTTPS"), certified(tmp_path)) == Verdict(True)
    assert verdict(good, group("HTTPS")).reason == FAILED


def certified(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody vouches for."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
            .sign(key, hashes.SHA256()))
    both = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()) + made.public_bytes(serialization.Encoding.PEM)
    (folder / "both.pem").write_bytes(both)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context
