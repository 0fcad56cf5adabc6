"""The healer's Lambda: a minute of rounds by the clock, one plan by hand, nothing where there is nothing to heal."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chalicelib.databases.config import Server
from chalicelib.engine.operation import RunFailed
from chalicelib.tunnels import canary
from chalicelib.tunnels.controller import Healer
from chalicelib.tunnels.probe.pending import PendingProbes
from chalicelib.tunnels.state import Endpoint
from testing.servers.process import loopback, place
from tests.tunnels.harness import NOON, Yard

ROOT = Path(__file__).resolve().parent.parent.parent
MINUTE = {"detail-type": "Scheduled Event", "time": "2026-03-28T12:00:00Z"}


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    """Two endpoints that work."""
    return Yard(monkeypatch)


@pytest.fixture
def parked() -> Iterator[PendingProbes]:
    """No probe is owed an answer."""
    made = PendingProbes()
    yield made
    made.close()


def healer(yard: Yard, parked: PendingProbes, monkeypatch: pytest.MonkeyPatch) -> Healer:
    """The healer of the yard's region, which sees what the yard says and whose time is the yard's."""
    monkeypatch.setattr(Healer, "look", lambda self, endpoints: yard.look(endpoints))

    def wait(seconds: float) -> None:
        yard.now += seconds

    return Healer(yard.site, parked, wait)


def test_a_scheduled_event_is_a_minute_of_rounds(
    yard: Yard, parked: PendingProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = healer(yard, parked, monkeypatch).handle(MINUTE, "r")
    assert (ended["status"], ended["rounds"], ended["failed"]) == ("done", 28, 0)
    assert NOON + 54 <= yard.now < NOON + 56
    assert yard.table.get("tunnels", "lease")


def test_the_healer_mends_within_its_minute(yard: Yard, parked: PendingProbes, monkeypatch: pytest.MonkeyPatch) -> None:
    mending = healer(yard, parked, monkeypatch)
    mending.handle(MINUTE, "r")
    yard.now = NOON + 60
    yard.sides["i-0001"] = ("local", "refused")
    mending.handle(MINUTE, "r")
    assert [method for method, _ in yard.asked if method in ("deregister_targets", "send_command")] == [
        "deregister_targets", "send_command"]


def test_by_hand_it_only_plans(yard: Yard, parked: PendingProbes, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = healer(yard, parked, monkeypatch).handle({}, "r")
    assert outcome["status"] == "planned" and yard.table.get("tunnels", "lease") is None


@pytest.mark.parametrize(("more", "region"), [("", "us-east-1"), (', mode = "off"', "eu-west-1")])
def test_where_nothing_is_to_be_healed_the_minute_is_over_at_once(
    monkeypatch: pytest.MonkeyPatch, parked: PendingProbes, more: str, region: str
) -> None:
    yard = Yard(monkeypatch, more, region)
    assert healer(yard, parked, monkeypatch).handle(MINUTE, "r")["message"] == "nothing to heal here"
    assert yard.now == NOON and yard.asked == []


MASTER = """}
databases = {flavour = "mariadb", master = "us-east-1", secret = "s", servers = [
  {region = "us-east-1", host = "%s", port = %d}]"""


@pytest.fixture
def database() -> Iterator[tuple[str, int]]:
    """Where a database greets, as a process of its own."""
    words = [sys.executable, "-P", "-m", "sandbox.mysql_stub", address := loopback()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout
        yield address, int(process.stdout.readline().split()[0])
        process.kill()


@pytest.mark.parametrize("listening", [True, False])
def test_in_the_master_s_region_it_tells_the_others_whether_the_database_answers(
    monkeypatch: pytest.MonkeyPatch, parked: PendingProbes, database: tuple[str, int], listening: bool
) -> None:
    yard = Yard(monkeypatch, MASTER % (database if listening else place()), "us-east-1")

    def wait(seconds: float) -> None:
        yard.now += seconds

    ended = Healer(yard.site, parked, wait).handle(MINUTE, "r")
    assert (ended["status"], ended["rounds"]) == ("done", 11)
    told = yard.coordination.get("far", "us-east-1")
    assert told and told.body["up"] is listening and yard.asked == []
    assert yard.table.query("journal#2026-03-28") == []


def test_a_database_without_an_address_is_no_canary(parked: PendingProbes) -> None:
    verdict = canary.database(Server("us-east-1", "no.such.name.invalid"), "", parked)
    assert (verdict.side, verdict.why) == ("local", "no-address")


def test_three_rounds_that_fail_fail_the_minute(
    yard: Yard, parked: PendingProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    mending = healer(yard, parked, monkeypatch)

    def broken(endpoints: object) -> object:
        raise OSError("no sockets left")

    monkeypatch.setattr(yard, "look", broken)
    with pytest.raises(RunFailed, match="3 rounds in a row"):
        mending.handle(MINUTE, "r")


def test_the_probes_are_real(yard: Yard, parked: PendingProbes) -> None:
    mending = Healer(yard.site, parked)
    assert mending.tunnels is not None
    address, port = place()
    mending.tunnels = msgspec.structs.replace(mending.tunnels, port=port)
    found = mending.look([Endpoint("i-1", address, "running", "registered")])
    assert (found["i-1"].side, found["i-1"].why) == ("local", "refused")
