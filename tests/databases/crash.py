"""A Lambda that dies right after its n-th effect, on a server or on the coordination table."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.databases.connect import Reach
from chalicelib.mysql.server import Server
from chalicelib.mysql.status import ServerStatus
from testing.fakes import MemoryTable


class Crash(BaseException):
    """The process is gone: nothing that the code does about errors happens."""


class Fuse:
    """Wraps the ways to servers and to the table; burns after so many effects."""

    def __init__(self, reach: Reach, table: MemoryTable) -> None:
        self._reach, self._table = reach, table
        self.left = 10_000
        # What happens elsewhere before an effect on the table.
        self.meanwhile: Callable[[], None] = lambda: None

    def after(self, effects: int) -> None:
        """From now on so many effects happen, and the next call for one ends the process; 0: the first."""
        self.left = effects

    def burn(self, effect: Callable[[], Any]) -> Any:
        """An effect, and the end after it if it is the last."""
        if self.left == 0:
            raise Crash
        self.left -= 1
        return effect()

    def site(self, site: RegionContext) -> RegionContext:
        """The site with the fuse in its coordination table."""
        return msgspec.structs.replace(site, shared_store=Table(self, self._table))

    def reach(self, site: RegionContext, region: str, admin: bool) -> Server:
        """The server, with the fuse in each of its effects."""
        return Wrapped(self, self._reach(site, region, admin))


class Table(MemoryTable):
    """The table behind the fuse."""

    def __init__(self, fuse: Fuse, table: MemoryTable) -> None:
        super().__init__(table.store)
        self._fuse = fuse

    def create(
        self, pk: str, sk: str, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        create = super().create
        self._fuse.meanwhile()
        made: Item | None = self._fuse.burn(lambda: create(pk, sk, body, ttl=ttl, write_id=write_id))
        return made

    def compare_and_set(
        self, old: Item, body: dict[str, Any], *, ttl: int | None = None, write_id: str = ""
    ) -> Item | None:
        swap = super().compare_and_set
        self._fuse.meanwhile()
        done: Item | None = self._fuse.burn(lambda: swap(old, body, ttl=ttl, write_id=write_id))
        return done


class Wrapped:
    """A server behind the fuse."""

    def __init__(self, fuse: Fuse, server: Server) -> None:
        self._fuse, self._server = fuse, server

    def read_status(self) -> ServerStatus:
        return self._server.read_status()

    def write_heartbeat(self, region: str) -> float:
        return self._server.write_heartbeat(region)

    def start(self, threads: Sequence[str]) -> None:
        self._fuse.burn(lambda: self._server.start(threads))

    def stop(self, thread: str = "") -> None:
        self._fuse.burn(lambda: self._server.stop(thread))

    def reset_replica(self) -> None:
        self._fuse.burn(self._server.reset_replica)

    def change_source(self, host: str, port: int) -> None:
        self._fuse.burn(lambda: self._server.change_source(host, port))

    def tune(self) -> None:
        self._fuse.burn(self._server.tune)

    def tolerate_connects(self) -> None:
        self._fuse.burn(self._server.tolerate_connects)

    def set_read_only(self) -> int:
        cut: int = self._fuse.burn(self._server.set_read_only)
        return cut

    def set_writable(self) -> None:
        self._fuse.burn(self._server.set_writable)
