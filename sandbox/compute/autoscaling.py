"""The Auto Scaling API over real instances, with groups that launch, register, replace and shrink."""

from typing import Any
from xml.sax.saxutils import escape

from sandbox.compute.actions import Answer, Handler, Parameters, handler, members, text
from sandbox.compute.instances import Record
from sandbox.emulator_patches import Context, change


def error(message: str, code: str = "ValidationError") -> Answer:
    """The API's error."""
    from ministack.services import autoscaling

    return autoscaling._error(code, escape(message))  # type: ignore[no-any-return]


def answer(action: str, inner: str = "") -> Answer:
    """The API's answer."""
    from ministack.services import autoscaling

    result = f"<{action}Result>{inner}</{action}Result>"
    return autoscaling._xml(200, f"{action}Response", result)  # type: ignore[no-any-return]


def group_named(p: Parameters) -> Record | None:
    """The group that a call names."""
    from ministack.services import autoscaling

    found: Record | None = autoscaling._asgs.get(text(p, "AutoScalingGroupName"))
    return found


def unknown(p: Parameters) -> Answer:
    """The error for a group that is not there."""
    return error(f"AutoScalingGroup name not found - AutoScalingGroup '{text(p, 'AutoScalingGroupName')}' not found")


@change("services.autoscaling", "_reconcile_instances", "asg", "a group launches instances and does not make them up")
def reconcile(original: Any, context: Context) -> Any:
    def wake(asg: Record) -> None:
        context.hypervisor.run.wake()

    return wake


@change("services.autoscaling", "_instances_xml", "asg", "a group shows its target groups")
def shown(original: Any, context: Context) -> Any:
    def instances_xml(asg: Record) -> str:
        arns = "".join(f"<member>{arn}</member>" for arn in asg.get("TargetGroupARNs", ()))
        return f"{original(asg)}<TargetGroupARNs>{arns}</TargetGroupARNs>"

    return instances_xml


def template_of(p: Parameters) -> dict[str, str]:
    """The launch template that a call names, with its id and its name. Empty if none."""
    from ministack.services.cloudformation import provisioners

    spec = {name: text(p, f"LaunchTemplate.{name}") for name in ("LaunchTemplateId", "LaunchTemplateName", "Version")}
    given = {name: value for name, value in spec.items() if value}
    found: dict[str, str] = provisioners._asg_launch_template(given)
    return found


def size_problem(low: int, desired: int, high: int) -> str:
    """The fault of a group's sizes. Empty if nothing."""
    if low > high:
        return "Max bound must be greater than or equal to min bound"
    if desired > high:
        return f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}"
    return f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}" * (
        desired < low)


@handler("autoscaling", "_create_asg", "CreateAutoScalingGroup", "p", "a group has target groups and a launch template")
def create(original: Handler, context: Context) -> Handler:
    def create_group(p: Parameters) -> Answer:
        from ministack.services import alb

        arns, template = members(p, "TargetGroupARNs"), template_of(p)
        missing = [arn for arn in arns if arn not in alb._tgs]
        if missing:
            return error(f"Provided Target Groups may not be valid. Please ensure they exist: {missing[0]}")
        if not template and not text(p, "LaunchConfigurationName"):
            return error("the sandbox launches by LaunchTemplate or LaunchConfigurationName, and the group names "
                         "neither")
        low, high = int(text(p, "MinSize") or 0), int(text(p, "MaxSize") or 0)
        problem = size_problem(low, int(text(p, "DesiredCapacity") or low), high)
        if problem:
            return error(problem)
        # "The default is 0 when you create a group using the CLI or an SDK": health check grace period, user guide.
        made = original({"HealthCheckGracePeriod": "0"} | p)
        if made[0] == 200 and (group := group_named(p)) is not None:
            group.update(TargetGroupARNs=arns, LaunchTemplate=template)
        return made

    return create_group


@handler("autoscaling", "_update_asg", "UpdateAutoScalingGroup", "p", "an update may change the launch template")
def update(original: Handler, context: Context) -> Handler:
    def update_group(p: Parameters) -> Answer:
        group = group_named(p)
        if group is None:
            return unknown(p)
        low, high = (int(text(p, name) or group[name]) for name in ("MinSize", "MaxSize"))
        desired = int(text(p, "DesiredCapacity") or min(max(group["DesiredCapacity"], low), high))
        problem = size_problem(low, desired, high)
        if problem:
            return error(problem)
        if template := template_of(p):
            group.update(LaunchTemplate=template, LaunchConfigurationName="")
        if name := text(p, "LaunchConfigurationName"):
            group.update(LaunchTemplate={}, LaunchConfigurationName=name)
        return original(p | {"DesiredCapacity": str(desired)})

    return update_group


