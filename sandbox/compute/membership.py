"""Calls of Auto Scaling about the members of a group, which are instances and target groups."""

from sandbox.compute.actions import Answer, Handler, Parameters, added, members, text
from sandbox.compute.autoscaling import activity_xml, answer, error, group_named, unknown
from sandbox.compute.groups import LIVE, note
from sandbox.compute.instances import Record
from sandbox.compute.reconciler import Hypervisor
from sandbox.emulator_patches import Context


class Membership:
    """One method for each action."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def terminate(self, p: Parameters) -> Answer:
        """TerminateInstanceInAutoScalingGroup."""
        found = self._entry(text(p, "InstanceId"))
        if found is None:
            return error(f"Instance Id not found - No managed instance found for instance ID: {text(p, 'InstanceId')}")
        group, entry = found
        decrement = text(p, "ShouldDecrementDesiredCapacity").lower() == "true" and entry["LifecycleState"] in LIVE
        if decrement and (problem := _shrink(group, 1)):
            return error(problem)
        cause = "instance was taken out of service in response to a user request"
        activity = self._hypervisor.groups.retire(group, entry, cause)
        return answer("TerminateInstanceInAutoScalingGroup", f"<Activity>{activity_xml(activity)}</Activity>")

    def set_health(self, p: Parameters) -> Answer:
        """SetInstanceHealth. By default it waits for the grace period's end, as a health check does."""
        found, status = self._entry(text(p, "InstanceId")), text(p, "HealthStatus")
        if found is None or status not in ("Healthy", "Unhealthy"):
            return error(f"no such instance or status: {text(p, 'InstanceId')}, {status}")
        group, entry = found
        respect = text(p, "ShouldRespectGracePeriod", "true").lower() == "true"
        if not (respect and self._hypervisor.groups.in_grace(group, entry)):
            entry["HealthStatus"] = status
        self._hypervisor.run.wake()
        return answer("SetInstanceHealth")

    def attach(self, p: Parameters) -> Answer:
        """AttachInstances. The desired capacity grows by as many."""
        group, ids = group_named(p), members(p, "InstanceIds")
        if group is None:
            return unknown(p)
        bad = [one for one in ids if self._entry(one) or self._hypervisor.instances.state(one) != "running"]
        if bad:
            return error(f"Invalid Instance(s) ['{bad[0]}']: not running, or in a group already")
        if group["DesiredCapacity"] + len(ids) > group["MaxSize"]:
            return error(f"AutoScalingGroup's max size {group['MaxSize']} would be exceeded by attaching {len(ids)}")
        group["DesiredCapacity"] += len(ids)
        for one in ids:
            self._hypervisor.groups.take(group, one)
            note(group, f"Attaching an existing EC2 instance: {one}", "an instance was attached by a user request")
        return answer("AttachInstances")

    def detach(self, p: Parameters) -> Answer:
        """DetachInstances. They run on, outside the group and its target groups."""
        group, ids = group_named(p), members(p, "InstanceIds")
        if group is None:
            return unknown(p)
        entries = [entry for entry in group["Instances"] if entry["InstanceId"] in ids]
        if len(entries) < len(ids):
            return error(f"The instances {ids} are not all part of {group['AutoScalingGroupName']}")
        decrement = text(p, "ShouldDecrementDesiredCapacity").lower() == "true"
        if decrement and (problem := _shrink(group, len(ids))):
            return error(problem)
        done = [self._let_go(group, entry) for entry in entries]
        self._hypervisor.run.wake()
        inner = "".join(f"<member>{activity_xml(activity)}</member>" for activity in done)
        return answer("DetachInstances", f"<Activities>{inner}</Activities>")

    def attach_groups(self, p: Parameters) -> Answer:
        """AttachLoadBalancerTargetGroups. It registers the group's instances with them."""
        group, arns = group_named(p), members(p, "TargetGroupARNs")
        if group is None:
            return unknown(p)
        from ministack.services import alb

        if missing := [arn for arn in arns if arn not in alb._tgs]:
            return error(f"Provided Target Groups may not be valid. Please ensure they exist: {missing[0]}")
        group["TargetGroupARNs"] = list(dict.fromkeys([*group.get("TargetGroupARNs", ()), *arns]))
        for entry in group["Instances"]:
            if entry["LifecycleState"] == "InService":
                self._hypervisor.groups.enroll(group | {"TargetGroupARNs": arns}, entry["InstanceId"])
        return answer("AttachLoadBalancerTargetGroups")

    def detach_groups(self, p: Parameters) -> Answer:
        """DetachLoadBalancerTargetGroups. The group's instances drain out of them."""
        group, arns = group_named(p), members(p, "TargetGroupARNs")
        if group is None:
            return unknown(p)
        for entry in group["Instances"]:
            self._hypervisor.groups.withdraw(group | {"TargetGroupARNs": arns}, entry["InstanceId"])
        group["TargetGroupARNs"] = [arn for arn in group.get("TargetGroupARNs", ()) if arn not in arns]
        return answer("DetachLoadBalancerTargetGroups")

    def describe_groups(self, p: Parameters) -> Answer:
        """DescribeLoadBalancerTargetGroups."""
        group = group_named(p)
        if group is None:
            return unknown(p)
        form = "<member><LoadBalancerTargetGroupARN>{}</LoadBalancerTargetGroupARN><State>InService</State></member>"
        inner = "".join(form.format(arn) for arn in group.get("TargetGroupARNs", ()))
        return answer("DescribeLoadBalancerTargetGroups",
                      f"<LoadBalancerTargetGroups>{inner}</LoadBalancerTargetGroups>")

    def _let_go(self, group: Record, entry: Record) -> Record:
        group["Instances"].remove(entry)
        self._hypervisor.groups.withdraw(group, entry["InstanceId"])
        return note(group, f"Detaching EC2 instance: {entry['InstanceId']}",
                    "an instance was detached in response to a user request")

    def _entry(self, instance: str) -> tuple[Record, Record] | None:
        from ministack.services import autoscaling

        for group in autoscaling._asgs.values():
            for entry in group["Instances"]:
                if entry["InstanceId"] == instance:
                    return group, entry
        return None


def _shrink(group: Record, count: int) -> str:
    """Lower the desired capacity. The fault of that, if any, and then nothing changes."""
    if group["DesiredCapacity"] - count < group["MinSize"]:
        return (f"Currently, desiredSize equals minSize ({group['MinSize']}). Terminating instance without replacement "
                "will violate group's min size constraint.")
    group["DesiredCapacity"] -= count
    return ""


@added("autoscaling", "instances can be terminated, attached and detached, and target groups too")
def more(context: Context) -> dict[str, Handler]:
    own = Membership(context.hypervisor)
    return {
        "TerminateInstanceInAutoScalingGroup": own.terminate, "SetInstanceHealth": own.set_health,
        "AttachInstances": own.attach, "DetachInstances": own.detach,
        "AttachLoadBalancerTargetGroups": own.attach_groups, "DetachLoadBalancerTargetGroups": own.detach_groups,
        "DescribeLoadBalancerTargetGroups": own.describe_groups}
