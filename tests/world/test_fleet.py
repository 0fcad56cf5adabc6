"""The real package, deployed to every region of the fleet, as the demo does it."""

import time

import pytest

from commands import packaging, release, wheels
from sandbox.world import World
from tests.world.conftest import Invoke

pytestmark = pytest.mark.world
# What the user waits for, on two cores.
DEPLOYED_SECONDS = 30


def test_from_nothing_to_three_regions_in_time() -> None:
    begun = time.monotonic()
    package = packaging.build("quick", machine=wheels.here())
    regions = [region.name for region in package.fleet.regions]
    with World.start() as world:
        done = release.release(world, package, regions, release.Quiet(), lambda: True, look_seconds=0.1)
        assert time.monotonic() - begun < DEPLOYED_SECONDS
    assert [one.status for one in done] == ["deployed"] * 4


@pytest.mark.parametrize("function", ["schedules_status", "tasks_status"])
def test_every_region_answers(invoke: Invoke, package: packaging.Package, function: str) -> None:
    for region in package.fleet.regions:
        outcome = invoke(function, {}, region.name)
        assert (outcome["operation"], outcome["status"]) == (function.replace("_", "."), "planned")


def test_deploying_the_same_package_again_changes_nothing(fleet: World, package: packaging.Package) -> None:
    regions = [region.name for region in package.fleet.regions]
    done = release.release(fleet, package, regions, release.Quiet(), lambda: True, look_seconds=0.1)
    assert [one.status for one in done] == ["unchanged"] * 4
