"""Systems Manager in the sandbox: a command succeeds only if its script really ran in the instance and ended well."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.conftest import make_lambda
from tests.world.hosts import add_image, address, disk, get, launch, state

pytestmark = pytest.mark.world
HOME, OTHER = "eu-west-1", "us-east-1"
RESTART = {
    "schemaVersion": "2.2", "description": "Restart a unit",
    "parameters": {"unit": {"type": "String", "allowedPattern": "[a-z-]+"}},
    "mainSteps": [{"action": "aws:runShellScript", "name": "restart", "inputs": {
        "timeoutSeconds": "30",
        "runCommand": ["systemctl restart {{ unit }}.service && systemctl is-active {{ unit }}"]}}]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with an image of web servers."""
    with Sandbox.start() as made:
        add_image(made, tmp_path_factory.mktemp("image"))
        yield made


@pytest.fixture(scope="module")
def host(world: Sandbox) -> str:
    """An instance that commands are sent to; tests leave it as it was."""
    return launch(world, HOME)[0]


def send(world: Sandbox, one: str, *lines: str, **more: Any) -> str:
    """Send a script; the command's id."""
    arguments = {"DocumentName": "AWS-RunShellScript", "InstanceIds": [one], "Parameters": {"commands": list(lines)}}
    return str(world.client("ssm", HOME).send_command(**(arguments | more))["Command"]["CommandId"])


def outcome(world: Sandbox, one: str, command: str) -> Any:
    """The invocation, once it has ended."""
    def look() -> Any:
        found = world.client("ssm", HOME).get_command_invocation(CommandId=command, InstanceId=one)
        return found if found["Status"] not in ("Pending", "InProgress") else None
    return eventually(look)


def run(world: Sandbox, one: str, *lines: str, **more: Any) -> Any:
    """What came of a script."""
    return outcome(world, one, send(world, one, *lines, **more))


def test_a_script_really_runs_in_its_instance(world: Sandbox, host: str) -> None:
    token = uuid.uuid4().hex
    found = run(world, host, f"echo {token} > proof", "echo $INSTANCE_ID $REGION $ADDRESS", "echo oops >&2")
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("Success", "Success", 0)
    assert found["StandardOutputContent"] == f"{host} {HOME} {address(world, HOME, host)}\n"
    assert found["StandardErrorContent"] == "oops\n"
    assert found["ExecutionStartDateTime"] <= found["ExecutionEndDateTime"]
    assert (disk(world, HOME, host) / "proof").read_text() == f"{token}\n", "success without having run"


@pytest.mark.parametrize(("line", "code"), [("exit 7", 7), ("no-such-program", 127), ("kill -9 $$", 137)])
def test_a_script_that_ends_badly_has_failed(world: Sandbox, host: str, line: str, code: int) -> None:
    found = run(world, host, line)
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("Failed", "Failed", code)
    assert world.client("ssm", HOME).list_commands(CommandId=found["CommandId"])["Commands"][0]["Status"] == "Failed"


def test_many_scripts_at_once_keep_their_own_exit_codes(world: Sandbox, host: str) -> None:
    sent = {number: send(world, host, "systemctl status web >&2", f"exit {number}") for number in range(12)}
    for number, command in sent.items():
        found = outcome(world, host, command)
        assert (found["ResponseCode"], found["Status"]) == (number, "Failed" if number else "Success")


def test_a_command_is_in_progress_until_it_ends(world: Sandbox, host: str) -> None:
    command = send(world, host, "touch begun", "while [ ! -e go ]; do sleep 0.05; done", "rm go begun")
    eventually((disk(world, HOME, host) / "begun").exists)
    ssm = world.client("ssm", HOME)
    found = ssm.get_command_invocation(CommandId=command, InstanceId=host)
    assert (found["Status"], found["ResponseCode"]) == ("InProgress", -1)
    assert ssm.list_commands(CommandId=command)["Commands"][0]["Status"] == "InProgress"
    (disk(world, HOME, host) / "go").touch()
    assert outcome(world, host, command)["Status"] == "Success"
    listed = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"][0]
    assert (listed["Status"], listed["CommandPlugins"][0]["ResponseCode"]) == ("Success", 0)


def test_a_script_that_takes_too_long_is_killed_and_timed_out(world: Sandbox, host: str) -> None:
    found = run(world, host, "echo $$ > shell", "sleep 300 & wait", Parameters={
        "commands": ["echo $$ > shell", "sleep 300 & echo $! > child; wait"], "executionTimeout": ["1"]})
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == (
        "TimedOut", "Execution Timed Out", -1)
    for name in ("shell", "child"):
        pid = (disk(world, HOME, host) / name).read_text().strip()
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]


