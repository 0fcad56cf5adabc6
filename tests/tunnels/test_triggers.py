"""The controller watches all the time, wherever within the minute its rule fires: simulated, with the product's own
operations.

Each timeline is printed with the share of the time that is watched, and the longest time between two looks.
"""

import pytest

from simulation.quiet import quiet
from simulation.tunnels.world import Scenario, World
from testing.triggers import MODELS, TriggerModel, Watched, watched

ROUND_SECONDS = 2.0
MINUTES = 12
# At a doubled trigger two ask for the lease while the one before goes on, and one may come late.
MAX_CONCURRENCY = 4
MIN_SHARE, MAX_GAP_SECONDS = 0.97, 5.0


def timeline(triggers: TriggerModel, seed: int) -> tuple[World, Watched]:
    """Twelve quiet minutes of the controller, and how well it watched."""
    world = World(Scenario(seed, every=0, rough=0, minutes=MINUTES, triggers=triggers))
    with quiet():
        world.run()
    return world, watched(world.looks, world.scheduler.now, ROUND_SECONDS)


def judge(name: str, world: World, found: Watched) -> None:
    """Prints and asserts the figures of one timeline."""
    print(f"{name}: {found.share:.1%} watched, at most {found.longest_gap:.2f} s between two looks, "
          f"{world.concurrency} Lambdas at once")
    assert found.share >= MIN_SHARE and found.longest_gap <= MAX_GAP_SECONDS, found
    assert world.concurrency <= MAX_CONCURRENCY


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(60))
def test_the_controller_watches_whatever_second_its_rule_fires_at(offset: int) -> None:
    judge(f"offset {offset} s", *timeline(TriggerModel(offset), seed=offset))


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in MODELS if not name.startswith("at ")])
@pytest.mark.parametrize("seed", range(5))
def test_the_controller_watches_however_its_rule_jumps_misses_or_doubles(seed: int, model: str) -> None:
    judge(f"{model}, seed {seed}", *timeline(MODELS[model], seed))


def test_one_lambda_each_minute_that_ends_with_its_calendar_minute_would_not_do() -> None:
    """The figures can fail: without looks between a trigger's minute and the next, a share is missing."""
    looks = [60 * minute + second for minute in range(10) for second in range(41, 56, 2)]
    found = watched(looks, 600, ROUND_SECONDS)
    assert (round(found.share, 2), found.longest_gap) == (0.25, 46)
