"""Launch templates, for RunInstances and Auto Scaling."""

import base64
from typing import Any

from sandbox.compute.actions import Answer, Parameters, text
from sandbox.compute.instances import Record

# LaunchTemplateData -> parameter of RunInstances, which says otherwise if it names it too.
_PLAIN = ("ImageId", "InstanceType", "KeyName", "UserData")
# Of the emulator's launch slots, what its launch function takes.
_LAUNCHED = ("image_id", "instance_type", "subnet_id", "key_name", "user_data", "sg_ids", "iam_profile")


def fill(p: Parameters) -> tuple[Parameters, Answer | None]:
    """The parameters of RunInstances with those of its launch template, if it names one. Or the API's error."""
    from ministack.services import ec2

    spec = {name: text(p, f"LaunchTemplate.{name}") for name in ("LaunchTemplateId", "LaunchTemplateName", "Version")}
    if not spec["LaunchTemplateId"] and not spec["LaunchTemplateName"]:
        return p, None
    data, _, error = ec2._resolve_launch_template_data(spec)
    return (p, error) if error is not None else (_parameters(data) | p, None)


def decodes(user_data: str) -> bool:
    """Whether user data is the base64 that it must be."""
    try:
        base64.b64decode(user_data, validate=True)
    except ValueError:
        return False
    return True


def _parameters(data: dict[str, Any]) -> Parameters:
    found: Parameters = {name: [data[name]] for name in _PLAIN if data.get(name)}
    for number, group in enumerate(data.get("SecurityGroupIds") or (), 1):
        found[f"SecurityGroupId.{number}"] = [group]
    for name, value in (data.get("IamInstanceProfile") or {}).items():
        found[f"IamInstanceProfile.{name}"] = [value]
    tags = instance_tags(data)
    for number, tag in enumerate(tags, 1):
        found |= {f"TagSpecification.1.Tag.{number}.{name}": [str(tag[name])] for name in ("Key", "Value")}
    return found | ({"TagSpecification.1.ResourceType": ["instance"]} if tags else {})


def instance_tags(data: dict[str, Any]) -> list[dict[str, str]]:
    """The tags that a launch template gives to instances."""
    return [dict(tag) for spec in data.get("TagSpecifications") or () if spec.get("ResourceType") == "instance"
            for tag in spec.get("Tags") or ()]


class LaunchError(Exception):
    """A group cannot launch. The text says why."""


class Launch:
    """Launches one instance after the other for a group."""

    def __init__(self, group: Record, slot: Record, template: dict[str, str]) -> None:
        self.template = template
        self._group = group
        self._slot = slot

    def one(self, number: int) -> tuple[str, str]:
        """Launch an instance, the `number`th of its group. Returns its id and availability zone, which take turns."""
        from ministack.services import ec2

        subnets = [one.strip() for one in self._group["VPCZoneIdentifier"].split(",") if one.strip() in ec2._subnets]
        zones = [ec2._subnets[one]["AvailabilityZone"] for one in subnets] or self._group["AvailabilityZones"] or [""]
        zone = str(zones[number % len(zones)])
        arguments = {name: self._slot[name] for name in _LAUNCHED}
        if subnets:
            arguments["subnet_id"] = subnets[number % len(subnets)]
        record = ec2._launch_instances_internal(count=1, **arguments)[0]
        record["Placement"]["AvailabilityZone"] = zone
        ec2._tags[record["InstanceId"]] = self._tags()
        return str(record["InstanceId"]), zone

    def _tags(self) -> list[dict[str, str]]:
        own = {tag["Key"]: tag["Value"] for tag in self._slot["instance_tags"]}
        own |= {tag["Key"]: tag["Value"] for tag in self._group.get("Tags", ()) if tag.get("PropagateAtLaunch")}
        own["aws:autoscaling:groupName"] = self._group["AutoScalingGroupName"]
        return [{"Key": key, "Value": value} for key, value in own.items()]


def launch_of(group: Record) -> Launch:
    """How a group launches, by its launch template as it is now, or its launch configuration. Or `LaunchError`."""
    from ministack.services import autoscaling, ec2

    spec, name = group.get("LaunchTemplate") or {}, group.get("LaunchConfigurationName")
    if name:
        if name not in autoscaling._launch_configs:
            raise LaunchError(f"there is no launch configuration {name!r}")
        held = autoscaling._launch_configs[name]
        data = {key: held[key] for key in _PLAIN} | {"SecurityGroupIds": held["SecurityGroups"]}
        return _launch(group, {}, data, {})
    data, template, error = ec2._resolve_launch_template_data(spec)
    if error is not None or template is None:
        named = spec.get("LaunchTemplateId")
        raise LaunchError(f"there is no launch template {named!r}" if named else "the group names no launch template")
    return _launch(group, spec, data, {
        "LaunchTemplateId": template["LaunchTemplateId"], "LaunchTemplateName": template["LaunchTemplateName"],
        "Version": version_of(template, spec.get("Version") or "$Default")})


def _launch(group: Record, spec: Record, data: Record, template: dict[str, str]) -> Launch:
    from ministack.services import ec2

    if not decodes(data.get("UserData") or ""):
        raise LaunchError("Invalid BASE64 encoding of user data.")
    return Launch(group, ec2._slot_from_lt_data(spec, data), template)


def version_of(template: Record, asked: str) -> str:
    """The number of the version that `$Default`, `$Latest` or a number stands for."""
    named = {"$Default": template["DefaultVersionNumber"], "$Latest": template["LatestVersionNumber"]}
    return str(named.get(asked, asked))
