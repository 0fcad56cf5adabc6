"""A web host that answers any GET with its instance id and region, for health checks and users.

Run by an instance as `python -m sandbox.hosts.web PORT`, with ADDRESS, INSTANCE_ID and REGION in its environment.
"""

import asyncio
import os
import sys

HEAD_END = b"\r\n\r\n"
_READ_SECONDS = 10.0


async def serve(address: str, port: int, text: str) -> None:
    """Answer on `address` until cancelled."""
    body = text.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await reader.readuntil(HEAD_END)
            writer.write(head.encode() + body)
            await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a probe that only connects, or somebody who went away: nobody waits for an answer
        finally:
            writer.close()

    async with await asyncio.start_server(answer, address, port, backlog=256) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(os.environ["ADDRESS"], int(sys.argv[1]), f"{os.environ['INSTANCE_ID']} {os.environ['REGION']}\n"))
