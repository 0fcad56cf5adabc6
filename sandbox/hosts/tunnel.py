"""The options of `ssh` that a tunnel host needs, by AsyncSSH, for machines without OpenSSH. It forwards one port until
it is cut.

    python -m sandbox.hosts.tunnel -F CONFIG -N -i KEY -o UserKnownHostsFile=FILE -L [ADDRESS:]PORT:HOST:PORT -p N U@H

Takes the command line and the configuration file of a tunnel host. Ends with 255 when it cannot connect, is not let in
or loses the connection, as ssh does. On asyncio's own loop, because uvloop has lost handshakes in tests.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncssh

_FAILED = 255


class Options(dict[str, str]):
    """ssh_config's options by their names in small letters. The first value counts, as for ssh."""

    def add(self, line: str, separator: str) -> None:
        """One `Name value` or `Name=value`. Anything else is left out."""
        name, found, value = line.strip().partition(separator)
        if found and not name.startswith("#"):
            self.setdefault(name.lower(), value.strip())

    def number(self, name: str) -> float:
        """A number of seconds, or of times."""
        return float(self[name.lower()])


def arguments(words: Sequence[str]) -> tuple[argparse.Namespace, Options]:
    """The command line, and the options of both it and the configuration file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-F", dest="config", required=True)
    parser.add_argument("-i", dest="key", required=True)
    parser.add_argument("-L", dest="forward", required=True)
    parser.add_argument("-p", dest="port", type=int, required=True)
    parser.add_argument("-o", dest="options", action="append", default=[])
    for flag in "NTn":
        parser.add_argument(f"-{flag}", action="store_true")
    parser.add_argument("destination")
    said, options = parser.parse_args(words), Options()
    for option in said.options:
        options.add(option, "=")
    for line in Path(said.config).read_text().splitlines():
        options.add(line, " ")
    return said, options


async def connect(said: argparse.Namespace, options: Options) -> asyncssh.SSHClientConnection:
    """Logged in at the gateway, which is the pinned one."""
    user, _, host = said.destination.partition("@")
    seconds = options.number("ConnectTimeout")
    return await asyncssh.connect(
        host, said.port, username=user, client_keys=[said.key], agent_path=None, config=None,
        known_hosts=options["userknownhostsfile"], host_key_alias=options["hostkeyalias"],
        encryption_algs=options["ciphers"].split(","), compression_algs=None, connect_timeout=seconds,
        login_timeout=seconds, keepalive_interval=options.number("ServerAliveInterval"),
        keepalive_count_max=int(options.number("ServerAliveCountMax")))


async def forward(connection: asyncssh.SSHClientConnection, way: str) -> asyncssh.SSHListener:
    """Listen at the near end of `way`, a port or the path of a socket, and lead to its far end."""
    near, host, port = way.rsplit(":", 2)
    if near.startswith("/"):
        return await connection.forward_local_path_to_port(near, host, int(port))
    address, _, near_port = near.rpartition(":")
    return await connection.forward_local_port(address or "127.0.0.1", int(near_port), host, int(port))


async def run(words: Sequence[str]) -> int:
    """Until the connection is lost. The exit status."""
    said, options = arguments(words)
    try:
        connection = await connect(said, options)
        await forward(connection, said.forward)
    except (OSError, asyncssh.Error) as error:
        print(f"{said.destination}: {error}", file=sys.stderr)
        return _FAILED
    await connection.wait_closed()
    print(f"{said.destination}: the connection is lost", file=sys.stderr)
    return _FAILED


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:])))
