"""Each guard, taken away: within 100 seeds the simulation sees the harm that it prevents.

That with all of them there is none is what test_simulation.py shows.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.databases import act_promotion, decide, observe
from chalicelib.databases.decide import conditions, repair, steps
from chalicelib.engine import run as engine
from simulation.databases.world import World, scenario
from simulation.quiet import quiet

SEEDS = range(1, 101)


def nothing(*_: object) -> Iterator[Any]:
    return iter(())


def no_reason(*_: object) -> str:
    return ""


def _any_time(operation: object, context: object, event: Mapping[str, str]) -> int:
    return int(datetime.fromisoformat(event["time"]).timestamp())


# What is put in the place of a guard, and the harm as the checker puts it.
Mutation = tuple[list[tuple[Any, str, Callable[..., Any]]], str]
# Some harm is rare, so that its timelines have more of what leads to it.
MORE: dict[str, dict[str, Any]] = {
    "no restart without a tunnel": {"tunnelled": True, "every": 120},
    "a record that went back is not believed": {"every": 60},
    "what was received is applied, or a person accepts the loss": {"every": 120},
    "restarts cool down and have a budget": {"every": 120},
    "an event that fails is not tried again": {"every": 120},
    "a server that takes writes that belong elsewhere is closed": {"open_by_itself": True, "every": 120},
    "a table restored from a backup is not believed": {"turned": True},
    "an event of another year is refused": {"turned": True},
    "a minute ahead of the clock holds nothing up": {"turned": True},
}
MUTATIONS: dict[str, Mutation] = {
    "the old primary is closed first": (
        [(act_promotion, "_closed", lambda *_: steps.Verdict()),
         (steps, "old_primary", lambda *_: steps.OldPrimary())], "two primaries"),
    "what was received is applied, or a person accepts the loss": (
        [(steps, "next_move", lambda *_: "done"), (steps, "drained", lambda *_: steps.Verdict("done"))], "lost: "),
    "repair leaves promotions, fences and the primary alone": ([(repair, "repair_forbidden", no_reason)], "start of"),
    "an event that fails is not tried again": ([(repair, "permanent_errors", nothing)], "would fail again"),
    "restarts cool down and have a budget": ([(repair, "budget_exhausted", no_reason)], "is more than 4 within"),
    "no restart without a tunnel": ([(repair, "tunnels", no_reason)], "without a tunnel"),
    "a thread that stands still is started": ([(repair, "stopped", lambda _: ())], "is left alone"),
    "a server that takes writes that belong elsewhere is closed": (
        [(conditions, "must_fence", lambda *_: False)], "is not closed"),
    "a record that went back is not believed": (
        [(observe, "position", lambda record: (0, 0)), (conditions, "newest_seen", lambda *_: (0, 0)),
         (conditions, "fence_refused", no_reason)], "closes the primary"),
    "a table restored from a backup is not believed": (
        [(observe, "position", lambda record: (0, 0)), (conditions, "newest_seen", lambda *_: (0, 0))], "term "),
    "an event of another year is refused": ([(engine, "_event_time", _any_time)], "believes an event of another year"),
    "a minute ahead of the clock holds nothing up": ([
        (observe, "minute_done", lambda minute, now, clock: minute >= now // 60)], "is deaf"),
    "a promotion's own stops are not told": ([(conditions, "_in_promotion", lambda *_: False)], "own work"),
    "the heart beats on the primary alone": ([(decide, "beats", lambda *_: True)], "heartbeat on the replica"),
}


def harms(what: str, more: dict[str, Any]) -> bool:
    """Whether any of the timelines complains of it."""
    return any(what in line for seed in SEEDS for line in until_harm(seed, what, more))


def until_harm(seed: int, what: str, more: dict[str, Any]) -> tuple[str, ...]:
    """The harm of a timeline, up to the one that is looked for."""
    world = World(replace(scenario(seed), **more))
    world.checker.looked_for = what
    with quiet():
        return world.run().harm


@pytest.mark.slow
@pytest.mark.parametrize("guard", MUTATIONS)
def test_without_a_guard_its_harm_is_done(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    instead, what = MUTATIONS[guard]
    for module, name, careless in instead:
        monkeypatch.setattr(module, name, careless)
    assert harms(what, MORE.get(guard, {}))
