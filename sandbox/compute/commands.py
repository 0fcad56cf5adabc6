"""Run Command of Systems Manager, with scripts that really run in instances, and their real statuses.

Statuses are from "Understanding command statuses" in the user guide. A command is delivered when the instance's agent
answers. One that does not within TimeoutSeconds is 'Delivery Timed Out'. A script with another exit status than 0 has
Failed. One that outlives its time-out is 'Execution Timed Out', also if its instance died meanwhile, because nobody can
tell.
"""

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from sandbox.compute.document_store import Data, DocumentStore
from sandbox.compute.documents import DocumentError, Script, script
from sandbox.compute.instances import Instances
from sandbox.compute.machine import Gone
from sandbox.compute.session import Run

# The first so many characters, as GetCommandInvocation has them.
_OUT, _ERR = 24_000, 8_000
_ENDED = ("Success", "Failed", "TimedOut", "Cancelled")
_LOOK_SECONDS = 0.1


class Sender:
    """Sends commands and keeps their records where the emulator keeps them."""

    def __init__(self, run: Run, instances: Instances, shelf: DocumentStore) -> None:
        self._run = run
        self._instances = instances
        self._shelf = shelf

    def send(self, region: str, account: str, data: Data) -> Data:
        """SendCommand. `DocumentError` carries the API's errors."""
        from ministack.services import ssm

        document, version = self._shelf.find(
            region, data.get("DocumentName", ""), data.get("DocumentVersion", "$DEFAULT"))
        wanted = script(document, data.get("Parameters") or {})
        ids = self.targets(region, data)
        record = _record(data, version, ids)
        ssm._commands.set_scoped(account, region, record["CommandId"], record)
        for one in ids:
            self._run.spawn(lambda one=one: self._carry_out(record, one, wanted))  # type: ignore[misc]
        return {"Command": {key: value for key, value in record.items() if key != "Invocations"}}

    def targets(self, region: str, data: Data) -> list[str]:
        """The instances that a SendCommand names, by id or by tag. `DocumentError` (InvalidInstanceId) for others."""
        from ministack.services import ec2

        ids = list(data.get("InstanceIds") or ())
        tagged: list[str] = []
        for target in data.get("Targets") or ():
            key, values = target["Key"], target["Values"]
            if key.lower() == "instanceids":
                ids += values
            elif key.startswith("tag:"):
                tagged += [one for one in ec2._instances if self.present(region, one) and any(
                    tag["Key"] == key[4:] and tag["Value"] in values for tag in ec2._tags.get(one, ()))]
            else:
                raise DocumentError("InvalidTarget", f"the sandbox finds instances by id or tag:NAME, not by {key}")
        bad = [one for one in ids if not self.present(region, one)]
        if bad:
            raise DocumentError("InvalidInstanceId", f"Instances [[{', '.join(bad)}]] not in a valid state for account")
        if not ids and not data.get("Targets"):
            raise DocumentError("ValidationException", "InstanceIds or Targets must be given")
        return list(dict.fromkeys(ids + tagged))

    def present(self, region: str, instance: str) -> bool:
        """Whether Systems Manager knows the instance, because it runs here, or lost its power while it did."""
        try:
            home, record = self._instances.find(instance)
        except ValueError:
            return False
        if home != region or record["State"]["Name"] != "running":
            return False
        return self._instances.managed(instance) or self._instances.impaired(instance)

    async def _carry_out(self, record: Data, instance: str, wanted: Script) -> None:
        invocation = record["Invocations"][instance]
        if not await self._deliverable(instance, record["TimeoutSeconds"] / self._run.pace):
            _end(record, invocation, "TimedOut", "Delivery Timed Out")
            return
        invocation.update(Status="InProgress", StatusDetails="In Progress", ExecutionStartDateTime=_stamp(time.time()))
        _roll_up(record)
        try:
            found = await self._instances.machines[instance].run(record["CommandId"], {
                "script": wanted.text, "seconds": wanted.seconds, "folder": wanted.folder,
                "environment": wanted.environment})
        except Gone:
            # Its agent will never report; what Systems Manager knows of it ends with the time-out.
            await asyncio.sleep(wanted.seconds / self._run.pace)
            _end(record, invocation, "TimedOut", "Execution Timed Out")
            return
        _fill(invocation, found)
        status = "TimedOut" if found["late"] else "Failed" if found["code"] else "Success"
        _end(record, invocation, status, "Execution Timed Out" if found["late"] else status)

    async def _deliverable(self, instance: str, seconds: float) -> bool:
        deadline = self._run.now() + seconds
        while not self._instances.managed(instance):
            if self._run.now() >= deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True


def _record(data: Data, version: str, ids: list[str]) -> Data:
    identity, now = str(uuid.uuid4()), time.time()
    common = {"CommandId": identity, "Comment": data.get("Comment", ""), "DocumentName": data["DocumentName"],
              "DocumentVersion": version, "RequestedDateTime": now}
    record: Data = common | {
        "ExpiresAfter": now + 3600, "Parameters": data.get("Parameters") or {}, "InstanceIds": ids,
        "Targets": data.get("Targets") or [], "Status": "Pending", "StatusDetails": "Pending",
        "MaxConcurrency": data.get("MaxConcurrency", "50"), "MaxErrors": data.get("MaxErrors", "0"),
        "TargetCount": len(ids), "CompletedCount": 0, "ErrorCount": 0, "DeliveryTimedOutCount": 0,
        "TimeoutSeconds": data.get("TimeoutSeconds", 3600), "OutputS3BucketName": "", "OutputS3KeyPrefix": ""}
    # ResponseCode -1: "the command hasn't started running on the managed node, or it wasn't received by the node".
    record["Invocations"] = {one: common | {
        "InstanceId": one, "PluginName": "aws:runShellScript", "ResponseCode": -1, "ExecutionStartDateTime": "",
        "ExecutionElapsedTime": "", "ExecutionEndDateTime": "", "Status": "Pending", "StatusDetails": "Pending",
        "StandardOutputContent": "", "StandardOutputUrl": "", "StandardErrorContent": "", "StandardErrorUrl": ""}
        for one in ids}
    if not ids:
        record.update(Status="Success", StatusDetails="NoInstancesInTag")
    return record


def _fill(invocation: Data, found: dict[str, Any]) -> None:
    invocation.update(
        ResponseCode=found["code"], StandardOutputContent=found["out"][:_OUT], StandardErrorContent=found["err"][:_ERR],
        ExecutionStartDateTime=_stamp(found["began"]), ExecutionEndDateTime=_stamp(found["ended"]),
        ExecutionElapsedTime=f"PT{found['ended'] - found['began']:.3f}S")


def _end(record: Data, invocation: Data, status: str, details: str) -> None:
    # Last: who sees the end must see the exit code and the output too.
    invocation.update(Status=status, StatusDetails=details)
    _roll_up(record)


def _roll_up(record: Data) -> None:
    """The command's own status, from those of its invocations."""
    every = list(record["Invocations"].values())
    ended = [one for one in every if one["Status"] in _ENDED]
    bad = [one for one in every if one["Status"] in ("Failed", "TimedOut")]
    late = [one for one in every if one["StatusDetails"] == "Delivery Timed Out"]
    record.update(CompletedCount=len(ended), ErrorCount=len(bad) - len(late), DeliveryTimedOutCount=len(late))
    if len(ended) < len(every):
        record.update(Status="InProgress", StatusDetails="In Progress")
    else:
        worst = bad[0] if bad else every[0]
        record.update(Status=worst["Status"], StatusDetails=worst["StatusDetails"])


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
