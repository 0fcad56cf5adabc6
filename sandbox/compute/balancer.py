"""The balancers of one region, a process of its own that listens, passes connections on, and probes targets.

Started as `python -m sandbox.compute.balancer`. Standard input brings `settings.Region`, one JSON object a line,
each replacing the last one. Standard output gives a `settings.Report` whenever health or ports change. When its input
ends, it does too.
"""

import asyncio
import errno
import sys
from collections import defaultdict
from contextlib import suppress

import msgspec

from sandbox.compute.connect import dial
from sandbox.compute.pool import Connection, Pool, reset
from sandbox.compute.settings import Listener, Region, Report

_BYTES = 2**16
_LINE = 2**24
_CONNECT_SECONDS = 10.0


class Balancers:
    """Every listener and every target group of the region."""

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}
        self._listeners: dict[str, Listener] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._ports: dict[str, tuple[int, int]] = {}
        self._open: defaultdict[str, set[Connection]] = defaultdict(set)
        self._report = asyncio.Event()

    async def set(self, region: Region) -> None:
        """Become what `region` says."""
        for arn in self._pools.keys() - region.groups.keys():
            self._pools.pop(arn).close()
        for arn, group in region.groups.items():
            if arn not in self._pools:
                self._pools[arn] = Pool(group, self._report.set)
            self._pools[arn].set(group)
        for arn, server in list(self._servers.items()):
            if _place(region.listeners.get(arn)) != _place(self._listeners[arn]):
                del self._servers[arn], self._ports[arn]
                server.close()
        for arn in self._open.keys() - region.listeners.keys():
            for connection in self._open.pop(arn):
                connection.cut()
        self._listeners = region.listeners
        for arn in self._listeners.keys() - self._servers.keys():
            await self._listen(arn)
        self._report.set()

    async def reports(self) -> None:
        """Say what changed, for ever."""
        while True:
            await self._report.wait()
            self._report.clear()
            health = {arn: {key: (one.state, one.reason, one.text) for key, one in pool.health.items()}
                      for arn, pool in self._pools.items()}
            sys.stdout.buffer.write(msgspec.json.encode(Report(health, self._ports)) + b"\n")
            sys.stdout.flush()

    async def _listen(self, arn: str) -> None:
        listener = self._listeners[arn]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(arn, reader, writer)

        try:
            server = await asyncio.start_server(serve, listener.host, listener.port, backlog=1024)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EADDRINUSE):
                raise
            # A port below 1024 needs rights that nobody needs to have here: any free one, and the report says which.
            server = await asyncio.start_server(serve, listener.host, 0, backlog=1024)
        self._servers[arn] = server
        self._ports[arn] = listener.port, server.sockets[0].getsockname()[1]

    async def _serve(self, arn: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener = self._listeners.get(arn)
        pool = self._pools.get(listener.group) if listener else None
        chosen = pool.choose() if pool else None
        if listener is None or pool is None or chosen is None:
            web = listener is not None and not listener.network
            await _refuse(writer, b"503 Service Temporarily Unavailable", web=web)
            return
        key, target = chosen
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                far_reader, far_writer = await dial(pool.group.source, target.host, target.traffic)
        except OSError:
            await _refuse(writer, b"502 Bad Gateway", web=not listener.network)
            return
        connection = Connection(writer, far_writer)
        pool.join(key, connection)
        self._open[arn].add(connection)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except OSError:
            connection.cut()
        finally:
            pool.part(key, connection)
            self._open[arn].discard(connection)
            for one in (writer, far_writer):
                one.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof() and not writer.transport.is_closing():
        writer.write_eof()


async def _refuse(writer: asyncio.StreamWriter, status: bytes, *, web: bool) -> None:
    """The answer to a client without a target, an error page of an application balancer or a reset of a network one."""
    if not web:
        reset(writer)
        return
    with suppress(OSError):
        head = (b"HTTP/1.1 " + status, b"Server: awselb/2.0", b"Content-Length: 0", b"Connection: close", b"", b"")
        writer.write(b"\r\n".join(head))
        await writer.drain()
    writer.close()


def _place(listener: Listener | None) -> tuple[str, int] | None:
    return (listener.host, listener.port) if listener else None


async def serve() -> None:
    """Until standard input closes."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    balancers = Balancers()
    reporting = loop.create_task(balancers.reports())
    while line := await orders.readline():
        await balancers.set(msgspec.json.decode(line, type=Region))
    reporting.cancel()


if __name__ == "__main__":
    asyncio.run(serve())
