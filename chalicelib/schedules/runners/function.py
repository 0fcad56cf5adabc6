"""For `on=lambda` the command runs in the runner Lambda, whose role has no authority but what the team declares.

The worker waits for the answer, so that an end without a word (out of memory, killed, out of time) is told at once.
"""

import msgspec

from chalicelib import foreign
from chalicelib.context import RegionContext
from chalicelib.runner.invocation import broken, invoke
from chalicelib.schedules.command import Command, Result
from chalicelib.schedules.lambdas import RUNNER
from chalicelib.schedules.runners import Attempt, RemoteRun


def start(context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Has the runner run the command to its end. Raises as `Functions.invoke` does."""
    name = f"{context.fleet.name}-{context.stage}-{RUNNER}"
    payload = msgspec.json.encode(_command(context, attempt))
    ended = invoke(context.aws.functions, name, payload, attempt.job.policy.timeout)
    if ended.error:
        found = broken(ended, name, context.fleet.runners.memory_mb, "its command")
        return Result(found.state, ended.log, found.detail)
    try:
        answer: Result = foreign.decode(ended.payload, Result)
    except foreign.Undecodable as error:
        return Result("failed", ended.log, f"the answer of {name} is not a result ({error})")
    return answer


def _command(context: RegionContext, attempt: Attempt) -> Command:
    job = attempt.job
    ours = {"LAMP_JOB": job.name, "LAMP_SLOT": attempt.slot, "LAMP_TOKEN": str(attempt.token),
            "LAMP_REGION": context.region}
    if job.kind == "python":
        return Command("python", job.command, job.stdin, ours, job.policy.timeout)
    return Command("shell", job.command, job.stdin, {**job.env, **ours}, job.policy.timeout)

