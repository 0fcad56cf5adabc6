"""For `on=lambda` the command runs in the runner Lambda, whose role has no authority but what the team declares.

The worker waits for the answer, so that an end without a word (out of memory, killed, out of time) is told at once.
"""

from typing import Any

import msgspec

from chalicelib import foreign
from chalicelib.aws.functions import Invocation
from chalicelib.context import RegionContext
from chalicelib.schedules.command import ENDING_SECONDS, GRACE_SECONDS, Command, Result
from chalicelib.schedules.lambdas import RUNNER
from chalicelib.schedules.runners import Attempt, RemoteRun

# A cold start takes up to 10 s ("Lambda execution environment", developer guide), and the answer a little.
_STARTING_SECONDS, _ANSWERING_SECONDS = 10.0, 15.0


def start(site: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Has the runner run the command to its end. Raises as `Functions.invoke` does."""
    wait = attempt.job.policy.timeout + _STARTING_SECONDS + GRACE_SECONDS + ENDING_SECONDS + _ANSWERING_SECONDS
    name = f"{site.fleet.name}-{site.stage}-{RUNNER}"
    ended = site.aws.functions.invoke(name, msgspec.json.encode(_command(site, attempt)), wait_seconds=wait)
    if ended.error:
        return _broken(ended, name, site.fleet.runners.memory_mb)
    try:
        found: Result = foreign.decode(ended.payload, Result)
    except foreign.Undecodable as error:
        return Result("failed", ended.log, f"the answer of {name} is not a result ({error})")
    return found


def _command(site: RegionContext, attempt: Attempt) -> Command:
    job = attempt.job
    ours = {"LAMP_JOB": job.name, "LAMP_SLOT": attempt.slot, "LAMP_TOKEN": str(attempt.token),
            "LAMP_REGION": site.region}
    if job.kind == "python":
        return Command("python", job.command, job.stdin, ours, job.policy.timeout)
    return Command("shell", job.command, job.stdin, {**job.env, **ours}, job.policy.timeout)


def _broken(ended: Invocation, name: str, memory_mb: int) -> Result:
    """The result of a runner that gave none. Lambda says why ("Understanding retry behavior in Lambda")."""
    try:
        told: dict[str, Any] = foreign.decode(ended.payload, dict[str, Any])
    except foreign.Undecodable:
        told = {}
    kind, words = str(told.get("errorType", ended.error)), foreign.line(str(told.get("errorMessage", "no reason")))
    if "Task timed out" in words or kind == "Sandbox.Timedout":
        return Result("timed-out", ended.log, f"Lambda ended {name}: {words}")
    detail = f"{name} broke: {kind}: {words}"
    if kind in ("Runtime.ExitError", "Runtime.OutOfMemory"):
        detail = (f"{name} ended before its command ({kind}: {words}). Mostly its {memory_mb} MB are used up: give it "
                  "more with memory_mb of [runners], or see whether the command kills processes")
    return Result("failed", ended.log, detail)
