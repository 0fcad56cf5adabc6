#!/usr/bin/env python3
"""The health port of a tunnel host. It answers 200 while the database answers through the local tunnel, else 503 with
the reason.

    python3 tunnel_health.py --listen 0.0.0.0:3380 --tunnel 127.0.0.1:3306 --expect=-MariaDB --way way.env

A balancer that only connects accepts a hung tunnel, because the kernel takes connections for a process that does
nothing any more. So one polite probe a second (see handshake.py) goes through the tunnel to the database, whatever the
number of requests. All requests get the last result. An unanswered probe stays the only one until it ends. Many of them
would reach the database as errors when the tunnel thaws, and block the host.

`GET /primary-region` gives the connected region of the tunnel. The unit of ssh writes it to a file as it starts.

One file, with handshake.py beside it. Python 3.9 and its standard library, nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chalicelib.mysql.handshake import LONGEST, Handshake, HandshakeResult
else:
    # `python3 -I`, as the service has it, looks into no folder but the system's. In the repository the other file is
    # where the healer has it.
    _here = Path(__file__).resolve().parent
    sys.path[:0] = [str(_here), str(_here.parent / "chalicelib" / "mysql")]
    from handshake import LONGEST, Handshake, HandshakeResult

# Seconds within which a connection to the tunnel is made, or never: the kernel's own retries become minutes.
_CONNECT = 3.0
# Seconds that an asker has to say what it wants, and how many may do so at once.
_REQUEST, _ASKERS = 2.0, 256
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Settings(NamedTuple):
    """The target of the probes, and the lifetime of a result. All times in seconds.

    `fresh` is the age limit of a success. A probe a second, of three round trips over an ocean, needs 1.6. `patience`
    is the limit of an unanswered probe, since a database can disappear silently, which sshd does not notice.
    """

    host: str
    port: int
    expect: str = ""
    every: float = 1.0
    fresh: float = 2.5
    patience: float = 900.0


class Health:
    """The results of the probes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.found = HandshakeResult("ambiguous", "starting")
        self.up_at = float("-inf")
        self.talk: Handshake | None = None
        self.begun = 0.0

    def verdict(self) -> HandshakeResult:
        """The current answer, which is the last probe's result, unless that is too old and the next one still waits."""
        now = time.monotonic()
        if self.found.side == "up" and now - self.up_at > self.settings.fresh:
            late = self.talk.timed_out() if self.talk else HandshakeResult("ambiguous", "late")
            return HandshakeResult(late.side, late.why, f"{late.said} for {now - self.begun:.0f} s".strip())
        return self.found

    async def keep(self) -> None:
        """One probe after the other, for ever."""
        while True:
            self.begun = time.monotonic()
            self._tell(await self._probe())
            await asyncio.sleep(max(0.0, self.begun + self.settings.every - time.monotonic()))

    def _tell(self, found: HandshakeResult) -> None:
        if found.side == "up":
            self.up_at = time.monotonic()
        if found[:2] != self.found[:2]:
            print(f"{found.side} {found.why}: {found.said}", file=sys.stderr, flush=True)
        self.found = found

    async def _probe(self) -> HandshakeResult:
        self.talk = Handshake(self.settings.expect)
        with contextlib.closing(socket.socket()) as connection:
            connection.setblocking(False)
            try:
                if not await self._connect(connection):
                    return HandshakeResult("local", "unanswered")
                return await asyncio.wait_for(self._converse(connection, self.talk), self.settings.patience)
            except asyncio.TimeoutError:  # noqa: UP041 - not yet Python's own in 3.9
                return self.talk.timed_out()
            except ConnectionRefusedError:
                return HandshakeResult("local", "refused")
            except (ConnectionResetError, BrokenPipeError):
                return self.talk.connection_reset()
            except OSError as error:
                return HandshakeResult("local", "unreachable", str(error))

    async def _connect(self, connection: socket.socket) -> bool:
        place = (self.settings.host, self.settings.port)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(connection, place), _CONNECT)
        except asyncio.TimeoutError:  # noqa: UP041
            try:
                # In the last moment it may have been taken; then it has to be seen through.
                connection.getpeername()
            except OSError:
                return False
        return True

    async def _converse(self, connection: socket.socket, talk: Handshake) -> HandshakeResult:
        loop = asyncio.get_running_loop()
        while talk.found is None:
            data = await loop.sock_recv(connection, LONGEST)
            if not data:
                return talk.connection_closed()
            answer = talk.data_received(data)
            if answer:
                await loop.sock_sendall(connection, answer)
        return talk.found


