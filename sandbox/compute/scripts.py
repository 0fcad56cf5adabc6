"""Running a shell script in an instance, as the agent of Systems Manager does for `aws:runShellScript`."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO

from sandbox import processes

# Exit codes that the agent itself sets: 'ResponseCode' of GetCommandInvocation, -1 for a command that did not end.
NOT_ENDED = -1


def run(order: dict[str, Any], environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """Run `order["script"]` for at most `order["seconds"]`. Returns exit code, outputs, times (UTC), and whether it was
    too late.

    The script is a file of its own that /bin/sh reads, as on a node of AWS. `order["folder"]` is its working directory.
    """
    began = time.time()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        script = Path(own) / "_script.sh"
        script.write_text(order["script"])
        with (Path(own) / "stdout").open("w+b") as out, (Path(own) / "stderr").open("w+b") as err:
            try:
                process = _start(script, order["folder"] or str(folder), environment, out, err)
            except OSError as error:
                return _result(began, 1, "", f"{order['folder']}: {error.strerror}\n", late=False)
            code, late = _wait(process, order["seconds"], environment["LAMPLIGHTER_WORLD"])
            return _result(began, code, _text(out), _text(err), late=late)


def _start(script: Path, folder: str, environment: dict[str, str], out: BinaryIO, err: BinaryIO
           ) -> "subprocess.Popen[bytes]":
    return processes.awaited(lambda: subprocess.Popen(
        ["/bin/sh", str(script)], cwd=folder, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=out, stderr=err))


def _wait(process: "subprocess.Popen[bytes]", seconds: float, mark: str) -> tuple[int, bool]:
    try:
        code = processes.finish(process, seconds)
    except subprocess.TimeoutExpired:
        processes.signal_all(mark, signal.SIGKILL)
        processes.finish(process)
        return NOT_ENDED, True
    # A shell that a signal ended: 128 and the signal, as shells say it.
    return (code if code >= 0 else 128 - code), False


def _text(stream: BinaryIO) -> str:
    stream.flush()
    return os.pread(stream.fileno(), 24_000, 0).decode(errors="replace")


def _result(began: float, code: int, out: str, err: str, *, late: bool) -> dict[str, Any]:
    return {"code": code, "out": out, "err": err, "late": late, "began": began, "ended": time.time()}
