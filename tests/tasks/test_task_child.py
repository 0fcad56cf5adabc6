"""The program of the runner Lambda of tasks, as a process of its own, with real tasks in processes below it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.tasks.handover import Outcome, TaskBatch, TaskCall
from testing.eventually import eventually
from tests import runner_lambda

ROOT = Path(__file__).parents[2]
LAMBDA = runner_lambda.program("tasks")
TASKS = '''
import os, signal, subprocess, sys, time
from lamplighter import Refused, current, task

@task
def fine(n: int = 0): print("fine", n, os.getpid())

@task
def told():
    run = current()
    print(run.task, run.id, run.attempt, run.queue, run.meta["a"], run.hops)

@task
def fails(): raise ConnectionError("no answer \\ud800 from the printer")

@task
def refuses(): raise Refused("there is no such customer")

@task
def exits(): sys.exit(3)

@task
def dies(): os._exit(7)

@task
def killed(): os.kill(os.getpid(), signal.SIGKILL)

@task
def sleeps():
    time.sleep(60)

@task
def hangs():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(60)

@task
def leaves(mark: str):
    for words in ("exec sleep 600 MARK &", "setsid sh -c 'exec sleep 600 MARK' &",
                  "(setsid sh -c '(exec sleep 600 MARK) &' &)"):
        subprocess.run(["/bin/sh", "-c", words.replace("MARK", mark)], check=True)

@task
def forges(): os.write(int(sys.argv[2]), b"{}" + b"\\n")

@task
def line_to_aws():
    line = sorted(set(os.environ) & {"AWS_LAMBDA_RUNTIME_API", "_HANDLER"})
    print(line, os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("_X_AMZN_TRACE_ID"))

@task(key=lambda n: f"number {n}")
def keyed(n: int): raise AssertionError("only its key was asked for")

@task(key=lambda n: 1 // n)
def badly_keyed(n: int): pass
'''
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "t.py").write_text(TASKS)
    (tmp_path / "tasks" / "broken.py").write_text("import lamplighter\n\nimport nothing_of_that_name\n")
    return tmp_path


def call(name: str, args: dict[str, Any] | None = None, **more: Any) -> TaskCall:
    body = json.dumps({"task": name, "args": args or {}, "meta": {"a": "b"}, "hops": 3})
    return msgspec.structs.replace(TaskCall(name, body, "m1", 2, "default", 30.0), **more)


class Ran:
    """What came of an invocation."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        assert done.returncode == 0, done.stderr
        self.outcomes = msgspec.json.decode(done.stdout, type=list[Outcome])
        self.states = [one.state for one in self.outcomes]
        self.log = done.stderr


def run(project: Path, *calls: TaskCall, seconds: float = 60, may_cut: bool = True, **environment: str) -> Ran:
    """One invocation of a runner."""
    event = msgspec.json.encode(TaskBatch(list(calls), seconds, may_cut)).decode()
    return Ran(subprocess.run(
        [sys.executable, "-P", "-c", LAMBDA], input=event + "\n", capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}", **environment}))


@pytest.mark.slow
def test_a_batch_runs_in_one_process_in_its_order(project: Path) -> None:
    ran = run(project, call("t.fine", {"n": 1}), call("t.told"), call("t.fine", {"n": 2}))
    assert ran.states == ["done"] * 3
    first, told, second = ran.log.splitlines()
    assert told == "t.told m1 2 default b 3"
    assert (first.split()[:2], second.split()[:2]) == (["fine", "1"], ["fine", "2"])
    assert first.split()[2] == second.split()[2]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "state", "why"), [
    ("t.fails", "failed", "ConnectionError: no answer ? from the printer"),
    ("t.refuses", "refused", "there is no such customer"),
    ("t.exits", "failed", "SystemExit: 3"),
    ("t.nobody", "failed", "there is no task 't.nobody'"),
    ("broken.task", "failed", "tasks/broken.py:3: does not import (ModuleNotFoundError: "),
    ("t.dies", "crashed", "its process ended by exit status 7"),
    ("t.killed", "crashed",
     "its process ended by signal 9, which mostly means that the memory is used up (memory_mb of [runners])"),
])
def test_a_task_that_is_not_done_says_why_and_the_next_one_runs(project: Path, name: str, state: str, why: str) -> None:
    ran = run(project, call("t.fine"), call(name), call("t.fine"))
    assert ran.states == ["done", state, "done"]
    assert ran.outcomes[1].why.startswith(why)


