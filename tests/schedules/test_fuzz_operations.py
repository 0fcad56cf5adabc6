"""Every entry point of schedules, given anything: an answer or a `Failed` that names the operation, no stack trace."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.engine import run as engine
from chalicelib.engine.operation import RunFailed
from chalicelib.schedules import operations
from tests.schedules.harness import HOME, NOON, Place, job

NAMES = st.sampled_from(["jobs/one", "one", "cron.d/test:3", ""]) | st.text(max_size=8)
MINUTES = st.sampled_from([NOON, 0, -1, 2**31, 2**63]) | st.integers(-(10**12), 10**12)
TIMES = st.sampled_from(["2026-03-28T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "noon"])
PLAIN = st.none() | st.booleans() | MINUTES | st.floats(allow_nan=False) | NAMES
WORDS = st.fixed_dictionaries({}, optional={
    "job": NAMES | PLAIN, "slot": NAMES | PLAIN, "minute": MINUTES | PLAIN, "attempt": st.integers(-3, 10**9) | PLAIN,
    "why": st.sampled_from(["due", "late", "manual"]) | PLAIN, "remote_id": NAMES, "time": TIMES | PLAIN,
    "limit": MINUTES, "reason": NAMES, "apply": st.booleans() | NAMES,
    "detail-type": st.just("Scheduled Event") | PLAIN})
ARN = "arn:aws:sqs:eu-west-1:1:lamplighter-test-schedule-runs"
RECORDS = st.lists(st.builds(
    lambda body, count: {"body": body if isinstance(body, str) else json.dumps(body), "messageId": "m",
                         "receiptHandle": "r", "eventSourceARN": ARN,
                         "attributes": {"ApproximateReceiveCount": count}},
    WORDS | st.text(max_size=8), st.sampled_from(["1", "5", "100"])), max_size=2)
EVENTS = WORDS | st.fixed_dictionaries({"Records": RECORDS}) | PLAIN


@pytest.mark.slow
@pytest.mark.parametrize("operation", operations.ALL, ids=lambda operation: operation.name)
@given(event=EVENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_event_breaks_an_operation(tmp_path: Path, operation: Any, event: Any) -> None:
    place = Place(tmp_path, [job(timeout=1)])
    try:
        answer = engine.run(operation, place.sites[HOME], event)
    except RunFailed as failure:
        assert operation.name in str(failure)
    else:
        assert "batchItemFailures" in answer or answer["operation"] == operation.name
        json.dumps(answer)
