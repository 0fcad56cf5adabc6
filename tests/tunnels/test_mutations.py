"""Each guard, taken away: within 200 seeds the simulation sees the harm that it prevents.

That with all of them there is none is what test_simulation.py shows for the same seeds.
"""

from typing import Any

import pytest

from chalicelib.aws.store import Item, Store
from chalicelib.tunnels import fences
from chalicelib.tunnels.decide import guards, primary, repair, repoint
from chalicelib.tunnels.state import EFFECTS_PK, TunnelState
from commands.develop.simulate_tunnels import lived
from sandbox.simulation.tunnels import World

SEEDS = range(1, 201)


def harms(what: str) -> bool:
    """Whether any of the timelines complains of it."""
    return any(what in line for seed in SEEDS for line in lived(seed).harm)


# What each guard prevents, as the judge puts it.
GUARDS = {
    "mode": "in mode", "stale": "on stale data", "far side": "the far side", "tunnel works": "whose tunnel works",
    "last": "nothing else serves", "correlated": "while several fail for a moment", "heals": "is more than 4 within",
    "replacements": "is more than 3 within", "flight": "are healed at the same time", "cool-down": "has cooled down",
    "astray": "was not led to the master",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [guard.name for guard in guards.GUARDS])
def test_without_a_guard_its_harm_is_done(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "GUARDS", tuple(guard for guard in guards.GUARDS if guard.name != name))
    assert harms(GUARDS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(guards.CANARY_RULES))
def test_a_canary_that_is_believed_too_easily_does_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(guards.CANARY_RULES, name)
    assert harms("the far side")


@pytest.mark.slow
@pytest.mark.parametrize(("room", "name", "careless"), [
    (repoint, "drains_for_primary", lambda view: iter(())),
                                                        (primary, "reports_wrong_primary", lambda instance,
                                                         seen: False),
    (primary, "matches_primary", lambda told, seen: True)],
    ids=["not taken out", "passed over for want of a slot", "not asked where it leads"])
def test_what_leads_to_a_master_that_is_over_does_not_stay(
    room: Any, name: str, careless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, name, careless)
    assert harms("leads to a master that is over")


FENCES = {"late": "on stale data", "overtaken": "though a later round has decided"}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(fences.FENCES))
def test_without_a_fence_a_healer_that_stood_still_does_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(fences.FENCES, name)
    assert harms(FENCES[name])


@pytest.mark.slow
def test_without_the_claim_acts_are_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = fences.claim

    def careless(table: Store, key: str, now: float) -> Item | None:
        return claim(table, key, now) or table.get(EFFECTS_PK, key)

    monkeypatch.setattr(fences, "claim", careless)
    assert harms("twice: ")


@pytest.mark.slow
def test_without_compare_and_set_overlapping_rounds_do_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    remember = World._remember

    def careless(self: World, version: int, memory: TunnelState) -> bool:
        return remember(self, self.version, memory)

    monkeypatch.setattr(World, "_remember", careless)
    assert harms("is told again")


@pytest.mark.slow
def test_if_what_was_drained_did_not_come_back_it_would_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "_COMES_BACK", ("joining",))
    assert harms("not let in")
