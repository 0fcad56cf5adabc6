"""The API on the wire, a plain HTTP server on the loopback address, for boto3's client with `endpoint_url`.

It checks no signatures. So it listens on loopback only and rejects all requests that a web page could send, with any
`Origin`, and any `Host` that is not a loopback name.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sandbox.route53.errors import Refusal
from sandbox.route53.service import Service
from sandbox.route53.wire import Wire, refused

BODY_MOST = 1 << 20
_HOSTS = ("127.0.0.1", "localhost")
_READ_SECONDS = 30


class Api:
    """The server of one service."""

    def __init__(self, service: Service) -> None:
        self._ended = threading.Event()
        handler = type("Handler", (_Handler,), {"service": service, "wire": Wire(), "ended": self._ended})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        work = self._server.serve_forever
        self._thread = threading.Thread(target=work, args=(0.05,), name="route53-api", daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Answer from now on, until `end`."""
        self._thread.start()

    def end(self) -> None:
        """Answer nobody any more, not even those who are connected."""
        self._ended.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    service: Service
    wire: Wire
    ended: threading.Event
    protocol_version = "HTTP/1.1"
    timeout = _READ_SECONDS
    # Headers and body in one packet: two would wait for the client's delayed acknowledgement, 40 ms for each call.
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        if self.ended.is_set():
            self.close_connection = True
            return
        try:
            status, headers, body = self._result()
        except Refusal as refusal:
            status, headers, body = refused(refusal)
        self.send_response(status)
        for name, value in {"Content-Type": "text/xml", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _result(self) -> tuple[int, dict[str, str], bytes]:
        body = self._body()
        host = self.headers.get("Host", "").rpartition(":")[0]
        if "Origin" in self.headers or host not in _HOSTS:
            raise Refusal("AccessDenied", "this twin talks to programs of this machine only")
        path, _, query = self.path.partition("?")
        name, asked = self.wire.asked(self.command, path, query, body)
        return self.wire.answered(name, self.service.call(name, asked))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > BODY_MOST:
            self.close_connection = True
            raise Refusal("InvalidInput", f"the body must have a length of at most {BODY_MOST} bytes")
        return self.rfile.read(int(length))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing, because `Service.calls` counts them."""
