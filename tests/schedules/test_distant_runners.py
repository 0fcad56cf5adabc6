"""Runs that go on outside of the Lambda, on ECS and by Systems Manager."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.schedules import operations
from chalicelib.schedules.runners import Attempt, RemoteRun, Result, ecs, ssm
from testing.paging import EmptyFirstPage
from tests.schedules.harness import HOME, NOON, SLOT, Place, attempt, handle, job, tick


class FakeClient:
    """A boto3 client that gives prepared answers."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers = answers

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return self.answers[name]

        return call


TARGETS = fleet.parse("""
name = "lamplighter"
coordination.regions = ["eu-west-1"]
[[regions]]
name = "eu-west-1"
ecs = {subnets = ["subnet-00000001"], security_groups = ["sg-00000001"], assign_public_ip = true}
[[regions]]
name = "us-east-1"
network = {subnets = ["subnet-00000002"], security_groups = ["sg-00000002"]}
[schedules]
ecs = {cluster = "main", task_definition = "jobs:4", container = "app", roles = ["jobs"]}
ssm = {tag = "role", value = "worker"}
""")


def distant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any, on: str) -> Place:
    monkeypatch.setattr(client, "client", lambda service, region: EmptyFirstPage(service, fake))
    return Place(tmp_path, [job(on=on, command="nightly --all", stdin="x", timeout=1200)], TARGETS)


@pytest.mark.parametrize(("region", "network"), [
    ("eu-west-1", {"subnets": ["subnet-00000001"], "securityGroups": ["sg-00000001"], "assignPublicIp": "ENABLED"}),
    ("us-east-1", {"subnets": ["subnet-00000002"], "securityGroups": ["sg-00000002"], "assignPublicIp": "DISABLED"}),
])  # fmt: skip
def test_ecs_runs_a_task_in_the_network_of_the_region_that_runs_the_job(
    region: str, network: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeClient(run_task={"tasks": [{"taskArn": "arn:task"}]})
    place = distant(tmp_path, monkeypatch, fake, "ecs")
    ecs.start(place.sites[region], Attempt(job(on="ecs", command="nightly"), SLOT, NOON, 1, "owner", lambda: False))
    assert fake.calls[0][1]["networkConfiguration"] == {"awsvpcConfiguration": network}


def test_ecs_runs_the_command_as_override_and_is_followed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"taskArn": "arn:task", "lastStatus": "RUNNING", "containers": [
        {"name": "sidecar", "exitCode": 0}, {"name": "app", "exitCode": 3}]}
    fake = FakeClient(run_task={"tasks": [task]}, describe_tasks={"tasks": [task]})
    place = distant(tmp_path, monkeypatch, fake, "ecs")
    tick(place)
    handle(place, operations.WORK, place.sent("schedule-runs")[0])
    override = fake.calls[0][1]["overrides"]["containerOverrides"][0]
    assert override["command"] == ["/bin/sh", "-c", "printf %s x | ( nightly --all\n)"]
    assert {"name": "LAMP_TOKEN", "value": "1"} in override["environment"]
    [look] = place.sent("schedule-runs")
    assert (json.loads(look.body)["remote_id"], look.delay) == ("arn:task", 20)
    handle(place, operations.WORK, look)
    assert place.run("jobs/one", SLOT)["state"] == "running"
    task["lastStatus"] = "STOPPED"
    handle(place, operations.WORK, place.sent("schedule-runs")[0])
    run = place.run("jobs/one", SLOT)
    assert (run["state"], run["exit"]) == ("failed", 3)


@pytest.mark.parametrize(("empty", "result"), [(1, None), (4, None), (5, "failed")])
def test_a_task_is_gone_only_after_several_answers_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: int, result: str | None
) -> None:
    answers: list[Any] = [{"tasks": []}] * empty + [{"tasks": [{"lastStatus": "RUNNING"}]}]
    waited: list[float] = []

    class Ecs:
        def describe_tasks(self, **asked: Any) -> Any:
            return answers.pop(0)

    monkeypatch.setattr(time, "sleep", waited.append)
    found = ecs.poll(distant(tmp_path, monkeypatch, Ecs(), "ecs").sites[HOME], job(on="ecs"), "arn:task")
    assert (found.state if found else None) == result
    assert len(waited) == min(empty, 4) and sum(waited) <= 15


def test_ecs_is_stopped_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"taskArn": "arn:task", "lastStatus": "RUNNING", "containers": []}
    fake = FakeClient(run_task={"tasks": [task]}, describe_tasks={"tasks": [task]}, stop_task={})
    place = distant(tmp_path, monkeypatch, fake, "ecs")
    tick(place)
    handle(place, operations.WORK, place.sent("schedule-runs")[0])
    place.now += 1201
    handle(place, operations.WORK, place.sent("schedule-runs")[0])
    assert place.run("jobs/one", SLOT)["state"] == "timed-out"
    assert fake.calls[-1] == ("stop_task", {
        "cluster": "main", "task": "arn:task", "reason": "lamplighter: jobs/one timed out, or a newer run replaced it"})


