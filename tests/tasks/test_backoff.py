import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.config.workload import LAMBDA_MOST_SECONDS
from chalicelib.tasks import backoff


@pytest.mark.slow
@given(st.integers(1, 10_000), st.text(max_size=40))
def test_a_retry_lies_between_a_second_and_what_sqs_can_hide(attempt: int, message: str) -> None:
    seconds = backoff.retry(attempt, message)
    assert 1 <= seconds <= min(backoff.CEILING, 10 * 2 ** min(attempt - 1, 20))
    assert seconds == backoff.retry(attempt, message)


def test_twelve_hours_less_what_a_lambda_may_have_taken_is_the_most() -> None:
    assert backoff.CEILING + LAMBDA_MOST_SECONDS == 43_200
    assert max(backoff.retry(30, f"m{n}") for n in range(2000)) > 0.99 * backoff.CEILING


def test_full_jitter_spreads_a_mass_failure_evenly_over_the_span() -> None:
    waits = [backoff.retry(6, f"message-{number}") for number in range(4000)]
    assert 155 < statistics.mean(waits) < 165  # half of 320
    assert all(sum(low < wait <= low + 80 for wait in waits) > 850 for low in (0, 80, 160, 240))


@given(st.floats(0, 14 * 86_400), st.text(max_size=40), st.integers(0, 1000))
def test_waiting_for_a_place_adds_little_to_the_delay_there_is(age: float, message: str, waits: int) -> None:
    seconds = backoff.busy(age, message, waits)
    assert 1 <= seconds <= max(6, round(age * 0.15) + 1)
    assert seconds <= 2700


def test_a_message_that_waits_for_two_weeks_is_received_less_often_than_sqs_allows() -> None:
    age, receives = 0.0, 0
    while age < 14 * 86_400:
        age += backoff.busy(age, "m", receives)
        receives += 1
    assert receives < 1000
