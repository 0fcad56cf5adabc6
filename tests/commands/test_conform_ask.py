"""Asking the zone's own name servers, where TestDNSAnswer does not look at health."""

import socket
from collections.abc import Iterator

import pytest

from commands.conformance import queries
from commands.conformance.zone import Place
from commands.errors import UsageError
from sandbox.route53.twin import Twin
from tests.route53.conftest import Clock, client_of


@pytest.fixture
def place() -> Iterator[Place]:
    clock = Clock()
    with Twin(clock=clock, checking=False) as twin:
        client = client_of(twin)
        zone = client.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]
        yield Place(client, zone, "lamp-test.example.com", clock=clock, wait=lambda seconds: None)


def test_name_servers_are_looked_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostbyname", lambda name: f"127.0.0.{name[3]}")
    assert queries.servers(place) == [(f"127.0.0.{number}", 53) for number in range(1, 5)]


def test_name_servers_that_cannot_be_looked_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise OSError("unknown")

    monkeypatch.setattr("socket.gethostbyname", unknown)
    with pytest.raises(UsageError, match=r"ns-1\.route53-twin\.example.* have no addresses"):
        queries.servers(place)


def test_silence_is_an_answer_that_disagrees(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_SERVER_SECONDS", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr(queries, "servers", lambda place: [silent.getsockname()])
        assert queries.by_servers(place)("alive", "SE") == "no answer from 127.0.0.1 (Timeout)"
