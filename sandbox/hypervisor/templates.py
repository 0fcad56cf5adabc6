"""Launch templates: what RunInstances and Auto Scaling launch from one."""

from typing import Any

from sandbox.hypervisor.actions import Answer, Parameters, text

# LaunchTemplateData -> parameter of RunInstances, which says otherwise if it names it too.
_PLAIN = ("ImageId", "InstanceType", "KeyName", "UserData")


def fill(p: Parameters) -> tuple[Parameters, Answer | None]:
    """The parameters of RunInstances with those of its launch template, if it names one; or the API's error."""
    from ministack.services import ec2

    spec = {name: text(p, f"LaunchTemplate.{name}") for name in ("LaunchTemplateId", "LaunchTemplateName", "Version")}
    if not spec["LaunchTemplateId"] and not spec["LaunchTemplateName"]:
        return p, None
    data, _, error = ec2._resolve_launch_template_data(spec)
    if error is not None:
        return p, error
    return _parameters(data) | p, None


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
