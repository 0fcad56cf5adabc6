"""`lamp bench cold-start`: what it measures."""

import pytest

from commands.bench import cold_start
from commands.errors import UsageError


@pytest.mark.slow
def test_cold_start_of_one_lambda_stands_beside_hello_world() -> None:
    with cold_start.unpacked() as folder:
        figures = list(cold_start.measure(["schedules_tick"], folder, rounds=1))
        with pytest.raises(UsageError, match="schedules_tock cannot be imported"):
            list(cold_start.measure(["schedules_tock"], folder, rounds=1))
    assert [figure.name for figure in figures] == [
        "hello world", "hello world: the AWS SDK beside it", "schedules_tick (the bar is 120 ms)",
        "schedules_tick: the AWS SDK beside it"]
    assert all(figure.value > 0 for figure in figures)
