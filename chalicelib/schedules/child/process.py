"""One command in processes of its own, none of which outlives the run.

As under cron, a crontab line sees only a few variables, which are those of its file, and LAMP_JOB, LAMP_SLOT and
LAMP_TOKEN. It does not see the Lambda's credentials. A Python job sees the environment of the runner Lambda, with the
credentials of the role that fleet.toml declares.
"""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from chalicelib.runner.log import CappedLog
from chalicelib.runner.process import end, python_environment
from chalicelib.schedules.command import OUTPUT_BYTES, Command, Result, result


def run(command: Command) -> Result:
    """Runs the command to its end or its time-out. `Survivors` if a process of it cannot be ended."""
    environment = _environment(command)
    home = Path(environment.get("HOME", ""))
    try:
        process = subprocess.Popen(
            _words(command, environment), env=environment, cwd=home if home.is_dir() else "/tmp",  # noqa: S108
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        return Result("failed", detail=f"cannot be started: {error}. Is SHELL={environment.get('SHELL')} there?")
    with process:
        try:
            return _watch(process, command)
        finally:
            end(process)


def _words(command: Command, environment: Mapping[str, str]) -> Sequence[str]:
    if command.kind == "python":
        return [sys.executable, "-m", "chalicelib.crontab.run_python_job", command.words]
    return [environment.get("SHELL", "/bin/sh"), "-c", command.words]


def _environment(command: Command) -> dict[str, str]:
    if command.kind == "python":
        return {**python_environment(), **command.environment}
    return {"HOME": "/tmp", **command.environment}  # noqa: S108 - the one folder that a Lambda may write to


class _Output:
    """A command's output. The head is kept, and the rest goes to the log as it comes, up to a limit."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.size = 0
        self.log = CappedLog()

    def take(self, chunk: bytes) -> None:
        """The next bytes."""
        room = OUTPUT_BYTES - len(self.head)
        self.head += chunk[:room]
        self.size += len(chunk)
        self.log.write(chunk[room:])

    def text(self) -> str:
        """The head, and how much more there was."""
        head = self.head.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        left_out = self.log.left_out
        self.log.end()
        more = self.size - len(self.head) - left_out
        and_more = f", and {left_out} more are left out" if left_out else ""
        return f"{head}\n[{more} more bytes are in the log{and_more}]" if more else head


def _watch(process: "subprocess.Popen[bytes]", command: Command) -> Result:
    output, deadline = _Output(), time.monotonic() + command.seconds
    with selectors.DefaultSelector() as selector:
        feed = memoryview(command.stdin.encode())
        streams = _register(selector, process, bool(feed))
        while streams or process.poll() is None:
            now = time.monotonic()
            if now > deadline:
                return Result("timed-out", output.text(), f"ended, since it still ran after {command.seconds} s")
            if process.poll() is not None and not selector.select(0):
                break  # children that it left behind still hold the pipe: they are ended with it
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
