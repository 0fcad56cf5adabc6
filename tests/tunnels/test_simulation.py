"""The controller simulated through 100 timelines, and through an hour without the primary.

What runs is the product: a test fails if its operations, what they observe, decide and do are not executed.
"""

import json
from functools import partial

import msgspec
import pytest

from commands import cli
from commands.develop import simulate_tunnels
from simulation.quiet import quiet
from simulation.tunnels.checker import SimulationResult
from simulation.tunnels.world import Scenario, World, simulate
from testing.coverage import lines_executed_by
from tests.tunnels.test_mutations import SEEN_AT

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 101, 25))
def test_no_harm_and_nothing_broken_unsaid_though_much_is_done(first: int) -> None:
    some = [simulate(seed) for seed in range(first, first + 25)]
    assert [(one.seed, one.harm) for one in some if one.harm] == []
    actions = simulate_tunnels.summary(some)["actions"]
    assert all(actions[kind] > 16 for kind in ("drain", "undrain", "restart", "replace"))
    assert sum(one.repaired for one in some) > 41 and sum(one.crashes for one in some) > 41


@pytest.mark.slow
def test_no_harm_where_the_lack_of_a_guard_does_some() -> None:
    assert [(seed, harm) for seed in SEEN_AT.values() if (harm := simulate(seed).harm)] == []


PRODUCT = [f"chalicelib.tunnels.{name}" for name in (
    "act", "observe", "operations", "decide", "decide.alerts", "decide.assign", "decide.context", "decide.guards",
    "decide.manual", "decide.primary", "decide.repair")]


def busy(seed: int) -> SimulationResult:
    """A region in which people drain, undrain and replace hosts every 5 s, so that they race with the controller."""
    world = World(Scenario(seed, members=3, every=120, rough=0.03, minutes=40))
    for number in range(400):
        world.faults.after(60 + 5 * number, world.faults.manual)
    with quiet():
        return world.run()


def eventful(seed: int, *, tagged: bool) -> SimulationResult:
    """An hour in which something happens each minute."""
    with quiet():
        return World(Scenario(seed, members=2 + seed % 2, every=60, rough=0.03, minutes=60, tagged=tagged)).run()


@pytest.mark.slow
def test_people_who_race_with_the_controller_do_no_harm() -> None:
    assert [(seed, harm) for seed in range(1, 9) if (harm := busy(seed).harm)] == []


@pytest.mark.slow
def test_an_hour_full_of_events_does_no_harm() -> None:
    assert [(seed, harm) for seed in range(1, 9) if (harm := eventful(seed, tagged=seed % 3 == 0).harm)] == []


@pytest.mark.slow
def test_the_product_itself_is_simulated() -> None:
    # Those first that together executed most of it when they were chosen.
    timelines = [*(partial(eventful, seed, tagged=seed == 2) for seed in (2, 3, 5, 7, 11)),
                 *(partial(busy, seed) for seed in (4, 1, 3, 7, 2)),
                 *(partial(eventful, seed, tagged=seed % 3 == 0) for seed in range(12, 30))]
    executed = lines_executed_by(timelines, PRODUCT, enough=0.9)
    assert {name: found.missing for name, found in executed.items() if found.share <= 0.9} == {}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_timeline() -> None:
    assert simulate(11) == simulate(11)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["far", "local", "ambiguous"])
@pytest.mark.parametrize("peers", [0, 1, 2])
def test_an_hour_without_the_primary_costs_no_action_and_exactly_one_alert(side: str, peers: int) -> None:
    world = World(Scenario(5, members=2, peers=peers, every=0, rough=0))
    world.faults.after(600, lambda: world.faults.primary_fails(side))
    world.faults.after(4000, world.faults.primary_returns)
    with quiet():
        found = world.run()
    alerts = {"PrimaryUnreachable": 1, "Recovered: PrimaryUnreachable": 1}
    assert (found.harm, found.actions, found.alerts) == ((), {}, alerts)
    members = world.checker.state["members"]
    assert found.rounds > 2600 and all(
        member["phase"] == "healthy" and not member["out_of_service_since"] for member in members)


def test_a_quiet_region_is_left_alone() -> None:
    with quiet():
        found = World(Scenario(6, members=4, every=0, rough=0)).run()
    assert (found.harm, found.actions, found.alerts) == ((), {}, {})


@pytest.mark.slow
def test_the_command_prints_the_figures(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "tunnels", "--timelines", "3", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["timelines"], said["harm"]) == (3, []) and said["rounds"] > 5_000


def test_the_command_fails_when_harm_was_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad: SimulationResult = msgspec.structs.replace(simulate(1), harm=("1.0: drained the last",))
    monkeypatch.setattr(simulate_tunnels, "run", lambda *_: [bad])
    assert cli.main(["simulate", "tunnels"]) == 1
    assert "seed 1: 1.0: drained the last" in capfd.readouterr().out
