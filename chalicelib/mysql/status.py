"""The status of a server, as its own answers give it. Times are epoch seconds."""

from typing import Literal

import msgspec

from chalicelib.mysql.gtid import Engine, GtidSet


class ServerError(msgspec.Struct, frozen=True):
    """The failure of a call to a server, with the server, its answer, and the remedy.

    `kind` is one of: nobody listens (`unreachable`), no answer in time (`silent`), `denied`, certificate or encryption
    (`tls`), turned away for another reason than the password (`refused`), no MySQL (`garbled`), another server than
    declared (`wrong`), our own settings (`setup`), and the server's own answer to a statement (`sql`, with its
    `errno`).
    """

    kind: Literal["unreachable", "silent", "denied", "tls", "refused", "garbled", "wrong", "setup", "sql"]
    place: str
    text: str
    errno: int = 0

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ReplicaThread(msgspec.Struct, frozen=True):
    """One of a replica's two threads. `connecting` is running without a connection to the primary yet."""

    state: Literal["running", "connecting", "stopped"]
    errno: int = 0
    error: str = ""


class ReplicaStatus(msgspec.Struct, frozen=True):
    """A replica's side of it. `retrieved_gtids` is what it has or has fetched.

    `seconds_behind_source` is Seconds_Behind_Source (s).

    `source` is the id of the server of its last connection, because behind a load balancer the address does not tell.
    """

    io: ReplicaThread
    sql: ReplicaThread
    host: str
    port: int
    gtid: bool
    retrieved_gtids: GtidSet
    seconds_behind_source: int | None = None
    connect_retry: int = 60
    heartbeat: float | None = None
    source: str = ""


class ServerStatus(msgspec.Struct, frozen=True):
    """The status of a server at `at`. `clock` is its own clock then. `id` its uuid, or its server_id.

    `executed_gtids` is what it has applied or written. `heartbeats` has the newest heartbeat row of each region, by
    that primary's clock. `max_connect_errors` is 0 if the server does not tell it.
    """

    region: str
    engine: Engine
    version: str
    id: str
    read_only: bool
    executed_gtids: GtidSet
    at: float
    clock: float
    log_bin: bool = True
    log_updates: bool = True
    replica_net_timeout: int = 0
    replication: ReplicaStatus | None = None
    heartbeats: dict[str, float] = {}
    heartbeat_error: str = ""
    max_connect_errors: int = 0

    @property
    def retrieved_gtids(self) -> GtidSet:
        """All that it has, applied or not."""
        return self.replication.retrieved_gtids if self.replication else self.executed_gtids


Look = ServerStatus | ServerError
