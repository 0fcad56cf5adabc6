"""databases.watch and heal against real MariaDBs, with writes going on."""

import contextlib
import re

import pymysql
import pytest

from testing.servers import mariadb, process, replication
from testing.servers.replication import Town
from tests.databases.harness import AP, EU, US

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS)


def test_a_quiet_fleet_is_ready_everywhere_and_nobody_is_told(town: Town) -> None:
    town.in_step()
    for region in town.regions:
        town.run(region, "watch")
        assert town.ready(region)["ready"], town.ready(region)
        assert town.told(region) == []
    assert town.ready(EU)["why"] == "is the primary" and "by heartbeat" in town.ready(US)["why"]


def test_the_old_primary_that_comes_back_is_fenced_at_once_and_told_what_it_has_more(town: Town) -> None:
    for region in (US, AP):
        town.servers[region].sql("STOP SLAVE IO_THREAD")
    town.write(EU, 1, 2, 3)
    for region in (US, AP):
        town.servers[region].sql("START SLAVE IO_THREAD")
        town.in_step(region)
        town.servers[region].sql("STOP SLAVE IO_THREAD")
    town.write(EU, 4, 5)
    town.servers[EU].process.kill()
    assert town.hand(US, "promote", region=US, force="burnt", apply=True)["status"] == "done"
    town.write(US, 6)
    town.servers[EU].start()
    assert town.writable() == {EU, US}
    town.run(EU, "watch")
    assert town.writable() == {US} and sorted(town.told(EU)) == ["NotReplicating", "SplitBrain"]
    [text] = [text for subject, text in town.alerts[EU].told if subject.startswith("SplitBrain")]
    assert "up to 2 transactions that the new primary never got (0-1-" in text
    assert not town.ready(EU)["ready"]
    with pytest.raises(Exception, match="read-only"):
        town.write(EU, 7)
    town.run(EU, "watch")
    assert town.rows(US) == {1, 2, 3, 6} and town.writable() == {US}


def test_a_hung_primary_that_thaws_is_no_second_one(town: Town) -> None:
    with town.writing() as writes:
        writes.enough()
        town.servers[EU].process.stop()
        refused = town.hand(US, "promote", apply=True)
        assert refused["status"] == "refused" and "gave no answer in time" in refused["message"]
        assert town.hand(US, "promote", force="hangs", apply=True)["status"] == "done"
        writes.enough()
        town.servers[EU].process.resume()
        town.run(EU, "watch")
        assert town.writable() == {town.primary.region}
        before = town.rows(EU)
        writes.enough()
    assert town.rows(EU) == before
    kept = town.rows(town.primary.region)
    assert {id for region, id in writes.confirmed if region == town.primary.region} <= kept


def test_healing_starts_what_was_stopped(town: Town) -> None:
    for stop in ("STOP SLAVE", "STOP SLAVE IO_THREAD", "STOP SLAVE SQL_THREAD"):
        town.servers[US].sql(stop)
        town.tables[US].store.items.pop(("databases", "heal"), None)  # a new day: no cool-down
        town.write(EU, len(town.rows(EU)))
        answer = town.run(US, "heal")
        assert [one["kind"] for one in answer["plan"]["actions"]] == ["restart"], answer
        town.in_step(US)
    assert town.rows(US) == {0, 1, 2}


def test_a_killed_connection_comes_back_by_itself_and_a_killed_sql_thread_by_healing(town: Town) -> None:
    for row in town.servers[EU].sql("SHOW PROCESSLIST"):
        if row["Command"] == "Binlog Dump":
            town.servers[EU].sql(f"KILL {row['Id']}")
    town.write(EU, 1)
    town.in_step()
    for row in town.servers[US].sql("SHOW PROCESSLIST"):
        if row["Command"] == "Slave_SQL":
            town.servers[US].sql(f"KILL {row['Id']}")
    town.until(lambda: town.replica(US)["Slave_SQL_Running"] == "No")
    town.write(EU, 2)
    town.run(US, "heal")
    town.in_step()
    assert town.rows(US) == {1, 2}


def test_a_duplicate_key_is_told_and_never_skipped(town: Town) -> None:
    town.servers[US].sql("SET sql_log_bin = 0, GLOBAL gtid_strict_mode = 0", "INSERT INTO shop.orders VALUES (1)")
    town.write(EU, 1, 2)
    town.until(lambda: town.replica(US)["Last_SQL_Errno"] == 1062)
    stuck = town.replica(US)
    for _ in range(3):
        town.run(US, "heal")
    town.run(US, "watch")
    after = town.replica(US)
    assert (after["Slave_SQL_Running"], after["Last_SQL_Errno"], after["Exec_Master_Log_Pos"]) == (
        "No", 1062, stuck["Exec_Master_Log_Pos"])
    assert town.rows(US) == {1} and town.servers[US].sql("SELECT @@sql_slave_skip_counter AS n") == [{"n": 0}]
    assert town.told(US).count("ReplicationBroken") == 1 and "SQLThreadStopped" in town.told(US)


