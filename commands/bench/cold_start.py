"""`lamp bench cold-start`: the CPU that each Lambda's start costs, beside a bare 'hello world' of Chalice and boto3."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from chalicelib import registry
from commands.deploy import dependencies, packaging
from commands.errors import UsageError

# The bar of `schedules.tick`: milliseconds of CPU without the AWS SDK, as much as the machine at hand is a usual one.
TICK, TICK_MS = "schedules_tick", 120
HELLO = "hello world"
# In the order in which `registry.handlers` does it: what the SDK brings along is the SDK's.
_FRAMEWORK, _HELLO_FRAMEWORK = "from chalicelib import registry", "Chalice(app_name='hello')"
_SDK, _HELLO_SDK = "from chalicelib.aws import client\nclient.sdk()", "import boto3"
_CAPABILITY, _NO_CAPABILITY = "registry.handler({function!r})", "pass"
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


def bench(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Fresh processes for each Lambda. The median counts.")
                      ] = 5,
    function: Annotated[list[str] | None, typer.Option(help="Only this Lambda, as in schedules_tick. May be repeated.")
                        ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """How much CPU the start of each Lambda costs: its own code and libraries, and the AWS SDK.

    The package is made as for a deployment, so that all code is compiled. The first row is a Lambda of Chalice and
    boto3 that does nothing. All are measured in turn, in the same run.
    """
    chosen = _chosen(function or [])
    with unpacked() as folder:
        starts = measure(chosen, folder, rounds, _progress(as_json))
    if as_json:
        print(json.dumps([start._asdict() for start in starts], indent=2))
    else:
        Console(highlight=False).print(_table(starts))


def _chosen(wanted: list[str]) -> list[str]:
    known = [declared.function for declared in registry.lambdas()]
    if unknown := sorted(set(wanted) - set(known)):
        raise UsageError(f"--function {unknown[0]}: no Lambda is called so. There are {', '.join(known)}")
    return wanted or known


@contextmanager
def unpacked() -> Iterator[Path]:
    """The package of the fleet for this machine, as Lambda has it in its folder."""
    with tempfile.TemporaryDirectory(prefix="lamp-cold-start-") as folder:
        package = packaging.build("bench", machine=dependencies.here())
        with zipfile.ZipFile(package.zip) as archive:
            archive.extractall(folder)
        yield Path(folder)


def measure(
    functions: list[str], folder: Path, rounds: int, progress: Callable[[int], None] = lambda done: None
) -> list[Start]:
    """Hello world and `functions` of the package in `folder`. Each round measures all, so that a busy moment of the
    machine hits all alike."""
    names = [HELLO, *functions]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for place, name in enumerate(names):
            milliseconds = _started(name, folder)
            if number:  # the first one may have compiled modules and filled the page cache
                found[name].append(milliseconds)
            progress(number * len(names) + place + 1)
    return list(_medians(found))


def _medians(found: dict[str, list[tuple[float, float]]]) -> Iterator[Start]:
    for name, measured in found.items():
        own, sdk = (statistics.median(column) for column in zip(*measured, strict=True))
        total = statistics.median(sum(both) for both in measured)
        yield Start(name, round(own, 1), round(sdk, 1), round(total, 1))


def _started(function: str, folder: Path) -> tuple[float, float]:
    if function == HELLO:
        code = _TIMED.format(framework=_HELLO_FRAMEWORK, sdk=_HELLO_SDK, capability=_NO_CAPABILITY)
    else:
        code = _TIMED.format(framework=_FRAMEWORK, sdk=_SDK, capability=_CAPABILITY.format(function=function))
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()
        raise UsageError(f"{function} cannot be imported: {last[-1] if last else 'Python gave no reason'}")
    own, sdk = json.loads(done.stdout)
    return own * 1000, sdk * 1000


def _progress(quiet: bool) -> Callable[[int], None]:
    if quiet or not sys.stderr.isatty():
        return lambda done: None
    return lambda done: print(f"\r{done} processes", end="\r", file=sys.stderr, flush=True)


def _table(starts: list[Start]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left", caption=(
        "CPU milliseconds of imports of the compiled package, median of fresh processes, no AWS client made. "
        f"{HELLO} is Chalice and boto3 alone. The bar for {TICK} is {TICK_MS} ms of its own."))
    table.add_column("Lambda", no_wrap=True)
    for title in ("own", "AWS SDK", "total", f"of {HELLO}"):
        table.add_column(title, justify="right")
    whole = starts[0].total_ms
    for start in starts:
        share = f"{start.total_ms / whole:.2f} x" if whole else ""
        table.add_row(start.function, f"{start.own_ms:.0f}", f"{start.sdk_ms:.0f}", f"{start.total_ms:.0f}", share)
    return table
