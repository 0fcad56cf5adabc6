"""The peers themselves: they start, answer, stop, come back with their data, and leave nothing behind."""

import os
from contextlib import closing

import pytest

from testing.servers import mariadb, process

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS)


def test_a_server_answers_stops_and_comes_back_with_its_data() -> None:
    with mariadb.server("--max-connect-errors=1") as db:
        db.sql("CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)", "INSERT shop.orders VALUES (7)")
        db.stop()
        assert not db.process.alive
        db.start()
        assert db.sql("SELECT id FROM shop.orders") == [{"id": 7}]
        assert db.sql("SELECT @@max_connect_errors AS n") == [{"n": 1}]
        db.sql("CREATE USER app@'%' IDENTIFIED BY 'secret'")
        with closing(db.connect(user="app", password="secret", bind_address="127.0.0.9")) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT USER() AS user")
            assert str((cursor.fetchone() or {})["user"]).startswith("app@127.0.0.9")


def test_nothing_is_left_behind() -> None:
    with mariadb.server() as db:
        pid, folder = db.process.pid, db.folder
        db.process.stop()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(process.PeerError, match=r"(?s)never printed.*unknown variable 'no-such-option"), \
            mariadb.server("--no-such-option=1"):
        raise AssertionError("started")


def test_two_servers_at_once() -> None:
    with mariadb.server("--server-id=1") as one, mariadb.server("--server-id=2") as two:
        assert [db.sql("SELECT @@server_id AS n")[0]["n"] for db in (one, two)] == [1, 2]
        two.process.kill()
        with pytest.raises(ConnectionRefusedError):
            two.sql("SELECT 1")
        assert one.sql("SELECT 1 AS n") == [{"n": 1}]
