"""The Systems Manager API over real instances, with documents, commands, and managed instances."""

import json
import time
from collections.abc import Callable
from typing import Any

from sandbox.compute.commands import Sender
from sandbox.compute.document_store import Data, DocumentStore
from sandbox.compute.documents import DocumentError
from sandbox.compute.reconciler import Hypervisor
from sandbox.emulator_patches import Context, Moved, change

Act = Callable[[str, str, Data], Data]


@change("services.ssm", "handle_request", "method path headers body query_params",
        "documents exist, commands run them in real instances, and what came of it is true")
def requests(original: Any, context: Context) -> Any:
    from ministack.core import responses

    hypervisor, acts = context.hypervisor, _acts(context.hypervisor)
    _stacks(hypervisor.shelf)

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action not in acts:
            return await original(method, path, headers, body, query)
        region, data = responses.get_region(), json.loads(body or b"{}")
        try:
            if action == "SendCommand" and (refused := _refused(hypervisor.sender, region, headers, query, data)):
                return refused
            return responses.json_response(acts[action](region, responses.get_account_id(), data))
        except DocumentError as error:
            return responses.error_response_json(error.code, str(error), 400)

    return handle


def _acts(hypervisor: Hypervisor) -> dict[str, Act]:
    shelf, commands = hypervisor.shelf, hypervisor.sender
    documents = {"CreateDocument": shelf.create, "UpdateDocument": shelf.update, "GetDocument": shelf.get,
                 "UpdateDocumentDefaultVersion": shelf.set_default, "DescribeDocument": shelf.describe,
                 "ListDocuments": shelf.list, "DeleteDocument": shelf.delete}
    acts: dict[str, Act] = {
        name: lambda region, account, data, act=act: act(region, data)  # type: ignore[misc]
        for name, act in documents.items()}
    return acts | {
        "SendCommand": commands.send, "ListCommandInvocations": _invocations,
        "DescribeInstanceInformation": lambda region, account, data: _information(hypervisor, region, data)}


def _refused(commands: Sender, region: str, headers: dict[str, str], query: dict[str, Any], data: Data) -> Any:
    """AWS authorizes SendCommand on the document, which was done on the way here, and on each instance."""
    from ministack.core import iam_actions, iam_evaluator, responses, router

    key, account = router.extract_access_key_id(headers, query), responses.get_account_id()
    for instance in commands.targets(region, data):
        arn = f"arn:aws:ec2:{region}:{account}:instance/{instance}"
        denied = iam_evaluator.enforce(key, "ssm:SendCommand", "ssm", region, resource_arn=arn,
                                       service_context=_tags(instance))
        if isinstance(denied, iam_evaluator.EvalResult):
            return iam_actions.access_denied_response(
                "ssm", "ssm:SendCommand", denied.principal_arn, "0", headers=headers, resource_arn=arn,
                explicit_deny=denied.decision == "Deny")
    return None


def _tags(instance: str) -> dict[str, str]:
    """The condition keys `ssm:resourceTag/NAME` of an instance, the group's own tag among them."""
    from ministack.services import ec2

    return {f"ssm:resourceTag/{tag['Key']}": tag["Value"] for tag in ec2._tags.get(instance, ())}


def _invocations(region: str, account: str, data: Data) -> Data:
    from ministack.services import ssm

    found = []
    for command, record in ssm._commands.items():
        for instance, one in record.get("Invocations", {}).items():
            if data.get("CommandId") in (None, command) and data.get("InstanceId") in (None, instance):
                found.append(_listed(one, full=bool(data.get("Details"))))
    return {"CommandInvocations": sorted(found, key=lambda one: -one["RequestedDateTime"])}


def _listed(one: Data, *, full: bool) -> Data:
    kept = ("CommandId", "InstanceId", "Comment", "DocumentName", "DocumentVersion", "RequestedDateTime", "Status",
            "StatusDetails")
    plugin = {"Name": one["PluginName"], "Status": one["Status"], "StatusDetails": one["StatusDetails"],
              "ResponseCode": one["ResponseCode"], "Output": one["StandardOutputContent"]}
    return {name: one[name] for name in kept} | ({"CommandPlugins": [plugin]} if full else {})


def _information(hypervisor: Hypervisor, region: str, data: Data) -> Data:
    from ministack.services import ec2

    wanted = {str(one.get("Key", one.get("key"))): one.get("Values", one.get("valueSet"))
              for one in (*data.get("Filters", ()), *data.get("InstanceInformationFilterList", ()))}
    for key in wanted:
        if key not in ("InstanceIds", "PingStatus", "tag-key") and not key.startswith("tag:"):
            raise DocumentError("InvalidFilterKey", f"the sandbox does not filter instances by {key}")
    found = []
    for instance, record in ec2._instances.items():
        if hypervisor.sender.present(region, instance):
            ping = "ConnectionLost" if hypervisor.instances.impaired(instance) else "Online"
            tags = {tag["Key"]: tag["Value"] for tag in ec2._tags.get(instance, ())}
            facts = {"InstanceIds": [instance], "PingStatus": [ping], "tag-key": list(tags),
                     **{f"tag:{key}": [value] for key, value in tags.items()}}
            if all(set(values) & set(facts.get(key, ())) for key, values in wanted.items()):
                found.append(_informed(record, ping))
    return {"InstanceInformationList": found}


def _informed(record: Data, ping: str) -> Data:
    return {"InstanceId": record["InstanceId"], "PingStatus": ping, "LastPingDateTime": time.time(),
            "AgentVersion": "3.2.1377.0", "IsLatestVersion": True, "PlatformType": "Linux", "PlatformVersion": "2023",
            "PlatformName": "Amazon Linux", "ResourceType": "EC2Instance", "IPAddress": record["PrivateIpAddress"],
            "ComputerName": record["PrivateDnsName"]}


def _stacks(shelf: DocumentStore) -> None:
    """Let templates have documents."""
    from ministack.core import responses
    from ministack.services.cloudformation import provisioners

    def put(physical: str, props: Data) -> tuple[str, Data]:
        content, form = props.get("Content"), props.get("DocumentFormat", "JSON")
        text, form = (content, form) if isinstance(content, str) else (json.dumps(content), "JSON")
        try:
            shelf.put(responses.get_region(), physical, text, form)
        except DocumentError as error:
            raise ValueError(f"AWS::SSM::Document: {error.code}: {error}") from error
        return physical, {"Name": physical}

    def create(logical: str, props: Data, stack: str) -> tuple[str, Data]:
        return put(props.get("Name") or provisioners._physical_name(stack, logical, max_len=128), props)

    def update(physical: str, old: Data, props: Data, stack: str) -> tuple[str, Data]:
        made = put(props.get("Name") or physical, props)
        if made[0] != physical:
            delete(physical, old)
        return made

    def delete(physical: str, props: Data) -> None:
        shelf.delete(responses.get_region(), {"Name": physical})

    kind = "AWS::SSM::Document"
    if kind in provisioners._RESOURCE_HANDLERS:
        raise Moved(f"ministack's CloudFormation now knows {kind} itself")
    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}