@pytest.mark.slow
def test_one_that_takes_too_long_is_ended_and_the_next_one_runs(project: Path) -> None:
    began = time.monotonic()
    ran = run(project, call("t.sleeps", seconds=1.0), call("t.fine"))
    assert ran.states == ["timed-out", "done"] and ran.outcomes[0].why == "took longer than its time-out"
    assert time.monotonic() - began < 15


@pytest.mark.slow
@linux
def test_one_that_cannot_be_interrupted_is_killed_and_the_next_one_runs(project: Path) -> None:
    ran = run(project, call("t.fine"), call("t.hangs", seconds=1.0), call("t.fine"))
    assert ran.states == ["done", "timed-out", "done"]
    assert ran.outcomes[1].why == "took longer than its time-out (1 s), and did not stop"


@pytest.mark.slow
@linux
def test_nothing_that_a_task_started_outlives_its_batch(project: Path) -> None:
    mark = f"0.0{os.getpid()}{time.monotonic_ns()}"
    assert run(project, call("t.leaves", {"mark": mark}), call("t.fine")).states == ["done", "done"]
    assert eventually(lambda: not any(
        mark.encode() in _read(path) for path in Path("/proc").glob("[0-9]*/cmdline")))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
def test_what_has_no_time_left_is_not_begun(project: Path) -> None:
    ran = run(project, call("t.fine", seconds=30.0), call("t.fine", seconds=30.0), seconds=20)
    assert ran.states == ["done", "not-run"]
    assert run(project, call("t.fine", seconds=30.0), seconds=20, may_cut=False).states == ["not-run"]


@pytest.mark.slow
def test_of_a_group_none_runs_after_one_that_is_not_done(project: Path) -> None:
    ran = run(project, call("t.fails", group="a"), call("t.fine", group="b"), call("t.fine", group="a"),
              call("t.fine", group="b"))
    assert ran.states == ["failed", "done", "not-run", "done"]


@pytest.mark.slow
def test_a_process_that_answers_with_nonsense_is_no_longer_believed(project: Path) -> None:
    ran = run(project, call("t.forges"), call("t.fine"))
    assert ran.states == ["crashed", "done"]


@pytest.mark.slow
def test_the_credentials_of_its_role_are_there_and_the_line_to_aws_is_not(project: Path) -> None:
    ran = run(project, call("t.line_to_aws"), AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001", _HANDLER="app.tasks_runner",
              AWS_ACCESS_KEY_ID="ASIA", _X_AMZN_TRACE_ID="Root=1-2-3")
    # By the last one AWS stops a chain of tasks that never ends.
    assert ran.log == "[] ASIA Root=1-2-3\n"


@pytest.mark.slow
def test_a_function_of_a_key_is_called_in_place_of_its_task(project: Path) -> None:
    ran = run(project, call("t.keyed", {"n": 7}, wants="key"), call("t.badly_keyed", {"n": 0}, wants="key"))
    assert ran.outcomes[0] == Outcome("done", "number 7")
    assert (ran.states[1], ran.outcomes[1].why.split(":")[0]) == ("failed", "ZeroDivisionError")


@pytest.mark.slow
def test_a_large_message_passes_and_much_output_holds_up_nothing(project: Path) -> None:
    (project / "tasks" / "large.py").write_text(
        "from lamplighter import task\n@task\ndef size(text):\n"
        "    print('x' * 500_000)\n    assert len(text) == 900_000\n")
    assert run(project, call("large.size", {"text": "\u00fc" * 900_000})).states == ["done"]
