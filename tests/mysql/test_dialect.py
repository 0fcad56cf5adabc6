"""The statements, and how the answers of MySQL and MariaDB are read. MariaDB's are also proven by real servers."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from chalicelib.mysql import dialect, gtid
from chalicelib.mysql.status import ReplicaThread

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
# As MySQL 8.0 answers; the names are those of its reference manual, "SHOW REPLICA STATUS Statement".
MYSQL_ROW: dict[str, Any] = {
    "Replica_IO_State": "Waiting for source to send event", "Source_Host": "10.0.0.1", "Source_Port": 3306,
    "Connect_Retry": 60, "Replica_IO_Running": "Connecting", "Replica_SQL_Running": "No", "Last_IO_Errno": 2003,
    "Last_IO_Error": "error connecting to source", "Last_SQL_Errno": 1062, "Last_SQL_Error": "Duplicate entry",
    "Seconds_Behind_Source": None, "Retrieved_Gtid_Set": f"{UUID}:1-12", "Executed_Gtid_Set": f"{UUID}:1-10",
    "Auto_Position": 1, "Source_Server_Id": 1, "Source_UUID": UUID}
MYSQL = {"version": "8.0.39", "server_id": "2", "server_uuid": UUID, "read_only": "ON", "super_read_only": "ON",
         "log_bin": "ON", "log_replica_updates": "ON", "gtid_executed": f"{UUID}:1-10", "replica_net_timeout": "60"}


def test_a_mysql_replica_is_read() -> None:
    found = dialect.state("us-east-1", 5.0, 6.0, MYSQL, [MYSQL_ROW])
    assert (found.engine, found.id, found.read_only, found.log_bin, found.log_updates, found.replica_net_timeout) == (
        "mysql", UUID, True, True, True, 60)
    assert found.replication and found.replication.io == ReplicaThread("connecting", 2003, "error connecting to source")
    assert found.replication.sql == ReplicaThread("stopped", 1062, "Duplicate entry") and found.replication.gtid
    assert str(found.executed_gtids) == f"{UUID}:1-10" and str(found.retrieved_gtids) == f"{UUID}:1-12"
    assert found.replication.source == UUID
    assert (found.replication.host, found.replication.port, found.replication.seconds_behind_source) == ("10.0.0.1",
                                                                                                         3306, None)


def test_a_mysql_primary_is_read() -> None:
    found = dialect.state("eu-west-1", 5.0, 6.0, MYSQL | {"read_only": "OFF", "super_read_only": "OFF"}, [])
    assert found.replication is None and not found.read_only and found.retrieved_gtids == found.executed_gtids


def test_a_replica_without_gtids_is_known_as_one() -> None:
    found = dialect.state("us-east-1", 5.0, 6.0, MYSQL, [MYSQL_ROW | {"Auto_Position": 0, "Retrieved_Gtid_Set": ""}])
    assert found.replication and not found.replication.gtid


def test_an_old_mysql_and_super_read_only_alone() -> None:
    row = {"Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Master_Host": "m", "Master_Port": 3306,
           "Auto_Position": 1, "Seconds_Behind_Master": 3}
    found = dialect.state("us-east-1", 5.0, 6.0, MYSQL | {"read_only": "OFF"}, [row])
    assert found.replication and found.replication.seconds_behind_source == 3 and found.read_only


@pytest.mark.parametrize("variables", [{}, {"version": ""}, {"version": "8.0.39", "gtid_executed": "nonsense"}])
def test_what_is_no_answer_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        dialect.state("eu-west-1", 0, 0, variables, [])


@pytest.mark.parametrize("version, engine, old", [
    ("10.11.19-MariaDB-0+deb12u1-log", "mariadb", False), ("10.4.34-MariaDB", "mariadb", True),
    ("11.4.2-MariaDB", "mariadb", False), ("5.7.44-log", "mysql", True), ("8.0.25", "mysql", True),
    ("8.0.26", "mysql", False), ("8.4.0", "mysql", False), ("10.6.14-MariaDB-rds-log", "mariadb", False)])
def test_servers_by_their_version(version: str, engine: str, old: bool) -> None:
    assert dialect.engine(version) == engine and dialect.too_old(version) == old


@pytest.mark.parametrize("of, rds, threads, statements", [
    ("mariadb", False, ["IO", "SQL"], ["START SLAVE IO_THREAD, SQL_THREAD"]),
    ("mysql", False, ["SQL"], ["START REPLICA SQL_THREAD"]),
    ("mysql", True, ["IO", "SQL"], ["CALL mysql.rds_start_replication"]),
    ("mariadb", True, ["SQL"], ["CALL mysql.rds_start_replication"])])
def test_starting(of: gtid.Engine, rds: bool, threads: list[str], statements: list[str]) -> None:
    assert dialect.start(of, rds, threads) == statements


def test_mysql_is_closed_to_everybody_and_mariadb_as_far_as_it_can() -> None:
    assert dialect.read_only("mysql", True) == ["SET GLOBAL super_read_only = 1"]
    assert dialect.read_only("mariadb", True) == ["SET GLOBAL read_only = 1"]
    assert dialect.read_only("mysql", False) == dialect.read_only("mariadb", False) == ["SET GLOBAL read_only = 0"]


def test_mysql_follows_by_auto_position() -> None:
    assert dialect.follow("mysql") == (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_AUTO_POSITION = 1, "
        "SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 1")
    assert (dialect.stop("mysql"), dialect.stop("mysql", "IO"), dialect.forget("mysql")) == (
        "STOP REPLICA", "STOP REPLICA IO_THREAD", "RESET REPLICA ALL")
    assert dialect.tune("mysql")[0] == "SET PERSIST replica_net_timeout = 4"
    assert dialect.tolerate_connects("mysql") == "SET PERSIST max_connect_errors = 4294967295"
    assert dialect.status("mysql") == "SHOW REPLICA STATUS"
    assert "performance_schema" in dialect.heartbeat_period("mysql")


def test_no_statement_ever_skips_an_event() -> None:
    texts = [node.value for path in Path(inspect.getfile(dialect)).parent.glob("*.py")
             for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)
             and isinstance(node.value, str)]
    assert len(texts) > 300
    forbidden = ("skip_counter", "skip_repl_error", "skip_transaction", "gtid_next", "gtid_slave_pos =")
    assert not [text for text in texts if any(word in text.lower() for word in forbidden)]


def test_who_might_write() -> None:
    listed = [("system user", "Slave_IO"), ("event_scheduler", "Daemon"), ("repl", "Binlog Dump"),
              ("repl", "Binlog Dump GTID"), ("shop", "Sleep"), ("me", "Query")]
    rows = [{"Id": id, "User": user, "Command": command} for id, (user, command) in enumerate(listed, 1)]
    assert dialect.writers(rows, 6) == [5]
