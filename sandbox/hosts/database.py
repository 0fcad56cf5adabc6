"""A database that greets, refuses everybody's login, and shuts out hosts that do not end their handshakes.

    python -m sandbox.hosts.database PORT MOST

Run by an instance, with ADDRESS in its environment. It has the relevant parts for a probe, which are the handshake and
the answers of a MariaDB server, and its `max_connect_errors` (MOST). A connection that ends, or is late, before its
handshake is complete counts against its host. A host with too many of them gets error 1129 and nothing else. As with
the real ones, 127.0.0.1 is never blocked. A complete handshake resets the count of a host that is not blocked yet. Each
error is a line on standard output.
"""

import asyncio
import os
import sys
from collections import Counter

from sandbox.mysql_stub import denial, greeting, refusal

# connect_timeout of MariaDB and MySQL (s).
_HANDSHAKE = 10.0
_EXEMPT = "127.0.0.1"
# A login of protocol 4.1 is at least so long: capabilities, size, charset, filler.
_SHORTEST = 32


class Database:
    """The counters, with `errors` by host."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.errors: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        host = str(writer.get_extra_info("peername")[0])
        try:
            if self.errors[host] >= self.most:
                writer.write(refusal(1129, f"Host '{host}' is blocked because of many connection errors"))
            elif await self._shake(reader, writer):
                del self.errors[host]
            elif host != _EXEMPT:
                self.errors[host] += 1
                print(f"{host}: {self.errors[host]} of {self.most} errors", flush=True)
            await writer.drain()
        except ConnectionError:
            pass  # it is gone, and counted
        finally:
            writer.close()

    async def _shake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the client has answered the handshake with a whole login, which is refused."""
        try:
            writer.write(greeting())
            async with asyncio.timeout(_HANDSHAKE):
                head = await reader.readexactly(4)
                login = await reader.readexactly(int.from_bytes(head[:3], "little"))
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return False
        if head[3] != 1 or len(login) < _SHORTEST + 2:
            return False
        writer.write(denial())
        return True


async def serve(address: str, port: int, most: int) -> None:
    """Until cancelled."""
    async with await asyncio.start_server(Database(most).serve, address, port, backlog=256) as server:
        print(f"listening on {address}:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(os.environ["ADDRESS"], int(sys.argv[1]), int(sys.argv[2])))
