"""What hosts say of where they lead, and what is made of everything else that may answer in their place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chalicelib.tunnels import observe_target
from testing.eventually import eventually
from testing.servers.process import free_port, loopback

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\neu-west-1\n"
PATIENCE = 180.0


@contextlib.asynccontextmanager
async def answering(address: str, *said: bytes, port: int = 0, stays: bool = False) -> AsyncIterator[int]:
    """Somebody at a port who says this to whoever asks, and then ends, or stays."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in said:
            writer.write(piece)
            await writer.drain()
        if stays:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, address, port)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
    assert all(head.startswith(b"GET /primary-region HTTP/1.1\r\n") for head in asked)


@pytest.mark.parametrize(("said", "found"), [
    ((GOOD,), {"a": "eu-west-1"}), ((GOOD[:30], GOOD[30:]), {"a": "eu-west-1"}), ((), {}), ((GOOD[:-1],), {}),
    ((GOOD.replace(b"200 OK", b"404 Not Found"),), {}), ((GOOD.replace(b"eu", b"EU;"),), {}), ((b"\xff" * 9000,), {}),
    ((GOOD + b"more\n",), {})])
def test_only_a_whole_answer_counts(said: tuple[bytes, ...], found: dict[str, str]) -> None:
    async def run() -> dict[str, str]:
        async with answering("127.0.0.1", *said) as port:
            return await observe_target.connected_regions({"a": "127.0.0.1"}, port, PATIENCE)

    assert asyncio.run(run()) == found


def test_who_says_nothing_costs_the_others_nothing() -> None:
    async def run() -> dict[str, str]:
        good, hung, gone = (loopback() for _ in range(3))
        async with answering(good, GOOD, port=free_port(hung)) as port, answering(hung, stays=True, port=port):
            hosts = {"good": good, "hung": hung, "gone": gone, "odd": "999.0.0.1"}
            return await observe_target.connected_regions(hosts, port, 1.0)

    # Who has said nothing by then may also have been kept from it by a machine under load.
    assert eventually(lambda: asyncio.run(run())) == {"good": "eu-west-1"}
