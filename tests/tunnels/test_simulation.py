"""The healer simulated through 300 timelines, and through an hour without the far side."""

import json

import msgspec
import pytest

from commands import cli
from commands.develop import simulate_tunnels
from sandbox.simulation.tunnel_judge import SimulationResult
from sandbox.simulation.tunnels import Scenario, World


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 301, 50))
def test_no_harm_and_nothing_broken_unsaid(first: int) -> None:
    assert [(seed, harm) for seed in range(first, first + 50) if (harm := simulate_tunnels.lived(seed).harm)] == []


def test_a_timeline_without_harm_is_no_timeline_without_acts() -> None:
    some = [simulate_tunnels.lived(seed) for seed in range(1, 31)]
    acts = simulate_tunnels.summary(some)["acts"]
    assert all(acts[kind] > 20 for kind in ("drain", "undrain", "restart", "replace"))
    assert sum(timeline.healed for timeline in some) > 50 and sum(timeline.crashes for timeline in some) > 50
    assert not any(timeline.harm for timeline in some)


def test_the_same_seed_gives_the_same_timeline() -> None:
    assert simulate_tunnels.lived(11) == simulate_tunnels.lived(11)


@pytest.mark.parametrize("side", ["far", "local", "ambiguous"])
@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_an_hour_without_the_far_side_costs_no_act_and_exactly_one_page(side: str, neighbours: int) -> None:
    world = World(Scenario(5, slots=2, neighbours=neighbours, every=0, rough=0))
    world.at(world.street.now + 600, world.troubles.fall, side)
    world.at(world.street.now + 4200, world.troubles.back)
    found = world.run()
    assert (found.harm, found.acts, found.pages) == ((), {}, {"PrimaryUnreachable": 1})
    assert found.rounds > 2400 and all(slot.phase == "healthy" and not slot.out_of_service_since
                                       for slot in world.memory.slots)


def test_a_quiet_region_is_left_alone() -> None:
    found = World(Scenario(6, slots=4, every=0, rough=0)).run()
    assert (found.harm, found.acts, found.pages) == ((), {}, {})


def test_the_command_prints_the_figures(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "tunnels", "--timelines", "12", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["timelines"], said["harm"]) == (12, []) and said["rounds"] > 20_000


def test_the_command_fails_when_harm_was_done(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad: SimulationResult = msgspec.structs.replace(simulate_tunnels.lived(1), harm=("1.0: drained the last",))
    monkeypatch.setattr(simulate_tunnels, "run", lambda *_: [bad])
    assert cli.main(["simulate", "tunnels"]) == 1
    assert "seed 1: 1.0: drained the last" in capfd.readouterr().out
