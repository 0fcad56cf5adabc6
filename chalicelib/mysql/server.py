"""The calls to a server, each in a session of its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from chalicelib.config.databases import Databases
from chalicelib.mysql import dialect
from chalicelib.mysql.connection import DatabaseError, Place, Session, session
from chalicelib.mysql.gtid import Engine
from chalicelib.mysql.secrets import Login, SecretError
from chalicelib.mysql.status import ServerError, ServerStatus

# How long a statement that closes a server waits for those who hold locks (s), and how often it is tried.
_LOCKS, _TRIES = 2, 4
_LOCK_WAIT, _NO_SUCH_CONNECTION = 1205, 1094
# No such database or table, or no right to see it.
_NO_BEATS = (1044, 1049, 1142, 1146)
# Stopping a thread waits for the transaction that it is in (s).
_PATIENT = 20.0


class Server(Protocol):
    """Each call may raise `DatabaseError`. The server may then have done it or not. Doing it again is harmless."""

    def read_status(self) -> ServerStatus:
        """The server's own status."""

    def write_heartbeat(self, region: str) -> float:
        """Writes the heartbeat of `region`. The server's clock as it was written."""

    def start(self, threads: Sequence[str]) -> None:
        """Starts `threads`, of `IO` and `SQL`."""

    def stop(self, thread: str = "") -> None:
        """Stops a thread, or both."""

    def reset_replica(self) -> None:
        """Stops replication and forgets the primary."""

    def change_source(self, host: str, port: int) -> None:
        """Replicates from there, by GTID, from where it is. Running afterwards."""

    def tune(self) -> None:
        """Sets what makes recovery fast. Running afterwards."""

    def tolerate_connects(self) -> None:
        """Connections that do not log in block no host from now on."""

    def set_read_only(self) -> int:
        """Sets the server read-only and kills every connection that might write. Returns their number."""

    def set_writable(self) -> None:
        """Takes writes."""


Logins = Callable[[Login | None], Login]


