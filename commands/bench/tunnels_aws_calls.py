"""The calls of the controllers by AWS's own account, which are commands of Run Command and terminations of Auto
Scaling."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from chalicelib.aws.client import pages
from commands.bench.tunnels_report import Removal, Restart

_ENDED = ("Success", "Failed", "TimedOut", "Cancelled")


def restarts(ssm: Any, since: float) -> Iterator[Restart]:
    """The commands since then that carry an act's key. One that has not ended yet ends now."""
    for one in (one for page in pages(ssm, "list_command_invocations") for one in page["CommandInvocations"]):
        at = one["RequestedDateTime"].timestamp()
        if at >= since and one["Comment"]:
            told = ssm.get_command_invocation(CommandId=one["CommandId"], InstanceId=one["InstanceId"])
            yield Restart(one["Comment"], one["InstanceId"], at, _ended(told, at), told["Status"] in _ENDED[1:])


def _ended(told: dict[str, Any], at: float) -> float:
    if told["Status"] not in _ENDED:
        return time.time()
    # What was never delivered has no end.
    return datetime.fromisoformat(told["ExecutionEndDateTime"]).timestamp() if told["ExecutionEndDateTime"] else at


def removals(autoscaling: Any, group: str, since: float) -> Iterator[Removal]:
    """The hosts that somebody asked to terminate since then. A removal by the group itself is nobody's repair."""
    told = [one for page in pages(autoscaling, "describe_scaling_activities", AutoScalingGroupName=group)
            for one in page["Activities"]]
    moments = [(one["StartTime"].timestamp(), one) for one in told if one["StartTime"].timestamp() >= int(since)]
    launched = sorted(at for at, one in moments if one["Description"].startswith("Launching"))
    for at, one in moments:
        if one["Description"].startswith("Terminating") and "user request" in one["Cause"]:
            ended = next((when for when in launched if when >= at), time.time())
            yield Removal(one["Description"].split()[-1], at, ended)
