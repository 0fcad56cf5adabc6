"""Auto Scaling keeps each group at its desired capacity, in its target groups, and healthy.

From the user guide, "Health checks for instances in an Auto Scaling group". An instance is unhealthy when it does not
run, when its status checks fail, or when SetInstanceHealth says so. With health check type ELB it is also unhealthy
when one of the group's target groups reports it so. The grace period holds the checks back. An instance that goes
drains first.
"""

import time
import uuid
from typing import Any

from sandbox.compute import elb_records as records
from sandbox.compute.balancers import Balancers
from sandbox.compute.health import UNHEALTHY
from sandbox.compute.instances import Instances, Record, state
from sandbox.compute.session import Run
from sandbox.compute.templates import Launch, LaunchError, launch_of

LIVE = ("Pending", "InService")
_RETRY_SECONDS = 10.0


class Groups:
    """Every Auto Scaling group of the sandbox."""

    def __init__(self, run: Run, instances: Instances, balancers: Balancers) -> None:
        self._run = run
        self._instances = instances
        self._balancers = balancers

    def look(self) -> None:
        """Take the next step of every group."""
        from ministack.core.responses import request_scope
        from ministack.services import autoscaling

        for (account, region, _), group in autoscaling._asgs.all_items():
            if not self._run.down(region):
                with request_scope(account, region):
                    self._step(group)

    def enroll(self, group: Record, instance: str) -> None:
        """Register an instance with the group's target groups."""
        from ministack.services import alb

        for arn in group.get("TargetGroupARNs", ()):
            if arn in alb._tgs:
                records.enroll(alb._tgs[arn], [{"Id": instance}])

    def withdraw(self, group: Record, instance: str) -> None:
        """Deregister an instance from the group's target groups."""
        for arn in group.get("TargetGroupARNs", ()):
            for target in [one for one in records.targets(arn) if one["Id"] == instance]:
                self._balancers.deregister(arn, target)

    def take(self, group: Record, instance: str) -> None:
        """Put a running instance into service in the group."""
        placement = self._instances.find(instance)[1]["Placement"]["AvailabilityZone"]
        group["Instances"].append(_entry(group, instance, placement) | {"LifecycleState": "InService"})
        group["Instances"][-1]["_since"] = self._run.now()
        self.enroll(group, instance)

    def retire(self, group: Record, entry: Record, cause: str) -> Record:
        """Begin to take an instance out of service, to be terminated once it has drained. The activity."""
        entry["LifecycleState"] = "Terminating"
        self.withdraw(group, entry["InstanceId"])
        self._run.wake()
        return note(group, f"Terminating EC2 instance: {entry['InstanceId']}", cause)

    def disband(self, group: Record) -> None:
        """Terminate all instances of a group that is deleted, at once."""
        for entry in group["Instances"]:
            self.withdraw(group, entry["InstanceId"])
            self._terminate(entry["InstanceId"])

    def in_grace(self, group: Record, entry: Record) -> bool:
        """Whether the health check grace period of this instance still runs."""
        return bool(self._run.now() < entry.get("_since", 0) + group["HealthCheckGracePeriod"] / self._run.pace)

    def _step(self, group: Record) -> None:
        for entry in list(group["Instances"]):
            name = self._instances.state(entry["InstanceId"])
            if name == "terminated":
                self._bury(group, entry)
            elif entry["LifecycleState"] == "Pending" and name == "running":
                entry.update(LifecycleState="InService", _since=self._run.now())
                self.enroll(group, entry["InstanceId"])
            elif entry["LifecycleState"] == "InService" and (cause := self._complaint(group, entry, name)):
                entry["HealthStatus"] = "Unhealthy"
                self.retire(group, entry, f"an instance was taken out of service in response to {cause}")
            elif entry["LifecycleState"] == "Terminating" and self._drained(group, entry["InstanceId"], name):
                self._terminate(entry["InstanceId"])
        self._resize(group)

    def _bury(self, group: Record, entry: Record) -> None:
        group["Instances"].remove(entry)
        if entry["LifecycleState"] in LIVE:
            note(group, f"Terminating EC2 instance: {entry['InstanceId']}",
                 "an instance was taken out of service in response to an EC2 health check")

    def _complaint(self, group: Record, entry: Record, name: str) -> str:
        """Why an instance in service is to be replaced. Empty if it is not."""
        instance = entry["InstanceId"]
        if name != "running":
            return f"an EC2 health check indicating it has been {name}"
        if entry["HealthStatus"] == "Unhealthy":
            return "a user health-check"
        if self.in_grace(group, entry):
            return ""
        if self._instances.impaired(instance):
            return "an EC2 instance status checks failure"
        if "ELB" in group["HealthCheckType"] and self._sick(group, instance):
            return "an ELB system health check failure"
        return ""

    def _sick(self, group: Record, instance: str) -> bool:
        from ministack.services import alb

        return any(self._balancers.health(alb._tgs[arn], target)[0] == UNHEALTHY
                   for arn in group.get("TargetGroupARNs", ()) if arn in alb._tgs
                   for target in records.targets(arn) if target["Id"] == instance)

    def _drained(self, group: Record, instance: str, name: str) -> bool:
        # What has nothing left to finish need not be waited for.
        dead = name in ("stopping", "stopped") or self._instances.impaired(instance)
        return name != "shutting-down" and (dead or not any(
            one["Id"] == instance for arn in group.get("TargetGroupARNs", ()) for one in records.targets(arn)))

    def _terminate(self, instance: str) -> None:
        if self._instances.state(instance) not in ("shutting-down", "terminated"):
            record = self._instances.find(instance)[1]
            record["State"] = state("shutting-down")
        self._run.wake()

    def _resize(self, group: Record) -> None:
        live = [entry for entry in group["Instances"] if entry["LifecycleState"] in LIVE]
        desired = group["DesiredCapacity"]
        if len(live) < desired and self._run.now() >= group.get("_retry", 0):
            self._launch(group, desired - len(live))
        spare = [entry for entry in live if not entry["ProtectedFromScaleIn"]]
        # Of the default termination policy what matters here: the oldest goes first.
        for entry in spare[:max(0, len(live) - desired)]:
            self.retire(group, entry, "an instance was taken out of service in response to a difference between "
                                      "desired and actual capacity, shrinking the capacity")

    def _launch(self, group: Record, count: int) -> None:
        try:
            launch = launch_of(group)
        except LaunchError as error:
            group["_retry"] = self._run.now() + _RETRY_SECONDS / self._run.pace
            note(group, "Launching a new EC2 instance", str(error), status="Failed")
            return
        for _ in range(count):
            instance, zone = launch.one(len(group["Instances"]))
            group["Instances"].append(_entry(group, instance, zone, launch))
            note(group, f"Launching a new EC2 instance: {instance}", "an instance was started in response to a "
                 "difference between desired and actual capacity, increasing the capacity")


def _entry(group: Record, instance: str, zone: str, launch: Launch | None = None) -> Record:
    return {"InstanceId": instance, "LifecycleState": "Pending", "HealthStatus": "Healthy", "AvailabilityZone": zone,
            "ProtectedFromScaleIn": group["NewInstancesProtectedFromScaleIn"],
            "LaunchTemplate": launch.template if launch else {},
            "LaunchConfigurationName": group.get("LaunchConfigurationName", "")}


def note(group: Record, description: str, cause: str, status: str = "Successful") -> Record:
    """Remember a scaling activity, the newest first. The activity."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    activity: dict[str, Any] = {
        "ActivityId": str(uuid.uuid4()), "AutoScalingGroupName": group["AutoScalingGroupName"],
        "Description": description, "Cause": f"At {now} {cause}.", "StartTime": now, "EndTime": now,
        "StatusCode": status, "Progress": 100}
    group.setdefault("_activities", []).insert(0, activity)
    return activity
