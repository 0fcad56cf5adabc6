"""For `on=http` the job is a POST as Elastic Beanstalk's sqsd sends it for cron.yaml. Only status 200 is success.

"Elastic Beanstalk worker environments" in its developer guide defines the headers, and sqsd 2 and 3 send two more, Path
and Sent-At. The body of a periodic task is empty. A crontab line's command is the path to post to, its stdin the body.
"""

import http.client
import io
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from chalicelib.context import RegionContext
from chalicelib.schedules.runners import OUTPUT_BYTES, Attempt, RemoteRun, Result

# The longest wait for a connection, for each address of the host.
_CONNECT_SECONDS = 10.0
# Applications tell the daemon's posts by the name before the slash.
_USER_AGENT = "aws-sqsd/3.0.4"
# How often an answer under way is asked whether the run is to make way.
_ASK_SECONDS = 2.0


class _Replaced(Exception):
    """The run is to make way for the next one."""


def start(context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Posts and reads the answer. The whole of it may take the job's time-out."""
    job, target = attempt.job, context.fleet.schedules.http
    if target is None:
        return Result("failed", detail="on=http needs [schedules.http] with a base in fleet.toml. Add it")
    try:
        return _post(target.base, job.url or job.command, headers(context, attempt), attempt)
    except TimeoutError:
        return Result("timed-out", detail=f"{target.base} gave no whole answer within {job.policy.timeout} s")
    except _Replaced:
        return Result("replaced", detail="hung up to make way for the next run")
    except ValueError as error:  # an address or a header that HTTP cannot carry
        return Result("failed", detail=f"{target.base}: {error} ({job.file}:{job.line}). Mend the address or the name")
    except (OSError, http.client.HTTPException) as error:
        return Result("failed", detail=f"{target.base}: {type(error).__name__}: {error}")


def _post(base: str, path: str, headers: dict[str, str], attempt: Attempt) -> Result:
    deadline = time.monotonic() + attempt.job.policy.timeout
    connection = _connection(base, deadline)
    connection.response_class = _answers(deadline, attempt.replaced)
    try:
        _connect(connection, deadline)
        connection.request("POST", path, attempt.job.stdin.encode(), headers)
        with connection.getresponse() as answer:
            output = answer.read(OUTPUT_BYTES).decode(errors="replace")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return Result("failed", output, f"{base}: status {answer.status}. Only 200 is success", answer.status)
    return Result("done", output, exit=answer.status)


def _connection(base: str, deadline: float) -> http.client.HTTPConnection:
    at = urlsplit(base)
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    return kind(at.hostname or "", at.port, timeout=min(_CONNECT_SECONDS, deadline - time.monotonic()))


def _connect(connection: http.client.HTTPConnection, deadline: float) -> None:
    try:
        connection.connect()
    except TimeoutError:
        if time.monotonic() < deadline:
            raise ConnectionError(f"no connection within {_CONNECT_SECONDS:g} s") from None
        raise
    connection.sock.settimeout(max(0.001, deadline - time.monotonic()))


def _answers(deadline: float, replaced: Callable[[], bool]) -> Any:
    """Makes the response of a connection one that is read through a `_Line`."""

    def make(sock: socket.socket, *words: Any, **more: Any) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(sock, *words, **more)
        answer.fp = io.BufferedReader(_Line(sock, answer.fp, deadline, replaced))
        return answer

    return make


class _Line(io.RawIOBase):
    """The bytes from `sock`, until `deadline` (TimeoutError) or, after the first of the answer, `replaced` (_Replaced).

    A time-out of the socket holds for each read alone, so a server that sends a byte now and then would never end.
    """

    def __init__(self, sock: socket.socket, file: io.BufferedReader, deadline: float,
                 replaced: Callable[[], bool]) -> None:
        self._sock, self._file, self._deadline, self._replaced = sock, file, deadline, replaced
        self._ask_at: float | None = None  # unknown until the first byte: before it, a request cannot be called back

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of a raw file."""
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                raise TimeoutError
            if self._ask_at is not None and now >= self._ask_at:
                self._ask_at = now + _ASK_SECONDS
                if self._replaced():
                    raise _Replaced
            self._sock.settimeout(min(_ASK_SECONDS, self._deadline - now))
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._ask_at = self._ask_at or now + _ASK_SECONDS
            return count

    def close(self) -> None:
        """Closes the file that keeps the socket open."""
        self._file.close()
        super().close()


def headers(context: RegionContext, attempt: Attempt) -> dict[str, str]:
    """The headers that tell the application its job, as sqsd 3 sends them.

    The id is that of the slot, so all posts of one slot have it. The times are that of the slot.
    """
    job, stack = attempt.job, f"{context.fleet.name}-{context.stage}"
    scheduled = f"{datetime.fromtimestamp(attempt.minute * 60, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        "X-Aws-Sqsd-Msgid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{stack}/{job.name}/{attempt.slot}")),
        "X-Aws-Sqsd-Queue": f"{stack}-schedule-runs",
        "X-Aws-Sqsd-Path": job.url or job.command,
        "X-Aws-Sqsd-Receive-Count": str(attempt.number),
        "X-Aws-Sqsd-First-Received-At": scheduled,
        "X-Aws-Sqsd-Sent-At": scheduled,
        # An entry's name follows the name of its file, which has no slash. It may have some itself.
        "X-Aws-Sqsd-Taskname": job.name.partition("/")[2] if job.kind == "beanstalk" else job.name,
        "X-Aws-Sqsd-Scheduled-At": scheduled,
        "X-Aws-Sqsd-Sender-Id": context.account,
    }
