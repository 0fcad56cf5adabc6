"""Talking to a server: every wait ends, whatever listens there, and every failure says where and what to do."""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chalicelib.config.databases import Databases, Server
from chalicelib.config.durations import Duration
from chalicelib.mysql.connection import DatabaseError, Place, session
from chalicelib.mysql.secrets import Login
from chalicelib.mysql.status import ServerError
from testing.servers import mariadb, process

SETTINGS = Databases("mariadb", "eu-west-1", "watch", (Server("eu-west-1", "db"),), tls="off", timeout=Duration(1))
LOGIN = Login("watch", "s3cret-password", version="1")
GREETING = (b"\x0a10.11.6-MariaDB\x00\x01\x00\x00\x00abcdefgh\x00\xff\xf7\x2d\x02\x00\xff\x81\x15" + bytes(10)
            + b"abcdefghijkl\x00mysql_native_password\x00")


def packet(payload: bytes, number: int = 0) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[Place]:
    """A server that does `talk` with one client, on a loopback address."""
    with socket.create_server((process.loopback(), 0)) as server:
        def serve() -> None:
            client, _ = server.accept()
            # The client may be gone at any moment.
            with client:
                try:
                    talk(client)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Place("eu-west-1", *server.getsockname())
        thread.join(process.PATIENCE)


def trouble(place: Place, change: Databases = SETTINGS, wait: float = 0.3, login: Login = LOGIN) -> ServerError:
    with pytest.raises(DatabaseError) as caught, session(place, login, change, Path("/"), wait) as talk:
        talk.rows("SELECT 1")
    assert "s3cret" not in repr(caught.value) + str(caught.value) + repr(login)
    return caught.value.trouble


def until_closed(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def test_a_server_that_never_greets_is_silent() -> None:
    with listening(until_closed) as place:
        assert trouble(place).kind == "silent"


def test_a_server_that_drips_is_silent_too() -> None:
    """No single wait is too long: without a limit to all of it this would take until the greeting is through."""
    ended = threading.Event()

    def drip(client: socket.socket) -> None:
        for byte in packet(GREETING):
            client.sendall(bytes([byte]))
            if ended.wait(0.1):
                return

    with listening(drip) as place:
        assert trouble(place, wait=0.2).kind == "silent"
        ended.set()


def test_a_server_that_greets_and_then_hangs_is_silent() -> None:
    def greet(client: socket.socket) -> None:
        client.sendall(packet(GREETING))
        until_closed(client)

    with listening(greet) as place:
        assert trouble(place).kind == "silent"


def test_a_megabyte_of_greeting_is_garbled() -> None:
    with listening(lambda client: client.sendall(packet(b"x" * 1_000_000))) as place:
        assert trouble(place, wait=2).kind == "garbled"


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 100])
def test_another_service_is_named(said: bytes) -> None:
    with listening(lambda client: client.sendall(said)) as place:
        found = trouble(place, wait=2)
    assert found.kind in ("garbled", "unreachable") and str(place) in str(found)


def test_a_blocked_host_is_told_how_to_unblock() -> None:
    error = b"\xff" + struct.pack("<H", 1129) + b"Host '127.0.0.1' is blocked because of many connection errors"
    with listening(lambda client: client.sendall(packet(error))) as place:
        found = trouble(place)
    assert (found.kind, found.errno) == ("refused", 1129) and "FLUSH HOSTS" in found.text


def test_nobody_listens() -> None:
    found = trouble(Place("eu-west-1", *process.place()))
    assert found.kind == "unreachable" and "security groups" in found.text


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=120), st.booleans())
@example(GREETING[:30], True)
@example(b"\x0a\x00" + bytes(40), True)
@example(b"\x0ax.y\x00" + bytes(60), True)
def test_any_bytes_are_a_trouble(said: bytes, framed: bool) -> None:
    with listening(lambda client: client.sendall(packet(said) if framed else said)) as place:
        assert trouble(place, wait=2).place == str(place)


