"""The declarations in a package: all that a worker must know of a task, without a line of users' code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib import context
from chalicelib.aws import client
from chalicelib.aws.functions import Invocation
from chalicelib.config.declared import Tasks
from chalicelib.tasks import manifest, registry, worker
from chalicelib.tasks.client import Call, Sender
from chalicelib.tasks.handover import Outcome, TaskBatch
from commands import roots
from commands.deploy import task_check
from testing.aws import FakeAws
from testing.fakes import MemoryTable
from tests.tasks.fakes import Context, SqsClient, record
from tests.tasks.test_worker import FLEET, URLS, Topic

TASKS = '''
from pathlib import Path
from lamplighter import task

Path(__file__).with_suffix(".imported").touch()

@task(retries=3, timeout="2m", concurrency=4, key=("b", "a"), remember="2d", queue="orders")
def whole(a, b, c=1): pass

@task(key=lambda n: str(n))
def keyed(n): pass

@task
def open_ended(**more): pass
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "t.py").write_text(TASKS)
    return tmp_path


@pytest.mark.slow
def test_a_declaration_says_all_but_the_functions(project: Path) -> None:
    loaded = manifest.load(task_check.compiled(project)).tasks
    assert list(loaded) == ["t.keyed", "t.open_ended", "t.whole"]
    whole = loaded["t.whole"]
    assert (whole.queue, whole.retries, whole.timeout, whole.concurrency, whole.remember) == (
        "orders", 3, 120, 4, 172_800)
    assert (whole.required, whole.allowed, whole.file, whole.line) == (
        frozenset("ab"), frozenset("abc"), "tasks/t.py", 7)
    assert whole.key is not None and whole.key({"a": 1, "b": "x"}) == '["x",1]'
    assert loaded["t.open_ended"].allowed is None and loaded["t.open_ended"].key is None
    assert loaded["t.keyed"].key is not None and loaded["t.keyed"].key_arguments == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["function", "key"])
def test_users_functions_cannot_be_called_by_a_declaration(project: Path, name: str) -> None:
    task = manifest.load(task_check.compiled(project)).tasks["t.keyed"]
    with pytest.raises(LookupError, match="does not run here"):
        getattr(task, name)(**{"n": 1})


@pytest.mark.slow
def test_the_declarations_are_the_same_each_time(project: Path) -> None:
    assert task_check.compiled(project) == task_check.compiled(project)


@pytest.mark.slow
def test_a_module_that_does_not_import_has_no_declarations(project: Path) -> None:
    (project / "tasks" / "broken.py").write_text("import nothing_of_that_name")
    assert list(manifest.load(task_check.compiled(project)).tasks) == ["t.keyed", "t.open_ended", "t.whole"]


@pytest.mark.slow
def test_a_sender_knows_the_queue_of_a_task_whose_module_nobody_imported(project: Path) -> None:
    (project / manifest.FILE).write_bytes(task_check.compiled(project))
    known, sqs = manifest.packaged(project), SqsClient()
    assert known is not None and manifest.packaged(project / "tasks") is None
    sent: dict[str, Any] = {}

    class Sqs:
        def send(self, url: str, entries: list[dict[str, Any]]) -> dict[int, str]:
            sent[url] = entries
            return {}

    Sender(URLS, Sqs(), known).send(Call("t.whole", {"a": 1, "b": 2}))  # type: ignore[arg-type]
    assert list(sent) == [URLS["orders"]] and sqs.requests == []


@pytest.mark.slow
def test_a_worker_of_isolated_tasks_imports_no_module_of_theirs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / manifest.FILE).write_bytes(task_check.compiled(project))
    (project / "tasks" / "t.imported").unlink()
    aws, seen = FakeAws(), list[TaskBatch]()

    def run(payload: bytes) -> Invocation:
        seen.append(msgspec.json.decode(payload, type=TaskBatch))
        return Invocation(msgspec.json.encode([Outcome("done")]))

    aws.functions["lamp-test-tasks_runner"] = run
    here = context.RegionContext(
        region="eu-west-1", stage="test", fleet=msgspec.structs.replace(FLEET, tasks=Tasks()),
        shared_store=MemoryTable(), local_store=MemoryTable(), queues={}, alerts=Topic(), root=project,
        clock=lambda: 5000.0, aws_regions={"eu-west-1": aws.ports})
    monkeypatch.setattr(context, "here", lambda: here)
    monkeypatch.setattr(client, "client", lambda service, region: SqsClient())
    monkeypatch.setattr(registry, "load", lambda *_: pytest.fail("the worker imported tasks/"))
    monkeypatch.setenv("LAMP_QUEUES", json.dumps(URLS))
    worker._cold_start.cache_clear()
    try:
        message = record({"task": "t.open_ended", "args": {"x": 1}}, 1)
        assert worker.handle({"Records": [message]}, Context()) == {"batchItemFailures": []}
    finally:
        worker._cold_start.cache_clear()
    assert [call.task for call in seen[0].calls] == ["t.open_ended"]
    assert not (project / "tasks" / "t.imported").exists()


@pytest.mark.slow
def test_neither_worker_nor_runner_can_load_users_code_by_their_own_modules() -> None:
    # The runner's parent process holds the line to AWS. Only the program below it imports tasks/.
    program = ("import sys; import chalicelib.tasks.child.handler, chalicelib.tasks.child.batch; "
               "sys.exit(any(name in sys.modules for name in ('chalicelib.tasks.child.program', 'boto3', 'botocore')))")
    done = subprocess.run([sys.executable, "-P", "-c", program], env={"PYTHONPATH": str(roots.PRODUCT)})
    assert done.returncode == 0
