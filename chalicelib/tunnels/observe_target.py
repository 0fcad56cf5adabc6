"""The connected region of each tunnel host, as its health port says (`GET /primary-region`, agent/tunnel_health.py)."""

import asyncio
import re
from collections.abc import Mapping

# As the health port answers it: a status line, headers, and the region as the one line of the body.
_ANSWER = re.compile(rb"HTTP/1\.1 200 .*\r\n\r\n([a-z0-9-]{1,30})\n", re.DOTALL)
_LONGEST = 4096


async def connected_regions(addresses: Mapping[str, str], port: int, seconds: float) -> dict[str, str]:
    """The region that each host leads to, by the key of its address. Without those that do not say so in time."""
    found = await asyncio.gather(*(_asked(address, port, seconds) for address in addresses.values()))
    return {id: region for id, region in zip(addresses, found, strict=True) if region}


async def _asked(address: str, port: int, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return await _exchanged(address, port)
    except (OSError, TimeoutError, ValueError):  # off, hung, or something else that listens there
        return ""


async def _exchanged(address: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(address, port, limit=_LONGEST)
    try:
        writer.write(b"GET /primary-region HTTP/1.1\r\nHost: tunnel\r\nConnection: close\r\n\r\n")
        said = b""
        while len(said) < _LONGEST and (data := await reader.read(_LONGEST)):
            said += data
    finally:
        writer.close()
    match = _ANSWER.fullmatch(said)
    return match[1].decode() if match else ""
