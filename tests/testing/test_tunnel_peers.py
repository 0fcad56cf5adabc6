"""The peers of a tunnel: sshd, ssh, autossh and HAProxy do what the tests that stand on them take for granted."""

import contextlib
import os
import signal
import socket

import pytest

from testing.eventually import eventually
from testing.servers import haproxy, mariadb, network, process, ssh
from testing.servers.process import family, loopback, place

pytestmark = pytest.mark.world
process.need(*mariadb.PROGRAMS, *ssh.PROGRAMS, *haproxy.PROGRAMS, "autossh", "ip", root=True)


def greeted(place: tuple[str, int]) -> bytes:
    """What a server says first; empty if it closes."""
    with socket.create_connection(place, timeout=process.PATIENCE) as connection:
        return connection.recv(4096)


def test_a_tunnel_leads_to_the_database_and_leaves_nothing_behind() -> None:
    with mariadb.server() as db, ssh.server(loopback()) as far:
        near = place()
        with far.tunnel(near, (db.address, db.port)) as tunnel:
            assert b"MariaDB" in greeted(near)
            pids = [*family(far.process.pid), tunnel.pid]
            db.stop()
            assert greeted(near) == b""
        with pytest.raises(ConnectionRefusedError):
            greeted(near)
    assert [pid for pid in pids if process.state(pid) != "Z"] == []
    assert not far.folder.exists()


@pytest.mark.parametrize("program", ["ssh", "autossh"])
def test_a_kept_tunnel_comes_back(program: str) -> None:
    with mariadb.server() as db, ssh.server(loopback()) as far:
        near = place()
        with far.kept(near, (db.address, db.port), program=program) as keeper:
            first = family(keeper.pid)[-1]
            os.kill(first, signal.SIGKILL)
            eventually(lambda: family(keeper.pid)[-1] not in (first, keeper.pid) and haproxy.listens(near))
            assert b"MariaDB" in greeted(near)


def test_a_balancer_leaves_out_what_is_down() -> None:
    with mariadb.server() as db:
        near, dead = place(), (loopback(), 9)
        with haproxy.balancer(near, {"up": (db.address, db.port), "down": dead}) as running:
            eventually(lambda: not running.servers()["down"][0])
            assert running.servers()["up"][0]
            assert all(b"MariaDB" in greeted(near) for _ in range(4))


def test_a_namespace_has_hosts_that_vanish() -> None:
    with network.namespace("10.0.0.1", "10.0.0.2"), mariadb.server(address="10.0.0.1") as db:
        db.sql("CREATE USER app@'10.0.0.1' IDENTIFIED BY 'x'")
        # Who connects to an address of this network comes from there, not from 127.0.0.1.
        with contextlib.closing(db.connect(user="app", password="x")) as connection:
            connection.ping()
        network.vanish("10.0.0.1")
        with pytest.raises(TimeoutError):
            socket.create_connection((db.address, db.port), timeout=0.2)
        network.cut("10.0.0.9")
        with pytest.raises(OSError, match="No route to host"):
            socket.create_connection(("10.0.0.9", 1))
    # This thread is back where it was: 10.0.0.2 is not here.
    with socket.socket() as outside, pytest.raises(OSError, match="Cannot assign"):
        outside.bind(("10.0.0.2", 0))


def test_a_stopped_peer_is_stopped_with_all_that_it_started() -> None:
    with process.Peer(["/bin/sh", "-c", "sh -c 'echo in; cat /dev/zero > /dev/null' & wait"]) as peer:
        peer.await_line("in")
        peer.stop()
        states = [process.state(pid) for pid in family(peer.pid)]
        assert (set(states), len(states) > 1) == ({"T"}, True) or "D" in states
        peer.resume()
    assert not peer.alive
