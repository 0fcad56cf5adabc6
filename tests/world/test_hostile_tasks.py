"""Tasks that reach for everything, in the real runner Lambda of tasks, with IAM enforced.

Each tries what hostile jobs try, and starts processes that are to outlive it. One kills its process, and one kills its
runner.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.tasks.lambdas import RUNNER
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.project import copy
from tests.world.hostile import HOSTILE, asked, left, prepare, reached_nothing
from tests.world.least_privilege import HOME, Lambdas, deploy

pytestmark = [pytest.mark.world, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")]

TASKS = '''
import signal
import time
from lamplighter import task

# Where this module is imported. The worker, with its authority, must never do so.
print("IMPORTED", os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


@task(timeout="60s")
def reaching():
    got.extend(name for name in ("LAMP_STOLEN",) if name in os.environ)
    calls()
    reach()


@task
def fine(number: int):
    print("FINE", number)


@task
def dies():
    os.kill(os.getpid(), signal.SIGKILL)


@task
def kills():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(20)


@task(key=lambda number: stolen(number))
def keyed(number: int):
    print("KEYED", number)


def stolen(number):
    """Users' code, too: it must not run in the worker."""
    print("KEY MADE IN", os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))
    return str(number)
'''


class Reaching:
    """The deployed fleet with its hostile tasks."""

    def __init__(self, lambdas: Lambdas, mark: str) -> None:
        self.lambdas, self.mark = lambdas, mark

    def work(self, *tasks: tuple[str, dict[str, Any]], received: int = 1) -> tuple[list[int], float]:
        """The places of the messages that come back from a batch, and the seconds that it took."""
        batch = self.lambdas.records(
            "default", *({"task": f"hostile.{name}", "args": args} for name, args in tasks), received=received)
        places = {one["messageId"]: place for place, one in enumerate(batch["Records"])}
        began = time.monotonic()
        answer = json.loads(self.lambdas.invoke("tasks_work", batch))
        return [places[one["itemIdentifier"]] for one in answer["batchItemFailures"]], time.monotonic() - began

    def log(self, function: str, since: int) -> list[str]:
        """The lines of a Lambda's log since then (epoch milliseconds)."""
        events = self.lambdas.world.client("logs", HOME).filter_log_events(
            logGroupName=f"/aws/lambda/{self.lambdas.stack}-{function}", startTime=since)["events"]
        return [line for event in events for line in event["message"].splitlines()]


@pytest.fixture(scope="module", params=["nothing declared", "everything declared"])
def reaching(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reaching]:
    """The fleet with hostile tasks, once without a policy of its own and once with one that allows all there is."""
    project, mark = copy(tmp_path_factory.mktemp("hostile")), f"600.1{os.getpid()}"
    stage = "declared" if request.param == "everything declared" else "bare"
    prepare(project, declared=stage == "declared")
    told = asked(f"lamplighter-{stage}", mark)
    (project / "tasks" / "hostile.py").write_text(HOSTILE.format(asked=json.dumps(told)) + TASKS)
    with Sandbox.start() as world:
        yield Reaching(Lambdas(world, deploy(world, project, stage, [HOME])), mark)


def now() -> int:
    """The milliseconds since 1970."""
    return int(time.time() * 1000)


def test_a_task_reaches_nothing_and_leaves_nothing(reaching: Reaching) -> None:
    since = now()
    reaching.lambdas.world.forget_calls()
    assert reaching.work(("reaching", {}))[0] == []
    told = [line for line in eventually(lambda: reaching.log(RUNNER, since)) if line.startswith('{"got"')]
    found = json.loads(told[-1])
    reached_nothing(found["got"], reaching.lambdas, RUNNER)
    assert eventually(lambda: left(reaching.mark) == [])


def test_the_worker_runs_no_line_of_users_code(reaching: Reaching) -> None:
    since = now()
    assert reaching.work(("fine", {"number": 1}), ("keyed", {"number": 2}))[0] == []
    lines = eventually(lambda: [line for line in reaching.log(RUNNER, since) if line.startswith(("IMPORTED", "KEY "))])
    assert {line.split()[-1] for line in lines} == {f"{reaching.lambdas.stack}-{RUNNER}"}
    assert not [line for line in reaching.log("tasks_work", 0) if line.startswith(("IMPORTED", "FINE", "KEY"))]


def test_a_task_that_kills_its_process_harms_no_other_of_its_batch(reaching: Reaching) -> None:
    since = now()
    tasks = [("dies", {}) if number == 4 else ("fine", {"number": number}) for number in range(10)]
    assert reaching.work(*tasks)[0] == [4]
    done = [line for line in eventually(lambda: reaching.log(RUNNER, since)) if line.startswith("FINE")]
    assert sorted(int(line.split()[1]) for line in done) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_a_task_that_kills_its_runner_is_told_at_once_and_buries_nobody(reaching: Reaching) -> None:
    back, seconds = reaching.work(("fine", {"number": 1}), ("kills", {}), ("fine", {"number": 3}))
    assert back == [0, 1, 2] and seconds < 30
    # Each of them runs alone, and by its own try.
    assert reaching.work(("fine", {"number": 1}), received=2)[0] == []
    back, seconds = reaching.work(("kills", {}), received=2)
    assert back == [0] and seconds < 30
    assert any("ended before its tasks (Runtime.ExitError" in line for line in reaching.log("tasks_work", 0))