@handler("autoscaling", "_set_desired_capacity", "SetDesiredCapacity", "p", "a group refuses a capacity out of bounds")
def resize(original: Handler, context: Context) -> Handler:
    def set_desired_capacity(p: Parameters) -> Answer:
        group, desired = group_named(p), text(p, "DesiredCapacity")
        if group is not None and desired:
            for name, bad, word in (("MinSize", int(desired) < group["MinSize"], "below min"),
                                    ("MaxSize", int(desired) > group["MaxSize"], "above max")):
                if bad:
                    return error(f"New SetDesiredCapacity value {desired} is {word} value {group[name]} for the "
                                 "AutoScalingGroup.")
        return original(p)

    return set_desired_capacity


@handler("autoscaling", "_delete_asg", "DeleteAutoScalingGroup", "p", "a group takes its instances with it")
def delete(original: Handler, context: Context) -> Handler:
    def delete_group(p: Parameters) -> Answer:
        group = group_named(p)
        if group is None:
            return unknown(p)
        if group["Instances"] and text(p, "ForceDelete").lower() != "true":
            return error("You cannot delete an AutoScalingGroup while there are instances or pending Spot instance "
                         "request(s) still in the group.", "ResourceInUse")
        context.hypervisor.groups.disband(group)
        return original(p)

    return delete_group


@handler("autoscaling", "_describe_scaling_activities", "DescribeScalingActivities", "p",
         "a group tells what it did, and why")
def activities(original: Handler, context: Context) -> Handler:
    def describe(p: Parameters) -> Answer:
        from ministack.services import autoscaling

        name = text(p, "AutoScalingGroupName")
        found = [activity for one, group in autoscaling._asgs.items() if name in ("", one)
                 for activity in group.get("_activities", ())]
        inner = "".join(f"<member>{activity_xml(activity)}</member>" for activity in found)
        return answer("DescribeScalingActivities", f"<Activities>{inner}</Activities>")

    return describe


def activity_xml(activity: Record) -> str:
    """An activity's members."""
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in activity.items())


@handler("autoscaling", "_start_instance_refresh", "StartInstanceRefresh", "p",
         "the sandbox refuses a refresh, since the emulator would report a success that never was")
def refresh(original: Handler, context: Context) -> Handler:
    def start(p: Parameters) -> Answer:
        return error("the sandbox does no instance refresh. Replace instances by TerminateInstanceInAutoScalingGroup")

    return start


@change("services.cloudformation.provisioners", "_asg_fields", "props", "a template's group has its target groups")
def stack_fields(original: Any, context: Context) -> Any:
    def fields(props: Record) -> Record:
        found: Record = original({"HealthCheckGracePeriod": 0} | props)
        return found | {"TargetGroupARNs": list(props.get("TargetGroupARNs") or ())}

    return fields


@change("services.cloudformation.provisioners", "_asg_update",
        "physical_id old_props new_props stack_name logical_id", "an update that names no capacity leaves it as it is")
def stack_update(original: Any, context: Context) -> Any:
    from ministack.services import autoscaling
    from ministack.services.cloudformation import provisioners

    def updated(
        physical_id: str, old_props: Record, new_props: Record, stack_name: str, logical_id: str | None = None
    ) -> Any:
        group = autoscaling._asgs.get(physical_id)
        if group is not None and "DesiredCapacity" not in new_props:
            low, high = int(new_props.get("MinSize", 0)), int(new_props.get("MaxSize", 0))
            new_props = new_props | {"DesiredCapacity": min(max(group["DesiredCapacity"], low), high)}
        return original(physical_id, old_props, new_props, stack_name, logical_id)

    provisioners._RESOURCE_HANDLERS["AWS::AutoScaling::AutoScalingGroup"]["update"] = updated
    return updated


@change("services.cloudformation.provisioners", "_asg_delete", "physical_id props",
        "a template's group takes its instances along")
def stack_delete(original: Any, context: Context) -> Any:
    from ministack.services import autoscaling
    from ministack.services.cloudformation import provisioners

    def deleted(physical_id: str, props: Record) -> None:
        if physical_id in autoscaling._asgs:
            context.hypervisor.groups.disband(autoscaling._asgs[physical_id])
        original(physical_id, props)

    provisioners._RESOURCE_HANDLERS["AWS::AutoScaling::AutoScalingGroup"]["delete"] = deleted
    return deleted
