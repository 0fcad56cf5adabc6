"""The real package, deployed to every region of the fleet, as the demo does it."""

import pytest

from commands.deploy import packaging, release
from sandbox.world import Sandbox
from tests.world.conftest import Invoke

pytestmark = pytest.mark.world


def test_from_nothing_to_the_coordination_table_and_three_regions(released: tuple[Sandbox, list[str]]) -> None:
    assert released[1] == ["deployed"] * 4


@pytest.mark.parametrize("function", ["schedules_status", "tasks_status"])
def test_every_region_answers(invoke: Invoke, package: packaging.Package, function: str) -> None:
    for region in package.fleet.regions:
        outcome = invoke(function, {}, region.name)
        assert (outcome["operation"], outcome["status"]) == (function.replace("_", "."), "planned")


def test_deploying_the_same_package_again_changes_nothing(fleet: Sandbox, package: packaging.Package) -> None:
    regions = [region.name for region in package.fleet.regions]
    done = release.release(fleet, package, regions, release.Quiet(), lambda: True, look_seconds=0.1)
    assert [one.status for one in done] == ["unchanged"] * 4
