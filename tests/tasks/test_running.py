import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.tasks import execution
from chalicelib.tasks.execution import Run, TimedOut, current, limited


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    execution.install()
    yield
    execution.silence()
    signal.signal(signal.SIGALRM, before)


def facts(record: Any, envelope: Any) -> Run:
    return Run(str(envelope), str(record), 1, "default", {})


def run(seconds: float, function: Any, **args: Any) -> None:
    limited(time.monotonic() + seconds, function, args, (facts, "id", "a.b"))


def forever() -> None:
    while True:
        signal.pause()


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize("function", [forever, spin])
def test_a_task_that_takes_too_long_is_stopped(function: Any) -> None:
    begin = time.monotonic()
    with pytest.raises(TimedOut):
        run(0.05, function)
    assert time.monotonic() - begin > 0.03, "not before its time"


def test_except_exception_does_not_swallow_the_end() -> None:
    def stubborn() -> None:
        while True:
            try:
                spin()
            except Exception:  # noqa: S112 - what people write
                continue

    with pytest.raises(TimedOut):
        run(0.05, stubborn)


@pytest.mark.slow
def test_even_a_bare_except_is_rung_out_of_its_next_try() -> None:
    caught = []

    def deaf() -> None:
        try:
            spin()
        except BaseException as error:
            caught.append(error)
        spin()

    with pytest.raises(TimedOut):
        run(0.05, deaf)
    assert len(caught) == 1


def test_a_task_in_time_is_left_alone_and_so_is_what_follows() -> None:
    run(600, lambda: None)
    signal.raise_signal(signal.SIGALRM)  # as the alarm that was set for it will do


def test_an_earlier_alarm_does_not_cut_a_later_task_short() -> None:
    run(60, lambda: None)
    left = []

    def longer() -> None:
        signal.raise_signal(signal.SIGALRM)  # the one of the task before
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])

    run(600, longer)
    assert 60 < left[0] <= 600, "else it would ring too early, or never"


def test_a_later_task_with_less_time_is_stopped_in_its_own_time() -> None:
    run(600, lambda: None)
    left: list[float] = []
    run(60, lambda: left.append(signal.getitimer(signal.ITIMER_REAL)[0]))
    assert 0 < left[0] <= 60, "else the alarm of the first would have to ring"


def test_what_a_task_raises_comes_out_as_it_is() -> None:
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run(5, fails)


def test_a_task_knows_its_run_and_nobody_else_does() -> None:
    seen = []
    run(5, lambda: seen.append(current()))
    assert seen == [Run("a.b", "id", 1, "default", {})]
    with pytest.raises(LookupError, match="no task is running here"):
        current()


@pytest.mark.slow
def test_in_another_thread_it_says_that_time_outs_cannot_work() -> None:
    code = ("import threading\nfrom chalicelib.tasks import execution\n"
            "def go():\n    try: execution.install()\n    except RuntimeError as error: print(error)\n"
            "t = threading.Thread(target=go); t.start(); t.join()")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "main thread" in told.stdout
