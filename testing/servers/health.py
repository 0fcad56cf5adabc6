"""The health port of a tunnel host, run as it is there: two files in a folder, an isolated Python."""

import contextlib
import http.client
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from testing.servers.process import Peer
from testing.servers.ssh import Place

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = (ROOT / "agent" / "tunnel_health.py", ROOT / "chalicelib" / "mysql" / "handshake.py")


@contextlib.contextmanager
def port(near: Place, tunnel: Place, *options: str) -> Iterator[Peer]:
    """It listens at `near` (a port of 0 is not for this one) and probes through `tunnel`."""
    with tempfile.TemporaryDirectory(prefix="lamp-health-") as folder:
        for file in FILES:
            shutil.copy(file, folder)
        words = [sys.executable, "-I", f"{folder}/tunnel_health.py", "--listen", f"{near[0]}:{near[1]}",
                 "--tunnel", f"{tunnel[0]}:{tunnel[1]}", *options]
        with Peer(words) as running:
            running.await_line("listening on")
            yield running


def ask(near: Place, method: str = "GET", path: str = "/") -> tuple[int, str]:
    """The status and the text of an answer."""
    connection = http.client.HTTPConnection(*near, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()
