"""For `on=lambda` the command runs in the worker Lambda, in a process group of its own that never outlives the run.

As under cron, a crontab line sees only a few variables, which are those of its file, and LAMP_JOB, LAMP_SLOT and
LAMP_TOKEN. It does not see the Lambda's credentials. A Python job is code of the package and sees all that the Lambda
sees.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.schedules.runners import OUTPUT_BYTES, Attempt, RemoteRun, Result, result

# How often a running command's worker asks whether the run is to make way.
_ASK_SECONDS = 2.0
# From the polite signal to the one that cannot be refused.
_GRACE_SECONDS = 5.0


def start(site: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Runs the command to its end, its time-out, or until it is replaced."""
    job = attempt.job
    environment = _environment(site, attempt)
    home = Path(environment.get("HOME", ""))
    try:
        process = subprocess.Popen(
            _words(job, environment), env=environment, cwd=home if home.is_dir() else "/tmp",  # noqa: S108
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        return Result("failed", detail=f"cannot be started: {error}. Is SHELL={environment.get('SHELL')} there?")
    with process:
        try:
            return _watch(process, attempt)
        finally:
            _end(process)


def _words(job: Job, environment: Mapping[str, str]) -> Sequence[str]:
    if job.kind == "python":
        return [sys.executable, "-m", "chalicelib.crontab.run_python_job", job.command]
    return [environment.get("SHELL", "/bin/sh"), "-c", job.command]


def _environment(site: RegionContext, attempt: Attempt) -> dict[str, str]:
    ours = {"LAMP_JOB": attempt.job.name, "LAMP_SLOT": attempt.slot, "LAMP_TOKEN": str(attempt.token),
            "LAMP_REGION": site.region}
    if attempt.job.kind == "python":
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **ours}
    return {"HOME": "/tmp", **attempt.job.env, **ours}  # noqa: S108 - the one folder that a Lambda may write to


class _Output:
    """A command's output. The head is kept, and the rest goes to the log as it comes."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.size = 0

    def take(self, chunk: bytes) -> None:
        """The next bytes."""
        room = OUTPUT_BYTES - len(self.head)
        self.head += chunk[:room]
        self.size += len(chunk)
        if chunk[room:]:
            sys.stdout.write(chunk[room:].decode(errors="replace"))

    def text(self) -> str:
        """The head, and how much more there was."""
        head = self.head.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        more = self.size - len(self.head)
        return f"{head}\n[{more} more bytes are in the log]" if more else head


def _watch(process: "subprocess.Popen[bytes]", attempt: Attempt) -> Result:
    output, deadline = _Output(), time.monotonic() + attempt.job.policy.timeout
    ask_at = time.monotonic() + _ASK_SECONDS
    with selectors.DefaultSelector() as selector:
        feed = memoryview(attempt.job.stdin.encode())
        streams = _register(selector, process, bool(feed))
        while streams or process.poll() is None:
            now = time.monotonic()
            if now > deadline:
                return Result("timed-out", output.text(), "ended, since it still ran after "
                                                          f"{attempt.job.policy.timeout} s")
            if now > ask_at:
                if attempt.replaced():
                    return Result("replaced", output.text(), "ended to make way for the next run")
                ask_at = now + _ASK_SECONDS
            if process.poll() is not None and not selector.select(0):
                break  # children that it left behind still hold the pipe: they are ended with the group
            for key, _ in selector.select(min(0.05 if not streams else 0.5, deadline - now)):
                if key.data == "in":
                    feed = _feed(selector, process, feed)
                else:
                    streams = _drain(selector, key.fd, output)
    return result(process.wait(), output.text(), "lambda")


def _register(selector: selectors.BaseSelector, process: "subprocess.Popen[bytes]", feeding: bool) -> bool:
    stdin, stdout = _pipes(process)
    os.set_blocking(stdout.fileno(), False)
    selector.register(stdout, selectors.EVENT_READ, "out")
    if feeding:
        os.set_blocking(stdin.fileno(), False)
        selector.register(stdin, selectors.EVENT_WRITE, "in")
    else:
        stdin.close()
    return True


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[BinaryIO, BinaryIO]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("the process has no pipes")
    return process.stdin, process.stdout  # type: ignore[return-value]


def _feed(selector: selectors.BaseSelector, process: "subprocess.Popen[bytes]", feed: memoryview) -> memoryview:
    stdin, _ = _pipes(process)
    try:
        feed = feed[os.write(stdin.fileno(), feed[:4096]):]
    except BrokenPipeError:
        feed = feed[len(feed):]  # a command need not read what it is given
    if not feed:
        selector.unregister(stdin)
        stdin.close()
    return feed


def _drain(selector: selectors.BaseSelector, fd: int, output: _Output) -> bool:
    chunk = os.read(fd, 65_536)
    output.take(chunk)
    if not chunk:
        selector.unregister(fd)
    return bool(chunk)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the whole group, politely first. The group lives on as long as any child of the command does."""
    for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
