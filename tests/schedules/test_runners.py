"""Where commands run: a real HTTP server, and queues. `test_child` has the runner Lambda, `test_distant_runners` the
services."""

import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain, repeat
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from chalicelib.config.declared import Http
from chalicelib.crontab import beanstalk
from chalicelib.schedules import operations
from chalicelib.schedules.runners import Result, http, queue
from tests.schedules.harness import FLEET, HOME, SLOT, Place, attempt, handle, job, tick


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, [job()])


class Site(BaseHTTPRequestHandler):
    """Remembers what was posted, and answers as it is told to."""

    status: ClassVar[int]
    first: ClassVar[list[int]]
    seen: ClassVar[list[dict[str, str]]]

    def do_POST(self) -> None:
        self.seen.append({"path": self.path, **self.headers})
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.first.pop(0) if self.first else self.status)
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serving(status: int, *first: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers with the statuses `first`, one by one, and then with `status`."""
    handler = type("Handler", (Site,), {"status": status, "first": list(first), "seen": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # how often it asks whether to end
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.seen  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def posting(tmp_path: Path, base: str) -> Any:
    declared = msgspec.structs.replace(FLEET, schedules=msgspec.structs.replace(FLEET.schedules, http=Http(base)))
    return Place(tmp_path, [job()], declared).sites[HOME]


@pytest.mark.parametrize(("status", "state"), [(200, "done"), (204, "failed"), (302, "failed"), (500, "failed")])
def test_http_posts_as_sqsd_does_and_only_200_is_success(tmp_path: Path, status: int, state: str) -> None:
    with serving(status) as (base, seen):
        one = job("cron/nightly", kind="beanstalk", url="/tasks/nightly", command="")
        result = http.start(posting(tmp_path, base), attempt(one))
    assert isinstance(result, Result)
    assert (result.state, result.exit) == (state, status)
    assert seen[0]["path"] == "/tasks/nightly"
    sent = {name.lower(): value for name, value in seen[0].items()}
    assert re.fullmatch(r"[0-9a-f-]{36}", sent.pop("x-aws-sqsd-msgid"))
    assert sent.pop("host") in base and sent.pop("accept-encoding") == "identity"
    assert sent == {
        "path": "/tasks/nightly", "content-length": "0", "content-type": "application/json",
        "user-agent": "aws-sqsd/3.0.4", "x-aws-sqsd-queue": "lamplighter-test-schedule-runs",
        "x-aws-sqsd-path": "/tasks/nightly", "x-aws-sqsd-receive-count": "1", "x-aws-sqsd-taskname": "nightly",
        "x-aws-sqsd-first-received-at": "2026-03-28T12:00:00Z", "x-aws-sqsd-sent-at": "2026-03-28T12:00:00Z",
        "x-aws-sqsd-scheduled-at": "2026-03-28T12:00:00Z", "x-aws-sqsd-sender-id": "123456789012"}


@pytest.mark.parametrize("name", ["nightly", "reports/nightly", "import:feed --file=/srv/in.csv", "a/b/c", "/x", "x/"])
def test_the_task_name_is_the_whole_name_of_the_entry(tmp_path: Path, name: str) -> None:
    entry = f'version: 1\ncron:\n - name: "{name}"\n   url: /x\n   schedule: "0 3 * * *"\n'
    [one], findings = beanstalk.read(entry.encode(), "cron.yaml")
    assert findings == []
    assert http.headers(posting(tmp_path, "http://127.0.0.1:9"), attempt(one))["X-Aws-Sqsd-Taskname"] == name


def test_the_message_id_is_that_of_the_slot(tmp_path: Path) -> None:
    site = posting(tmp_path, "http://127.0.0.1:9")
    first, again, other, later = (http.headers(site, one) for one in (
        attempt(job()), msgspec.structs.replace(attempt(job()), number=2, token=9), attempt(job("jobs/two")),
        msgspec.structs.replace(attempt(job()), slot="2026-03-28T12:01Z")))
    assert first["X-Aws-Sqsd-Msgid"] == again["X-Aws-Sqsd-Msgid"]
    assert len({one["X-Aws-Sqsd-Msgid"] for one in (first, other, later)}) == 3
    assert (first["X-Aws-Sqsd-Receive-Count"], again["X-Aws-Sqsd-Receive-Count"]) == ("1", "2")


def posted(tmp_path: Path, policy: str, *statuses: int) -> tuple[list[str], dict[str, Any], int]:
    """The receive counts of all posts of an entry with that policy, its run, and the notices."""
    text = f"version: 1\ncron:\n{policy}- name: nightly\n  url: /x\n  schedule: '* * * * *'\n"
    [one], _ = beanstalk.read(text.encode(), "cron.yaml")
    with serving(200, *statuses) as (base, seen):
        declared = msgspec.structs.replace(FLEET, schedules=msgspec.structs.replace(FLEET.schedules, http=Http(base)))
        place = Place(tmp_path, [one], declared)
        tick(place)
        while messages := place.sent("schedule-runs"):
            for message in messages:
                handle(place, operations.WORK, message)
            place.now += 2
    return [post["X-Aws-Sqsd-Receive-Count"] for post in seen], place.run(one.name, SLOT), len(place.told())


@pytest.mark.parametrize(("policy", "statuses", "posts", "state", "told"), [
    ("", [], 1, "done", 0),
    ("", [503], 2, "done", 0),
    ("", [503, 404, 302], 4, "done", 0),
    ("", [500] * 10, 11, "done", 0),
    ("", [500] * 11, 11, "failed", 1),
    ("# lamp: retries=0\n", [503], 1, "failed", 1),
    ("# lamp: retries=2\n", [503] * 3, 3, "failed", 1),
])
def test_an_entry_is_posted_again_every_two_seconds_as_by_sqsd(
    tmp_path: Path, policy: str, statuses: list[int], posts: int, state: str, told: int
) -> None:
    counts, run, notices = posted(tmp_path, policy, *statuses)
    assert counts == [str(number + 1) for number in range(posts)]
    assert (run["state"], notices) == (state, told)


def test_http_that_nobody_answers_is_a_clear_failure(tmp_path: Path) -> None:
    result = http.start(posting(tmp_path, "http://127.0.0.1:9"), attempt(job()))
    assert isinstance(result, Result)
    assert result.state == "failed"
    assert "127.0.0.1:9" in result.detail


@contextmanager
def dribbling(parts: Iterable[bytes]) -> Iterator[str]:
    """A server that sends a part every 20 ms, and then keeps silent, until nobody listens any more."""
    over = threading.Event()

    def serve() -> None:
        with listener.accept()[0] as peer, suppress(OSError):
            peer.recv(65_536)
            for part in parts:
                peer.sendall(part)
                over.wait(0.02)
            over.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("parts", [
    (), (HEAD,), chain([HEAD], repeat(b"X: y\r\n", 95), repeat(b"X")), chain([HEAD + b"\r\n"], repeat(b"x"))],
    ids=["silence", "no headers", "headers", "body"])  # fmt: skip
def test_http_time_out_is_for_the_whole_answer(tmp_path: Path, parts: Iterable[bytes]) -> None:
    # Bytes come all the time, so that no single read would ever time out.
    with dribbling(parts) as base:
        result = http.start(posting(tmp_path, base), attempt(job(timeout=1, command="/a")))
    assert result == Result("timed-out", detail=f"{base} gave no whole answer within 1 s")


@pytest.mark.parametrize("parts", [(HEAD,), chain([HEAD + b"\r\n"], repeat(b"x"))], ids=["still", "busy"])
def test_http_hangs_up_on_an_answer_when_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: Iterable[bytes]
) -> None:
    monkeypatch.setattr(http, "_ASK_SECONDS", 0.1)
    with dribbling(parts) as base:
        result = http.start(posting(tmp_path, base), attempt(job(timeout=60, command="/a"), replaced=True))
    assert result == Result("replaced", detail="hung up to make way for the next run")


def test_http_does_not_hang_up_on_a_request_that_has_no_answer_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_ASK_SECONDS", 0.1)
    with dribbling(()) as base:
        result = http.start(posting(tmp_path, base), attempt(job(timeout=1, command="/a"), replaced=True))
    assert isinstance(result, Result)
    assert result.state == "timed-out"


@pytest.mark.parametrize(("base", "one", "words"), [
    ("http://127.0.0.1:9", {"command": "/a\N{BULLET}"}, "'ascii' codec"),
    ("http://127.0.0.1:9", {"command": "/a b"}, "InvalidURL"),
    ("http://127.0.0.1:9", {"name": "x/a\nb"}, "Invalid header value"),
    ("http://127.0.0.1:99999", {}, "Port out of range"),
])
def test_http_that_cannot_be_asked_for_is_a_clear_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, one: dict[str, str], words: str
) -> None:
    def connect(connection: HTTPConnection) -> None:
        connection.sock = spare

    monkeypatch.setattr(HTTPConnection, "connect", connect)
    spare, other = socket.socketpair()
    with spare, other:
        result = http.start(posting(tmp_path, base), attempt(job(**one)))
    assert isinstance(result, Result)
    assert result.state == "failed"
    assert words in result.detail


def test_http_without_a_connection_fails_before_the_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(connection: HTTPConnection) -> None:
        assert connection.timeout == 10
        raise TimeoutError

    monkeypatch.setattr(HTTPConnection, "connect", connect)
    result = http.start(posting(tmp_path, "http://127.0.0.1:9"), attempt(job()))
    assert result == Result("failed", detail="http://127.0.0.1:9: ConnectionError: no connection within 10 s")


TASK = '{"task": "invoices.render", "args": {}}'


def test_queue_sends_the_task_as_it_is_written(place: Place) -> None:
    result = queue.start(place.sites[HOME], attempt(job(command=TASK, queue="default")))
    assert result == Result("done", "sent to default")
    assert [message.body for message in place.sent("default")] == [TASK]


def test_a_fifo_queue_gets_the_job_as_its_group(place: Place) -> None:
    queue.start(place.sites[HOME], attempt(job(command=TASK, queue="orders")))
    [message] = place.sent("orders")
    assert (message.group, message.once) == ("jobs/one", "0123456789abcdef")


def test_a_queue_that_is_not_declared_is_named(place: Place) -> None:
    result = queue.start(place.sites[HOME], attempt(job(command=TASK, queue="nowhere")))
    assert isinstance(result, Result)
    assert "'nowhere'" in result.detail
