"""`lamp bench cold-start`: the CPU that each Lambda's start costs, beside a bare 'hello world' of Chalice and boto3."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chalicelib import registry
from commands.bench.figures import Figure, report
from commands.deploy import dependencies, packaging
from commands.errors import UsageError

# The bar of `schedules.tick`: milliseconds of CPU without the AWS SDK, as much as the machine at hand is a usual one.
TICK, TICK_MS = "schedules_tick", 120
HELLO = "hello world"
# What a start does, step by step. The SDK's modules come before ours, for hello world as for all others, so that the
# modules of Python that both need are the SDK's.
_CHALICE, _SDK = "from chalice import Chalice", "from botocore.session import Session"
_STEPS = {HELLO: [("own", _CHALICE), ("sdk", "import boto3"), ("own", "Chalice(app_name='hello')")]}
_WITHOUT_SDK = [("own", "import gc; gc.disable()"), ("own", _CHALICE), ("own", "import app")]
_PRODUCT = [*_WITHOUT_SDK[:2], ("sdk", _SDK), ("own", "from chalicelib.aws import client"), ("sdk", "client.sdk()"),
            _WITHOUT_SDK[2]]
# A process's time from its start, interpreter included, would differ by how Python was built: only imports are timed.
_TIMED = """\
import json, sys, time
spent = {"own": 0, "sdk": 0}
for kind, code in json.loads(sys.argv[1]):
    begin = time.process_time()
    exec(code)
    spent[kind] += time.process_time() - begin
print(json.dumps([spent["own"], spent["sdk"]]))
"""
# A Lambda that may call nothing starts without the SDK.
_STEPS |= {declared.function: _WITHOUT_SDK for declared in registry.lambdas() if not declared.permissions}


def bench(as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False) -> None:
    """How much CPU the start of each Lambda costs: its own code and libraries, and the AWS SDK.

    The package is made as for a deployment, so that all code is compiled. Hello world is a Lambda of Chalice and boto3
    that does nothing. All are measured in turn, as medians of fresh processes. No AWS client is made.
    """
    with unpacked() as folder:
        report(measure([declared.function for declared in registry.lambdas()], folder), as_json=as_json)


@contextmanager
def unpacked() -> Iterator[Path]:
    """The package of the fleet for this machine, as Lambda has it in its folder."""
    with tempfile.TemporaryDirectory(prefix="lamp-cold-start-") as folder:
        package = packaging.build("bench", machine=dependencies.here())
        shutil.unpack_archive(package.zip, folder)
        yield Path(folder)


def measure(functions: Sequence[str], folder: Path, rounds: int = 5) -> Iterator[Figure]:
    """Hello world and `functions` of the package in `folder`. Each round measures all, so that a busy moment of the
    machine hits all alike."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (HELLO, *functions)}
    for number in range(rounds + 1):
        for name, measured in found.items():
            milliseconds = _started(name, folder)
            if number:  # the first one may have compiled modules and filled the page cache
                measured.append(milliseconds)
    for name, measured in found.items():
        own, sdk = (statistics.median(column) for column in zip(*measured, strict=True))
        yield Figure(f"{name} (the bar is {TICK_MS} ms)" if name == TICK else name, own, "ms")
        if name in (HELLO, TICK):  # all Lambdas have the SDK of the tick
            yield Figure(f"{name}: the AWS SDK beside it", sdk, "ms")


def _started(function: str, folder: Path) -> tuple[float, float]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "_HANDLER": f"app.{function}",
                   "PYTHONTZPATH": str(folder / "tzdata/zoneinfo")}  # as the template has it
    steps = json.dumps(_STEPS.get(function, _PRODUCT))
    done = subprocess.run([sys.executable, "-P", "-c", _TIMED, steps], env=environment, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()
        raise UsageError(f"{function} cannot be imported: {last[-1] if last else 'Python gave no reason'}")
    own, sdk = json.loads(done.stdout)
    return own * 1000, sdk * 1000
