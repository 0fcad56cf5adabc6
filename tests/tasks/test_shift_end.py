"""What a batch leaves behind: no alarm, no place held longer than it should be."""

import signal
from typing import Any

from tests.tasks.fakes import record
from tests.tasks.harness import NOW, Workshop, body


def held(shop: Workshop) -> list[dict[str, Any]]:
    return [item.body for (pk, _), (item, _, _) in shop.table.store.items.items()
            if pk.startswith("task-permits#") and item.body["until"]]


def test_no_alarm_is_left_running(shop: Workshop) -> None:
    shop.work(record(body(), 1))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_place_is_leased_until_the_lambda_must_have_ended(shop: Workshop) -> None:
    seen: list[dict[str, Any]] = []
    shop.task("t.one", lambda: seen.extend(held(shop)), concurrency=1)
    shop.work(record(body("t.one"), 1), seconds=300)
    assert [(place["holder"], abs(place["until"] - (NOW + 300)) <= 1) for place in seen] == [("m1", True)]


def test_a_place_is_given_back_before_a_task_without_a_limit_runs(shop: Workshop) -> None:
    seen: list[int] = []
    shop.task("t.one", shop.note, concurrency=1)
    shop.task("t.free", lambda: seen.append(len(held(shop))))
    shop.work(record(body("t.one"), 1), record(body("t.free"), 2))
    assert seen == [0]
