"""On which resource AWS authorizes a call, where the emulator asks about another one.

From the service authorization reference of each service. SendCommand and document calls need permission on the document
(SendCommand on the instances too, see `sandbox.compute.ssm`), and GetParametersByPath on the folder. Describe calls of
EC2, Elastic Load Balancing and Auto Scaling need it on everything. Calls of Auto Scaling that name an instance need it
on its group, and calls of Route 53 on a health check on that.
"""

import json
import re
from typing import Any

from sandbox.compute.actions import text
from sandbox.emulator_patches import Context, change

_DOCUMENTS = ("CreateDocument", "UpdateDocument", "GetDocument", "DescribeDocument", "DeleteDocument",
              "UpdateDocumentDefaultVersion", "SendCommand")
_OF_INSTANCES = ("TerminateInstanceInAutoScalingGroup", "SetInstanceHealth")
_CHECK = re.compile(r"/2013-04-01/healthcheck/([^/]+)")
_INSTANCE = re.compile(r"arn:aws:ec2:[^:]*:[^:]*:instance/(i-[^/]+)")
_QUERY = ("ec2", "elasticloadbalancing", "autoscaling")


@change("core.iam_actions", "extract_resource_arn", "service method path headers body query_params region account_id",
        "the gate authorizes calls of hosts on the resource that AWS names")
def resources(original: Any, context: Context) -> Any:
    def extract(service: str, method: str, path: str, headers: dict[str, str], body: bytes,
                query_params: dict[str, Any], region: str, account_id: str) -> str:
        found = ""
        if service == "ssm":
            action = headers.get("x-amz-target", "").rpartition(".")[2]
            found = document(action, body, region, account_id) or folder(action, body, region, account_id)
        elif service in _QUERY:
            found = queried(service, query_params, region, account_id)
        elif service == "route53" and (check := _CHECK.match(path)):
            found = f"arn:aws:route53:::healthcheck/{check[1]}"
        if found:
            return found
        return str(original(service, method, path, headers, body, query_params, region, account_id))

    return extract


@change("services.tagging", "resource_tags", "arn", "a policy may go by the tags of instances (aws:ResourceTag)")
def tags(original: Any, context: Context) -> Any:
    def found(arn: str) -> Any:
        from ministack.services import ec2

        instance = _INSTANCE.fullmatch(arn)
        held = ec2._tags.get(instance[1], ()) if instance else None
        return original(arn) if held is None else {tag["Key"]: tag["Value"] for tag in held}

    return found


def document(action: str, body: bytes, region: str, account: str) -> str:
    """The ARN of the document that a call of Systems Manager names. Empty for other calls."""
    if action not in _DOCUMENTS:
        return ""
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return "*"
    name = str(data.get("DocumentName" if action == "SendCommand" else "Name", ""))
    if name.startswith("arn:"):
        return name
    # AWS's own documents belong to no account.
    return f"arn:aws:ssm:{region}:{'' if name.startswith('AWS-') else account}:document/{name}"


def folder(action: str, body: bytes, region: str, account: str) -> str:
    """The ARN of the folder of parameters that GetParametersByPath names. Empty for other calls."""
    found = re.search(rb'"Path"\s*:\s*"(/[\w./-]*)"', body) if action == "GetParametersByPath" else None
    return f"arn:aws:ssm:{region}:{account}:parameter{found[1].decode().rstrip('/')}" if found else ""


def queried(service: str, parameters: dict[str, Any], region: str, account: str) -> str:
    """The resource of a call of a query service, where it is not the one that the emulator takes. Else empty."""
    action = text(parameters, "Action")
    if action.startswith("Describe") and "VerifiedAccess" not in action:
        return "*"
    if service == "autoscaling" and action in _OF_INSTANCES:
        name = group_of(text(parameters, "InstanceId"))
        return f"arn:aws:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}"
    return ""


def group_of(instance: str) -> str:
    """The Auto Scaling group that an instance of this region is in. Empty if none."""
    from ministack.services import autoscaling

    for name, group in autoscaling._asgs.items():
        if any(one["InstanceId"] == instance for one in group["Instances"]):
            return str(name)
    return ""