def test_our_own_document_restarts_a_service_even_a_hung_one(world: Sandbox, host: str) -> None:
    ssm = world.client("ssm", HOME)
    ssm.create_document(Name="restart-unit", Content=json.dumps(RESTART), DocumentType="Command")
    before = get(address(world, HOME, host), "/pid")
    world.hang(host, "web")
    found = run(world, host, DocumentName="restart-unit", Parameters={"unit": ["web"]})
    assert (found["Status"], found["StandardOutputContent"]) == ("Success", "active\n")
    assert eventually(lambda: get(address(world, HOME, host), "/pid")) != before
    found = run(world, host, DocumentName="restart-unit", Parameters={"unit": ["nothing"]})
    assert (found["Status"], found["ResponseCode"]) == ("Failed", 5)
    with pytest.raises(ClientError, match="InvalidParameters"):
        send(world, host, DocumentName="restart-unit", Parameters={"unit": ["web; reboot"]})


def test_systemctl_answers_as_systemd_does(world: Sandbox, host: str) -> None:
    found = run(world, host, "systemctl stop web; systemctl is-active web; echo $?", "systemctl status web; echo $?",
                "systemctl start web; systemctl is-active --quiet web; echo $?",
                "systemctl status gone; echo $?", "systemctl poweroff; echo $?")
    assert found["StandardOutputContent"].splitlines() == [
        "inactive", "3", "web.service", "     Active: inactive", "3", "0", "4", "1"]
    assert "Unit gone.service not found." in found["StandardErrorContent"]
    eventually(lambda: get(address(world, HOME, host)) == host)


def test_a_document_has_versions(world: Sandbox, host: str) -> None:
    ssm, steps = world.client("ssm", HOME), RESTART["mainSteps"]
    assert isinstance(steps, list)
    second = {"schemaVersion": "2.2", "mainSteps": [{**steps[0], "inputs": {"runCommand": ["echo second"]}}]}
    first = {"schemaVersion": "2.2", "mainSteps": [{**steps[0], "inputs": {"runCommand": ["echo first"]}}]}
    ssm.create_document(Name="versions", Content=json.dumps(first), DocumentType="Command")
    ssm.update_document(Name="versions", Content=json.dumps(second), DocumentVersion="$LATEST")
    assert run(world, host, DocumentName="versions", Parameters={})["StandardOutputContent"] == "first\n"
    latest = run(world, host, DocumentName="versions", Parameters={}, DocumentVersion="$LATEST")
    assert latest["StandardOutputContent"] == "second\n"
    ssm.update_document_default_version(Name="versions", DocumentVersion="2")
    assert run(world, host, DocumentName="versions", Parameters={})["StandardOutputContent"] == "second\n"
    assert json.loads(ssm.get_document(Name="versions", DocumentVersion="1")["Content"]) == first
    assert ssm.describe_document(Name="versions")["Document"]["DefaultVersion"] == "2"
    assert "versions" in [one["Name"] for one in ssm.list_documents()["DocumentIdentifiers"]]
    with pytest.raises(ClientError, match="DocumentAlreadyExists"):
        ssm.create_document(Name="versions", Content=json.dumps(first), DocumentType="Command")
    ssm.delete_document(Name="versions")
    with pytest.raises(ClientError, match="InvalidDocument"):
        send(world, host, DocumentName="versions", Parameters={})


def test_a_missing_document_is_invalid(world: Sandbox, host: str) -> None:
    with pytest.raises(ClientError, match="InvalidDocument") as caught:
        send(world, host, DocumentName="no-such-document", Parameters={})
    assert caught.value.response["Error"]["Code"] == "InvalidDocument"


