"""The resolver on sockets, UDP and TCP on one port of the loopback address."""

import socket
import struct
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer, ThreadingUDPServer

from sandbox.route53.resolver import Resolver

_TCP_SECONDS = 5.0
_ATTEMPTS = 20


class DnsServer:
    """Answers on `port` of 127.0.0.1 between `start` and `end`."""

    def __init__(self, resolver: Resolver) -> None:
        self._tcp, self._udp = _bound(resolver)
        self.port = int(self._udp.server_address[1])
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), name=f"route53-dns-{name}", daemon=True)
            for name, server in (("udp", self._udp), ("tcp", self._tcp))]

    def start(self) -> None:
        """Answer from now on."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Answer nobody any more."""
        for server, thread in zip((self._udp, self._tcp), self._threads, strict=True):
            if thread.is_alive():
                server.shutdown()
                thread.join()
            server.server_close()


def _bound(resolver: Resolver) -> tuple[ThreadingTCPServer, ThreadingUDPServer]:
    """One free port for both. Somebody else may have it for the other protocol, so a few are tried."""
    for attempt in range(_ATTEMPTS):
        udp = ThreadingUDPServer(("127.0.0.1", 0), type("Udp", (_Udp,), {"resolver": resolver}))
        try:
            tcp = ThreadingTCPServer(udp.server_address, type("Tcp", (_Tcp,), {"resolver": resolver}))
        except OSError:
            udp.server_close()
            if attempt + 1 == _ATTEMPTS:
                raise
            continue
        udp.daemon_threads = tcp.daemon_threads = True
        return tcp, udp
    raise AssertionError


class _Udp(BaseRequestHandler):
    resolver: Resolver
    request: tuple[bytes, socket.socket]

    def handle(self) -> None:
        data, connection = self.request
        answer = self.resolver.respond(data, self.client_address[0])
        if answer is not None:
            connection.sendto(answer, self.client_address)


class _Tcp(BaseRequestHandler):
    resolver: Resolver
    request: socket.socket

    def handle(self) -> None:
        """Message after message, each with its length before it, until the client has no more."""
        self.request.settimeout(_TCP_SECONDS)
        try:
            while length := _exactly(self.request, 2):
                data = _exactly(self.request, struct.unpack("!H", length)[0])
                answer = self.resolver.respond(data, self.client_address[0], udp=False)
                if answer is None:
                    return
                self.request.sendall(struct.pack("!H", len(answer)) + answer)
        except (TimeoutError, ConnectionError):
            # The client went away, or says nothing any more.
            return


def _exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes. Empty if the other side ended first."""
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data
