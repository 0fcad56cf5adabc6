"""HAProxy as a balancer in front of tunnels.

    with haproxy.balancer(("127.0.0.7", 3306), {"a": ("127.0.0.8", 3306)}, check="option mysql-check user haproxy"):
        ...
"""

import contextlib
import csv
import io
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from testing.eventually import eventually
from testing.servers.process import Peer, find
from testing.servers.ssh import Place

PROGRAMS = ("haproxy",)


class Balancer:
    """A running balancer. `process` ends and stops it."""

    def __init__(self, process: Peer, control: Path) -> None:
        self.process, self.control = process, control

    def servers(self) -> dict[str, tuple[bool, int]]:
        """Whether each server is up, and how many connections go through it now."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.control))
            asking.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asking.recv(65_536), b"")).decode()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return {row["svname"]: (row["status"].startswith("UP"), int(row["scur"])) for row in rows
                if row["svname"] not in ("FRONTEND", "BACKEND")}


@contextlib.contextmanager
def balancer(
    near: Place, servers: Mapping[str, Place], check: str = "", *, each: str = "check inter 1s fall 2 rise 2",
    health_ports: Mapping[str, int] | None = None,
) -> Iterator[Balancer]:
    """A balancer at `near` over `servers`. `check` is lines of its backend. Without them the check is a TCP connect.

    `each` is said of each server. `health_ports` sends a server's check to another port. A server that is down has
    its connections cut, as a target group does with connection_termination. One that refuses is passed over.
    """
    folder = Path(tempfile.mkdtemp(prefix="lamp-lb-"))
    ports = health_ports or {}
    lines = ["global", "  maxconn 2000", f"  stats socket {folder / 's'}", "defaults", "  mode tcp",
             "  timeout connect 5s", "  timeout client 1d", "  timeout server 1d", "  timeout check 2s",
             "  option redispatch 1", "frontend near", f"  bind {near[0]}:{near[1]}", "  default_backend far",
             "backend far", *(f"  {line}" for line in check.splitlines())]  # fmt: skip
    for name, (address, port) in servers.items():
        special = f" port {ports[name]}" if name in ports else ""
        lines.append(f"  server {name} {address}:{port} {each}{special} on-marked-down shutdown-sessions")
    try:
        (folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")
        with Peer([find("haproxy"), "-db", "-f", folder / "haproxy.cfg"]) as running:
            eventually(lambda: listens(near) or not running.alive)
            yield Balancer(running, folder / "s")
    finally:
        shutil.rmtree(folder)


def listens(place: Place) -> bool:
    """Whether a socket listens there, as the kernel's own table has it: nobody is connected to for it."""
    address, port = place
    wanted = b"".join(bytes([int(part)]) for part in reversed(address.split("."))).hex().upper() + f":{port:04X}"
    rows = (line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == wanted and row[3] == "0A" for row in rows)
