"""Random lives of a fleet: nobody forces anything, so nothing committed is lost and nobody else takes writes.

Promotions die after any effect and are gone on with, other promotions, watches and hangs come in between.
"""

import logging
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from chalicelib.databases.decide import conditions, promotion, repair, steps
from tests.databases.harness import REGIONS, Model, Row
from tests.databases.random_histories import live


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of runs would fill the captured log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 150, 30))
def test_nothing_is_lost_and_one_server_takes_writes(start: int, capsys: pytest.CaptureFixture[str]) -> None:
    promoted = 0
    for seed in range(start, start + 30):
        world = live(seed)
        assert world.violations == [], seed
        promoted += world.promoted
    assert promoted > 15


@pytest.mark.slow
def test_the_same_for_a_thousand_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert [seed for seed in range(1000, 2000) if live(seed).violations] == []


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 90, 30))
def test_when_the_primary_is_gone_what_any_replica_has_and_can_apply_is_kept(
    start: int, capsys: pytest.CaptureFixture[str]
) -> None:
    promoted = 0
    for seed in range(start, start + 30):
        world = live(seed, 60)
        world.models[world.primary.region].alive, world.forced, world.cut = False, True, set()
        had = [usable(model) for model in world.models.values() if model.alive and model.source]
        answer = world.promote(REGIONS[seed % 3], force="burnt down")
        if answer["status"] == "done":
            promoted += 1
            log = world.models[world.primary.region].log
            assert all(log[: len(rows)] == rows for rows in had), seed
    assert promoted > 3


def usable(model: Model) -> list[Row]:
    """What a replica can have in the end without its primary."""
    kept = model.sql == "running" or model.io != "stopped"
    return model.log + (model.relay if kept else [])


@pytest.mark.slow
@pytest.mark.parametrize("module, guard, without", [
    (promotion, "proven", lambda *_: True),
    (conditions, "must_fence", lambda *_: False),
    (repair, "relay_log_loss_risk", lambda *_: ""),
    (steps, "old_primary", lambda *_: steps.OldPrimary()),
], ids=lambda value: value if isinstance(value, str) else "")
def test_without_the_guard_a_life_goes_wrong(
    module: ModuleType, guard: str, without: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, guard, without)
    assert any(live(seed).violations for seed in range(200))
