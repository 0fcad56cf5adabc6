"""The role of the worker of tasks that share its Lambda: no permission is missing, and none is superfluous."""

from collections.abc import Iterator

import pytest

from chalicelib.config.fleet import parse
from commands import roots
from sandbox.world import Sandbox
from tests.project import copy
from tests.world.hostile import prepare
from tests.world.least_privilege import Lambdas, LeastPrivilege, deploy
from tests.world.test_policies import TASKS, tasks_work

pytestmark = pytest.mark.world

WRITTEN = (roots.PRODUCT / "fleet.toml").read_text() + '\n[tasks]\nisolation = "shared"\n'


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambdas]:
    """The fleet whose tasks run in the worker, with its authority."""
    project = copy(tmp_path_factory.mktemp("shared"))
    prepare(project, declared=True)
    (project / "fleet.toml").write_text(WRITTEN)
    (project / "tasks" / "fine.py").write_text(TASKS)
    with Sandbox.start() as world:
        yield Lambdas(world, deploy(world, project))


class TestSharedTasks(LeastPrivilege):
    prefixes = ("tasks_work",)
    exercises = {"tasks_work": tasks_work}  # noqa: RUF012 - read, never changed
    fleet = parse(WRITTEN)
