"""Jobs that reach for everything: a command and a Python job in the real runner Lambda, with IAM enforced.

Each tries every key prefix of both tables, every queue, every Lambda, /proc of every process, the line of its runner to
AWS, and the metadata addresses. Each says what it got, and starts processes that are to outlive it.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.schedules.lambdas import RUNNER
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.project import copy
from tests.world.hostile import HOSTILE, asked, left, prepare, reached_nothing
from tests.world.least_privilege import HOME, Lambdas, deploy, numbers

pytestmark = [pytest.mark.world, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")]

# A line has no credentials, so that what it may reach is what it finds. A Python job has those of its role.
LINE = '''
got.extend(name for name in os.environ if name.startswith("AWS_"))
reach()
'''
JOB = '''
from lamplighter import job

@job("0 0 1 1 *", name="reaching")
def reaching():
    calls()
    reach()
'''

class Reaching:
    """The deployed fleet with its hostile jobs."""

    def __init__(self, lambdas: Lambdas, mark: str) -> None:
        self.lambdas, self.mark = lambdas, mark

    def run(self, job: str) -> dict[str, Any]:
        """A run of a job, as the worker records it, with its output."""
        slot = f"manual#{next(numbers)}"
        records = self.lambdas.records("schedule-runs", {"job": job, "slot": slot, "minute": 1, "why": "manual"})
        self.lambdas.invoke("schedules_work", records)
        run = self._item("-coordination", f"run#{job}", slot)
        return run | {"output": self._item("", f"output#{job}", f"{slot}#1").get("output", "")}

    def _item(self, table: str, pk: str, sk: str) -> dict[str, Any]:
        found = self.lambdas.world.client("dynamodb", HOME).get_item(
            TableName=f"{self.lambdas.stack}{table}", Key={"pk": {"S": pk}, "sk": {"S": sk}}).get("Item")
        body: dict[str, Any] = json.loads(found["body"]["S"]) if found else {}
        return body

NEXT = '''\
import boto3
from lamplighter import job, send

@job("0 0 1 1 *", name="declared")
def declared():
    print(len(boto3.client("s3").list_buckets()["Buckets"]) >= 0)
'''


@pytest.fixture(scope="module", params=["nothing declared", "everything declared"])
def reaching(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reaching]:
    """The fleet with hostile jobs, once without a policy of its own and once with one that allows all there is."""
    project, mark = copy(tmp_path_factory.mktemp("hostile")), f"600.0{os.getpid()}"
    stage = "declared" if request.param == "everything declared" else "bare"
    prepare(project, declared=stage == "declared")
    told = asked(f"lamplighter-{stage}", mark)
    hostile, spy = HOSTILE.format(asked=json.dumps(told)), project / "spy.py"
    (project / "cron" / "hostile.py").write_text(hostile + JOB)
    spy.write_text(hostile + LINE)
    (project / "cron" / "plain.py").write_text(NEXT)
    lines = ["# lamp: name=line", f"0 0 1 1 * {sys.executable} -S -P {spy}",
             "# lamp: name=killer", "0 0 1 1 * echo here; kill -9 $PPID; sleep 5"]
    (project / "cron" / "crontabs" / "made").write_text("\n".join(lines) + "\n")
    with Sandbox.start() as world:
        yield Reaching(Lambdas(world, deploy(world, project, stage, [HOME])), mark)


def test_a_python_job_reaches_nothing_and_leaves_nothing(reaching: Reaching) -> None:
    run = reaching.run("reaching")
    assert run["state"] == "done", run
    found = json.loads(run["output"].splitlines()[-1])
    reached_nothing(found["got"], reaching.lambdas, RUNNER)
    assert eventually(lambda: left(reaching.mark) == [])


def test_a_command_reaches_nothing_and_leaves_nothing(reaching: Reaching) -> None:
    run = reaching.run("line")
    assert run["state"] == "done", run
    assert json.loads(run["output"].splitlines()[-1])["got"] == []
    assert eventually(lambda: left(reaching.mark) == [])


def test_a_command_that_kills_its_runner_is_told_at_once(reaching: Reaching) -> None:
    run = reaching.run("killer")
    assert run["state"] == "failed"
    assert f"{RUNNER} ended before its command (Runtime.ExitError" in run["detail"]
    assert reaching.run("declared")["state"] in ("done", "failed")


def test_a_job_may_do_what_is_declared_and_no_more(reaching: Reaching) -> None:
    run = reaching.run("declared")
    assert run["state"] == ("done" if reaching.lambdas.stack.endswith("declared") else "failed"), run
