"""The processes of Lambdas, with their environment, their keys, and the place of their code."""

import contextlib
import hashlib
import hmac
import os
import queue
import subprocess
import sys
import tempfile
import threading
import types
import zipfile
from pathlib import Path
from typing import Any, Self

from sandbox import powers
from sandbox.emulator_patches import Context, Moved, change


@change("core.lambda_runtime", "subprocess", "", "Lambdas see neither this machine's environment nor its packages")
def isolate(original: Any, context: Context) -> Any:
    shim = types.ModuleType("subprocess")
    shim.__dict__.update({name: getattr(original, name) for name in ("PIPE", "STDOUT", "DEVNULL", "TimeoutExpired")})

    def start(words: list[str], env: dict[str, str], **how: Any) -> subprocess.Popen[str]:
        scrubbed = _scrubbed(env, context)
        # Also in the words, which everybody can read: a Lambda's environment is closed.
        mark = f"LAMPLIGHTER_WORLD={scrubbed['LAMPLIGHTER_WORLD']}"
        return subprocess.Popen([words[0], "-S", "-P", *words[1:], mark], env=scrubbed, **how)

    shim.__dict__["Popen"] = start
    return shim


def _scrubbed(env: dict[str, str], context: Context) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if os.environ.get(name) != value}
    return kept | {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC",
        "TMPDIR": os.environ["TMPDIR"], "PYTHONPATH": context.runtime, "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        # By these the last process of the run, or of a region, is found.
        "LAMPLIGHTER_WORLD": f"{context.mark}/{env.get('AWS_REGION', '')}",
    }


# A Lambda's process writes this line to its log after every invocation, before it answers.
_LOG_END = "\x1elamplighter: end of the invocation's log"
_LOG_SECONDS = 5.0


# Its first line of imports. What it does before is to define functions.
_MAIN = "import sys, json, importlib, traceback, os, time\n"


class Script(str):
    """A program's text that can carry the mark of its change."""


@change("core.lambda_runtime", "_PYTHON_WORKER_SCRIPT", "",
        "an invocation's log has an end to wait for, a handler that raises stays warm, and a Lambda has neither root's "
        "powers nor a look at others")
def script(original: str, context: Context) -> Script:
    # A result that is not JSON raises before the log ends, or it would have two ends.
    for answer, instead, before in ((_RETURNED, _RETURNED, "            json.dumps(result)\n"), (_RAISED, _STAYS, "")):
        if original.count(answer) != 1:
            raise Moved(f"ministack's worker does not answer by {answer.strip()!r}")
        end = f"            print({_LOG_END!r}, file=sys.stderr, flush=True)\n"
        original = original.replace(answer, f"{before}{end}{instead}")
    if original.count(_MAIN) != 1:
        raise Moved(f"ministack's worker does not begin with {_MAIN.strip()!r}")
    return Script(original.replace(_MAIN, f"{_MAIN}{Path(powers.__file__).read_text()}\ngive_up()\nclose()\n"))


# The worker's answer of a handler that returned, and of one that raised. By "error" ministack ends the process. Lambda
# goes on with it, as the runtime itself is well ("Invoke phase" and "Function errors", developer guide). So what was
# raised travels as an answer, and `logs` makes an error of it again.
_ANSWER = '            _real_stdout.write(json.dumps({"status": '
_RETURNED = f'{_ANSWER}"ok", "result": result'
_RAISED, _STAYS = f'{_ANSWER}"error", "error": str(e), "trace"', f'{_ANSWER}"ok", "raised": str(e), "trace"'


@change("services.lambda_svc", "_execute_function_warm", "func event request_id",
        "a runtime that ends by itself is told in the words of AWS")
def exits(original: Any, context: Context) -> Any:
    def execute(func: dict[str, Any], event: Any, request_id: str) -> Any:
        answer = original(func, event, request_id)
        body = answer.get("body")
        if answer.get("error") and isinstance(body, dict) and body.get("errorMessage") in _ENDED:
            answer["body"] = {"errorType": "Runtime.ExitError",
                              "errorMessage": f"RequestId: {request_id} Error: {_EXITED}"}
        return answer

    return execute


_EXITED = "Runtime exited without providing a reason"
# How ministack calls it.
_ENDED = frozenset({"Worker process died", "Worker returned no response"})


@change("core.lambda_runtime", "Worker", "func_name config code_zip",
        "an invocation's log keeps every line when the machine is busy, and what a handler raised is an error")
def logs(original: Any, context: Context) -> Any:
    bounded = original._drain_stderr_bounded

    def whole(self: Any, *limits: float, **named: float) -> str:
        if type(self) is not original:
            return str(bounded(self, *limits, **named))
        lines: list[str] = []
        with contextlib.suppress(queue.Empty):
            while (line := self._stderr_queue.get(timeout=_LOG_SECONDS)) != _LOG_END:
                lines.append(line)
        return "\n".join(lines)

    invoke = original.invoke

    def invoked(self: Any, *words: Any, **named: Any) -> dict[str, Any]:
        response: dict[str, Any] = invoke(self, *words, **named)
        if "raised" in response:
            response |= {"status": "error", "error": response.pop("raised")}
        return response

    original._drain_stderr_bounded, original.invoke = whole, invoked
    return original


@change("core.lambda_runtime", "execution_credentials", "config", "nobody computes a Lambda's keys from its name")
def credentials(original: Any, context: Context) -> Any:
    from ministack.services import sts

    def issue(config: dict[str, Any]) -> dict[str, str]:
        issued: dict[str, str] = original(config)
        session = sts._sessions.pop(issued["AWS_ACCESS_KEY_ID"])
        digest = hmac.new(context.secret.encode(), issued["AWS_ACCESS_KEY_ID"].encode(), hashlib.sha512).hexdigest()
        key, secret, token = f"ASIA{digest[:16].upper()}", digest[16:72], digest[72:]
        sts.register_session(key, session | {"SecretAccessKey": secret, "SessionToken": token})
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}

    return issue


@change("core.lambda_runtime", "zipfile", "", "the emulator unpacks a package once, not once for every process")
def unpacking(original: Any, context: Context) -> Any:
    shim = types.ModuleType("zipfile")
    shim.__dict__.update({"ZipFile": Unpacked, "BadZipFile": original.BadZipFile,
                          "LargeZipFile": original.LargeZipFile})
    return shim


_UNPACKING = threading.Lock()


class Unpacked:
    """A zip whose `extractall` lays links to one shared copy, as all Lambdas of a package see one read-only folder.

    It is opened for the first process only, because to read the list of its files takes a tenth of a second of CPU.
    """

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A hundred processes would write a hundred copies to the disk, which nobody reads.
        # A region that dies takes the folder of its Lambdas with it, this file included.
        self._file.unlink(missing_ok=True)

    def extractall(self, path: str) -> None:
        """Link every top-level entry into the folder `path`."""
        for entry in self._shared().iterdir():
            (Path(path) / entry.name).symlink_to(entry)

    def _shared(self) -> Path:
        home = Path(os.environ["TMPDIR"]) / "code"
        folder = home / hashlib.sha256(self._file.read_bytes()).hexdigest()
        # After a deployment a hundred Lambdas start at once: the first one unpacks, and the others wait for it.
        with _UNPACKING:
            if not folder.is_dir():
                home.mkdir(exist_ok=True)
                half = Path(tempfile.mkdtemp(dir=home))
                with zipfile.ZipFile(self._file) as code:
                    code.extractall(half)
                half.rename(folder)
        return folder
