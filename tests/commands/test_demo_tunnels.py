"""What of the demo's tunnels needs no world: what is measured, what is told, and where it cannot be."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.config import fleet
from commands.demo.tunnels import FAR, Fault, Outcome, counted, unfit, wrong
from commands.roots import PRODUCT as ROOT
from sandbox.hosts import connections, traffic
from sandbox.hosts.database import Database
from sandbox.hosts.deeds import Deed, deeds
from sandbox.hosts.traffic import Count, Replication, greeted, longest
from sandbox.hosts.tunnels import tables

REGIONS = ["eu-west-1", "us-east-1", "ap-southeast-1"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1GRbyaSzDPkEH6RpLBP0Y1ZYbpkGVh3NkeXlGV5r0z"


def declared(*more: str, regions: list[str] = REGIONS, name: str = "shop") -> str:
    places = "".join(f'[[regions]]\nname = "{region}"\n' for region in regions)
    return "\n".join([f'name = "{name}"\ncoordination = {{ regions = ["eu-west-1"] }}\n{places}', *more])


@pytest.mark.parametrize(("marks", "found"), [
    ([9.9, 10.0, 10.1, 10.2, 20.1], 9.9),         # what ends after the window is told whole
    ([8.0, 11.0, 11.1, 19.9, 20.0, 20.1], 8.8),   # so is what began before
    ([9.0, 12.0, 12.5, 19.0, 40.0], 21.0),
    ([1.0, 9.5, 10.5], 9.5),                      # nothing since: until the end
    ([], 10.0), ([5.0], 15.0), ([1.0, 2.0, 10.0, 15.0, 20.0, 90.0], 5.0)])
def test_how_long_nothing_came_through(marks: list[float], found: float) -> None:
    assert longest(marks, 10.0, 20.0) == pytest.approx(found)


def entry(at: str, *kinds: str, results: tuple[str, ...] = ()) -> dict[str, Any]:
    acts = [{"kind": kind, "target": "slot 1", "reason": "it hung", "facts": {}} for kind in kinds]
    return {"at": f"2026-11-24T{at}Z", "operation": "tunnels.heal", "actions": acts, "results": list(results)}


def test_deeds_are_what_the_controller_did_since() -> None:
    journal = [
        entry("12:00:10", "drain", "restart", results=(
            "slot 1: drain of i-1: done", "slot 1: restart of i-1: refused: no such document")),
        {"at": "2026-11-24T12:00:09Z", "unreadable": "an item of another shape"},
        entry("12:00:02", "page"), entry("12:00:01", "undrain")]
    began = 1795521602.6  # 12:00:02.6
    assert deeds(journal, began) == [
        Deed(0, "page", "it hung"), Deed(7, "drain", "it hung"),
        Deed(7, "restart", "it hung; slot 1: restart of i-1: refused: no such document")]


def told(*faults: Fault, rows: int | None = 100, lost: int | None = 0) -> Outcome:
    return Outcome(REGIONS[2], REGIONS[1], "replication", list(faults), rows, lost)


HUNG = Fault("one ssh hung", 4.0, 20.0, [
    Deed(6, "drain", "i-0123456789abcdef0 has failed 3 times in a row (ambiguous: hung)"),
    Deed(6, "restart", "i-0123456789abcdef0 has failed 3 times in a row (ambiguous: hung)")])


@pytest.mark.parametrize(("found", "said"), [
    (told(HUNG), []),
    (told(HUNG, rows=None, lost=None), ["no row was counted"]),
    (told(HUNG, rows=0), ["no row was counted"]),
    (msgspec.structs.replace(told(HUNG, rows=None, lost=None), measured="greetings"), []),
    (told(), ["no tunnel of us-east-1 was broken"]),
    (told(HUNG, lost=3), ["3 of 100 rows are not on the replica"]),
    (told(msgspec.structs.replace(HUNG, well_after=None)), ["one ssh hung: the tunnels of us-east-1 were not well"]),
    (told(Fault(FAR, 31.0, 40.0, [Deed(5, "page", "nothing answers")])), []),
    (told(Fault(FAR, 31.0, 40.0, [Deed(9, "restart", "it hung")])),
     ["the gateway away, the controller did something to tunnels that were whole: restart"])])
def test_what_did_not_hold_for_the_tunnels_is_told(found: Outcome, said: list[str]) -> None:
    lines = list(wrong(found))
    assert len(lines) == len(said) and all(line.startswith(one) for line, one in zip(lines, said, strict=True)), lines


@pytest.mark.parametrize(("text", "reason"), [
    (declared(), ""),
    (declared('[tunnels]\nprimary = "ap-southeast-1"\n'), ""),
    (declared('[tunnels]\nprimary = "ap-southeast-1"\ngroup = "ours"\n'), "tunnels of its own (group)"),
    (declared(regions=REGIONS[:2]), "has two in all"),
    (declared('[databases]\nflavour = "mariadb"\nprimary = "ap-southeast-1"\nsecret = "db"\n'
              '[[databases.servers]]\nregion = "ap-southeast-1"\nhost = "db.example.com"\n'
              '[[databases.servers]]\nregion = "us-east-1"\nhost = "db2.example.com"\n'), "[databases] of its own"),
    (declared(name="a-name-of-20-letters"), "too long")])
def test_fleets_that_cannot_have_the_story(text: str, reason: str) -> None:
    found = unfit(fleet.parse(text))
    assert reason in found and bool(found) == bool(reason)


class Network:
    """An EC2 that has a network for whoever asks."""

    def client(self, service: str, region: str) -> "Network":
        return self

    def create_vpc(self, **asked: Any) -> Any:
        return {"Vpc": {"VpcId": "vpc-01234567"}}

    def create_subnet(self, **asked: Any) -> Any:
        return {"Subnet": {"SubnetId": "subnet-01234567"}}


@pytest.mark.parametrize("text", [
    declared(), (ROOT / "fleet.toml").read_text(),
    declared('[tunnels]\nprimary = "us-east-1"\nmode = "observe"\nslots = 5\nfall = 4\n')])
def test_the_demos_tunnels_are_laid_over_the_fleet_for_its_stage_alone(text: str) -> None:
    far: Any = SimpleNamespace(
        region=REGIONS[2], gateway_address="127.9.0.1", database_address="127.9.0.2", user="tunnel")
    world: Any = Network()
    keyring: Any = SimpleNamespace(public=KEY)
    more = tables(world, far, keyring, REGIONS[:2], "demo")
    assert fleet.parse(text + more, stage="prod") == fleet.parse(text, stage="prod")
    found = fleet.parse(text + more, stage="demo").tunnels
    assert found and found.hosts and (found.primary, found.mode, found.slots) == (REGIONS[2], "full", 2)
    assert [place.name for place in found.hosts.regions] == REGIONS[:2]


@pytest.mark.parametrize(("found", "said"), [
    (told(HUNG), "100 rows were written, one every 100 ms, and all of them are on the replica."),
    (told(HUNG, lost=3), "100 rows were written, one every 100 ms, and 3 are not on the replica."),
    (told(HUNG, rows=None, lost=None), "Rows were not counted, because the last fault was not repaired."),
    (msgspec.structs.replace(told(HUNG, rows=None, lost=None), measured="greetings"),
     "Nothing was written. A client had the database greet it every 100 ms, for want of MariaDB.")])
def test_what_is_said_of_rows_is_what_was_counted(found: Outcome, said: str) -> None:
    assert counted(found) == said


def test_the_connection_that_stays_is_found_at_its_host() -> None:
    table = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0200097F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0200097F:0CEA 0100007F:9A1C 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0300097F:0CEA 0100007F:9A1D 06 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0300097F:0CEB 0100007F:9A1E 01 00000000:00000000 00:00000000 00000000     0        0 4
"""
    assert connections.established(table, ["127.9.0.3", "127.9.0.2"], 3306) == {("127.9.0.2", "0100007F:9A1C")}


def test_without_anybody_who_stays_any_host_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_APART_SECONDS", 0.0)
    monkeypatch.setattr(connections, "_read", lambda: "")
    assert connections.carrier(["127.9.0.3", "127.9.0.2"], 3306) == "127.9.0.3"


def test_a_client_is_greeted_by_a_database_and_by_nothing_else() -> None:
    async def ask() -> bool:
        async with await asyncio.start_server(Database(10).serve, "127.0.0.1", 0) as server:
            return await asyncio.to_thread(greeted, server.sockets[0].getsockname()[:2])

    assert asyncio.run(ask())
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        place = nobody.getsockname()
    assert not greeted(place)


def test_a_row_that_the_replica_lacks_is_counted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "_CATCH_UP_SECONDS", 0.0)
    monkeypatch.setattr(Replication, "_rows", lambda self: {1, 3})
    parts: Any = SimpleNamespace(connect=None)
    found = Replication(parts, parts, ("127.0.0.1", 1))
    found.end()
    found._threads[0].start()
    found.confirmed = [1, 2, 3]
    assert found.count() == Count(3, 1)
