"""Exactly once, simulated; and proof that the simulation would notice if it were not so."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.schedules import decide, execute
from chalicelib.schedules.records import Run
from commands.simulate_schedules import World, simulated
from sandbox.simulation import schedules
from sandbox.simulation.parts import MemoryTable


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_started_twice_and_nothing_is_lost(seed: int) -> None:
    _, verdict = simulated(World(seed, chaos=True, minutes=300))
    assert (verdict.twice, verdict.lost, verdict.overlaps) == (0, 0, 0)
    assert verdict.slots > 4000
    assert sum(verdict.crashes.values()) > 20


def test_a_lost_region_is_stood_in_for_within_patience_and_a_minute() -> None:
    _, verdict = simulated(World(4, chaos=False, minutes=600))
    assert (verdict.twice, verdict.lost, verdict.slow) == (0, 0, 0)
    assert verdict.outages > 0
    assert verdict.taken_over > 100


def test_the_same_seed_gives_the_same_world() -> None:
    assert simulated(World(9, chaos=True, minutes=60)) == simulated(World(9, chaos=True, minutes=60))


def worst(minutes: int = 240) -> schedules.Verdict:
    """The first verdict that is not clean among a few seeds, or the last."""
    for seed in range(1, 6):
        _, verdict = simulated(World(seed, chaos=True, minutes=minutes))
        if verdict.twice or verdict.lost or verdict.overlaps:
            break
    return verdict


def test_without_the_conditional_claim_slots_are_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: MemoryTable, pk: str, sk: str, body: dict[str, Any], **more: Any) -> Any:
        item = original(self, pk, sk, body, **more)
        there = self.get(pk, sk)
        return item or (there and self.swap(there, body))

    original: Callable[..., Any] = MemoryTable.create
    monkeypatch.setattr(MemoryTable, "create", put)
    monkeypatch.setattr(decide, "_running", lambda job, run, errand, now: decide._start(job, errand, None))
    assert worst().twice > 0


def test_if_a_lapsed_lease_meant_run_again_slots_would_be_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_running", lambda job, run, errand, now: decide._start(job, errand, run))
    monkeypatch.setattr(Run, "lapsed", lambda self, now: True)
    assert worst().twice > 0


def test_without_the_sweep_slots_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_again", lambda seen, slots, now: [])
    assert worst().lost > 0


def test_without_the_lock_runs_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_lock", lambda site, job, errand, owner: None)
    assert worst().overlaps > 0