class Port:
    """Answers whoever asks over HTTP."""

    def __init__(self, health: Health, way: str = "") -> None:
        self.health, self.way = health, way
        self.askers = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer, done. An asker that dawdles or is one too many is dropped."""
        self.askers += 1
        try:
            if self.askers <= _ASKERS:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST)
                writer.write(self._said(head))
                await asyncio.wait_for(writer.drain(), _REQUEST)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):  # noqa: UP041
            pass  # its own affair; the next one gets its answer
        finally:
            self.askers -= 1
            writer.close()

    def _said(self, head: bytes) -> bytes:
        method = head.split(b" ", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return response(405, "GET or HEAD", with_body=True)
        if head.split(b" ", 2)[1:2] == [b"/primary-region"]:
            region = connected_region(self.way)
            return response(200 if region else 404, region or "not known", with_body=method == b"GET")
        verdict = self.health.verdict()
        text = " ".join(part for part in verdict if part)
        return response(200 if verdict.side == "up" else 503, text, with_body=method == b"GET")


def connected_region(way: str) -> str:
    """The region in the environment file of the tunnel's last start. Nothing if there is none."""
    try:
        lines = Path(way).read_text().splitlines() if way else []
    except OSError:
        return ""
    return next((line[len("PRIMARY="):] for line in lines if line.startswith("PRIMARY=")), "")


def response(status: int, text: str, with_body: bool) -> bytes:
    """An HTTP response that ends the connection."""
    body = f"{text}\n".encode()
    head = (f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
    return head.encode() + (body if with_body else b"")


def place(text: str) -> tuple[str, int]:
    """HOST:PORT, taken apart. The tunnel's host must be an address, because each probe would look up a name."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT, such as 127.0.0.1:3306")
    return host, int(port)


def arguments(words: list[str]) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description="The health port of a tunnel host.")
    parser.add_argument("--listen", type=place, required=True, metavar="ADDRESS:PORT", help="where askers come")
    parser.add_argument("--tunnel", type=place, required=True, metavar="ADDRESS:PORT", help="where ssh listens")
    parser.add_argument("--expect", default="", metavar="TEXT", help="text that the server's version must contain")
    parser.add_argument("--way", default="", metavar="PATH", help="settings of the tunnel's last start")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between probes")
    parser.add_argument("--fresh", type=float, default=2.5, metavar="S", help="for how long a success counts")
    # "-MariaDB" after a space would pass for an option.
    return parser.parse_args(list(_joined(words, "--expect")))


def _joined(words: list[str], option: str) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        value = next(rest, None) if word == option else None
        yield word if value is None else f"{word}={value}"


async def serve(said: argparse.Namespace) -> None:
    """For ever."""
    host, port = said.tunnel
    health = Health(Settings(host, port, said.expect, said.every, said.fresh))
    server = await asyncio.start_server(Port(health, said.way).answer, *said.listen, limit=4096, backlog=1024)
    print("listening on {}:{}".format(*server.sockets[0].getsockname()[:2]), file=sys.stderr, flush=True)
    async with server:
        await health.keep()


def main(words: list[str]) -> None:
    """As `python3 tunnel_health.py`."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments(words)))


if __name__ == "__main__":
    main(sys.argv[1:])
