"""Connecting from a given address of this machine."""

import asyncio
import socket
import ssl

# linux/in.h: choose the local port when connecting. One chosen by bind would be this address's alone, and 28,000
# connections, closed ones that still wait included, would be the most that a balancer could have.
_IP_BIND_ADDRESS_NO_PORT = 24


async def dial(
    source: str, host: str, port: int, secure: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from `source` to `host` and `port`. Raises OSError."""
    plug = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        plug.setblocking(False)
        plug.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        plug.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(plug, (host, port))
        return await asyncio.open_connection(sock=plug, ssl=secure, server_hostname="" if secure else None)
    except BaseException:
        plug.close()
        raise
