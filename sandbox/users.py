"""Users of the product in several countries. Each asks DNS as its resolver would, and sends a request every 100 ms.

Run as `python -m sandbox.users` with an `Errand` as JSON on standard input. Each time that what a user gets changes,
and at the end, it writes a `Moment` as a JSON line. It ends when standard input closes.
"""

import asyncio
import sys
import time
from ipaddress import ip_network

import dns.asyncquery
import dns.edns
import dns.exception
import dns.message
import dns.rdatatype
import msgspec

from sandbox.hosts.web import HEAD_END

EVERY_SECONDS = 0.1
# A user gives up on a request after so long.
PATIENCE_SECONDS = 3.0


class Errand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of users, with the port of DNS on 127.0.0.1, a hostname, and a port there, networks by country, and
    the time-out of a request in seconds."""

    dns: int
    hostname: str
    port: int
    networks: dict[str, str]
    patience: float = PATIENCE_SECONDS


class Moment(msgspec.Struct, frozen=True):
    """From `at` (epoch seconds) on the user `who` gets answers from `region`. Empty means that its requests fail, for
    `why`.

    `sent` and `failed` count its requests so far.
    """

    who: str
    at: float
    region: str
    why: str = ""
    sent: int = 0
    failed: int = 0


class User:
    """One user, with its resolved address, and its last answer."""

    def __init__(self, who: str, network: str, errand: Errand) -> None:
        self.who, self._errand = who, errand
        self._subnet = str(ip_network(network).network_address)
        self._address, self._until = "", 0.0
        self.last = Moment(who, 0.0, "?")
        self._newest = 0.0
        self._sent = self._failed = 0

    async def live(self) -> None:
        """Ask every 100 ms, whatever becomes of the request before."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            while True:
                requests.create_task(self._ask(time.time()))
                due += EVERY_SECONDS
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _ask(self, at: float) -> None:
        region, why = "", ""
        try:
            async with asyncio.timeout(self._errand.patience):
                region = await fetch(await self._resolved(at), self._errand.port, self._errand.hostname)
        except (OSError, TimeoutError, ValueError, EOFError, dns.exception.DNSException) as error:
            why = type(error).__name__
        self._hear(at, region, why)

    def _hear(self, at: float, region: str, why: str) -> None:
        """The result of the request that was sent `at`. A later one may have ended sooner, and what it said stands."""
        self._sent += 1
        self._failed += not region
        if at < self._newest:
            return
        self._newest = at
        if region != self.last.region:
            self._tell(Moment(self.who, at, region, why))

    def _tell(self, moment: Moment) -> None:
        self.last = msgspec.structs.replace(moment, sent=self._sent, failed=self._failed)
        sys.stdout.write(msgspec.json.encode(self.last).decode() + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        """The final counts."""
        self._tell(msgspec.structs.replace(self.last, at=time.time()))

    async def _resolved(self, now: float) -> str:
        """The address, as a resolver with a cache knows it."""
        if now >= self._until:
            options: list[dns.edns.Option] = [dns.edns.ECSOption(self._subnet, 24)]
            query = dns.message.make_query(self._errand.hostname, "A", use_edns=0, options=options)
            answer = await dns.asyncquery.udp(query, "127.0.0.1", port=self._errand.dns,
                                              timeout=self._errand.patience)
            found = [rrset for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A]
            if not found:
                raise ValueError("no address")
            self._address, self._until = str(found[0][0]), now + found[0].ttl
        return self._address


async def fetch(address: str, port: int, hostname: str) -> str:
    """The region that the host at `address` says it is in. ValueError for any other answer."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read(4096)).partition(HEAD_END)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError("not 200")
        return (body or await reader.read(4096)).decode().split()[1]
    except IndexError:
        raise ValueError("not our host") from None
    finally:
        writer.close()


async def _live(errand: Errand) -> None:
    users = [User(who, network, errand) for who, network in errand.networks.items()]
    lives = {asyncio.create_task(user.live()) for user in users}
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
    ended, _ = await asyncio.wait({*lives, over}, return_when=asyncio.FIRST_COMPLETED)
    for life in lives:
        life.cancel()
    await asyncio.wait(lives)
    for user in users:
        user.end()
    for one in ended:
        one.result()


if __name__ == "__main__":
    asyncio.run(_live(msgspec.json.decode(sys.stdin.buffer.readline(), type=Errand)))
