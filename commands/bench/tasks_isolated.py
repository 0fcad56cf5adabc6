"""The cost of an isolated task: the worker's part, and that of the runner, whose processes are real.

The runner's part is measured in a process of its own, since a runner ends every process below it.
"""

import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.aws.functions import Invocation
from chalicelib.aws.store import DynamoStore
from chalicelib.tasks import event as batch
from chalicelib.tasks import manifest
from chalicelib.tasks.handover import Outcome, TaskBatch, TaskCall
from chalicelib.tasks.isolated_batch import IsolatedWorker, TaskRunner
from chalicelib.tasks.queues import SqsAdapter
from chalicelib.tasks.registry import Registry
from commands import roots
from commands.bench.figures import Figure, cpu_ms

_BATCHES, _RUNS = 150, 15
_TASK = "from lamplighter import task\n\n@task\ndef nothing(number: int, text: str) -> None: pass\n"


class _Answering:
    """A runner that has done all ten at once."""

    def __init__(self) -> None:
        self._answer = Invocation(msgspec.json.encode([Outcome("done")] * 10))

    def invoke(self, function: str, payload: bytes, *, wait_seconds: float) -> Invocation:
        return self._answer


def measure(registry: Registry, places: Any, context: Any, make_event: Any) -> Iterator[Figure]:
    """The CPU time of both parts, per message in batches of ten and of one."""
    runner = TaskRunner(_Answering(), "runner", 1024)
    worker = IsolatedWorker(runner, manifest.load(manifest.build(registry)), SqsAdapter("eu-west-1"),
                            DynamoStore("bench", "eu-west-1"), lambda: None)
    spent = []
    with contextlib.redirect_stdout(io.StringIO()):
        for number in range(_BATCHES):
            spent.append(cpu_ms(partial(lambda event: worker.work(batch.read(event, places), context),
                                        make_event(number * 10))))
    yield Figure("isolated: the worker's part of a task", statistics.median(spent) * 100, "us")
    for size, words in ((10, "in a batch of ten"), (1, "alone")):
        cpu, passed = _runner(size)
        yield Figure(f"isolated: the runner's CPU of a task {words}", cpu / size, "ms")
        yield Figure(f"isolated: the time of the runner's batch of {size}", passed, "ms")


def _runner(size: int) -> tuple[float, float]:
    """Milliseconds of CPU, and of time, of a runner's batch of empty tasks. The medians."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tasks").mkdir()
        (Path(folder) / "tasks" / "bench.py").write_text(_TASK)
        path = os.pathsep.join([folder, str(roots.PRODUCT)])
        done = subprocess.run([sys.executable, "-P", "-m", "commands.bench.tasks_isolated", str(size)], check=True,
                              env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    cpu, passed = json.loads(done.stdout)
    return float(cpu), float(passed)


def _run(size: int) -> tuple[float, float]:
    from chalicelib.tasks.child.handler import handle

    body = json.dumps({"task": "bench.nothing", "args": {"number": 1, "text": "Oil for one lamp"}})
    calls = [TaskCall("bench.nothing", body, "m", 1, "default", 60.0) for _ in range(size)]
    event = msgspec.to_builtins(TaskBatch(calls, 600.0, may_cut=True))
    rounds = []
    for _ in range(_RUNS):
        before, began = _cpu(), time.monotonic()
        found = handle(event, None)
        rounds.append((_cpu() - before, time.monotonic() - began))
        if any(outcome["state"] != "done" for outcome in found):
            raise RuntimeError(f"the runner did not do its tasks: {found}")
    medians = [statistics.median(values) * 1000 for values in zip(*rounds, strict=True)]
    return medians[0], medians[1]


def _cpu() -> float:
    """Seconds of CPU of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run(int(sys.argv[1]))))
