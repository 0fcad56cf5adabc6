"""`lamp deploy`: what it refuses before it has done anything."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.config import fleet
from commands.cli import main
from commands.deploy import bucket, packaging, release
from commands.errors import UsageError
from testing.paging import EmptyFirstPage


@pytest.mark.parametrize(("stage", "said"), [("X!", "--stage 'X!' is no stage, which is up to "
                                                    "16"), ("prod", "Add --yes")])
def test_the_stage_is_looked_at_before_anybody_is_asked(
    stage: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(stage: str) -> packaging.Package:
        raise AssertionError("nothing is packaged")

    monkeypatch.setattr(packaging, "build", build)
    assert main(["deploy", "--stage", stage, "--json"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


QUEUE = "https://sqs.eu-west-1.amazonaws.com/1/f-prod-"


def changed(action: str, id: str, replacement: str = "False", kind: str = "AWS::SQS::Queue", **more: str) -> Any:
    return {"ResourceChange": {"Action": action, "LogicalResourceId": id, "ResourceType": kind,
                               "PhysicalResourceId": f"{QUEUE}{id}", "Replacement": replacement, **more}}


class Aws:
    """One region with a stack whose change set has `changes`, and with queues of so many messages."""

    def __init__(self, changes: list[Any], depths: dict[str, int]) -> None:
        self.changes, self.depths, self.done = changes, depths, list[str]()

    def client(self, service: str, region: str) -> Any:
        return EmptyFirstPage(service, self)

    def describe_stacks(self, StackName: str) -> Any:
        return {"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "StackId": "arn"}]}

    def describe_change_set(self, **asked: str) -> Any:
        changes = [] if asked["StackName"].endswith("-coordination") else self.changes
        return {"Status": "CREATE_COMPLETE", "Changes": changes}

    def describe_stack_events(self, **asked: str) -> Any:
        return {"StackEvents": []}

    def get_caller_identity(self) -> Any:
        return {"Account": "123456789012"}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> Any:
        if QueueUrl not in self.depths:
            raise ClientError({"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue", "Message": ""}}, "Get")
        return {"Attributes": {AttributeNames[-1]: str(self.depths[QueueUrl])}}

    def create_change_set(self, **asked: Any) -> None:
        self.done.append("prepared")

    def delete_change_set(self, **asked: Any) -> None:
        self.done.append("abandoned")

    def execute_change_set(self, **asked: Any) -> None:
        self.done.append("executed")


def released(aws: Aws, monkeypatch: pytest.MonkeyPatch, *, drop_messages: bool = False) -> list[str]:
    declared = fleet.parse('name = "f"\nregions = [{name = "eu-west-1"}]\ncoordination = {regions = ["eu-west-1"]}\n')
    monkeypatch.setattr(bucket, "upload", lambda *asked: ({}, None))
    package = packaging.Package(declared, "prod", Path(), "digest", {}, {}, ())
    done = release.release(aws, package, ["eu-west-1"], release.Quiet(), lambda: True, 0.0, drop_messages=drop_messages)
    return [one.status for one in done]


@pytest.mark.parametrize("change", [
    changed("Remove", "mail"), changed("Remove", "mail-dead"), changed("Modify", "mail", "True")])
def test_a_queue_with_messages_is_neither_deleted_nor_replaced(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    id = change["ResourceChange"]["LogicalResourceId"]
    aws = Aws([change, changed("Modify", "other")], {f"{QUEUE}{id}": 1200, f"{QUEUE}other": 5})
    with pytest.raises(UsageError, match=rf"eu-west-1 f-prod: {id} \(f-prod-{id}\) .* 1,200 by now(.|\n)*--drop-mess"):
        released(aws, monkeypatch)
    assert "executed" not in aws.done and aws.done[-1] == "abandoned"
    assert released(aws, monkeypatch, drop_messages=True) == ["unchanged", "deployed"]


@pytest.mark.parametrize(("change", "depths"), [
    (changed("Remove", "mail"), {f"{QUEUE}mail": 0}), (changed("Remove", "mail"), {}),
    (changed("Modify", "mail"), {f"{QUEUE}mail": 9}), (changed("Add", "mail"), {f"{QUEUE}mail": 9}),
    (changed("Remove", "mail", PolicyAction="Retain"), {f"{QUEUE}mail": 9}),
    (changed("Remove", "mail", kind="AWS::CloudWatch::Alarm"), {f"{QUEUE}mail": 9})])
def test_a_change_that_loses_no_message_is_carried_out(
    change: Any, depths: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert released(Aws([change], depths), monkeypatch) == ["unchanged", "deployed"]
