"""What a moved health check's status does: measured on a twin that does it in each of the three ways."""

import json
from typing import Any, get_args

import pytest

from commands import cli
from commands.conformance import run as conform
from commands.conformance.client import Pace
from commands.conformance.retarget import Look, Move, model, seen, target
from commands.errors import UsageError
from sandbox.route53.probes import Result
from sandbox.route53.twin import Twin
from sandbox.route53.verdicts import AfterMove
from tests.commands.test_conform import HOSTNAME, PLACES
from tests.route53.conftest import Clock, client_of

MODELS = {"carry": "carries over", "healthy": "reset healthy", "unhealthy": "reset unhealthy"}


class Account:
    """A twin whose checkers find the port 81 dead, and a client that ends the whole run at its first refusal."""

    def __init__(self, twin: Twin, clock: Clock) -> None:
        self.twin, self._clock = twin, clock
        self.api = client_of(twin)
        self.zone = self.api.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]

    def client(self, service: str, region: str) -> Any:
        return self.api

    def sleep(self, seconds: float) -> None:
        """Time passes in steps of at most a second, and the checkers work meanwhile."""
        until = self._clock.now + seconds
        while self._clock.now < until:
            self._clock.now = min(until, self._clock.now + 1)
            self.twin.checkers.step()


def probe(config: Any, address: str) -> Result:
    """Port 81 is dead."""
    return Result(config["Port"] != 81, "Failure: refused" if config["Port"] == 81 else "Success: connected")


def run(after: AfterMove, monkeypatch: pytest.MonkeyPatch, living: str, dead: str) -> int:
    """The exit status of the command, after which nothing may be left."""
    clock = Clock()
    with Twin(clock=clock, checking=False, places=PLACES, probe=probe, after_move=after) as twin:
        found = Account(twin, clock)
        monkeypatch.setattr(conform, "Account", lambda: found)
        monkeypatch.setattr(conform, "PACE", Pace(found.sleep, clock))
        status = cli.main(["routing", "conformance", "--zone", found.zone, "--hostname", HOSTNAME, "--yes", "--json",
                           "--living", living, "--dead", dead])
        clock.now += 60
        assert not found.api.list_health_checks()["HealthChecks"]
        return status


@pytest.mark.slow
@pytest.mark.parametrize("after", get_args(AfterMove))
def test_the_model_is_named(
        after: AfterMove, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status = run(after, monkeypatch, "127.0.0.1:80", "127.0.0.1:81")
    report = json.loads(capsys.readouterr().out)
    assert (status, report["moves"]["model"]) == (0, MODELS[after])
    assert [(move["living"], move["ended"], len(move["flips"])) for move in report["moves"]["moves"]] == [
        (False, False, 1), (True, True, 1)]


@pytest.mark.parametrize(("living", "dead", "error"), [
    ("127.0.0.1:81", "127.0.0.1:82", "only 0 of 8 of Route 53's checkers reach 127.0.0.1:81"),
    ("127.0.0.1:80", "127.0.0.1:82", "127.0.0.1:82 answers, or Route 53 does not notice that it does not")])
def test_addresses_that_are_not_as_they_were_said_to_be(
        living: str, dead: str, error: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert run("carry", monkeypatch, living, dead) == 2
    assert error in " ".join(capsys.readouterr().err.split())


def looks(*row: tuple[float, bool, int]) -> list[Look]:
    """Looks at so many seconds: the status, and how many of eight reports are good."""
    return [Look(at, healthy, good, 8) for at, healthy, good in row]


def test_a_row_of_looks_is_read() -> None:
    row = looks((0, True, 8), (1, True, 7), (20, True, 4), (25, False, 0), (30, False, 0))
    assert seen(row, living=False) == Move(False, 1, (25,), False)
    assert seen(row[:2], living=False) == Move(False, 1, (), True)
    assert seen(looks((0, True, 0), (4, True, 3)), living=True) == Move(True, 4, (0,), True)


LATE, SOON = Move(False, 2, (25,), False), Move(False, 2, (0,), False)


@pytest.mark.parametrize(("there", "back", "name"), [
    (LATE, Move(True, 2, (25,), True), "carries over"), (LATE, Move(True, 2, (0,), True), "reset healthy"),
    (SOON, Move(True, 2, (25,), True), "reset unhealthy"),
    (SOON, Move(True, 2, (0,), True), "none of the simple ones. Plan for the adversarial one"),
    (LATE, Move(True, 2, (0, 10, 25), True), "none of the simple ones. Plan for the adversarial one"),
    (LATE, Move(True, None, (25,), True), "none of the simple ones. Plan for the adversarial one"),
    (LATE, Move(True, 2, (), False), "none of the simple ones. Plan for the adversarial one")])
def test_models(there: Move, back: Move, name: str) -> None:
    assert model(there, back) == name


@pytest.mark.parametrize(("text", "address"), [
    ("198.51.100.1:443", "198.51.100.1"), ("[2001:db8::1]:80", "2001:db8::1")])
def test_a_target_is_read(text: str, address: str) -> None:
    assert target(text, "--living").address == address


@pytest.mark.parametrize("text", ["198.51.100.1", "host:80", "198.51.100.1:", ":80", ""])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UsageError, match=r"--dead .*: write an IP address and a port"):
        target(text, "--dead")