def test_instances_that_do_not_run_or_are_not_known_are_invalid(world: Sandbox) -> None:
    ec2, one = world.client("ec2", HOME), launch(world, HOME)[0]
    bare = ec2.run_instances(ImageId="ami-0000000000000000f", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    eventually(lambda: state(world, HOME, bare) == "running")
    ec2.stop_instances(InstanceIds=[one])
    for bad in (one, bare, "i-0123456789abcdef0"):
        with pytest.raises(ClientError, match="InvalidInstanceId"):
            send(world, bad, "true")
    information = world.client("ssm", HOME).describe_instance_information()["InstanceInformationList"]
    assert not {one, bare} & {known["InstanceId"] for known in information}


def test_a_command_for_an_instance_without_power_is_not_delivered(world: Sandbox) -> None:
    one, ssm = launch(world, HOME)[0], world.client("ssm", HOME)
    filters = [{"Key": "InstanceIds", "Values": [one]}]
    assert ssm.describe_instance_information(Filters=filters)["InstanceInformationList"][0]["PingStatus"] == "Online"
    world.power_off(one)
    information = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"][0]
    assert information["PingStatus"] == "ConnectionLost"
    world.pace(100)
    try:
        command = send(world, one, "true", TimeoutSeconds=60)
        assert ssm.get_command_invocation(CommandId=command, InstanceId=one)["Status"] == "Pending"
        found = outcome(world, one, command)
    finally:
        world.pace(1)
    assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == ("TimedOut", "Delivery Timed Out", -1)


def test_a_command_whose_instance_dies_never_succeeds(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    home = disk(world, HOME, one)
    world.pace(100)
    try:
        command = send(world, one, Parameters={"commands": ["touch begun; sleep 300"], "executionTimeout": ["60"]})
        eventually((home / "begun").exists)
        world.power_off(one)
        found = outcome(world, one, command)
    finally:
        world.pace(1)
    assert (found["Status"], found["StatusDetails"]) == ("TimedOut", "Execution Timed Out")


def test_instances_are_found_by_tag(world: Sandbox) -> None:
    ids = launch(world, HOME, 2, TagSpecifications=[
        {"ResourceType": "instance", "Tags": [{"Key": "Role", "Value": "tunnel"}]}])
    ssm = world.client("ssm", HOME)
    sent = ssm.send_command(DocumentName="AWS-RunShellScript", Parameters={"commands": ["echo $INSTANCE_ID"]},
                            Targets=[{"Key": "tag:Role", "Values": ["tunnel"]}])["Command"]
    for one in ids:
        assert outcome(world, one, sent["CommandId"])["StandardOutputContent"] == f"{one}\n"
    with pytest.raises(ClientError, match="InvocationDoesNotExist"):
        ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId="i-0123456789abcdef0")


def test_a_template_has_documents(world: Sandbox, host: str) -> None:
    stacks = world.client("cloudformation", HOME)
    template = {"Resources": {"Restart": {"Type": "AWS::SSM::Document", "Properties": {
        "Name": "of-a-stack", "DocumentType": "Command", "UpdateMethod": "NewVersion", "Content": RESTART}}}}
    stacks.create_stack(StackName="documents", TemplateBody=json.dumps(template))
    stacks.get_waiter("stack_create_complete").wait(StackName="documents", WaiterConfig={"Delay": 1})
    assert run(world, host, DocumentName="of-a-stack", Parameters={"unit": ["web"]})["Status"] == "Success"
    stacks.delete_stack(StackName="documents")
    stacks.get_waiter("stack_delete_complete").wait(StackName="documents", WaiterConfig={"Delay": 1})
    with pytest.raises(ClientError, match="InvalidDocument"):
        send(world, host, DocumentName="of-a-stack", Parameters={"unit": ["web"]})


CALLER = """
import boto3
def handler(event, context):
    try:
        boto3.client("ssm").send_command(**event)
    except Exception as error:
        return str(error)
    return "sent"
"""


def test_policies_hold_for_document_and_instance(world: Sandbox, host: str) -> None:
    other = launch(world, HOME)[0]
    account = boto3.client("sts", HOME, endpoint_url=world.endpoint, aws_access_key_id=world.state.access_key,
                           aws_secret_access_key=world.state.secret_key).get_caller_identity()["Account"]
    world.client("ssm", HOME).create_document(
        Name="allowed", Content=json.dumps(RESTART), DocumentType="Command")
    make_lambda(world, HOME, "healer", CALLER, allow=[{"Effect": "Allow", "Action": "ssm:SendCommand", "Resource": [
        f"arn:aws:ssm:{HOME}:{account}:document/allowed", f"arn:aws:ec2:{HOME}:{account}:instance/{host}"]}])

    def call(document: str, one: str, **parameters: list[str]) -> str:
        event = {"DocumentName": document, "InstanceIds": [one], "Parameters": parameters}
        answer = world.client("lambda", HOME).invoke(FunctionName="healer", Payload=json.dumps(event))
        return str(json.loads(answer["Payload"].read()))

    assert call("allowed", host, unit=["web"]) == "sent"
    assert "not authorized" in call("allowed", other, unit=["web"])
    assert "not authorized" in call("AWS-RunShellScript", host, commands=["true"])


def test_managed_instances_are_filtered_by_their_tags_and_by_nothing_that_is_unknown(world: Sandbox, host: str) -> None:
    ssm = world.client("ssm", HOME)
    world.client("ec2", HOME).create_tags(Resources=[host], Tags=[{"Key": "cron", "Value": "yes"}])

    def found(key: str, *values: str) -> list[str]:
        filters = [{"Key": key, "Values": list(values)}, {"Key": "InstanceIds", "Values": [host]}]
        listed = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
        return [one["InstanceId"] for one in listed]

    assert found("tag:cron", "no", "yes") == found("tag-key", "cron") == [host]
    assert found("tag:cron", "no") == found("tag:other", "yes") == found("tag-key", "other") == []
    with pytest.raises(ClientError, match="InvalidFilterKey"):
        found("Colour", "red")
