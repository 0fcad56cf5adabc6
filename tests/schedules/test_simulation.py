"""Exactly once, simulated; and proof that the simulation would notice if it were not so."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from msgspec import structs

from chalicelib.engine import run as engine
from chalicelib.schedules import decide, observe, worker
from chalicelib.schedules.decide import alerts
from chalicelib.schedules.state import Run
from commands.develop.simulate_schedules import World, simulated
from simulation.schedules import world
from simulation.schedules.options import Verdict
from testing.coverage import lines_executed
from testing.fakes import MemoryTable

pytestmark = pytest.mark.slow


def turned(seed: int = 1) -> Verdict:
    """A world whose coordination table is restored, whose clocks go wrong, and that gets events of other years."""
    return simulated(World(seed, chaos=True, minutes=60, turned=True))[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_started_twice_though_the_table_is_restored_and_clocks_are_an_hour_wrong(seed: int) -> None:
    verdict = turned(seed)
    assert (verdict.twice, verdict.lost, verdict.overlaps, verdict.idle, verdict.silent) == (0, 0, 0, 0, 0)
    assert verdict.believed == 0 and verdict.slots > 900


@pytest.mark.slow
def test_if_gone_minutes_were_started_again_slots_would_be_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "_is_gone", lambda *_: False)
    assert turned().twice > 10


@pytest.mark.slow
def test_if_a_request_that_comes_again_was_believed_slots_would_be_started_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = observe.work
    monkeypatch.setattr(observe, "work", lambda context, request: structs.replace(
        seen(context, request), record_gone=False))
    assert turned().twice > 0


@pytest.mark.slow
def test_if_events_of_other_years_were_believed_minutes_would_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_event_time",
                        lambda operation, context, event: int(datetime.fromisoformat(event["time"]).timestamp()))
    assert turned().believed > 0


def short_and_long(worlds: dict[int, tuple[int, int]]) -> list[Any]:
    """(seed, minutes), short ones, and long ones for the full suite."""
    long = [pytest.param(seed, minutes, marks=pytest.mark.slow) for seed, (_, minutes) in worlds.items()]
    return [*((seed, minutes) for seed, (minutes, _) in worlds.items()), *long]


@pytest.mark.parametrize(("seed", "minutes"), short_and_long({1: (120, 300), 2: (120, 300), 3: (120, 300)}))
def test_nothing_is_started_twice_and_nothing_is_lost(seed: int, minutes: int) -> None:
    _, verdict = simulated(World(seed, chaos=True, minutes=minutes))
    assert (verdict.twice, verdict.lost, verdict.overlaps, verdict.idle, verdict.silent) == (0, 0, 0, 0, 0)
    assert verdict.slots > 13 * minutes
    assert sum(verdict.crashes.values()) > minutes / 15


@pytest.mark.parametrize(("seed", "minutes"), short_and_long({5: (200, 600)}))
def test_a_lost_region_is_stood_in_for_within_patience_and_a_minute(seed: int, minutes: int) -> None:
    _, verdict = simulated(World(seed, chaos=False, minutes=minutes))
    assert (verdict.twice, verdict.lost, verdict.slow) == (0, 0, 0)
    assert verdict.outages > 0
    assert verdict.taken_over > minutes / 6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_world() -> None:
    assert simulated(World(9, chaos=True, minutes=60)) == simulated(World(9, chaos=True, minutes=60))


def worst(minutes: int = 60) -> Verdict:
    """The first verdict that is not clean among a few seeds, or the last. Each ends at the first harm."""
    for seed in range(1, 4):
        _, verdict = simulated(World(seed, chaos=True, minutes=minutes, to_first_harm=True))
        if verdict.twice or verdict.lost or verdict.overlaps:
            break
    return verdict


def test_without_the_conditional_claim_slots_are_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: MemoryTable, pk: str, sk: str, body: dict[str, Any], **more: Any) -> Any:
        item = original(self, pk, sk, body, **more)
        there = self.get(pk, sk)
        return item or (there and self.compare_and_set(there, body))

    original: Callable[..., Any] = MemoryTable.create
    monkeypatch.setattr(MemoryTable, "create", put)
    monkeypatch.setattr(decide, "_running", lambda job, run, wanted, now, region: decide._start(job, wanted, None))
    assert worst(10).twice > 0


def test_if_a_lapsed_lease_meant_run_again_slots_would_be_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_running", lambda job, run, wanted, now, region: decide._start(job, wanted, run))
    monkeypatch.setattr(Run, "expired", lambda self, now: True)
    assert worst(10).twice > 0


@pytest.mark.slow
def test_without_the_sweep_slots_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_again", lambda seen, slots, now: [])
    # What the sweep makes up for is a region that is away, so that no luck with the seed is needed.
    _, verdict = simulated(World(1, chaos=True, minutes=60, home_away=(10, 30)))
    assert verdict.lost > 0


@pytest.mark.slow
def test_with_the_sweep_the_same_world_loses_nothing() -> None:
    _, verdict = simulated(World(1, chaos=True, minutes=60, home_away=(10, 30)))
    assert (verdict.twice, verdict.lost, verdict.overlaps, verdict.silent) == (0, 0, 0, 0)
    assert verdict.taken_over > 200


@pytest.mark.slow
def test_without_alerts_of_the_worker_and_the_sweep_runs_fail_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "run_ended", lambda job, run, output="": None)
    _, verdict = simulated(World(1, chaos=True, minutes=60))
    assert verdict.silent > 5


PRODUCT = [f"chalicelib.schedules.{name}" for name in (
    "act", "observe", "operations", "worker", "decide.execution", "decide.backoff")]


@pytest.mark.slow
def test_the_product_itself_is_simulated() -> None:
    executed = lines_executed(
        lambda: [simulated(world) for world in (
            World(2, chaos=False, minutes=90), World(9, chaos=True, minutes=90), World(10, chaos=True, minutes=90),
            World(12, chaos=True, minutes=90), World(13, chaos=True, minutes=90),
            World(3, chaos=True, minutes=90, home_away=(20, 60)))], PRODUCT)
    assert {name: found.missing for name, found in executed.items() if found.share <= 0.9} == {}


def test_without_the_lock_runs_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_lock", lambda site, request, job, wanted, owner: None)
    assert worst().overlaps > 0


def test_if_a_lock_outlived_its_run_slots_would_make_way_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_unlock", lambda site, job, run: None)
    monkeypatch.setattr(observe, "_ended", lambda site, job, lock: False)
    monkeypatch.setattr(world, "_NEXT_TRY_SECONDS", 0)
    assert simulated(World(1, chaos=False, minutes=60))[1].idle > 0
