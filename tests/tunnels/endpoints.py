"""Endpoints of every kind, good and bad, on loopback: what a test's sweep is let loose on."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

from chalicelib.tunnels.probe.sweep import Target
from sandbox import mysql_stub

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Play = Callable[[Reader, Writer], Awaitable[None]]


async def answers(reader: Reader, writer: Writer) -> None:
    """A database that is well."""
    await says(writer, mysql_stub.greeting())
    if await reader.read(4096):
        await says(writer, mysql_stub.denial())


async def says(writer: Writer, data: bytes) -> None:
    """All of `data`, and no care whether the other side still listens."""
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()


def saying(data: bytes) -> Play:
    """Says `data`, then waits for the other side to go."""
    async def play(reader: Reader, writer: Writer) -> None:
        await says(writer, data)
        with contextlib.suppress(ConnectionError):
            await reader.read()
    return play


async def closes(reader: Reader, writer: Writer) -> None:
    """As ssh does whose far side refuses: accepts, says nothing, closes."""


async def resets(reader: Reader, writer: Writer) -> None:
    """Accepts, then resets."""
    reset(writer)


async def resets_after_greeting(reader: Reader, writer: Writer) -> None:
    """Greets, then resets when answered."""
    await says(writer, mysql_stub.greeting())
    await reader.read(4096)
    reset(writer)


async def mute(reader: Reader, writer: Writer) -> None:
    """Greets and then says nothing more."""
    await says(writer, mysql_stub.greeting())
    with contextlib.suppress(ConnectionError):
        await reader.read()


def reset(writer: Writer) -> None:
    """Closes with a reset."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def endpoint(id: str, play: Play, version: str = "") -> AsyncIterator[Target]:
    """An endpoint that does what `play` says with each connection."""
    async def connected(reader: Reader, writer: Writer) -> None:
        try:
            await play(reader, writer)
        finally:
            writer.close()
            # One that was reset has nothing to wait for.
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield Target(id, "127.0.0.1", server.sockets[0].getsockname()[1], version)
    finally:
        server.close()
        await server.wait_closed()


@contextlib.contextmanager
def frozen(id: str, backlog: int = 16) -> Iterator[tuple[Target, socket.socket]]:
    """A stopped process: the kernel takes connections for it. Who accepts from the socket thaws it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield Target(id, "127.0.0.1", listener.getsockname()[1]), listener


@contextlib.contextmanager
def nobody(id: str) -> Iterator[Target]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield Target(id, "127.0.0.1", holder.getsockname()[1])


@contextlib.contextmanager
def full(id: str) -> Iterator[Target]:
    """A process that was frozen for so long that its queue is full: the kernel takes no more connections for it."""
    with contextlib.ExitStack() as stack:
        target, _ = stack.enter_context(frozen(id, backlog=0))
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((target.address, target.port))
        yield target
