"""A batch of tasks in a process of its own, which gets one call after another.

The runner knows which call is under way, because it hands over the next one after the answer to the last. A process
that ends, or that overruns, is the end of that call alone. The rest of the batch goes on in a new process.
"""

import contextlib
import os
import selectors
import subprocess
import sys
import time
from typing import BinaryIO

import msgspec

from chalicelib import foreign
from chalicelib.runner.log import CappedLog
from chalicelib.runner.process import end, python_environment
from chalicelib.runner.times import GRACE_SECONDS
from chalicelib.tasks.decide.message import time_allowed
from chalicelib.tasks.handover import MOST_CHARACTERS, Outcome, TaskBatch, TaskCall

# A new process imports the module of its first task.
_STARTING_SECONDS = 10.0
# How often a process is looked at that keeps its pipes open.
_LOOK_SECONDS = 0.1
_CHUNK = 65_536
# SIGKILL.
_KILLED = -9


def run(batch: TaskBatch) -> list[Outcome]:
    """The outcome of each call. `Survivors` if a process that they started cannot be ended."""
    until = time.monotonic() + batch.seconds
    blocked: set[str] = set()
    outcomes: list[Outcome] = []
    may_cut, process = batch.may_cut, None
    try:
        for call in batch.calls:
            seconds = time_allowed(call.seconds, until - time.monotonic(), may_cut)
            if call.group and call.group in blocked:
                outcome = Outcome("not-run", "behind another of its group")
            elif seconds is None:
                outcome = Outcome("not-run", "no time left in this invocation")
            else:
                may_cut = False
                process = process or _Process()
                outcome = process.ask(msgspec.structs.replace(call, seconds=seconds), until)
                if process.is_over:
                    ended, process = process, None
                    ended.end()
            if call.group and outcome.state != "done":
                blocked.add(call.group)
            outcomes.append(outcome)
    finally:
        if process:
            process.end()
    return outcomes


class _Process:
    """A process of tasks. `is_over` says that it takes no further call."""

    def __init__(self) -> None:
        requests, write = os.pipe()
        read, answers = os.pipe()
        self.is_over, self._is_fresh = False, True
        # Of what the present call prints.
        self._capped = CappedLog()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chalicelib.tasks.child.program", str(requests), str(answers)],
            env=python_environment(), cwd="/tmp",  # noqa: S108 - the one folder that a Lambda may write to
            pass_fds=(requests, answers), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        os.close(requests)
        os.close(answers)
        self._requests, self._answers, self._output = write, read, _output(self._process)
        for pipe in (write, read, self._output.fileno()):
            os.set_blocking(pipe, False)

    def ask(self, call: TaskCall, until: float) -> Outcome:
        """Has the call made. `until` (monotonic seconds) is the end of the whole batch."""
        self._capped.end()
        self._capped = CappedLog()
        start = _STARTING_SECONDS if self._is_fresh else 0.0
        self._is_fresh = False
        # The process ends the call itself. This is for one that cannot, such as one that hangs in C.
        deadline = min(time.monotonic() + call.seconds + start, until) + GRACE_SECONDS
        answer = self._talk(msgspec.json.encode(call) + b"\n", deadline)
        self._log()
        if answer is None:
            self.is_over = True
            return self._ended(call)
        try:
            outcome: Outcome = foreign.decode(answer, Outcome)
        except foreign.Undecodable as error:
            self.is_over = True
            return Outcome("crashed", f"its process gave an answer that is none ({error})")
        return msgspec.structs.replace(outcome, why=outcome.why[:MOST_CHARACTERS])

    def end(self) -> None:
        """Ends it, and all that it started."""
        for pipe in (self._requests, self._answers):
            os.close(pipe)
        try:
            end(self._process)
        finally:
            self._log()
            self._capped.end()
            self._output.close()

    def _talk(self, line: bytes, deadline: float) -> bytes | None:
        """The answer to `line`. `None` if the process has ended or `deadline` (monotonic seconds) is over."""
        answer, rest = bytearray(), memoryview(line)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            selector.register(self._answers, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                has_ended = self._process.poll() is not None
                ready = {key.fd for key, _ in selector.select(0 if has_ended else min(_LOOK_SECONDS, left))}
                if self._requests in ready:
                    rest = self._feed(rest)
                    if not rest:
                        selector.unregister(self._requests)
                if self._output.fileno() in ready and not self._log():
                    selector.unregister(self._output)
                if self._answers in ready:
                    chunk = os.read(self._answers, _CHUNK)
                    answer += chunk
                    if answer.endswith(b"\n"):
                        return bytes(answer)
                    if not chunk:
                        return None
                elif has_ended:
                    return None
        return None

    def _feed(self, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(self._requests, rest[:_CHUNK]):]
        except BrokenPipeError:
            return rest[len(rest):]  # it has ended, which its other pipe will tell

    def _log(self) -> bool:
        """Prints what it has printed. Whether it may print more."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._output.fileno(), _CHUNK):
                self._capped.write(chunk)
            return False
        return True

    def _ended(self, call: TaskCall) -> Outcome:
        # Its pipe may close a moment before it can be waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LOOK_SECONDS)
        status = self._process.poll()
        if status is None:
            return Outcome("timed-out", f"took longer than its time-out ({call.seconds:g} s), and did not stop")
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        why = ", which mostly means that the memory is used up (memory_mb of [runners])" if status == _KILLED else ""
        return Outcome("crashed", f"its process ended by {how}{why}")


def _output(process: "subprocess.Popen[bytes]") -> BinaryIO:
    if process.stdout is None:
        raise ValueError("the process has no pipe")
    return process.stdout  # type: ignore[return-value]
