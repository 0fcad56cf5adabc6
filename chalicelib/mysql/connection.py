"""The only way to connect to a server. It is PyMySQL with bounded waits, and every failure is a `ServerError` with its
remedy.

PyMySQL's own connect_timeout ends with the TCP connection. Only read_timeout bounds a server that accepts and stays
silent, and neither bounds one that sends a byte now and then. So the socket is ours, and is shut when the whole session
has taken too long.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from chalicelib.config.databases import Databases
from chalicelib.mysql.secrets import Login
from chalicelib.mysql.status import ServerError

# How servers turn a client away before or at login; their text says which remedy. From both servers' error references.
_DENIED = frozenset({1044, 1045, 1227, 1251, 1698, 1820, 1862})
_REFUSED = {1040: "raise max_connections or find who holds the connections", 1053: "it is shutting down",
            1129: "FLUSH HOSTS there, and find what connects without logging in", 1130: "create the user for this host"}
# Plugins that give the password away: as it is, or as a hash of 1998 from which it can be computed.
_REVEALING = (b"mysql_clear_password", b"dialog", b"mysql_old_password")
# What PyMySQL raises, besides its own errors, on bytes that are no MySQL.
_GARBLED = (struct.error, ValueError, IndexError, TypeError, KeyError, AttributeError, RuntimeError, AssertionError,
            NameError, NotImplementedError, MemoryError)


class _Unverified(Exception):
    """The server asks for the password in a form for which its identity must be verified. The text is the plugin."""


class _Guarded(Connection["DictCursor"] if TYPE_CHECKING else Connection):  # type: ignore[misc]
    """PyMySQL's connection, which gives the password in clear text to `verified` servers alone.

    LOCAL INFILE stays off, as is the library's default: it raises when a server asks for a file.
    """

    verified = False

    def _process_auth(self, plugin_name: bytes, auth_packet: Any, handler: Any = None) -> Any:
        if plugin_name in _REVEALING and not self.verified:
            raise _Unverified(plugin_name.decode())
        return super()._process_auth(plugin_name, auth_packet, handler)

    def write_packet(self, payload: bytes) -> None:
        """Sends a packet of the login. SHA-256 plugins put the password itself into one where there is any TLS."""
        clear = self.password + b"\0"
        if self.password and not self.verified and (payload == clear or bytes([len(clear) % 256]) + clear in payload):
            raise _Unverified("sha256_password or caching_sha2_password")
        super().write_packet(payload)


class DatabaseError(Exception):
    """A server could not be asked. `trouble` says why."""

    def __init__(self, trouble: ServerError) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


class Place(msgspec.Struct, frozen=True):
    """The address of a server. `tls_name` is the name that its certificate must have."""

    region: str
    host: str
    port: int
    tls_name: str = ""

    def __str__(self) -> str:
        return f"{self.region} ({self.host}:{self.port})"


class Session:
    """An open connection. Statements raise `DatabaseError`."""

    def __init__(self, place: Place, connection: "Connection[DictCursor]", clock: "_Deadline") -> None:
        self.place, self._connection, self._deadline = place, connection, clock

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """The rows that `statement` gives, `values` put in by the library."""
        with _told(self.place, self._deadline), self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())


@contextlib.contextmanager
def session(
    place: Place, login: Login, settings: Databases, root: Path, wait: float
) -> Iterator[Session]:
    """A session in which each answer may take `wait` seconds, and all of it three times that, whatever the server does.

    Raises `DatabaseError`, also in the middle.
    """
    with _Deadline(3 * wait) as deadline:
        with _told(place, deadline):
            connection = _open(place, login, settings, root, wait, deadline)
        try:
            yield Session(place, connection, deadline)
        finally:
            if connection.open:
                connection.close()


def _open(
    place: Place, login: Login, settings: Databases, root: Path, wait: float, deadline: "_Deadline"
) -> "Connection[DictCursor]":
    connection = _Guarded(
        host=place.tls_name or place.host, port=place.port, user=login.user, password=login.password.encode(),
        connect_timeout=wait, read_timeout=wait, write_timeout=wait, autocommit=True, cursorclass=DictCursor,
        program_name="lamplighter", defer_connect=True, **_tls(place, login, settings, root))
    connection.verified = settings.tls == "required"
    try:
        sock = socket.create_connection((place.host, place.port), float(settings.timeout))
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise DatabaseError(ServerError("unreachable", str(place), f"cannot connect ({why}). Look at the tunnels, the "
                                    "security groups and whether the server runs")) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    deadline.watch(sock)
    connection.connect(sock)
    return connection


def _tls(place: Place, login: Login, settings: Databases, root: Path) -> dict[str, Any]:
    if settings.tls == "off":
        return {"ssl_disabled": True}
    if settings.tls == "preferred":
        # PyMySQL's own way: encrypted if the server offers it, the certificate not looked at.
        return {}
    try:
        file = str(root / settings.ca) if settings.ca else None
        context = ssl.create_default_context(cafile=file, cadata=None if file else login.ca or None)
    except (OSError, ValueError) as error:
        what = f"ca = {settings.ca!r}" if settings.ca else "the secret's ca"
        raise DatabaseError(
            ServerError("setup", str(place), f"{what} cannot be used ({error}). Give certificates in PEM")
        ) from None
    # Python 3.13 is stricter than the certificates that MySQL and MariaDB make for themselves.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return {"ssl": context}


class _Deadline:
    """Shuts the socket of a session that has lasted too long. A second handle, because TLS takes the first one away."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.passed = seconds, False
        self._ends = time.monotonic() + seconds
        self._handle: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> "_Deadline":
        return self

    def watch(self, sock: socket.socket) -> None:
        """From now on `sock` is shut when the time has come."""
        self._handle = sock.dup()
        self._timer = threading.Timer(max(0.0, self._ends - time.monotonic()), self._shut)
        self._timer.daemon = True
        self._timer.start()

    def _shut(self) -> None:
        self.passed = True
        # It may have been closed by the other side meanwhile.
        with contextlib.suppress(OSError):
            if self._handle:
                self._handle.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *failure: object) -> None:
        if self._timer and self._handle:
            self._timer.cancel()
            self._timer.join()
            self._handle.close()


