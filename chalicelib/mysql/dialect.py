"""The statements of MariaDB, MySQL and Amazon RDS, and how their answers are read. Pure.

Sources: "Replication Statements" and "Replication and Binary Log System Variables" in MariaDB's documentation;
"SQL Statements for Controlling Replica Servers" in MySQL's 8.0 and 8.4 manuals; "Configuring, starting, and stopping
binary log (binlog) replication" in the user guide of Amazon RDS. Nothing here skips an event.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib import escape
from chalicelib.mysql.gtid import Engine, GtidSet, read
from chalicelib.mysql.status import ReplicaStatus, ReplicaThread, ServerStatus

# What a server is asked in one statement: names that it does not know are simply missing from its answer.
VARIABLES = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_id', 'server_uuid', 'read_only', "
    "'super_read_only', 'log_bin', 'log_slave_updates', 'log_replica_updates', 'gtid_slave_pos', 'gtid_binlog_state', "
    "'gtid_current_pos', 'gtid_executed', 'slave_net_timeout', 'replica_net_timeout', "
    "'max_connect_errors')")
CLOCK = "SELECT UNIX_TIMESTAMP(NOW(6)) AS clock"
# Sessions that could still write: not ours, not replication's, not the server's own.
_NOBODY = ("system user", "event_scheduler", "unauthenticated user", "rdsadmin")
# What a fast recovery needs; measured in docs/databases.md.
CONNECT_RETRY, HEARTBEAT, NET_TIMEOUT = 1, 1, 4
# The highest value of MariaDB, and one that MySQL takes. All tunnels of a gateway are one host, so a lower one lets a
# port scan by anybody block replication for all (error 1129).
CONNECT_ERRORS = 4_294_967_295


def engine(version: str) -> Engine:
    """Which server it is, by its version."""
    return "mariadb" if "mariadb" in version.lower() else "mysql"


def too_old(version: str) -> bool:
    """Whether the server lacks required statements, as MariaDB before 10.5 and MySQL before 8.0.26 do."""
    numbers = [int("0" + "".join(filter(str.isdigit, part))) for part in version.split("-")[0].split(".")]
    return numbers < ([10, 5] if engine(version) == "mariadb" else [8, 0, 26])


def status(of: Engine) -> str:
    """Asks for the replica's status."""
    return "SHOW SLAVE STATUS" if of == "mariadb" else "SHOW REPLICA STATUS"


def start(of: Engine, rds: bool, threads: Sequence[str]) -> list[str]:
    """Starts `threads` (`IO`, `SQL`). RDS knows only both."""
    if rds:
        return ["CALL mysql.rds_start_replication"]
    word = "SLAVE" if of == "mariadb" else "REPLICA"
    return [f"START {word} {', '.join(f'{thread}_THREAD' for thread in threads)}"]


def stop(of: Engine, thread: str = "") -> str:
    """Stops one thread, or both."""
    word = "SLAVE" if of == "mariadb" else "REPLICA"
    return f"STOP {word} {thread}_THREAD" if thread else f"STOP {word}"


def forget(of: Engine) -> str:
    """Makes a stopped replica forget its primary for good."""
    return "RESET SLAVE ALL" if of == "mariadb" else "RESET REPLICA ALL"


def follow(of: Engine) -> str:
    """Gives a stopped replica another source. Host and port are its two values. User and password stay."""
    if of == "mariadb":
        return ("CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USE_GTID = slave_pos, "
                f"MASTER_CONNECT_RETRY = {CONNECT_RETRY}, MASTER_HEARTBEAT_PERIOD = {HEARTBEAT}")
    return ("CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_AUTO_POSITION = 1, "
            f"SOURCE_CONNECT_RETRY = {CONNECT_RETRY}, SOURCE_HEARTBEAT_PERIOD = {HEARTBEAT}")


def tune(of: Engine) -> list[str]:
    """The settings for a fast recovery, for a stopped replica."""
    if of == "mariadb":
        return [f"SET GLOBAL slave_net_timeout = {NET_TIMEOUT}",
                f"CHANGE MASTER TO MASTER_CONNECT_RETRY = {CONNECT_RETRY}, MASTER_HEARTBEAT_PERIOD = {HEARTBEAT}"]
    return [f"SET PERSIST replica_net_timeout = {NET_TIMEOUT}",
            f"CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY = {CONNECT_RETRY}, "
            f"SOURCE_HEARTBEAT_PERIOD = {HEARTBEAT}"]


def tolerate_connects(of: Engine) -> str:
    """Lets connections that do not log in block nobody. MariaDB forgets it when it restarts."""
    return f"SET {'GLOBAL' if of == 'mariadb' else 'PERSIST'} max_connect_errors = {CONNECT_ERRORS}"


