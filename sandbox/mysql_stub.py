"""A small service with the handshake of a MariaDB server that lets nobody in, for probes without a database.

    python -m sandbox.mysql_stub 0.0.0.0

listens on one port that answers and on one that never does, prints both numbers on one line, and serves until it is
ended. It uses a bare poller, because asyncio's own server takes longer for a connection than the probe does.
"""

import contextlib
import select
import socket
import struct
import sys
from collections.abc import Sequence

_CAPABILITIES = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x80000
_BACKLOG = 4096


def packet(payload: bytes, number: int = 0) -> bytes:
    """A packet of the protocol."""
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def greeting(version: str = "5.5.5-10.11.19-MariaDB", plugin: str = "mysql_native_password") -> bytes:
    """A server's handshake, as one packet. Without `plugin`, that of a server from before plugins."""
    capabilities = _CAPABILITIES if plugin else _CAPABILITIES & ~0x80000
    payload = b"\n" + version.encode() + b"\0" + struct.pack("<I", 7) + b"01234567\0"
    payload += struct.pack("<HBHHB", capabilities & 0xFFFF, 33, 2, capabilities >> 16, 21 if plugin else 0)
    payload += b"\0" * 10 + b"89abcdefghij\0" + (plugin.encode() + b"\0" if plugin else b"")
    return packet(payload)


def refusal(code: int, text: str, number: int = 0, state: str = "") -> bytes:
    """An error packet. Before the login it has no `state` (five characters)."""
    return packet(b"\xff" + struct.pack("<H", code) + (b"#" + state.encode() if state else b"") + text.encode(), number)


def denial(number: int = 2) -> bytes:
    """The answer to a login of an unknown user."""
    return refusal(1045, "Access denied for user 'lamp-probe'@'127.0.0.2' (using password: YES)", number, "28000")


def serve(address: str) -> None:
    """Two ports of `address`, for ever."""
    with _listener(address) as greeting_port, _listener(address) as silent_port:
        print(greeting_port.getsockname()[1], silent_port.getsockname()[1], flush=True)
        _answer(greeting_port)


def _listener(address: str) -> socket.socket:
    made = socket.create_server((address, 0), backlog=_BACKLOG)
    made.setblocking(False)
    return made


def _answer(listener: socket.socket) -> None:
    hello, no = greeting(), denial()
    open_ones: dict[int, socket.socket] = {}
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poller.poll():
            # A client that has gone is none of our worries.
            with contextlib.suppress(OSError):
                if fd == listener.fileno():
                    client, _ = listener.accept()
                    client.send(hello)
                    open_ones[client.fileno()] = client
                    poller.register(client, select.EPOLLIN)
                    continue
                with open_ones.pop(fd) as client:
                    if client.recv(4096):
                        client.send(no)


def main(arguments: Sequence[str]) -> None:
    """As `python -m sandbox.mysql_stub ADDRESS`."""
    with contextlib.suppress(KeyboardInterrupt):
        serve(arguments[0] if arguments else "127.0.0.1")


if __name__ == "__main__":
    main(sys.argv[1:])
