"""A server that greets as MariaDB or MySQL does and then asks for what a good one would not. For tests.

It notes every byte that the client sends it, decrypted where there is TLS. So a test can say whether a password came.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from testing.servers import process

# Flags of the protocol: everything that a modern server offers, without TLS.
_CAPABILITIES = 0x81FFF7FF & ~0x0800
_TLS = 0x0800
_SALT = b"abcdefghijklmnopqrst"
OK = b"\x00\x00\x00\x02\x00\x00\x00"


class Heard(msgspec.Struct):
    """What the client has sent, one entry a packet, and whether a session was opened."""

    packets: list[bytes] = []
    logged_in: bool = False

    @property
    def all(self) -> bytes:
        """Every byte."""
        return b"".join(self.packets)


class Rogue(msgspec.Struct, frozen=True):
    """How it behaves. `plugin` is what it greets with, and `switch` what it asks for at the login with its `challenge`.

    `then` are further packets of the login, each sent after an answer. `query` is its answer to each statement.
    `certificate` is a file with certificate and key, for TLS.
    """

    plugin: str = "mysql_native_password"
    switch: str = ""
    challenge: bytes = _SALT + b"\x00"
    then: tuple[bytes, ...] = ()
    query: bytes = OK
    certificate: str = ""


def greeting(plugin: str, tls: bool) -> bytes:
    """The first packet of a server of version 10.11."""
    flags = _CAPABILITIES | (_TLS if tls else 0)
    return (b"\x0a10.11.6-MariaDB\x00" + struct.pack("<I", 1) + _SALT[:8] + b"\x00"
            + struct.pack("<H", flags & 0xFFFF) + b"\x2d\x02\x00" + struct.pack("<H", flags >> 16)
            + bytes([21]) + bytes(10) + _SALT[8:] + b"\x00" + plugin.encode() + b"\x00")


@contextmanager
def rogue(how: Rogue) -> Iterator[tuple[tuple[str, int], Heard]]:
    """The address of a rogue that serves one client after the other, and what it has heard."""
    heard, over = Heard([]), threading.Event()
    with socket.create_server((process.loopback(), 0)) as server:
        server.settimeout(0.1)

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError, struct.error, TimeoutError):
                    client, _ = server.accept()
                    with client:
                        client.settimeout(5)
                        _serve(client, how, heard)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[:2], heard
        finally:
            over.set()
            thread.join(process.PATIENCE)


def _serve(client: socket.socket, how: Rogue, heard: Heard) -> None:
    _send(client, greeting(how.plugin, bool(how.certificate)), 0)
    number, asked = _receive(client, heard)
    if how.certificate and struct.unpack("<I", asked[:4])[0] & _TLS and len(asked) == 32:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(how.certificate)
        with context.wrap_socket(client, server_side=True) as wrapped:
            number, _ = _receive(wrapped, heard)
            _talk(wrapped, how, heard, number)
    else:
        _talk(client, how, heard, number)


def _talk(client: socket.socket, how: Rogue, heard: Heard, number: int) -> None:
    switch = (b"\xfe" + how.switch.encode() + b"\x00" + how.challenge,) if how.switch else ()
    for packet in (*switch, *how.then):
        _send(client, packet, number + 1)
        number, _ = _receive(client, heard)
    _send(client, OK, number + 1)
    heard.logged_in = True
    while True:
        number, asked = _receive(client, heard)
        autocommit = asked[:1] == b"\x03" and b"AUTOCOMMIT" in asked.upper()
        _send(client, OK if autocommit or asked[:1] != b"\x03" else how.query, number + 1)


def _send(client: socket.socket, payload: bytes, number: int) -> None:
    client.sendall(struct.pack("<I", len(payload))[:3] + bytes([number % 256]) + payload)


def _receive(client: socket.socket, heard: Heard) -> tuple[int, bytes]:
    head = _exactly(client, 4)
    payload = _exactly(client, int.from_bytes(head[:3], "little"))
    heard.packets.append(payload)
    return head[3], payload


def _exactly(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = client.recv(size - len(found))
        if not more:
            raise OSError("the client has gone")
        found += more
    return found
