"""For `on=ssm` the command runs by Run Command on one healthy instance with the fleet's tag.

Run Command runs as root. With `user=` the command runs as that user of the instance, and fails if it has none.
"""

import hashlib
import shlex

from chalicelib.aws import client
from chalicelib.config.declared import Ssm
from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.schedules.runners import Attempt, RemoteRun, Result, result
from chalicelib.schedules.runners.ecs import command

# An instance that is online takes a command within seconds. One that does not in this time never runs it.
_DELIVERY_SECONDS = 120
# "Understanding command statuses", the user guide of Systems Manager: these invocations never began.
_NEVER_RAN = frozenset({"DeliveryTimedOut", "Undeliverable", "Terminated", "InvalidPlatform", "AccessDenied"})
_UNDER_WAY = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


def start(context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Sends the command to one instance. Without a healthy one the run has failed."""
    target = context.fleet.schedules.ssm
    if target is None:
        return Result("failed", detail="on=ssm needs a table [schedules.ssm] in fleet.toml. Add it")
    instance = _instance(context, target, attempt)
    if instance is None:
        return Result("failed", detail=f"no instance tagged {target.tag}={target.value} is online in {context.region}")
    answer = client.aws_call(context.region, lambda: client.client("ssm", context.region).send_command(
        InstanceIds=[instance], DocumentName="AWS-RunShellScript", Comment=f"lamplighter {attempt.job.name}"[:100],
        TimeoutSeconds=_DELIVERY_SECONDS,
        Parameters={"commands": [_script(attempt)], "executionTimeout": [str(attempt.job.policy.timeout)]}))
    return RemoteRun(f"{answer['Command']['CommandId']}/{instance}")


def poll(context: RegionContext, job: Job, handle: str) -> Result | None:
    """The command's status and its output, of which Run Command keeps the first 24,000 characters."""
    command_id, _, instance = handle.partition("/")
    answer = client.aws_call(context.region, lambda: client.client("ssm", context.region).get_command_invocation(
        CommandId=command_id, InstanceId=instance))
    if answer["Status"] in _UNDER_WAY:
        return None
    output = answer.get("StandardOutputContent", "") + answer.get("StandardErrorContent", "")
    # The API writes the details with spaces, and its reference without.
    details = str(answer.get("StatusDetails") or answer["Status"])
    if {details.replace(" ", ""), answer["Status"]} & _NEVER_RAN:
        return Result("failed", output, f"{instance}: the command never ran there ({details}). Look whether its agent "
                                        "is online, then call `lamp run schedules.run`")
    if answer["Status"] == "TimedOut":
        return Result("timed-out", output, f"{instance}: ended, since it still ran after {job.policy.timeout} s")
    if answer["Status"] not in ("Success", "Failed"):
        return Result("failed", output, f"{instance}: {answer['Status']}: {details}. It may have run in part")
    code = int(answer["ResponseCode"])
    if code < 0:  # "-1": it has not finished (GetCommandInvocation)
        return Result("failed", output, f"{instance}: killed before it told an exit status. It may have run in part")
    return result(code, output, "ssm")


def stop(context: RegionContext, job: Job, handle: str) -> None:
    """CancelCommand, which ends the script if it still can."""
    command_id, _, instance = handle.partition("/")
    client.aws_call(context.region, lambda: client.client("ssm", context.region).cancel_command(
        CommandId=command_id, InstanceIds=[instance]))


def _instance(context: RegionContext, target: Ssm, attempt: Attempt) -> str | None:
    pages = client.region_pages(
        context.region, client.client("ssm", context.region), "describe_instance_information",
        Filters=[{"Key": f"tag:{target.tag}", "Values": [target.value]}, {"Key": "PingStatus", "Values": ["Online"]}])
    instances = sorted(str(instance["InstanceId"]) for page in pages for instance in page["InstanceInformationList"])
    # Spread the jobs over the instances, the same one for the same attempt.
    mark = int(hashlib.sha256(attempt.owner.encode()).hexdigest(), 16)
    return instances[mark % len(instances)] if instances else None


def _script(attempt: Attempt) -> str:
    """The command with its variables. Those of the crontab hold, as with cron, but for LOGNAME of another user."""
    job, user = attempt.job, attempt.job.policy.user
    ours = {"LAMP_JOB": job.name, "LAMP_SLOT": attempt.slot, "LAMP_TOKEN": str(attempt.token)}
    kept = {"SHELL", "LOGNAME"} if user else {"SHELL"}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in {**job.env, **ours}.items() if name not in kept]
    shell = shlex.quote(job.env.get("SHELL", "/bin/sh"))
    script = "\n".join([*exports, f"exec {shell} -c {shlex.quote(command(attempt))}"])
    # Found by root's PATH, as the crontab's may lack /usr/sbin. It sets HOME, SHELL, USER and LOGNAME to the user's
    # (runuser(1)) before the crontab's variables are set.
    return f"exec runuser -u {shlex.quote(user)} -- /bin/sh -c {shlex.quote(script)}" if user else script
