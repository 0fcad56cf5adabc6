"""databases.promote against real MariaDBs, with writes going on."""

import contextlib

import pymysql
import pytest

from chalicelib.context import RegionContext
from chalicelib.databases.operations import Databases
from chalicelib.engine.operation import Rejected
from chalicelib.mysql.connection import Place
from chalicelib.mysql.server import Server
from testing.servers import mariadb, process, replication
from testing.servers.replication import Town
from tests.databases.crash import Crash, Fuse
from tests.databases.harness import AP, EU, US

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS)


def test_a_planned_promotion_loses_nothing_while_writes_go_on(town: Town) -> None:
    with town.writing() as writes:
        writes.enough()
        answer = town.hand(US, "promote", region=US)
        assert answer["status"] == "planned", answer
        assert [one["kind"] for one in answer["plan"]["actions"]] == [
            "claim", "set-read-only", "apply-relay-log", "set-writable", "change-source", "finish"]
        done = town.hand(US, "promote", region=US, apply=answer["digest"])
        assert done["status"] == "done", done
        writes.enough()
    assert town.writable() == {US} and town.primary.region == US and town.primary.term == 1
    town.in_step(AP)
    assert {id for _, id in writes.confirmed} <= town.rows(US) == town.rows(AP)
    assert {region for region, _ in writes.confirmed} == {EU, US}


def test_the_other_replica_follows_the_new_primary_with_what_recovers_fast(town: Town) -> None:
    town.servers[AP].sql("STOP SLAVE", "CHANGE MASTER TO MASTER_CONNECT_RETRY = 60", "START SLAVE")
    assert town.hand(US, "promote", region=US, apply=True)["status"] == "done"
    town.write(US, 1)
    town.in_step(AP)
    pointed = town.replica(AP)
    assert (pointed["Master_Host"], pointed["Connect_Retry"]) == (town.servers[US].address, 1)
    assert pointed["Using_Gtid"] == "Slave_Pos" and town.rows(AP) == {1}


def test_a_dead_primary_is_passed_over_only_with_a_reason_and_what_replicas_had_is_kept(town: Town) -> None:
    with town.writing() as writes:
        writes.enough()
        town.servers[EU].process.kill()
    had = town.rows(US) | town.rows(AP)
    refused = town.hand(US, "promote", apply=True)
    assert refused["status"] == "refused" and "it may still be written to" in refused["message"]
    assert town.writable() == set() and town.primary.term == 0
    done = town.hand(US, "promote", force="the host has burnt down", apply=True)
    assert done["status"] == "done", done
    assert any("that no replica received, at most the writes of the last" in note for note in done["plan"]["notes"])
    new = town.primary.region
    town.in_step(*({US, AP} - {new}))
    assert had == town.rows(new) == town.rows(US) == town.rows(AP)
    assert town.journalled(US, "the host has burnt down")


def test_a_replica_that_cannot_be_reached_is_re_pointed_by_its_own_region(town: Town) -> None:
    town.servers[AP].process.stop()
    assert town.hand(US, "promote", region=US, apply=True)["status"] == "done"
    town.servers[AP].process.resume()
    town.write(US, 1)
    town.run(US, "watch")
    town.run(AP, "watch")
    assert "WrongSource" in town.told(AP)
    town.run(AP, "heal")
    town.in_step(AP)
    assert town.rows(AP) == {1}


def test_what_was_received_is_not_thrown_away_while_the_primary_is_dead(town: Town) -> None:
    town.servers[US].sql("STOP SLAVE SQL_THREAD")
    town.servers[AP].sql("STOP SLAVE IO_THREAD")
    town.write(EU, 1, 2, 3)
    town.until(lambda: town.replica(US)["Gtid_IO_Pos"] == town.servers[EU].sql("SELECT @@gtid_binlog_pos p")[0]["p"])
    town.servers[US].sql("STOP SLAVE IO_THREAD")
    received = town.replica(US)["Gtid_IO_Pos"]
    town.servers[EU].process.kill()
    town.run(EU, "watch")
    for _ in range(2):
        answer = town.run(US, "heal")
        assert any("a restart would throw it away" in note for note in answer["plan"]["notes"])
    assert town.replica(US)["Gtid_IO_Pos"] == received
    town.servers[EU].start()
    town.run(EU, "watch")
    town.run(US, "heal")
    town.in_step(US)
    assert town.rows(US) == {1, 2, 3}


def test_what_waits_in_the_relay_log_of_the_chosen_replica_is_applied_first(town: Town) -> None:
    town.servers[US].sql("STOP SLAVE SQL_THREAD")
    town.servers[AP].sql("STOP SLAVE IO_THREAD")
    town.write(EU, *range(50))
    town.until(lambda: town.replica(US)["Gtid_IO_Pos"] == town.servers[EU].sql("SELECT @@gtid_binlog_pos p")[0]["p"])
    town.servers[EU].process.kill()
    plan = town.hand(AP, "promote", force="burnt")
    assert plan["plan"]["actions"][0]["target"] == US, "the one that has received most"
    assert town.hand(AP, "promote", force="burnt", apply=plan["digest"])["status"] == "done"
    assert town.rows(US) == set(range(50))
    town.servers[AP].sql("START SLAVE IO_THREAD")
    town.in_step(AP)
    assert town.rows(AP) == set(range(50))


