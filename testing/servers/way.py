"""A way to a server that can be led elsewhere, as tunnels behind a load balancer are."""

import contextlib
import socket
import threading

from testing.servers.mariadb import MariaDB
from testing.servers.process import PATIENCE, loopback


class Way:
    """A tunnel of the simplest kind: the replica of `region` finds the primary by it, wherever it leads."""

    def __init__(self, region: str) -> None:
        self.region, self.target = region, ("", 0)
        self._server = socket.create_server((loopback(), 0))
        self.address: tuple[str, int] = self._server.getsockname()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def lead(self, to: MariaDB) -> None:
        """From now on to this server. Every connection to another place is cut."""
        self.target = (to.address, to.port)
        self._cut()

    def close(self) -> None:
        """No more. Nothing is left behind."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._server.close()
        self._cut()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _cut(self) -> None:
        while self._open:
            # It may have ended by itself.
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._join, args=(client,), daemon=True))
            self._threads[-1].start()

    def _join(self, client: socket.socket) -> None:
        # Whichever end goes away first, the other is told.
        with client, contextlib.suppress(OSError), socket.create_connection(self.target, PATIENCE) as there:
            there.settimeout(None)
            self._open += [client, there]
            back = threading.Thread(target=_pour, args=(there, client), daemon=True)
            back.start()
            _pour(client, there)
            back.join(PATIENCE)


def _pour(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
