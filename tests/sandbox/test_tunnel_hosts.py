"""The parts of the embedded tunnel hosts by themselves: the database's counting, the boot, what stands in for `aws`."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.mysql.handshake import LONGEST, Handshake, HandshakeResult
from chalicelib.tunnels.infrastructure import host as tunnel_host
from sandbox.hosts import boot, programs
from sandbox.hosts.database import Database
from tests.tunnels.fleets import parsed

NEAR, OTHER, EXEMPT = "127.0.0.9", "127.0.0.10", "127.0.0.1"


async def visit(port: int, source: str, say: bytes | None) -> HandshakeResult:
    """A client from `source`: polite without `say`, else it answers the greeting with that and closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    talk = Handshake()
    try:
        while talk.found is None:
            data = await reader.read(LONGEST)
            if not data:
                return talk.connection_closed()
            answer = talk.data_received(data)
            if say is not None and talk.found is None:
                writer.write(say)
                return HandshakeResult("ambiguous", "rude")
            writer.write(answer)
        return talk.found
    finally:
        writer.close()
        await writer.wait_closed()


def visits(most: int, *clients: tuple[str, bytes | None]) -> tuple[list[HandshakeResult], Database]:
    """What each client finds, one after the other."""
    async def all_of_them() -> tuple[list[HandshakeResult], Database]:
        database = Database(most)
        async with await asyncio.start_server(database.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = []
            for client in clients:
                found.append(await visit(port, *client))
                while len(asyncio.all_tasks()) > 2:  # until the server has done with it
                    await asyncio.sleep(0.001)
            return found, database

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("rude", [b"", b"\1\0\0\0\1", b"\x20\0\0\1" + b"\0" * 32, b"\3\0\0\1abc"])
def test_a_handshake_that_is_not_ended_counts_and_many_shut_the_host_out(rude: bytes) -> None:
    found, database = visits(2, (NEAR, rude), (NEAR, rude), (NEAR, None), (OTHER, None))
    assert [(one.side, one.why) for one in found[2:]] == [("far", "blocked"), ("up", "answered")]
    assert database.errors[NEAR] == 2


def test_a_polite_probe_is_never_counted_and_clears_what_was() -> None:
    found, database = visits(2, (NEAR, b""), *[(NEAR, None)] * 20, (NEAR, b""), (NEAR, None))
    assert {one.side for one in found if one.why != "rude"} == {"up"} and not database.errors[NEAR]


def test_nobody_is_shut_out_from_the_loopback_address() -> None:
    found, database = visits(1, (EXEMPT, b""), (EXEMPT, b""), (EXEMPT, None))
    assert found[-1].side == "up" and not database.errors


def test_a_boot_lays_out_what_the_user_data_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    _, tunnels, hosts = parsed()
    text = tunnel_host.user_data(tunnels, hosts, tunnel_host.files(), "f-s")
    (tmp_path / "shims").mkdir()
    around = boot.lay(tmp_path, tmp_path / "ring", text.replace("${Gateway}", "10.0.0.1"), "127.64.0.1")
    program = tmp_path / "root/usr/local/bin/lamplighter-keys"
    laid = program.stat()
    assert boot.lay(tmp_path, tmp_path / "ring", text.replace("${Gateway}", "10.0.0.1"), "127.64.0.1") == around
    # Not a byte is written twice: another unit may be reading it.
    assert (program.stat().st_mtime_ns, program.stat().st_ctime_ns) == (laid.st_mtime_ns, laid.st_ctime_ns)
    unit = boot.unit((tmp_path / "root/etc/systemd/system/lamplighter-tunnel.service").read_text(), around,
                     tmp_path / "root")
    assert not unit.remains and unit.before == (
        ("test", "-s", f"{tmp_path}/run/key"),
        ("install", "-m", "0644", f"{tmp_path}/run/way.env", f"{tmp_path}/cache/way.env"))
    assert unit.words == (
        "ssh", "-F", f"{tmp_path}/root/etc/lamplighter/ssh_config", "-N", "-T", "-n", "-i", f"{tmp_path}/run/key",
        "-o", f"UserKnownHostsFile={tmp_path}/run/known_hosts", "-o",
        "HostKeyAlias=lamplighter-gateway-us-east-1", "-L", "127.64.0.1:3306:db.internal:3306", "-p", "22",
        "tunnel@10.0.0.1")
    health = boot.unit((tmp_path / "root/etc/systemd/system/lamplighter-tunnel-health.service").read_text(), around,
                       tmp_path / "root")
    assert health.words[:3] == (sys.executable, "-I", f"{tmp_path}/root/usr/local/lib/lamplighter/tunnel_health.py")
    assert health.words[-3:] == ("--expect=", "--way", f"{tmp_path}/cache/way.env")


def test_user_data_of_something_else_is_refused() -> None:
    with pytest.raises(boot.BootError, match="has no part SETTINGS, so it is not that of a tunnel host"):
        boot.settings("#!/bin/sh\necho hello\n", "127.64.0.1")


def test_what_is_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert programs.Programs().said() == "AsyncSSH in place of OpenSSH, a greeting service in place of MariaDB"
    monkeypatch.setattr(programs, "_find", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(programs, "_may_run_sshd", lambda: True)
    assert programs.found().said() == "OpenSSH, MariaDB"
    monkeypatch.setattr(programs, "_find", lambda name: "" if name == "sshd" else f"/usr/bin/{name}")
    # A tunnel's two ends are of one kind: a client of ours is held to a server of ours.
    assert programs.found().ssh == "" and programs.found().mariadbd


@pytest.mark.slow
@pytest.mark.parametrize("words", [["s3", "ls"], ["ssm", "get-parameter", "--with-decryption"], []])
def test_calls_that_no_host_makes_are_refused(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "sandbox.hosts.aws", *words], capture_output=True, text=True,
                          cwd=Path(__file__).resolve().parent.parent.parent,
                          env={"PYTHONPATH": ".", "PATH": "/usr/bin"})
    assert done.returncode in (2, 252) and done.stderr