def test_a_region_that_others_cannot_reach_proves_itself_closed(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable_from_elsewhere(town, EU, monkeypatch)
    town.write(EU, 1)
    assert town.hand(US, "promote", region=US, apply=True)["status"] == "refused"
    assert town.hand(EU, "fence", apply=True)["status"] == "done"
    assert town.writable() == set()
    answer = town.hand(US, "promote", region=US, apply=True)
    assert answer["status"] == "done", answer
    assert town.writable() == {US} and town.rows(US) == {1} and town.primary.promotion is None


def unreachable_from_elsewhere(town: Town, region: str, patch: pytest.MonkeyPatch) -> None:
    """Only its own Lambda reaches the server; replication does, too."""
    true, place = town.operations._reach, process.free_port(town.servers[region].address)

    def reach(site: RegionContext, server: str, admin: bool) -> Server:
        found = true(site, server, admin)
        if server == region and site.region != region:
            patch.setattr(found, "_place", Place(region, town.servers[region].address, place))
        return found

    town.operations = Databases(reach, town.operations._wait)


def test_a_primary_that_restarted_read_only_is_opened_by_promoting_it_again(town: Town) -> None:
    town.servers[EU].sql("SET GLOBAL read_only = 1")
    town.run(EU, "watch")
    assert town.told(EU) == ["PrimaryReadOnly"] and not town.ready(EU)["ready"]
    answer = town.hand(EU, "promote", region=EU, apply=True)
    assert answer["status"] == "done", answer
    assert town.writable() == {EU} and town.primary.region == EU
    town.write(EU, 1)
    town.in_step()
    assert town.rows(US) == town.rows(AP) == {1}


def test_a_writer_that_holds_a_table_is_cut_off(town: Town) -> None:
    with contextlib.closing(town.application(EU)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLES shop.orders WRITE")
        done = town.hand(US, "promote", region=US, apply=True)
        assert done["status"] == "done", done
        assert town.writable() == {US}
        with pytest.raises(pymysql.MySQLError):
            cursor.execute("INSERT INTO shop.orders VALUES (1)")


def test_an_open_transaction_does_not_end_on_the_old_primary(town: Town) -> None:
    with contextlib.closing(town.application(EU)) as write_id, write_id.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO shop.orders VALUES (1)")
        assert town.hand(US, "promote", region=US, apply=True)["status"] == "done"
        with pytest.raises(pymysql.MySQLError):
            cursor.execute("COMMIT")
    assert town.rows(EU) == town.rows(US) == set()


def test_a_replica_behind_tunnels_is_known_by_the_servers_id_and_follows_where_they_lead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with replication.town(EU, US, AP, patch=monkeypatch, tunnelled=AP) as town:
        for region in town.regions:
            town.run(region, "watch")
        assert town.hand(US, "promote", region=US, apply=True)["status"] == "done"
        town.write(US, 1)
        town.until(lambda: town.replica(AP)["Slave_IO_Running"] == "Yes")
        town.run(AP, "watch")
        assert "WrongSource" in town.told(AP), "the tunnels still lead to the old primary"
        assert town.way
        town.way.lead(town.servers[US])
        town.in_step(AP)
        assert town.rows(AP) == {1}
        town.run(US, "watch")
        town.run(AP, "watch")
        assert town.ready(AP)["primary"] == US and town.ready(AP)["ready"]
        assert not any("which is not the primary" in note for note in town.run(AP, "watch")["plan"]["notes"])


def test_of_two_promotions_one_is_refused(town: Town) -> None:
    plan = town.plan(US, region=US)
    assert town.hand(AP, "promote", region=AP, apply=True)["status"] == "done"
    for action in plan.actions:
        with pytest.raises(Rejected, match=r"meanwhile|is over"):
            town.act(US, action)
    assert town.writable() == {AP}


@pytest.mark.slow
def test_after_a_crash_at_any_step_the_same_command_goes_on_and_nothing_is_lost(town: Town) -> None:
    order, confirmed, effects = [US, AP, EU], 0, 0
    fuse = Fuse(town.operations._reach, town.coordination)
    for site in town.sites.values():
        town.sites[site.region] = fuse.site(site)
    town.operations = Databases(fuse.reach, town.operations._wait)
    with town.writing() as writes:
        while True:
            old, new, crashed = town.primary.region, order[effects % 3], False
            writes.enough(5)
            fuse.after(effects)
            try:
                done = town.hand(new, "promote", region=new, apply=True)
            except Crash:
                crashed = True
                assert len(town.writable()) <= 1
                fuse.after(10_000)  # the next Lambda
                done = town.hand(new, "promote", region="" if town.primary.promotion else new, apply=True)
            fuse.after(10_000)
            assert done["status"] == "done", (effects, done)
            assert town.writable() == {new} and town.primary.region == new and town.primary.promotion is None
            writes.enough(5)
            town.rejoin(old)
            town.in_step()
            for region in (new, old):
                town.run(region, "watch")
            assert town.primary.fenced == ()
            assert {id for _, id in list(writes.confirmed)[:confirmed]} <= town.rows(new)
            confirmed = len(writes.confirmed)
            if not crashed:
                break
            effects += 1
    town.in_step()
    assert {id for _, id in writes.confirmed} <= town.rows(EU) == town.rows(US) == town.rows(AP)
    assert effects >= 11
