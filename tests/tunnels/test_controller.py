"""The controller's Lambda: rounds until the next one follows, one plan by hand, nothing where nothing is to be done.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chalicelib.config.databases import Server
from chalicelib.engine.interval import LAST_ROUND_SECONDS, LONGEST_SECONDS
from chalicelib.engine.operation import RunFailed
from chalicelib.tunnels import peer_report
from chalicelib.tunnels.controller import Controller
from chalicelib.tunnels.lambdas import LAMBDAS
from chalicelib.tunnels.probe.network import SocketNetwork
from chalicelib.tunnels.probe.pending import PendingProbes
from chalicelib.tunnels.state import PEER_REPORT_PK, Endpoint
from testing.servers.process import loopback, place
from tests.tunnels.harness import NOON, A, Yard

ROOT = Path(__file__).resolve().parent.parent.parent
MINUTE = {"detail-type": "Scheduled Event", "time": "2026-03-28T12:00:00Z"}


@pytest.fixture
def yard() -> Yard:
    """Two endpoints that work."""
    return Yard()


@pytest.fixture
def network() -> Iterator[SocketNetwork]:
    """Real sockets; no probe is owed an answer."""
    pending = PendingProbes()
    yield SocketNetwork(pending)
    pending.close()


@pytest.mark.parametrize("offset", [0, 8, 16, 41, 55])
def test_a_scheduled_event_starts_rounds_until_the_next_one_wherever_in_the_minute_it_comes(offset: int) -> None:
    yard = Yard()
    yard.now = NOON + offset
    ended = yard.minute()
    assert (ended["status"], ended["rounds"], ended["failed"]) == ("done", 31, 0)
    assert ended["because"] == "next follows"


@pytest.mark.slow
def test_a_controller_that_nobody_follows_goes_on_for_some_minutes(yard: Yard) -> None:
    ended = yard.controller.handle(MINUTE, "r")
    assert (ended["status"], ended["rounds"], ended["failed"]) == ("done", 137, 0)
    assert NOON + 272 <= yard.now < NOON + 275
    assert LAMBDAS[0].timeout_seconds >= LONGEST_SECONDS + LAST_ROUND_SECONDS


def test_the_controller_repairs_between_two_triggers(yard: Yard) -> None:
    yard.minute()
    yard.sides["i-0001"] = ("local", "refused")
    yard.now += 20
    yard.minute()
    assert yard.names() == ["elb deregister", "ssm send_command"]


def test_by_hand_it_only_plans(yard: Yard) -> None:
    outcome = yard.controller.handle({}, "r")
    assert outcome["status"] == "planned" and yard.local.get("tunnels", "lease") is None


@pytest.mark.parametrize(("more", "region"), [("", "us-east-1"), (', mode = "off"', "eu-west-1")])
def test_where_nothing_is_to_be_repaired_the_minute_is_over_at_once(more: str, region: str) -> None:
    yard = Yard(more, region)
    assert yard.controller.handle(MINUTE, "r")["message"] == "nothing to repair here"
    assert yard.now == NOON and yard.changes() == []


PRIMARY = """}
databases = {flavour = "mariadb", primary = "us-east-1", secret = "s", servers = [
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
def test_in_the_primary_s_region_it_tells_the_others_whether_the_database_answers(
    network: SocketNetwork, database: tuple[str, int], listening: bool
) -> None:
    yard = Yard(PRIMARY % (database if listening else place()), "us-east-1")
    ended = yard.minute(Controller(yard.context, network, yard.wait))
    assert (ended["status"], ended["rounds"]) == ("done", 13)
    told = yard.shared.get(PEER_REPORT_PK, "us-east-1")
    assert told and told.body["up"] is listening and yard.changes() == []
    assert yard.local.query("journal#2026-03-28") == []


def test_a_database_without_an_address_is_reported_down(network: SocketNetwork) -> None:
    yard = Yard(PRIMARY % ("db", 3306), "us-east-1")
    found = peer_report.probe(yard.context, network, Server("us-east-1", "no.such.name.invalid"), "")
    assert (found.side, found.why) == ("local", "no-address")


def test_three_rounds_that_fail_end_the_run(yard: Yard) -> None:
    def broken(targets: object) -> object:
        raise OSError("no sockets left")

    yard.network.answers = broken  # type: ignore[assignment]
    with pytest.raises(RunFailed, match="3 rounds in a row"):
        yard.controller.handle(MINUTE, "r")


def test_the_probes_are_real(yard: Yard, network: SocketNetwork) -> None:
    controller, (address, port) = Controller(yard.context, network), place()
    assert controller.tunnels is not None
    controller.tunnels = msgspec.structs.replace(controller.tunnels, port=port)
    found = controller.probe([Endpoint("i-1", address, "running", "registered")])
    assert (found["i-1"].side, found["i-1"].why) == ("local", "refused")


def test_rounds_in_which_nothing_happens_leave_one_line_in_thirty(caplog: pytest.LogCaptureFixture) -> None:
    yard = Yard()
    yard.rounds(10)
    caplog.clear()
    with caplog.at_level("INFO", "lamplighter"):
        yard.minute()
    assert len([line for line in caplog.messages if "the rounds are" not in line]) <= 2
    caplog.clear()
    yard.sides[A] = ("local", "refused")
    with caplog.at_level("INFO", "lamplighter"):
        yard.minute()
    assert any("drain" in line for line in caplog.messages)
