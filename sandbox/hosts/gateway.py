"""The gateway in the primary's region, an sshd that forwards to the database and does nothing else.

    python -m sandbox.hosts.gateway USER PORT HOST_KEY AUTHORIZED_KEYS          by AsyncSSH
    python -m sandbox.hosts.gateway USER PORT HOST_KEY AUTHORIZED_KEYS SSHD     by the OpenSSH that stands at SSHD

Run by an instance, with ADDRESS in its environment. AUTHORIZED_KEYS has the permitted users and targets, read anew for
each login, as sshd does. By AsyncSSH it reaches the database from the instance's own address, because a database never
blocks a host that comes from 127.0.0.1.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import asyncssh

_BYTES = 2**16
_CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com"]


class Door(asyncssh.SSHServer):
    """One connection."""

    def __init__(self, user: str, authorized: Path, address: str) -> None:
        self._user, self._authorized, self._address = user, authorized, address
        self._connection: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        if username == self._user and self._authorized.exists():
            self._connection.set_authorized_keys(str(self._authorized))
        return True

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Callable[[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]], Awaitable[None]]:
        """A way to the database. AsyncSSH has asked the key's permitopen before."""
        async def lead(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            await _lead(reader, writer, dest_host, dest_port, self._address)

        return lead


async def _lead(
    reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes], host: str, port: int, source: str
) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    except OSError:
        writer.close()
        return
    try:
        # The end of either direction is the end of both: neither client nor server of a database half-closes.
        both = [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))]
        _, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in rest:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)
    finally:
        far_writer.close()
        writer.close()


Reader: TypeAlias = "asyncssh.SSHReader[bytes] | asyncio.StreamReader"
Writer: TypeAlias = "asyncssh.SSHWriter[bytes] | asyncio.StreamWriter"


async def _pump(reader: Reader, writer: Writer) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await reader.read(_BYTES):
            writer.write(data)
            await writer.drain()


async def serve(user: str, port: int, host_key: Path, authorized: Path) -> None:
    """Until cancelled."""
    address = os.environ["ADDRESS"]
    server = await asyncssh.listen(
        address, port, server_factory=lambda: Door(user, authorized, address), server_host_keys=[str(host_key)],
        encryption_algs=_CIPHERS, compression_algs=None, keepalive_interval=3, keepalive_count_max=3,
        login_timeout=10, config=None, encoding=None, backlog=256)
    print(f"listening on {address}:{port}", flush=True)
    await server.wait_closed()


def configuration(address: str, user: str, port: int, host_key: Path, authorized: Path) -> str:
    """The same as sshd_config."""
    return "\n".join([
        f"ListenAddress {address}", f"Port {port}", f"HostKey {host_key}", f"AuthorizedKeysFile {authorized}",
        "PidFile none", "StrictModes no", "UsePAM no", "UseDNS no", "AuthenticationMethods publickey",
        "PermitRootLogin prohibit-password", f"AllowUsers {user}", "AllowTcpForwarding local", "GatewayPorts no",
        "AllowAgentForwarding no", "AllowStreamLocalForwarding no", "X11Forwarding no", "PermitTunnel no",
        "PermitTTY no", "ForceCommand /bin/false", "ClientAliveInterval 3", "ClientAliveCountMax 3",
        "MaxStartups 200", "LogLevel INFO", ""])


def main(user: str, port: str, host_key: str, authorized: str, sshd: str = "") -> None:
    """By AsyncSSH, or become `sshd`."""
    if not sshd:
        asyncio.run(serve(user, int(port), Path(host_key), Path(authorized)))
        return
    own = Path("sshd_config").resolve()
    own.write_text(configuration(os.environ["ADDRESS"], user, int(port), Path(host_key), Path(authorized)))
    os.execv(sshd, [sshd, "-D", "-e", "-f", str(own)])  # noqa: S606 - found by its path, and given no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
