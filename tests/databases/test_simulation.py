"""The databases' operations simulated: servers, networks, tables, people and Lambdas that fail.

What runs is the product: a test fails if its operations, what they observe, decide and do are not executed.
"""

import json
from functools import partial

import msgspec
import pytest
from msgspec.structs import replace

from commands import cli
from commands.develop import simulate_databases
from simulation.databases.checker import SimulationResult
from simulation.databases.world import Scenario, World, scenario, simulate
from simulation.quiet import quiet
from testing.coverage import lines_executed_by

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 31, 15))
def test_no_harm_and_nothing_broken_unsaid(first: int) -> None:
    assert [(seed, harm) for seed in range(first, first + 15) if (harm := simulate(seed).harm)] == []


@pytest.mark.slow
def test_a_timeline_without_harm_is_no_timeline_without_actions() -> None:
    some = [simulate(seed) for seed in range(1, 7)]
    found = simulate_databases.summary(some)
    assert all(found["actions"].get(kind, 0) for kind in (
        "heal start", "promote set_read_only", "promote set_writable", "promote change_source"))
    assert found["promoted"] > 5 and found["crashes"] > 5 and found["rows"] > 5000 and found["harm"] == []


@pytest.mark.slow
def test_restored_tables_wrong_clocks_and_events_of_other_years_do_no_harm() -> None:
    def turned(seed: int) -> tuple[str, ...]:
        with quiet():
            return World(replace(scenario(seed), turned=True)).run().harm

    assert [(seed, harm) for seed in range(1, 7) if (harm := turned(seed))] == []


PRODUCT = [f"chalicelib.databases.{name}" for name in (
    "act", "act_promotion", "observe", "operations", "decide", "decide.alerts", "decide.conditions", "decide.lag",
    "decide.manual", "decide.promotion", "decide.repair", "decide.steps")]


def busy(seed: int) -> SimulationResult:
    """An hour in which people promote, fence and tune all the time, threads stop, and calls often go wrong."""
    world = World(replace(scenario(seed), rough=0.1, every=90, minutes=60, open_by_itself=True,
                          tunnelled=seed % 2 == 0))
    faults = world.faults
    for number in range(60):
        ask = world.chance.choice((faults.promote, faults.promote, faults.promote_cut, faults.fence, faults.tune,
                                   faults.stop_thread))
        faults.after(120 + 55 * number, ask)
    with quiet():
        return world.run()


@pytest.mark.slow
def test_people_who_ask_for_much_at_once_do_no_harm() -> None:
    assert [(seed, harm) for seed in range(1, 11) if (harm := busy(seed).harm)] == []


@pytest.mark.slow
def test_the_product_itself_is_simulated() -> None:
    timelines = [*(partial(simulate, seed) for seed in range(1, 7)), *(partial(busy, seed) for seed in range(1, 17))]
    executed = lines_executed_by(timelines, PRODUCT, enough=0.9)
    assert {name: found.missing for name, found in executed.items() if found.share <= 0.9} == {}


def test_the_same_seed_gives_the_same_timeline() -> None:
    assert simulate(11) == simulate(11)


def test_a_quiet_fleet_is_left_alone() -> None:
    with quiet():
        found = World(Scenario(6, every=0, rough=0)).run()
    assert (found.harm, found.actions, found.alerts) == ((), {"watch write_heartbeat": 90}, {})


def test_the_command_prints_the_figures(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "databases", "--timelines", "2", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["timelines"], said["harm"]) == (2, []) and said["runs"] > 500


def test_the_command_fails_when_harm_was_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad: SimulationResult = msgspec.structs.replace(simulate(1), harm=("1.0: two primaries",))
    monkeypatch.setattr(simulate_databases, "run", lambda *_: [bad])
    assert cli.main(["simulate", "databases"]) == 1
    assert "seed 1: 1.0: two primaries" in capfd.readouterr().out
