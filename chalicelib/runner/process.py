"""The processes of users' code within a runner, and their end. None of them outlives the run."""

import os
import signal
import subprocess
import sys
from typing import NoReturn

from chalicelib.runner import descendants
from chalicelib.runner.times import ENDING_SECONDS, GRACE_SECONDS

# The Lambda's own line to AWS, by which it gets events and answers them ("Lambda runtime API", developer guide).
_RUNTIME = frozenset({"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN", "_HANDLER"})


def python_environment() -> dict[str, str]:
    """The environment of Python code, with the credentials of the runner's role and without its line to AWS.

    The SDK sends `_X_AMZN_TRACE_ID` along. By it AWS knows a chain of messages that never ends, and stops it.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _RUNTIME}
    return {**inherited, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and all that it started, its own group politely first. `Survivors` if something stays."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(GRACE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass  # the group has ended, or what follows does not ask
    descendants.end_all(process.wait, ENDING_SECONDS)


def end_environment(error: descendants.Survivors) -> NoReturn:
    """Ends the runner itself. The next run must not find those processes, and Lambda discards this environment."""
    sys.stdout.write(f"{error}: this environment ends with them\n")
    sys.stdout.flush()
    os._exit(1)
