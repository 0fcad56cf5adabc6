"""What the tests of tasks share."""

import signal
from collections.abc import Iterator

import pytest

from chalicelib.aws import client
from tests.tasks.fakes import SqsClient
from tests.tasks.harness import Workshop, fail


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Workshop]:
    sqs = SqsClient()
    monkeypatch.setattr(client, "client", lambda service, region: sqs)
    before = signal.getsignal(signal.SIGALRM)
    made = Workshop(sqs, capsys)
    made.task("t.note", made.note)
    made.task("t.fail", fail)
    yield made
    signal.signal(signal.SIGALRM, before)
