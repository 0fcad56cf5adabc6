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
# In the order in which app.py does it. What the SDK brings along is the SDK's.
_PRODUCT = {"first": "import gc; gc.disable()", "framework": "from chalicelib import registry",
            "sdk": "from chalicelib.aws import client\nclient.sdk()", "capability": "registry.handler({function!r})"}
_HELLO = {"first": "pass", "framework": "Chalice(app_name='hello')", "sdk": "import boto3", "capability": "pass"}
# A process's time from its start, interpreter included, would differ by how Python was built: only imports are timed.
_TIMED = """\
import json, time
begin = time.process_time()
{first}
from chalice import Chalice
{framework}
before = time.process_time()
{sdk}
after = time.process_time()
{capability}
print(json.dumps([before - begin + time.process_time() - after, after - before]))
"""


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
            yield Figure(f"{name}: the AWS SDK after it", sdk, "ms")


def _started(function: str, folder: Path) -> tuple[float, float]:
    code = _TIMED.format(**_HELLO if function == HELLO else _PRODUCT).format(function=function)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()
        raise UsageError(f"{function} cannot be imported: {last[-1] if last else 'Python gave no reason'}")
    own, sdk = json.loads(done.stdout)
    return own * 1000, sdk * 1000