@pytest.mark.parametrize(("answer", "detail"), [
    ({"tasks": [], "failures": [{"arn": "arn:x", "reason": "RESOURCE:MEMORY"}]}, "RESOURCE:MEMORY")])
def test_what_ecs_refuses_is_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, detail: str
) -> None:
    place = distant(tmp_path, monkeypatch, FakeClient(run_task=answer), "ecs")
    result = ecs.start(place.sites[HOME], attempt(job(on="ecs")))
    assert isinstance(result, Result)
    assert detail in result.detail


def test_ssm_runs_on_one_online_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeClient(
        describe_instance_information={"InstanceInformationList": [{"InstanceId": "i-2"}, {"InstanceId": "i-1"}]},
        send_command={"Command": {"CommandId": "c-1"}},
        get_command_invocation={"Status": "Success", "ResponseCode": 0, "StandardOutputContent": "swept"})
    place = distant(tmp_path, monkeypatch, fake, "ssm")
    started = ssm.start(place.sites[HOME], attempt(job(on="ssm", command="sweep", env={"TOWN": "Sankt Eriks"})))
    assert isinstance(started, RemoteRun)
    assert started.handle in ("c-1/i-1", "c-1/i-2")
    script = fake.calls[1][1]["Parameters"]["commands"][0]
    assert "export TOWN='Sankt Eriks'" in script
    assert script.endswith("exec /bin/sh -c sweep")
    assert ssm.poll(place.sites[HOME], job(on="ssm"), started.handle) == Result("done", "swept", exit=0)


@pytest.mark.parametrize(("status", "state"), [
    ("InProgress", None), ("TimedOut", "timed-out"), ("Failed", "failed"), ("Undeliverable", "failed"),
    ("Cancelled", "failed")])
def test_ssm_statuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, state: str | None) -> None:
    fake = FakeClient(get_command_invocation={"Status": status, "ResponseCode": 1})
    result = ssm.poll(distant(tmp_path, monkeypatch, fake, "ssm").sites[HOME], job(on="ssm"), "c-1/i-1")
    assert (result.state if result else None) == state


@pytest.mark.parametrize(("status", "details", "code", "state", "said"), [
    ("TimedOut", "Delivery Timed Out", -1, "failed", "never ran"),
    ("TimedOut", "DeliveryTimedOut", -1, "failed", "never ran"),
    ("Undeliverable", "Undeliverable", -1, "failed", "never ran"),
    ("Cancelled", "Terminated", -1, "failed", "never ran"),
    ("TimedOut", "Execution Timed Out", -1, "timed-out", "still ran after"),
    ("Failed", "Failed", -1, "failed", "killed before it told"),
    ("Cancelled", "Canceled", -1, "failed", "may have run in part"),
    ("Failed", "Failed", 137, "failed", "exit status 137"),
])
def test_ssm_tells_what_never_ran_from_what_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, details: str, code: int, state: str, said: str
) -> None:
    fake = FakeClient(get_command_invocation={"Status": status, "StatusDetails": details, "ResponseCode": code})
    found = ssm.poll(distant(tmp_path, monkeypatch, fake, "ssm").sites[HOME], job(on="ssm"), "c-1/i-1")
    assert found and (found.state, said in found.detail) == (state, True), found


@pytest.mark.parametrize(("containers", "state", "said"), [
    ([{"name": "log", "exitCode": 0}, {"name": "app", "exitCode": 7}], "failed", "exit status 7"),
    ([{"name": "log", "exitCode": 1}, {"name": "app", "exitCode": 0}], "done", ""),
    ([{"name": "log", "exitCode": 0}, {"name": "app", "reason": "OutOfMemoryError: killed"}], "failed", "OutOfMemory"),
    ([{"name": "log", "exitCode": 0}], "failed", "has no container 'app'"),
    ([], "failed", "has no container 'app'"),
])
def test_the_exit_status_is_that_of_the_named_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, containers: list[Any], state: str, said: str
) -> None:
    fake = FakeClient(describe_tasks={"tasks": [{"lastStatus": "STOPPED", "containers": containers}]})
    found = ecs.poll(distant(tmp_path, monkeypatch, fake, "ecs").sites[HOME], job(on="ecs"), "arn:task")
    assert found and (found.state, said in found.detail) == (state, True), found


def test_without_an_instance_online_the_run_fails_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeClient(describe_instance_information={"InstanceInformationList": []})
    result = ssm.start(distant(tmp_path, monkeypatch, fake, "ssm").sites[HOME], attempt(job(on="ssm")))
    assert isinstance(result, Result)
    assert result.detail == "no instance tagged role=worker is online in eu-west-1"
