"""That the bench compares like with like; how fast it is, `./lamp bench tasks` says."""

from typing import Any

import pytest

from commands.bench import tasks


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("side", [tasks._ours, tasks._bare])
def test_both_sides_call_the_function_for_every_message(side: Any, once: bool) -> None:
    calls: list[int] = []
    work = side(lambda number, text: calls.append(number), once)
    assert work(tasks._event(0)) == {"batchItemFailures": []}
    work(tasks._event(10))
    assert calls == list(range(20))


@pytest.mark.slow
def test_both_sides_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_BATCHES", 3)
    monkeypatch.setattr(tasks, "ROUNDS", 5)
    bare, task, ratio = tasks.measure(once=False)
    assert bare.value > 1 and task.value > 1  # microseconds: both did something
    assert ratio.within == (ratio.value <= 1.3)


@pytest.mark.slow
def test_isolated_tasks_are_measured_by_their_real_runner() -> None:
    assert tasks._runner(1) > tasks._runner(10) > 0  # a process for each batch