def test_a_ca_that_is_none_is_our_own_mistake() -> None:
    place = Place("eu-west-1", "127.0.0.2", 1)
    required = msgspec.structs.replace(SETTINGS, tls="required", ca="missing.pem")
    assert (trouble(place, required).kind, "missing.pem" in trouble(place, required).text) == ("setup", True)
    bad = msgspec.structs.replace(required, ca=None)
    assert trouble(place, bad, login=Login("a", "b", ca="no certificate")).kind == "setup"


def test_a_password_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert "s3cret" not in f"{LOGIN} {LOGIN!r} {[LOGIN]}"
    with listening(lambda client: client.sendall(packet(GREETING))) as place:
        trouble(place)
    assert "s3cret" not in caplog.text


class Certificates:
    """An authority and a server's certificate for `name`, in files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, key, own = folder, ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        authority = self._make("authority", "authority", key, key, True)
        server = self._make(name, "authority", own, key, False)
        (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        (folder / "cert.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def _make(self, subject: str, issuer: str, own: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey,
              authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        names: x509.GeneralName = x509.DNSName(subject)
        if subject[0].isdigit():
            names = x509.IPAddress(ip_address(subject))
        return x509.CertificateBuilder().subject_name(self._name(subject)).issuer_name(self._name(issuer)).public_key(
            own.public_key()).serial_number(x509.random_serial_number()).not_valid_before(
            now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).add_extension(
            x509.BasicConstraints(authority, None), critical=True).add_extension(
            x509.SubjectAlternativeName([names]), critical=False).sign(signer, hashes.SHA256())

    def _name(self, common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@pytest.mark.world
def test_tls_is_checked_against_the_ca_and_the_name(tmp_path: Path) -> None:
    process.need(*mariadb.PROGRAMS)
    (tmp_path / "other").mkdir()
    Certificates(tmp_path, "db.example.org")
    Certificates(tmp_path / "other", "db.example.org")
    required = msgspec.structs.replace(SETTINGS, tls="required", ca=str(tmp_path / "ca.pem"))
    with mariadb.server(f"--ssl-cert={tmp_path / 'cert.pem'}", f"--ssl-key={tmp_path / 'key.pem'}",
                        f"--ssl-ca={tmp_path / 'ca.pem'}") as db:
        db.sql("CREATE USER watch@'%' IDENTIFIED BY 's3cret-password' REQUIRE SSL")
        right = Place("eu-west-1", db.address, db.port, "db.example.org")
        with session(right, LOGIN, required, Path("/"), 5) as talk:
            assert talk.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0]["Value"]
        with_secret = msgspec.structs.replace(required, ca=None)
        login = msgspec.structs.replace(LOGIN, ca=(tmp_path / "ca.pem").read_text())
        with session(right, login, with_secret, Path("/"), 5) as talk:
            assert talk.rows("SELECT 1 AS one") == [{"one": 1}]
        stranger = msgspec.structs.replace(required, ca=str(tmp_path / "other" / "ca.pem"))
        assert trouble(right, stranger, 5).kind == "tls"
        assert trouble(Place("eu-west-1", db.address, db.port), required, 5).kind == "tls", "not its name"
        assert trouble(right, SETTINGS, 5).kind == "denied", "REQUIRE SSL, and no TLS"
        with session(right, LOGIN, msgspec.structs.replace(SETTINGS, tls="preferred"), Path("/"), 5) as talk:
            assert talk.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0]["Value"]


@pytest.mark.world
def test_a_server_without_tls_is_refused_where_it_is_required() -> None:
    process.need(*mariadb.PROGRAMS)
    with mariadb.server() as db:
        place = Place("eu-west-1", db.address, db.port)
        assert trouble(place, msgspec.structs.replace(SETTINGS, tls="required"), 5).kind == "tls"
        found = trouble(place, SETTINGS, 5)
    assert found.kind == "denied" and "Compare the secret" in found.text