def heartbeat_period(of: Engine) -> str:
    """Asks how often the primary is to send a sign of life when it has nothing to send (s)."""
    if of == "mariadb":
        return "SHOW GLOBAL STATUS LIKE 'Slave_heartbeat_period'"
    return ("SELECT HEARTBEAT_INTERVAL AS Value FROM performance_schema.replication_connection_configuration "
            "WHERE CHANNEL_NAME = ''")


def read_only(of: Engine, on: bool) -> list[str]:
    """Closes the server to writers, or opens it. On MySQL super_read_only=1 implies read_only, and read_only=0 both."""
    if not on:
        return ["SET GLOBAL read_only = 0"]
    return ["SET GLOBAL read_only = 1"] if of == "mariadb" else ["SET GLOBAL super_read_only = 1"]


def beat(table: str) -> str:
    """Writes the heartbeat of a region, its one value, by the server's own clock."""
    return (f"INSERT INTO {quoted(table)} (region, at) VALUES (%s, UNIX_TIMESTAMP(NOW(6))) "  # noqa: S608
            "ON DUPLICATE KEY UPDATE at = VALUES(at)")


def beats(table: str) -> str:
    """Asks for the newest heartbeat of each region."""
    return f"SELECT region, at FROM {quoted(table)}"  # noqa: S608


def quoted(table: str) -> str:
    """`database.table` with both names quoted."""
    return ".".join(map(escape.identifier, table.split(".")))


def writers(rows: Sequence[Mapping[str, Any]], own: int) -> list[int]:
    """Ids of the connections of a process list that might write."""
    return [int(row["Id"]) for row in rows
            if row["User"] not in _NOBODY and not str(row["Command"]).startswith(("Binlog Dump", "Daemon"))
            and int(row["Id"]) != own]


def state(
    region: str, at: float, clock: float, variables: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> ServerStatus:
    """The status in the answers to `VARIABLES` and `status`. `ValueError` if they are none."""
    version = variables.get("version", "")
    if not version:
        raise ValueError("no version among the server's variables")
    of = engine(version)
    gtids = read(of, *(variables.get(name, "") for name in (
        ("gtid_slave_pos", "gtid_binlog_state", "gtid_current_pos") if of == "mariadb" else ("gtid_executed",))))
    return ServerStatus(
        region, of, version, variables.get("server_uuid") or variables.get("server_id", ""),
        _on(variables, "read_only", "super_read_only"), gtids, at, clock, _on(variables, "log_bin"),
        _on(variables, "log_slave_updates", "log_replica_updates"),
        int(variables.get("slave_net_timeout") or variables.get("replica_net_timeout") or 0),
        _replication(of, rows[0], gtids) if rows else None,
        max_connect_errors=int(variables.get("max_connect_errors") or 0))


def _replication(of: Engine, row: Mapping[str, Any], applied: GtidSet) -> ReplicaStatus:
    def said(*names: str) -> Any:
        return next((row[name] for name in names if row.get(name) is not None), None)

    fetched = str(said("Gtid_IO_Pos", "Retrieved_Gtid_Set") or "")
    gtid = said("Using_Gtid") not in (None, "No") if of == "mariadb" else bool(int(said("Auto_Position") or 0))
    return ReplicaStatus(
        _thread(said("Slave_IO_Running", "Replica_IO_Running"), said("Last_IO_Errno"), said("Last_IO_Error")),
        _thread(said("Slave_SQL_Running", "Replica_SQL_Running"), said("Last_SQL_Errno"), said("Last_SQL_Error")),
        str(said("Master_Host", "Source_Host") or ""), int(said("Master_Port", "Source_Port") or 0), gtid,
        read(of, str(fetched), *_texts(of, applied)),
        said("Seconds_Behind_Master", "Seconds_Behind_Source"), int(said("Connect_Retry") or 60),
        source=str(said("Master_Server_Id") if of == "mariadb" else said("Source_UUID", "Master_UUID") or ""))


def _texts(of: Engine, gtids: GtidSet) -> list[str]:
    if of == "mysql":
        return [str(gtids)] if gtids else []
    return [f"{origin}-{ranges[-1][1]}" for origin, ranges in gtids.ranges.items()]


def _thread(said: Any, errno: Any, error: Any) -> ReplicaThread:
    word: Any = {"Yes": "running", "Connecting": "connecting", "Preparing": "connecting"}.get(str(said), "stopped")
    return ReplicaThread(word, int(errno or 0), str(error or "")[:500])


def _on(variables: Mapping[str, str], *names: str) -> bool:
    return any(variables.get(name, "OFF").upper() not in ("OFF", "0", "") for name in names)