class SqlServer:
    """A `Server` at `place`. `logins` gives the login to use, or a newer one than the one that was denied."""

    def __init__(self, place: Place, settings: Databases, logins: Logins, root: Path,
                 clock: Callable[[], float] = time.time) -> None:
        self._place, self._settings, self._logins, self._root, self._clock = place, settings, logins, root, clock

    def read_status(self) -> ServerStatus:
        with self._session() as talk:
            before = self._clock()
            clock = float(talk.rows(dialect.CLOCK)[0]["clock"])
            at = (before + self._clock()) / 2
            variables = {row["Variable_name"]: row["Value"] for row in talk.rows(dialect.VARIABLES)}
            of = self._checked(str(variables.get("version", "")))
            try:
                state = dialect.state(self._place.region, at, clock, variables, talk.rows(dialect.status(of)))
            except ValueError as error:
                raise self._trouble("garbled", f"answers what no server does ({error})") from None
            return self._beats(talk, self._period(talk, state))

    def write_heartbeat(self, region: str) -> float:
        with self._session() as talk:
            talk.rows(dialect.beat(self._settings.heartbeat), region)
            return next(float(row["at"]) for row in talk.rows(dialect.beats(self._settings.heartbeat))
                        if row["region"] == region)

    def start(self, threads: Sequence[str]) -> None:
        with self._admin() as (talk, of):
            for statement in dialect.start(of, self._settings.flavour == "rds", threads):
                talk.rows(statement)

    def stop(self, thread: str = "") -> None:
        with self._admin() as (talk, of):
            talk.rows(dialect.stop(of, thread))

    def reset_replica(self) -> None:
        with self._admin() as (talk, of):
            talk.rows(dialect.stop(of))
            talk.rows(dialect.forget(of))

    def change_source(self, host: str, port: int) -> None:
        with self._admin() as (talk, of):
            talk.rows(dialect.stop(of))
            talk.rows(dialect.follow(of), host, port)
            talk.rows(dialect.start(of, False, ("IO", "SQL"))[0])

    def tune(self) -> None:
        with self._admin() as (talk, of):
            talk.rows(dialect.stop(of))
            for statement in dialect.tune(of):
                talk.rows(statement)
            talk.rows(dialect.start(of, False, ("IO", "SQL"))[0])

    def tolerate_connects(self) -> None:
        with self._admin() as (talk, of):
            talk.rows(dialect.tolerate_connects(of))

    def set_read_only(self) -> int:
        cut = 0
        for last in (*[False] * (_TRIES - 1), True):
            with self._admin() as (talk, of):
                talk.rows(f"SET SESSION lock_wait_timeout = {_LOCKS}")
                try:
                    for statement in dialect.read_only(of, True):
                        talk.rows(statement)
                except DatabaseError as error:
                    # Somebody holds a table: cut off first, then close.
                    if error.trouble.errno != _LOCK_WAIT or last:
                        raise
                    cut += _cut(talk)
                    continue
                return cut + _cut(talk)
        raise AssertionError("the last try returns or raises")

    def set_writable(self) -> None:
        with self._admin() as (talk, of):
            for statement in dialect.read_only(of, False):
                talk.rows(statement)

    def _beats(self, talk: Session, state: ServerStatus) -> ServerStatus:
        try:
            rows = talk.rows(dialect.beats(self._settings.heartbeat))
        except DatabaseError as error:
            if error.trouble.errno not in _NO_BEATS:
                raise
            return msgspec.structs.replace(
                state,
                heartbeat_error=f"{error.trouble.text}. Make the heartbeat table and its grants, see docs/databases.md",
            )
        return msgspec.structs.replace(state, heartbeats={str(row["region"]): float(row["at"]) for row in rows})

    def _period(self, talk: Session, state: ServerStatus) -> ServerStatus:
        """With the heartbeat period of replication. MySQL shows it only to those who may see performance_schema."""
        if not state.replication:
            return state
        try:
            [row] = talk.rows(dialect.heartbeat_period(state.engine))
        except (DatabaseError, ValueError) as error:
            if isinstance(error, DatabaseError) and error.trouble.kind not in ("sql", "denied"):
                raise
            return state
        replication = msgspec.structs.replace(state.replication, heartbeat=float(row["Value"]))
        return msgspec.structs.replace(state, replication=replication)

    @contextmanager
    def _admin(self) -> Iterator[tuple[Session, Engine]]:
        with self._session(_PATIENT) as talk:
            yield talk, self._checked(str(talk.rows("SELECT @@version AS version")[0]["version"]))

    @contextmanager
    def _session(self, wait: float = 0) -> Iterator[Session]:
        with ExitStack() as stack:
            yield self._enter(stack, wait or float(self._settings.timeout))

    def _enter(self, stack: ExitStack, wait: float) -> Session:
        """A session with the login there is. If that is denied, with a newer one, if there is one."""
        login = self._login(None)
        try:
            return stack.enter_context(session(self._place, login, self._settings, self._root, wait))
        except DatabaseError as error:
            if error.trouble.kind != "denied":
                raise
            newer = self._login(login)
            if newer.version == login.version:
                raise
        return stack.enter_context(session(self._place, newer, self._settings, self._root, wait))

    def _login(self, denied: Login | None) -> Login:
        try:
            return self._logins(denied)
        except SecretError as error:
            raise self._trouble("setup", str(error)) from None

    def _checked(self, version: str) -> Engine:
        of = dialect.engine(version)
        if self._settings.flavour not in ("rds", of):
            raise self._trouble("wrong", f"is {version}, but fleet.toml says flavour = {self._settings.flavour!r}")
        if dialect.too_old(version):
            raise self._trouble("wrong", f"{version} is too old: MariaDB from 10.5 and MySQL from 8.0.26 will do")
        return of

    def _trouble(self, kind: str, text: str) -> DatabaseError:
        return DatabaseError(msgspec.convert({"kind": kind, "place": str(self._place), "text": text}, ServerError))


def _cut(talk: Session) -> int:
    """Ends the connections that might write."""
    own = int(talk.rows("SELECT CONNECTION_ID() AS id")[0]["id"])
    found = dialect.writers(talk.rows("SHOW PROCESSLIST"), own)
    for id in found:
        try:
            talk.rows(f"KILL {id}")
        except DatabaseError as error:
            # One that has ended by itself meanwhile is as good.
            if error.trouble.errno != _NO_SUCH_CONNECTION:
                raise
    return len(found)