@contextlib.contextmanager
def _told(place: Place, deadline: _Deadline) -> Iterator[None]:
    """Turns whatever the library raises into a `DatabaseError`."""
    try:
        yield
    except DatabaseError:
        raise
    except _Unverified as asked:
        raise DatabaseError(ServerError(
            "tls", str(place), f"the server asks for the password in clear text ({asked}), and TLS is not verified. "
            'Write tls = "required" in [databases], with ca if the authority is your own')) from None
    except pymysql.MySQLError as error:
        raise DatabaseError(_trouble(place, error, deadline)) from None
    except (OSError, *_GARBLED) as error:
        raise DatabaseError(_garbled(place, error, deadline)) from None


def _trouble(place: Place, error: pymysql.MySQLError, deadline: _Deadline) -> ServerError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = _printable(error.args[1] if len(error.args) > 1 else error)
    cause = getattr(error, "original_exception", None) or error.__context__
    if deadline.passed or isinstance(cause, TimeoutError):
        return _silent(place, deadline)
    if isinstance(cause, ssl.SSLError) or number == 2026:
        return ServerError(
            "tls",
            str(place),
            f"{text}. Look at tls, ca and tls_name in fleet.toml, and whether the server has TLS",
            number,
        )
    if number in _DENIED:
        return ServerError("denied", str(place), f"{text}. Compare the secret with the user and its grants", number)
    if number in _REFUSED:
        return ServerError("refused", str(place), f"{text}; {_REFUSED[number]}", number)
    if isinstance(error, pymysql.InternalError) or (not number and not isinstance(error, pymysql.OperationalError)):
        return _garbled(place, error, deadline)
    if number in (2003, 2006, 2013):
        return ServerError(
            "unreachable",
            str(place),
            f"the connection broke ({text}). Look at the tunnels and whether the server runs",
            number,
        )
    return ServerError("sql", str(place), text, number)


def _silent(place: Place, deadline: _Deadline) -> ServerError:
    return ServerError("silent", str(place), "took the connection, but gave no answer in time (at most "
                   f"{deadline.seconds:g} s in all). The server hangs, or a tunnel to it does")


def _garbled(place: Place, error: Exception, deadline: _Deadline) -> ServerError:
    if deadline.passed or isinstance(error, TimeoutError):
        return _silent(place, deadline)
    what = f"{type(error).__name__}: {_printable(error)}"
    return ServerError("garbled", str(place), f"does not talk as MySQL does ({what}). Look at what listens there")


def _printable(text: object) -> str:
    return "".join(char if " " <= char <= "~" else " " for char in str(text))[:300]
