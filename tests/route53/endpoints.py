"""Endpoints to probe: real servers on the loopback address that say what they are told to."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

Serve = Callable[[socket.socket], None]


def says(answer: bytes) -> Serve:
    """An endpoint that reads a request and answers with these bytes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)

    return serve


def page(body: bytes = b"", status: str = "200 OK") -> Serve:
    """An HTTP endpoint with this body."""
    return says(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


@contextmanager
def endpoint(serve: Serve) -> Iterator[int]:
    """The port of a server that treats each connection with `serve`, until the block ends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=_accept, args=(listener, serve), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # A thread in accept does not notice that its socket is closed; shutting it down wakes it.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _accept(listener: socket.socket, serve: Serve) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                serve(connection)
            except OSError:
                # The checker went away first: that is its right.
                continue


@contextmanager
def closed() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]
