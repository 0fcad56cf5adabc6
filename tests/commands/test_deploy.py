"""`lamp deploy`: what it refuses before it has done anything."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.config import fleet
from chalicelib.crontab import parser
from chalicelib.crontab.identity import Changes, Named, named
from chalicelib.crontab.job import Job
from commands.cli import main
from commands.deploy import bucket, packaging, pauses, queues, release, stacks
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


NONE = Named((), Changes())
QUEUE = "https://sqs.eu-west-1.amazonaws.com/1/f-prod-"


def changed(action: str, id: str, replacement: str = "False", kind: str = "AWS::SQS::Queue", **more: str) -> Any:
    return {"ResourceChange": {"Action": action, "LogicalResourceId": id, "ResourceType": kind,
                               "PhysicalResourceId": f"{QUEUE}{id}", "Replacement": replacement, **more}}


class Aws:
    """One region with a stack whose change set has `changes`, and with queues of so many messages."""

    def __init__(self, changes: list[Any], depths: dict[str, int], paused: Sequence[str] = ()) -> None:
        self.changes, self.depths, self.done, self.paused = changes, depths, list[str](), list(paused)
        self.clients = dict[tuple[str, int], EmptyFirstPage]()
        # Of the account, and what is reserved by function.
        self.quota, self.reserved = 1000, dict[str, int]()

    def client(self, service: str, region: str) -> Any:
        # A page belongs to the thread that has asked for it.
        return self.clients.setdefault((service, threading.get_ident()), EmptyFirstPage(service, self))

    def describe_stacks(self, StackName: str) -> Any:
        return {"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "StackId": "arn"}]}

    def list_stack_resources(self, StackName: str) -> Any:
        return {"StackResourceSummaries": [
            {"LogicalResourceId": url.removeprefix(QUEUE), "PhysicalResourceId": url, "ResourceType": "AWS::SQS::Queue"}
            for url in self.depths]}

    def describe_change_set(self, **asked: str) -> Any:
        changes = [] if asked["StackName"].endswith("-coordination") else self.changes
        return {"Status": "CREATE_COMPLETE", "Changes": changes}

    def regions(self) -> Sequence[str]:
        return ("eu-west-1",)

    def get_template(self, **asked: str) -> Any:
        part = {"Type": "AWS::DynamoDB::Table", "Properties": {}}
        return {"TemplateBody": {"Resources": {"Coordination": part}}}

    def describe_stack_events(self, **asked: str) -> Any:
        return {"StackEvents": []}

    def query(self, TableName: str, **asked: Any) -> Any:
        return {"Items": [{"pk": {"S": "paused"}, "sk": {"S": name}, "version": {"N": "1"}, "write_id": {"S": "w"},
                           "body": {"S": '{"since": 60, "reason": "moving", "schema": 1}'}} for name in self.paused]}

    def put_item(self, Item: Any, **asked: Any) -> None:
        self.done.append(f"paused {Item['sk']['S']}")
        self.paused.append(Item["sk"]["S"])

    def delete_item(self, Key: Any, **asked: Any) -> None:
        self.done.append(f"deleted {Key['sk']['S']}")

    def get_caller_identity(self) -> Any:
        return {"Account": "123456789012"}

    def get_account_settings(self) -> Any:
        reserved = sum(self.reserved.values())
        return {"AccountLimit": {"ConcurrentExecutions": self.quota,
                                 "UnreservedConcurrentExecutions": self.quota - reserved}}

    def get_function_concurrency(self, FunctionName: str) -> Any:
        if not self.reserved:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "GetFunctionConcurrency")
        found = self.reserved.get(FunctionName)
        return {"ReservedConcurrentExecutions": found} if found else {}

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


def released(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, *, names: Named = NONE, agree: bool = True, more: str = "", **drop: Any
) -> list[str]:
    declared = fleet.parse(
        f'name = "f"\nregions = [{{name = "eu-west-1"}}]\ncoordination = {{regions = ["eu-west-1"]}}\n{more}')
    monkeypatch.setattr(bucket, "upload", lambda *asked: ({}, None))
    package = packaging.Package(declared, "prod", Path(), "digest", {}, {}, (), names)
    done = release.release(aws, package, ["eu-west-1"], release.Quiet(), lambda: agree, 0.0, **drop)
    return [one.status for one in done]


@pytest.mark.slow
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


def test_the_end_of_a_stack_loses_the_messages_of_all_queues_but_reminders() -> None:
    ids = ("ScheduleReconciles", "ScheduleReconcilesDead", "ScheduleRuns", "Mail")
    aws = Aws([], {f"{QUEUE}{id}": 7 for id in ids})
    lines = list(queues.messages_of(aws, stacks.Stack("eu-west-1", "f-prod")))
    assert [line.split()[2] for line in lines] == ["ScheduleRuns", "Mail"]


CHANGED = changed("Modify", "other")


@pytest.mark.parametrize(("quota", "reserved", "needed"), [
    (10, {}, 103), (102, {}, 103), (1000, {"theirs": 898}, 1001), (1000, {"f-prod-schedules_tick": 1, "x": 898}, 1001)])
def test_nothing_is_changed_if_the_reservations_leave_the_account_too_little(
    quota: int, reserved: dict[str, int], needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Aws([CHANGED], {})
    aws.quota, aws.reserved = quota, reserved
    with pytest.raises(UsageError) as told:
        released(aws, monkeypatch)
    [line] = str(told.value).splitlines()
    assert line.startswith(f"eu-west-1: this account may run {quota:,} Lambdas at a time") and aws.done == []
    assert f"Raise the quota to {needed:,} (" in line and f"--desired-value {needed} " in line
    assert line.endswith("or set reserved_concurrency = false at the top of fleet.toml")
    # Each of the two remedies is one.
    assert released(aws, monkeypatch, more="reserved_concurrency = false\n") == ["unchanged", "deployed"]
    aws.quota = needed
    assert released(aws, monkeypatch) == ["unchanged", "deployed"]


def test_what_the_fleet_has_reserved_already_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = Aws([CHANGED], {})
    aws.quota, aws.reserved = 103, {"f-prod-schedules_tick": 3}
    assert released(aws, monkeypatch) == ["unchanged", "deployed"]


def crontab(text: str) -> list[Job]:
    return parser.read(text.encode(), parser.Source("crontabs/app", False, "app")).jobs


A, B = "0 1 * * * close-day\n", "0 2 * * * bill --all\n"
OTHER = changed("Modify", "other")


def test_a_pause_of_a_job_that_goes_is_not_lost_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    names = named(crontab(B), named(crontab(A + B)).jobs)
    aws = Aws([OTHER], {}, ["app/close-day", "app/bill-all"])
    with pytest.raises(UsageError) as told:
        released(aws, monkeypatch, names=names)
    first, remedy = str(told.value).splitlines()
    assert first == ("app/close-day is paused (since 1970-01-01T00:01Z: moving), and this release has no such job")
    assert "# lamp: name=NAME" in remedy and "schedules.resume" in remedy and "--drop-pauses" in remedy
    assert aws.done == []
    assert released(aws, monkeypatch, names=names, drop_pauses=True) == ["unchanged", "deployed"]
    assert aws.done[-1] == "deleted app/close-day"


def test_a_pause_goes_along_with_a_job_that_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = named(crontab(f"# lamp: name=closing\n{A}"), named(crontab(A)).jobs)
    aws = Aws([OTHER], {}, ["app/close-day"])
    assert released(aws, monkeypatch, names=names, agree=False) == ["declined", "declined"]
    assert not [one for one in aws.done if "close-day" in one or "closing" in one]
    aws.done.clear()
    assert released(aws, monkeypatch, names=names) == ["unchanged", "deployed"]
    assert [one for one in aws.done if one not in ("prepared", "abandoned")] == [
        "paused closing", "executed", "deleted app/close-day"]


def test_a_pause_under_the_former_name_stays_until_all_regions_have_the_release(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    names = named(crontab(f"# lamp: name=closing\n{A}"), named(crontab(A)).jobs)
    aws = Aws([OTHER], {}, ["app/close-day"])
    monkeypatch.setattr(stacks, "execute", lambda *asked: (_ for _ in ()).throw(UsageError("rolled back")))
    assert released(aws, monkeypatch, names=names) == ["unchanged", "failed"]
    assert "paused closing" in aws.done and not [one for one in aws.done if one.startswith("deleted")]


def test_what_becomes_of_the_jobs_is_told_one_by_one() -> None:
    before = named(crontab(A + B)).jobs
    names = named(crontab(f"# lamp: name=closing\n{A}" + B.replace("all", "all -v") + "* * * * * new\n"), before)
    assert list(pauses.told(names, {"app/close-day": "since then: why"})) == [
        ("rename", "app/close-day -> closing"), ("edit", "app/bill-all"), ("add", "app/new"),
        ("paused", "closing (since then: why)")]
    many = named(crontab("".join(f"* * * * * job {number}\n" for number in range(50))))
    assert list(pauses.told(many, {}))[-1] == ("add", "and 30 more")
