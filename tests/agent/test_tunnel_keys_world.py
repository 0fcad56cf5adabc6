"""lamplighter-keys with OpenSSH on both sides: two gateways, of which one may let in whom the other does not."""

import getpass
import json
import shlex
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chalicelib.tunnels.keys.openssh import Key
from sandbox import mysql_stub
from testing.servers import ssh
from testing.servers.process import loopback, need
from testing.servers.ssh import Sshd
from tests.agent.fake_aws import Host, host

pytestmark = pytest.mark.world
OLD, NEW = (Key(bytes([number] * 32), letter * 36) for number, letter in enumerate("ab"))
HERE, THERE = "us-east-1", "eu-north-1"


class Greets(socketserver.BaseRequestHandler):
    """A database that lets nobody in. A probe takes it for one that is up."""

    def handle(self) -> None:
        self.request.sendall(mysql_stub.greeting())
        if self.request.recv(4096):
            self.request.sendall(mysql_stub.denial())


@contextmanager
def database() -> Iterator[int]:
    """The port of a server that greets like a database."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greets) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


class Town:
    """A host and its two gateways. The first one is in use."""

    def __init__(self, folder: Path, gateways: dict[str, Sshd], port: int) -> None:
        self._gateways = gateways
        first, second = gateways.values()
        self.second = second.address
        self.host = host(folder, first.address, first.port, getpass.getuser(), parameter="")
        text = (folder / "tunnel.env").read_text()
        (folder / "tunnel.env").write_text(text.replace("DATABASE_PORT=3306", f"DATABASE_PORT={port}"))
        (folder / "ways" / f"{THERE}.env").write_text(
            f"ALIAS=lamplighter-gateway-{THERE}\nGATEWAY={second.address}\nGATEWAY_PORT={second.port}\n")
        (folder / "run" / "way.env").write_text(f"PRIMARY={HERE}\n")
        self.known = "".join(f"lamplighter-gateway-{region} {(one.folder / 'host.pub').read_text()}"
                             for region, one in gateways.items())

    def admit(self, region: str, *keys: Key) -> None:
        """What the gateway's pull leaves in its file."""
        (self._gateways[region].folder / "user.pub").write_text("".join(f"{key.line()}\n" for key in keys))

    def secret(self, **by_stage: Key) -> Host:
        """The host, where the secret holds these keys."""
        cases = [f"*{stage}*) printf %s "
                 f"{shlex.quote(json.dumps({'SecretString': key.private(), 'VersionId': key.version}))} ;;"
                 for stage, key in by_stage.items()]
        told = shlex.quote(json.dumps({"Parameter": {"Value": self.known}}))
        self.host.says(["#!/bin/sh", 'case "$*" in', f"*get-parameter*) printf %s {told} ;;", *cases,
                        "*) echo '(ResourceNotFoundException)' >&2; exit 254 ;;", "esac"])
        return self.host


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    need(*ssh.PROGRAMS)
    with ssh.server(loopback()) as first, ssh.server(loopback()) as second, database() as port:
        yield Town(tmp_path, {HERE: first, THERE: second}, port)


def test_a_host_keeps_its_key_until_every_gateway_has_let_the_new_one_in(town: Town) -> None:
    made = town.secret(AWSCURRENT=OLD, AWSPENDING=NEW)
    (made.run / "key").write_text(OLD.private())
    town.admit(HERE, OLD, NEW)
    town.admit(THERE, OLD)  # its parameter says both, and its disk is full
    done = made.keys("reload")
    assert done.returncode == 3 and f"the gateway {town.second} does not let this key in" in done.stderr
    assert (made.run / "key").read_text() == OLD.private()
    town.admit(THERE, OLD, NEW)
    done = made.keys("reload")
    assert (done.returncode, done.stdout) == (0, f"gateway={HERE}\ngateway={THERE}\nversion={NEW.version}\n"), done
    assert (made.run / "key").read_text() == NEW.private()
    assert sorted(path.name for path in made.run.iterdir()) == ["key", "known_hosts", "way.env"]


def test_the_former_key_is_seen_to_be_denied_by_every_gateway(town: Town) -> None:
    made = town.secret(AWSCURRENT=NEW, AWSPREVIOUS=OLD)
    (made.run / "key").write_text(NEW.private())
    town.admit(HERE, NEW)
    town.admit(THERE, OLD, NEW)
    done = made.keys("check-former-key")
    assert done.returncode == 3 and f"the gateway {town.second} still lets the former key in" in done.stderr
    town.admit(THERE, NEW)
    done = made.keys("check-former-key")
    assert (done.returncode, done.stdout) == (0, f"gateway={HERE}\ngateway={THERE}\nversion={OLD.version}\n"), done
    assert (made.run / "key").read_text() == NEW.private(), "what is in use stays in use"


def test_a_gateway_that_does_not_answer_has_denied_nothing(town: Town) -> None:
    made = town.secret(AWSCURRENT=NEW, AWSPREVIOUS=OLD)
    for region in (HERE, THERE):
        town.admit(region, NEW)
    town.host.folder.joinpath("ways", f"{THERE}.env").write_text(
        f"ALIAS=lamplighter-gateway-{THERE}\nGATEWAY={(nobody := loopback())}\nGATEWAY_PORT=1\n")
    done = made.keys("check-former-key")
    assert done.returncode == 3 and nobody in done.stderr and "version=" not in done.stdout


def test_without_a_former_key_there_is_none_to_deny(town: Town) -> None:
    assert town.secret(AWSCURRENT=NEW).keys("check-former-key").stdout.endswith("version=none\n")
