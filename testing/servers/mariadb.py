"""A real MariaDB server with a datadir, a socket and an address of its own.

    with mariadb.server("--max-connect-errors=1") as db:
        db.sql("CREATE USER app@'%' IDENTIFIED BY 'secret'")
        db.address, db.port, db.process.stop()

Starting takes about half a second, the first one of a process some 4 s more (the empty datadir is made once). For
replication pass `--server-id=N --log-bin --gtid-strict-mode=ON`, and give each server its own N.
"""

import atexit
import contextlib
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors

from testing.servers.process import PATIENCE, Peer, PeerError, find, free_port, loopback, started

# What `process.need` is to be asked for.
PROGRAMS = ("mariadbd", "mariadb-install-db")

# Each has a folder of its own for temporary tables: a server that starts clears away what it finds there.
# Small and forgetful: a test's data need not survive the machine.
_SMALL = ("--innodb-buffer-pool-size=8M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
          "--innodb-flush-method=nosync", "--innodb-use-native-aio=OFF", "--performance-schema=OFF",
          "--aria-pagecache-buffer-size=1M", "--key-buffer-size=1M")  # fmt: skip


class MariaDB:
    """A server, running or not. `options` are those of mariadbd. `process` is there while it runs."""

    def __init__(self, folder: Path, address: str, port: int, options: Sequence[str], hosts: str = "") -> None:
        self.folder, self.address, self.port, self.options, self.hosts = folder, address, port, tuple(options), hosts
        self.process: Peer

    @property
    def socket(self) -> str:
        """The Unix socket, by which root gets in without a password."""
        return str(self.folder / "s")

    def start(self) -> None:
        """Starts it, on the same data as before. Returns when it takes connections."""
        self.process = Peer([
            *self._named(), find("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--user={_user()}",
            f"--socket={self.socket}", f"--bind-address={self.address}", f"--port={self.port}",
            f"--pid-file={self.folder / 'pid'}", f"--tmpdir={self.folder}", *_SMALL, *self.options])
        self.process.await_line("ready for connections")

    def _named(self) -> list[str | Path]:
        """The words before the command that show it another /etc/hosts, in a mount namespace of its own."""
        if not self.hosts:
            return []
        (self.folder / "hosts").write_text(self.hosts)
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return [find("unshare"), "--mount", "/bin/sh", "-c", script, self.folder / "hosts"]

    def stop(self) -> None:
        """Shuts it down in good order. `start` brings it back."""
        self.process.end()
        self.process.kill()

    def connect(self, **options: Any) -> "pymysql.connections.Connection[pymysql.cursors.DictCursor]":
        """A connection as root over the Unix socket, or as `options` (those of pymysql.connect) say. Autocommit."""
        near = not {"host", "user"} & set(options)
        place = {"user": "root"} if near else {"host": self.address, "port": self.port}
        connection = pymysql.connect(**{
            **place, "autocommit": True, "connect_timeout": PATIENCE, "read_timeout": PATIENCE,
            "cursorclass": pymysql.cursors.DictCursor, "defer_connect": True, **options})
        # PyMySQL 2.2 leaves a Unix socket open whose server refuses it, so the connecting is done here.
        connection.connect(_connected(self.socket) if near else None)
        return connection

    def sql(self, *statements: str) -> list[dict[str, Any]]:
        """Carries out `statements` as root. The rows of the last one, each a mapping by column."""
        rows: Sequence[dict[str, Any]] = ()
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = cursor.fetchall()
        return list(rows)

    def status(self, name: str) -> int:
        """A number of SHOW GLOBAL STATUS, such as Aborted_connects."""
        return int(self.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")[0]["Value"])


@contextlib.contextmanager
def server(*options: str, address: str = "", port: int = 0, hosts: str = "") -> Iterator[MariaDB]:
    """A running MariaDB on a loopback address of its own (not 127.0.0.1). Killed and removed at the end.

    It looks up the name of each client's address, and blocks only those for which it gets an answer, be it "none". In
    a network without a name server give it `hosts`, the text of an /etc/hosts (needs root).
    """
    where = address or loopback()
    # A Unix socket's path holds 107 characters: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(prefix="lamp-db-") as folder:
        shutil.copytree(_empty(), Path(folder, "data"), dirs_exist_ok=True)
        with started(MariaDB(Path(folder), where, port or free_port(where), options, hosts)) as running:
            yield running


@cache
def _empty() -> Path:
    """A datadir with the system tables alone. Removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="lamp-db-"))
    atexit.register(shutil.rmtree, folder)
    command = [find("mariadb-install-db"), "--no-defaults", f"--datadir={folder}", f"--user={_user()}",
               f"--tmpdir={folder}", "--auth-root-authentication-method=normal", "--skip-test-db", *_SMALL]
    # A peer, not a plain run: it starts a server, which must not outlive us.
    with Peer(command) as installing:
        if status := installing.wait():
            raise PeerError(f"mariadb-install-db ended with {status}:\n{installing.printed}")
    return folder


def _user() -> str:
    """The user of the server. mariadbd takes any user, root too if the option names it."""
    return pwd.getpwuid(os.geteuid()).pw_name



def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made
