"""`lamp bench cold-start`: what it measures."""

import pytest

from commands.bench import cold_start
from commands.errors import UsageError


@pytest.mark.slow
def test_cold_start_of_one_lambda_stands_beside_hello_world() -> None:
    with cold_start.unpacked() as folder:
        hello, tick = cold_start.measure(["schedules_tick"], folder, rounds=1)
        with pytest.raises(UsageError, match="schedules_tock cannot be imported"):
            cold_start.measure(["schedules_tock"], folder, rounds=1)
    assert (hello.function, tick.function) == ("hello world", "schedules_tick")
    for start in (hello, tick):
        assert start.own_ms > 0 and start.sdk_ms > 0
        assert start.total_ms == pytest.approx(start.own_ms + start.sdk_ms, abs=0.2)
