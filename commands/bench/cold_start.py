"""`lamp bench cold-start`: the CPU that each Lambda's start costs, beside a bare 'hello world' of Chalice and boto3."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from chalicelib import registry
from commands.deploy import dependencies, packaging
from commands.errors import UsageError
from commands.operate import show

# The bar of `schedules.tick`: milliseconds of CPU without the AWS SDK, as much as the machine at hand is a usual one.
TICK, TICK_MS = "schedules_tick", 120
HELLO = "hello world"
# In the order in which `registry.handlers` does it: what the SDK brings along is the SDK's.
_PRODUCT = {"framework": "from chalicelib import registry", "sdk": "from chalicelib.aws import client\nclient.sdk()",
            "capability": "registry.handler({function!r})"}
_HELLO = {"framework": "Chalice(app_name='hello')", "sdk": "import boto3", "capability": "pass"}
# A process's time from its start, interpreter included, would differ by how Python was built: only imports are timed.
_TIMED = """\
import json, time
begin = time.process_time()
from chalice import Chalice
{framework}
before = time.process_time()
{sdk}
after = time.process_time()
{capability}
print(json.dumps([before - begin + time.process_time() - after, after - before]))
"""


class Start(NamedTuple):
    """Milliseconds of CPU: for the code itself, for the AWS SDK after it, and in all. Clients are not made yet."""

    function: str
    own_ms: float
    sdk_ms: float
    total_ms: float


def bench(as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False) -> None:
    """How much CPU the start of each Lambda costs: its own code and libraries, and the AWS SDK.

    The package is made as for a deployment, so that all code is compiled. The first row is a Lambda of Chalice and
    boto3 that does nothing. All are measured in turn, in the same run.
    """
    with Console(stderr=True).status("starting each Lambda six times ..."), unpacked() as folder:
        starts = measure([declared.function for declared in registry.lambdas()], folder)
    if as_json:
        print(json.dumps([start._asdict() for start in starts], indent=2))
        return
    table = show.plain_table("Lambda", "own, ms", "AWS SDK, ms", "total, ms", f"of {HELLO}")
    for start in starts:
        table.add_row(start.function, f"{start.own_ms:.0f}", f"{start.sdk_ms:.0f}", f"{start.total_ms:.0f}",
                      f"{start.total_ms / starts[0].total_ms:.2f} x")
    Console(highlight=False).print(
        table, f"CPU of imports of the compiled package, median of fresh processes, no AWS client made. {HELLO} is "
        f"Chalice and boto3 alone. The bar for {TICK} is {TICK_MS} ms of its own.")


@contextmanager
def unpacked() -> Iterator[Path]:
    """The package of the fleet for this machine, as Lambda has it in its folder."""
    with tempfile.TemporaryDirectory(prefix="lamp-cold-start-") as folder:
        package = packaging.build("bench", machine=dependencies.here())
        with zipfile.ZipFile(package.zip) as archive:
            archive.extractall(folder)
        yield Path(folder)


def measure(functions: Sequence[str], folder: Path, rounds: int = 5) -> list[Start]:
    """Hello world and `functions` of the package in `folder`. Each round measures all, so that a busy moment of the
    machine hits all alike."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (HELLO, *functions)}
    for number in range(rounds + 1):
        for name, measured in found.items():
            milliseconds = _started(name, folder)
            if number:  # the first one may have compiled modules and filled the page cache
                measured.append(milliseconds)
    starts = []
    for name, measured in found.items():
        own, sdk = (statistics.median(column) for column in zip(*measured, strict=True))
        total = statistics.median(sum(both) for both in measured)
        starts.append(Start(name, round(own, 1), round(sdk, 1), round(total, 1)))
    return starts


def _started(function: str, folder: Path) -> tuple[float, float]:
    code = _TIMED.format(**_HELLO if function == HELLO else _PRODUCT).format(function=function)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()
        raise UsageError(f"{function} cannot be imported: {last[-1] if last else 'Python gave no reason'}")
    own, sdk = json.loads(done.stdout)
    return own * 1000, sdk * 1000
