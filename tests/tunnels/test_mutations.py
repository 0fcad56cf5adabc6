"""Each guard, taken away: within 200 seeds the simulation sees the harm that it prevents.

That with all of them there is none is what test_simulation.py shows for the seeds at which it was seen.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import pytest
from msgspec.structs import replace

from chalicelib.databases import published
from chalicelib.engine import effects, state
from chalicelib.engine.schema import Stored
from chalicelib.tunnels import observe
from chalicelib.tunnels.decide import context, guards, primary, repair
from chalicelib.tunnels.state import EFFECTS_PK, KEY
from simulation.quiet import quiet
from simulation.tunnels.world import World, scenario

SEEDS = range(1, 201)

# What each guard prevents, as the checker puts it.
GUARDS = {
    "mode": "in mode", "stale": "on stale data", "primary side down": "the primary",
    "tunnel works": "whose tunnel works", "last healthy": "nothing else serves",
    "correlated failure": "while several fail for a moment", "repairs": "is more than 4 within",
    "replacements": "is more than 3 within", "one repair at a time": "repairs of members",
    "cooldown": "has cooled down", "wrong primary": "gets a replacement before",
}


# Where the harm has been seen before. It is looked for there first, since a timeline takes a second or two.
SEEN_AT = {"mode": 8, "wrong primary": 6, "stale": 21, "replacements": 7, "tunnel works": 4,
           "newer than outage": 20}


def harms(what: str, seen_at: int = 1, **more: Any) -> bool:
    """Whether any of the timelines complains of it."""
    return any(what in line for seed in (seen_at, *SEEDS) for line in until_harm(seed, what, **more))


def until_harm(seed: int, what: str, **more: Any) -> tuple[str, ...]:
    """The harm of a timeline, up to the one that is looked for."""
    world = World(replace(scenario(seed), **more))
    world.checker.looked_for = what
    with quiet():
        return world.run().harm


@pytest.mark.slow
@pytest.mark.parametrize("name", [guard.name for guard in guards.GUARDS])
def test_without_a_guard_its_harm_is_done(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "GUARDS", tuple(guard for guard in guards.GUARDS if guard.name != name))
    assert harms(GUARDS[name], SEEN_AT.get(name, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(guards.PEER_RULES))
def test_a_peer_that_is_believed_too_easily_does_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(guards.PEER_RULES, name)
    assert harms("the primary", SEEN_AT.get(name, 1), every=90)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name", "careless", "seen_at"), [
    (primary, "drain_wrong_primary", lambda context: context, 8),
    (primary, "reports_wrong_primary", lambda instance, seen, now: False, 8),
    (context, "matches_primary", lambda region, seen: True, 1)],
    ids=["not taken out", "passed over for want of a place", "not asked where it goes"])
def test_what_goes_to_a_primary_that_is_over_does_not_stay(
    module: Any, name: str, careless: Any, seen_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, careless)
    assert harms("goes to a primary that is over", seen_at, every=90)


@pytest.mark.slow
def test_without_a_look_at_its_age_a_controller_that_stood_still_does_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "is_stale", lambda *words: "")
    assert harms("on stale data")


@pytest.mark.slow
def test_without_a_look_at_the_state_a_round_that_was_overtaken_does_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "current", lambda store, key, schema, *, run_id: state.find(store, key, schema))
    assert harms("though a later round has decided")


@contextmanager
def without_the_claim() -> Iterator[None]:
    """An action's record is no reason not to do it again."""
    write = state.write

    def careless(store: Any, key: state.Key, schema: Any, before: Any, value: Any, **more: Any) -> Any:
        written = write(store, key, schema, before, value, **more)
        return Stored(value, 1) if written is None and key[0] == EFFECTS_PK else written

    with mock.patch.object(state, "write", careless):
        yield


@contextmanager
def without_compare_and_set() -> Iterator[None]:
    """Whatever the state is by now, it is replaced."""
    write = state.write

    def careless(store: Any, key: state.Key, schema: Any, before: Any, value: Any, **more: Any) -> Any:
        there = store.get(*key) if key == KEY else None
        if there is not None:
            before = Stored(value, there.version)
        return write(store, key, schema, before, value, **more)

    with mock.patch.object(state, "write", careless):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(("mutation", "what", "more"), [
    (without_the_claim, "twice: ", {"rewound": True}), (without_compare_and_set, "", {})])
def test_without_the_engine_s_own_guards_harm_is_done(
    mutation: Callable[[], AbstractContextManager[None]], what: str, more: dict[str, Any]
) -> None:
    with mutation():
        assert harms(what, **more)


@pytest.mark.slow
def test_a_state_that_is_restored_makes_nothing_happen_twice() -> None:
    assert not any(harms_of for seed in range(1, 21) if (harms_of := _rewound(seed)))


def _rewound(seed: int) -> tuple[str, ...]:
    with quiet():
        return World(replace(scenario(seed), rewound=True)).run().harm


def turned(seeds: range) -> list[str]:
    """The harm while the coordination table is restored, and clocks are an hour wrong."""
    found: list[str] = []
    for seed in seeds:
        with quiet():
            found += World(replace(scenario(seed), turned=True, tagged=False, mode="full")).run().harm
        if found:
            break
    return found


@pytest.mark.slow
def test_a_restored_coordination_table_and_clocks_an_hour_wrong_do_no_harm() -> None:
    assert turned(range(1, 7)) == []


@pytest.mark.slow
def test_if_an_earlier_record_of_the_primary_was_obeyed_tunnels_would_go_astray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(published, "position", lambda record: (9, 9))
    assert any("a primary that is over" in harm or "nothing else serves" in harm for harm in turned(range(1, 4)))


@pytest.mark.slow
def test_if_times_ahead_of_the_clock_counted_tunnels_would_wait_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "not_ahead", lambda value, now: value)
    assert turned(range(2, 6))


@pytest.mark.slow
def test_if_what_was_drained_did_not_come_back_it_would_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "COMES_BACK", ("joining",))
    assert harms("not let in")


@pytest.mark.slow
def test_if_the_balancer_was_taken_to_send_to_whatever_it_has_the_last_one_would_be_drained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything = defaultdict(lambda: "registered", {"draining": "draining"})
    monkeypatch.setattr(observe, "_TARGETS", mock.Mock(get=lambda state, instead: everything[state]))
    assert harms("and nothing else serves")
