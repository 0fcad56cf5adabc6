"""For `on=ecs` the command runs in a Fargate task started by RunTask, with the command as override.

The attempt's owner is RunTask's client token, so a repeated call starts no second task. The task's output is in the log
group of its task definition.
"""

import shlex
import time
from typing import Any

from chalicelib.aws import client
from chalicelib.config.declared import Ecs
from chalicelib.context import RegionContext
from chalicelib.crontab.job import Job
from chalicelib.schedules.runners import Attempt, RemoteRun, Result, result

_PAUSES_SECONDS = (1, 2, 4, 8)


def start(context: RegionContext, attempt: Attempt) -> Result | RemoteRun:
    """Starts the task. A refusal by ECS is a failed run."""
    target = context.fleet.schedules.ecs
    if target is None:
        return Result("failed", detail="on=ecs needs a table [schedules.ecs] in fleet.toml. Add it")
    network = next((region.ecs_network for region in context.fleet.regions if region.name == context.region), None)
    if network is None:
        return Result("failed", detail=f"on=ecs needs a table [regions.ecs] of {context.region} in fleet.toml. Add it")
    answer = client.aws_call(context.region, lambda: client.client("ecs", context.region).run_task(
        cluster=target.cluster, taskDefinition=target.task_definition, launchType="FARGATE", count=1,
        clientToken=attempt.owner[:64], startedBy="lamplighter", overrides=_overrides(target, attempt),
        networkConfiguration={"awsvpcConfiguration": {
            "subnets": list(network.subnets), "securityGroups": list(network.security_groups),
            "assignPublicIp": "ENABLED" if network.assign_public_ip else "DISABLED"}}))
    for failure in answer.get("failures", ()):
        return Result("failed", detail=f"ECS refused: {failure.get('arn')}: {failure.get('reason')}")
    return RemoteRun(str(answer["tasks"][0]["taskArn"]))


def poll(context: RegionContext, job: Job, handle: str) -> Result | None:
    """The exit status of the task's own container once the task has stopped. A task may have sidecars, in any order
    (API reference, Task). A task that ECS no longer knows is a failed run."""
    tasks = _described(context, handle)
    if not tasks:
        return Result("failed", detail=f"ECS no longer knows the task {handle}")
    if tasks[0]["lastStatus"] != "STOPPED":
        return None
    name = _target(context).container
    own = next((each for each in tasks[0].get("containers", ()) if each.get("name") == name), None)
    if own is None:
        return Result("failed", detail=f"{handle} has no container {name!r}. Name the one of its task definition in "
                                       "`container` of [schedules.ecs]")
    status = own.get("exitCode")
    if status is None:
        reasons = dict.fromkeys(filter(None, (own.get("reason"), tasks[0].get("stoppedReason"))))
        return Result("failed", detail=f"{handle}: {'; '.join(reasons) or 'stopped without an exit status'}")
    return result(int(status), f"output is in the log of {handle}", "ecs")


def _described(context: RegionContext, handle: str) -> list[dict[str, Any]]:
    """The task, or nothing if ECS does not know it for 15 s.

    ECS is eventually consistent, so that one answer may miss a task that runs (API reference, RunTask).
    """
    for pause in (*_PAUSES_SECONDS, None):
        tasks: list[dict[str, Any]] = client.aws_call(context.region, lambda: client.client(
            "ecs", context.region).describe_tasks(cluster=_cluster(context), tasks=[handle]))["tasks"]
        if tasks or pause is None:
            break
        time.sleep(pause)
    return tasks


def stop(context: RegionContext, job: Job, handle: str) -> None:
    """StopTask sends SIGTERM, and SIGKILL after the task definition's stop time-out."""
    client.aws_call(context.region, lambda: client.client("ecs", context.region).stop_task(
        cluster=_cluster(context), task=handle,
        reason=f"lamplighter: {job.name} timed out, or a newer run replaced it"))


def command(attempt: Attempt) -> str:
    """The shell command with its standard input, for places that offer none."""
    job = attempt.job
    return f"printf %s {shlex.quote(job.stdin)} | ( {job.command}\n)" if job.stdin else job.command


def _overrides(target: Ecs, attempt: Attempt) -> dict[str, object]:
    job = attempt.job
    ours = {"LAMP_JOB": job.name, "LAMP_SLOT": attempt.slot, "LAMP_TOKEN": str(attempt.token)}
    environment = [{"name": name, "value": value} for name, value in {**job.env, **ours}.items()]
    shell = job.env.get("SHELL", "/bin/sh")
    return {"containerOverrides": [
        {"name": target.container, "command": [shell, "-c", command(attempt)], "environment": environment}]}


def _cluster(context: RegionContext) -> str:
    return _target(context).cluster


def _target(context: RegionContext) -> Ecs:
    target = context.fleet.schedules.ecs
    if target is None:
        raise LookupError("fleet.toml has lost its table [schedules.ecs] while a task was under way")
    return target
