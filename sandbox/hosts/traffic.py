"""The traffic through the demo's tunnels, which is replication of constant writes, or handshakes in its place.

Both keep `marks`, the times (epoch seconds) at which traffic came through. How long nothing came is told by them.
"""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import pymysql

from chalicelib.mysql.handshake import LONGEST, Handshake
from sandbox.hosts.primary_region import Far
from sandbox.hosts.replica import Replica, connect, started

EVERY_SECONDS = 0.1
# How long a client that asks for a greeting waits for it.
_PATIENCE_SECONDS = 1.0
_CATCH_UP_SECONDS = 60.0
_TABLE = "CREATE TABLE demo.rows (id INT PRIMARY KEY, at DOUBLE NOT NULL)"


class Count(NamedTuple):
    """Rows that the primary confirmed, and how many of them the replica has not. `None` where nothing is written."""

    written: int | None
    lost: int | None


def longest(marks: Sequence[float], since: float, until: float) -> float:
    """The longest span (s) between two marks in a row of which a part lies between `since` and `until`."""
    inside = [mark for mark in marks if since < mark < until]
    before = max((mark for mark in marks if mark <= since), default=since)
    after = min((mark for mark in marks if mark >= until), default=until)
    return max(second - first for first, second in itertools.pairwise([before, *inside, after]))


class Replication:
    """A row each 100 ms, straight into the primary, and a look each 100 ms at the newest row that the replica has."""

    def __init__(self, far: Far, replica: Replica, entrance: tuple[str, int]) -> None:
        self.marks: list[float] = []
        self.confirmed: list[int] = []
        self._far, self._replica, self._entrance = far, replica, entrance
        self._newest = 0
        self._written, self._over = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=work, daemon=True) for work in (
            (self._written, lambda: connect(far.account, far.database_address), self._write),
            (self._over, replica.connect, self._read))]

    def start(self) -> None:
        """A table on the primary, a replica that follows, and both begin."""
        primary = started(self._far.account, self._far.database_address)
        with closing(primary), primary.cursor() as cursor:
            cursor.execute("CREATE DATABASE demo")
            cursor.execute(_TABLE)
        self._replica.follow(*self._entrance)
        for thread in self._threads:
            thread.start()

    def count(self) -> Count:
        """The last row is waited for, at most a minute. Then both sides are compared, row by row."""
        self._written.set()
        self._threads[0].join()
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        wanted = set(self.confirmed)
        while (lost := wanted - self._rows()) and time.monotonic() < deadline:
            time.sleep(EVERY_SECONDS)
        return Count(len(wanted), len(lost))

    def end(self) -> None:
        """No more of it."""
        self._written.set()
        self._over.set()

    def _rows(self) -> set[int]:
        with closing(self._replica.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM demo.rows")
            return {row[0] for row in cursor.fetchall()}

    def _repeat(self, over: threading.Event, connected: Callable[[], Any], work: Callable[[Any], None]) -> None:
        """`work` each 100 ms on one connection. On another one when that is lost."""
        while not over.is_set():
            try:
                with closing(connected()) as connection, connection.cursor() as cursor:
                    while not over.wait(EVERY_SECONDS):
                        work(cursor)
            except (pymysql.MySQLError, OSError):
                over.wait(EVERY_SECONDS)  # as an application does: it tries again

    def _write(self, cursor: Any) -> None:
        # A row whose answer was lost may be there: it is written again, and is one row all the same.
        row = len(self.confirmed) + 1
        cursor.execute("INSERT IGNORE INTO demo.rows VALUES (%s, %s)", (row, time.time()))
        self.confirmed.append(row)

    def _read(self, cursor: Any) -> None:
        cursor.execute("SELECT MAX(id) FROM demo.rows")
        newest = cursor.fetchone()[0] or 0
        if newest > self._newest:
            self._newest = newest
            self.marks.append(time.time())


class Greetings:
    """Without MariaDB, a client that reads the database's handshake through the balancer, each 100 ms."""

    def __init__(self, entrance: tuple[str, int]) -> None:
        self.marks: list[float] = []
        self._entrance, self._over = entrance, threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._ask, daemon=True).start()

    def count(self) -> Count:
        """Nothing is written."""
        return Count(None, None)

    def end(self) -> None:
        """No more of it."""
        self._over.set()

    def _ask(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            if greeted(self._entrance):
                self.marks.append(time.time())


def greeted(place: tuple[str, int]) -> bool:
    """Whether the database answers there, by a whole and polite handshake."""
    talk = Handshake()
    try:
        with socket.create_connection(place, _PATIENCE_SECONDS) as connection:
            while talk.found is None:
                data = connection.recv(LONGEST)
                if not data:
                    return False
                connection.sendall(talk.data_received(data))
    except OSError:  # refused, reset, or too late
        return False
    return talk.found.side == "up"