def test_lag_is_seen_by_the_heartbeat_when_the_sql_thread_stands_still(town: Town) -> None:
    town.servers[US].sql("STOP SLAVE SQL_THREAD")
    town.write(EU, 1)
    town.run(EU, "watch")
    for _ in range(2):
        answer = town.run(US, "watch")
    facts = next(one["details"] for one in answer["plan"]["actions"] if one["kind"] == "publish-report")
    assert town.replica(US)["Seconds_Behind_Master"] is None
    assert facts["gauges"]["ReplicaLagAtLeast"] > 0 and facts["gauges"]["ReplicaTransactionsMissing"] >= 1
    town.run(AP, "watch")
    assert "at most" in town.ready(AP)["why"]


def test_a_hung_replica_ends_the_look_and_is_not_ready(town: Town) -> None:
    town.servers[US].process.stop()
    town.run(US, "watch")
    assert "gave no answer in time" in town.ready(US)["why"] and not town.ready(US)["ready"]
    assert town.told(US) == ["DatabaseUnreachable"]
    town.servers[US].process.resume()
    town.run(US, "watch")
    assert town.ready(US)["ready"]


def test_tuning_sets_what_recovers_fast_and_replication_runs_on(town: Town) -> None:
    town.servers[US].sql("STOP SLAVE", "SET GLOBAL slave_net_timeout = 60",
                         "CHANGE MASTER TO MASTER_CONNECT_RETRY = 60, MASTER_HEARTBEAT_PERIOD = 30", "START SLAVE")
    town.until(lambda: town.replica(US)["Slave_IO_Running"] == "Yes")
    planned = town.hand(US, "tune")
    assert planned["plan"]["actions"][0]["details"] == {
        "replica_net_timeout": {"is": 60, "better": 4}, "connect_retry": {"is": 60, "better": 1},
        "heartbeat_period": {"is": 30.0, "better": 1}}
    assert planned["plan"]["actions"][1]["details"] == {"max_connect_errors": {"is": 100, "better": 4_294_967_295}}
    assert town.replica(US)["Connect_Retry"] == 60, "only the plan"
    assert town.hand(US, "tune", apply=planned["digest"])["status"] == "done"
    town.write(EU, 1)
    town.in_step(US)
    assert town.hand(US, "tune")["plan"]["notes"] == ("all settings have their values already",)


def test_tuning_lets_connections_without_a_login_block_nobody_on_the_primary_too(town: Town) -> None:
    planned = town.hand(EU, "tune")
    assert [action["kind"] for action in planned["plan"]["actions"]] == ["tolerate-connects"]
    assert town.hand(EU, "tune", apply=planned["digest"])["status"] == "done"
    assert town.servers[EU].sql("SELECT @@GLOBAL.max_connect_errors AS n") == [{"n": 4_294_967_295}]
    assert "nothing to tune" in town.hand(EU, "tune")["message"]


def test_the_watcher_may_only_look_and_beat(town: Town) -> None:
    watcher = {"user": "lamplighter_watch", "password": "change-me-1"}
    for region, statement, why in (
            (US, "STOP SLAVE", "denied"), (US, "SET GLOBAL read_only = 0", "denied"),
            (EU, "INSERT INTO shop.orders VALUES (1)", "denied"), (EU, "DELETE FROM lamplighter.heartbeat", "denied"),
            (US, "INSERT INTO lamplighter.heartbeat VALUES ('x', 1)", "read-only")):
        with contextlib.closing(town.servers[region].connect(**watcher)) as connection, \
                connection.cursor() as cursor, pytest.raises(pymysql.MySQLError, match=why):
            cursor.execute(statement)


def test_the_application_can_ask_its_own_replica(town: Town) -> None:
    page = (replication.ROOT / "docs" / "databases.md").read_text()
    [statement] = re.findall(r"```sql\n(SELECT .*?)\n```", page, re.S)
    town.in_step()
    town.servers[EU].sql("GRANT SELECT ON lamplighter.heartbeat TO shop@'%'")
    town.in_step()
    with contextlib.closing(town.application(US)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        assert 0 <= cursor.fetchone()["seconds"] < process.PATIENCE
