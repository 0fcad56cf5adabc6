"""Starting the server's process and taking everything of it away again."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import msgspec

from sandbox import processes

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "111122223333"
# What AWS's Python runtime brings along beside the zip.
_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
_START_SECONDS = 120
_STOP_SECONDS = 60


class WorldError(Exception):
    """The embedded AWS could not be started or reached. The text says why and what to do."""


class State(msgspec.Struct, frozen=True):
    """All that is needed to reach a running world. The file that keeps it is readable by its owner only."""

    endpoint: str
    access_key: str
    secret_key: str
    control: str
    pid: int
    mark: str
    stage: str = ""
    regions: tuple[str, ...] = ()


@contextmanager
def server() -> Iterator[State]:
    """A running server, gone when the block ends. `WorldError` if it does not come up."""
    folder = Path(tempfile.mkdtemp(prefix="lamplighter-world-"))
    order = {
        "mark": secrets.token_hex(8), "folder": str(folder), "account": ACCOUNT,
        "access_key": f"AKIA{secrets.token_hex(8).upper()}", "secret_key": secrets.token_urlsafe(32),
        "control": secrets.token_urlsafe(32)}
    process = None
    try:
        _lay_runtime(folder / "runtime")
        process = _spawn(folder)
        port = _order(process, order, folder)
        yield State(f"http://127.0.0.1:{port}", order["access_key"], order["secret_key"], order["control"],
                    process.pid, order["mark"])
    finally:
        _end(process, order["mark"], folder)


def _lay_runtime(folder: Path) -> None:
    folder.mkdir()
    for name in _RUNTIME:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise WorldError(f"{name} is missing. Run ./lamp again, which installs it")
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    # Nothing of the user's environment goes along but what a Python needs to run.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT),
                   "HOME": str(folder), "LANG": "C.UTF-8"}
    with (folder / "aws.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sandbox.launcher"], cwd=folder, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)


def _order(process: subprocess.Popen[bytes], order: dict[str, str], folder: Path) -> int:
    line = b""
    if process.stdin and process.stdout:  # as asked for
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        watch = threading.Timer(_START_SECONDS, process.kill)
        watch.start()
        line = process.stdout.readline()
        watch.cancel()
    if not line:
        last = (folder / "aws.log").read_text(errors="replace").strip().splitlines()[-5:]
        raise WorldError("the embedded AWS did not start: " + (" / ".join(last) or f"no word in {_START_SECONDS} s"))
    return int(json.loads(line)["port"])


def _end(process: subprocess.Popen[bytes] | None, mark: str, folder: Path) -> None:
    # A second Ctrl-C must not leave half of it standing.
    quiet = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if quiet else None
    try:
        if process is not None:
            _close(process)
        processes.end(mark)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        if quiet:
            signal.signal(signal.SIGINT, before)


def _close(process: subprocess.Popen[bytes]) -> None:
    # Closing its standard input is the word to end.
    with process.stdin or nullcontext(), process.stdout or nullcontext():
        pass
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

