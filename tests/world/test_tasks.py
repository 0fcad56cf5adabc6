"""Tasks in the deployed package: real batches from real queues, under each Lambda's own policy."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from commands.deploy.packaging import Package
from sandbox.world import Sandbox
from testing.eventually import eventually

pytestmark = pytest.mark.world

Invoke = Callable[..., Any]


class Queues:
    """The task queues of the home region, and what the worker wrote about them."""

    def __init__(self, world: Sandbox, package: Package) -> None:
        self.world, self.stack, self.region = world, package.stack, package.fleet.home
        self.sqs = world.client("sqs", self.region)
        self.since = int(time.time() * 1000)
        # The schedules of the sample send to these queues, too, each minute.
        self.own: set[str] = set()

    def url(self, name: str) -> str:
        return str(self.sqs.get_queue_url(QueueName=f"{self.stack}-{name}")["QueueUrl"])

    def send(self, *bodies: Any, queue: str = "default", attributes: dict[str, str] | None = None) -> list[str]:
        """SQS's ids of the messages."""
        said = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
        ids: list[str] = []
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(number), "MessageBody": body if isinstance(body, str) else json.dumps(body),
                        "MessageAttributes": said} for number, body in enumerate(bodies[start:start + 10])]
            answer = self.sqs.send_message_batch(QueueUrl=self.url(queue), Entries=entries)
            ids += [sent["MessageId"] for sent in sorted(answer["Successful"], key=lambda sent: int(sent["Id"]))]
        self.own.update(ids)
        return ids

    def fate(self, name: str) -> list[str]:
        """Ids of this test's messages that the worker said were done, retried, dead, ...: once for each time."""
        events = self.world.client("logs", self.region).filter_log_events(
            logGroupName=f"/aws/lambda/{self.stack}-tasks_work", startTime=self.since)["events"]
        lines = [json.loads(event["message"]) for event in events if event["message"].startswith('{"_aws"')]
        return [id for line in lines for id in line.get("ids", {}).get(name, ()) if id in self.own]

    def dead(self, queue: str = "default-dead") -> list[dict[str, Any]]:
        """What lies in the dead letters; it stays."""
        found = self.sqs.receive_message(QueueUrl=self.url(queue), MaxNumberOfMessages=10, VisibilityTimeout=0,
                                         MessageAttributeNames=["All"]).get("Messages", [])
        return [{"body": one["Body"], **{name: value["StringValue"] for name, value in
                                         one.get("MessageAttributes", {}).items()}} for one in found]

    def once(self, task: str, key: str) -> list[str]:
        """The states of the records that this key has in the regional table."""
        part = hashlib.sha256(key.encode()).hexdigest()[0]
        found = self.world.client("dynamodb", self.region).query(
            TableName=self.stack, KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"once#{task}#{part}"}})
        name = f"{task}#{hashlib.sha256(json.dumps(key).encode()).hexdigest()}"
        return [item["status"]["S"] for item in found["Items"] if item["sk"]["S"] == name]

    def held(self, *bodies: Any) -> list[str]:
        """Send while the Lambda is not listening, so that the messages come to it in full batches."""
        lambdas = self.world.client("lambda", self.region)
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url("default"), AttributeNames=["QueueArn"])
        mapping, = lambdas.list_event_source_mappings(
            EventSourceArn=arn["Attributes"]["QueueArn"])["EventSourceMappings"]
        lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        try:
            return self.send(*bodies)
        finally:
            lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@pytest.fixture
def queues(fleet: Sandbox, package: Package) -> Iterator[Queues]:
    made = Queues(fleet, package)
    for name in ("default", "default-dead"):
        made.sqs.purge_queue(QueueUrl=made.url(name))
    yield made


def sweep(number: int, **more: Any) -> dict[str, Any]:
    return {"task": "chores.sweep", "args": {"number": number, **more}}


def test_in_a_batch_of_ten_with_three_failures_exactly_three_come_back(queues: Queues) -> None:
    ids = queues.held(*(sweep(number, fail_once=number in (2, 5, 9)) for number in range(10)))
    eventually(lambda: len(queues.fate("done")) >= 10)
    assert sorted(queues.fate("retried")) == sorted(ids[number] for number in (2, 5, 9))
    assert sorted(queues.fate("done")) == sorted(ids)
    assert queues.fate("dead") == []


@pytest.mark.parametrize(("body", "reason", "error"), [
    ("{not json", "malformed", "the body is not a task's envelope"),
    ({"task": "chores.nobody"}, "unknown-task", "there is no task 'chores.nobody'"),
    ({"task": "chores.sweep", "args": {"lamp": 1}}, "wrong-arguments", "chores.sweep needs the argument number"),
    ({"task": "chores.poison", "args": {"number": 3}}, "failed", "ValueError: lamp 3 cannot be swept (try 1 of 1)"),
    ({"task": "invoices.remind", "args": {"number": 1, "address": "nowhere"}}, "refused", "is not an e-mail address"),
])
def test_what_cannot_succeed_lies_in_the_dead_letters_at_once_with_the_reason(
    queues: Queues, body: Any, reason: str, error: str
) -> None:
    id, = queues.send(body)
    letter, = eventually(queues.dead)
    assert (letter["reason"], letter["origin"], letter["original-id"]) == (reason, "default", id)
    assert error in letter["error"]
    assert letter["body"] == (body if isinstance(body, str) else json.dumps(body))


def test_work_with_a_key_is_done_once_however_often_it_is_sent(queues: Queues) -> None:
    key = uuid.uuid4().hex
    ids = queues.send(*({"task": "invoices.render", "args": {"number": number}, "key": key} for number in range(30)))
    eventually(lambda: len(queues.fate("done") + queues.fate("repeated")) >= 30)
    assert len(queues.fate("done")) == 1
    assert sorted(queues.fate("done") + queues.fate("repeated")) == sorted(ids)
    assert queues.once("invoices.render", key) == ["COMPLETED"]


def test_a_task_may_send_tasks(queues: Queues) -> None:
    day = uuid.uuid4().hex
    queues.send({"task": "chores.rounds", "args": {"day": day, "lamps": 3}})
    eventually(lambda: all(queues.once("chores.sweep", f"{day}/{number}") == ["COMPLETED"] for number in range(3)))


def test_no_more_run_at_once_than_the_task_says_and_all_get_their_turn(queues: Queues) -> None:
    bodies = [{"task": "invoices.remind", "args": {"number": number, "address": "a@b.example"}} for number in range(60)]
    ids = queues.send(*bodies)
    eventually(lambda: len(queues.fate("done")) >= 60)
    assert sorted(queues.fate("done")) == sorted(ids)
    held = queues.world.client("dynamodb", queues.region).query(
        TableName=queues.stack, KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "task-permits#invoices.remind"}})
    # A permit that was given back has a lease that has ended.
    assert held["Items"] and all(json.loads(item["body"]["S"])["until"] == 0 for item in held["Items"])


def test_status_peek_and_redrive(queues: Queues, invoke: Invoke) -> None:
    poison = {"task": "chores.poison", "args": {"number": 7}}
    key = uuid.uuid4().hex
    queues.send(poison)
    eventually(queues.dead)
    queues.send({**sweep(8), "key": key}, queue="default-dead",
                attributes={"reason": "failed", "origin": "default", "error": "mended"})

    report = invoke("tasks_status", {})["plan"]
    depth = {queue["name"]: queue["waiting"] for queue in report["report"]["queues"]}
    assert depth["default-dead"] == 2
    assert report["notes"] == ["default-dead: 2 dead letters. See tasks.peek, then tasks.redrive"]

    shown = invoke("tasks_peek", {})["plan"]["report"]["messages"]
    assert {one["error"] for one in shown} == {"mended", "ValueError: lamp 7 cannot be swept (try 1 of 1)"}

    planned = invoke("tasks_redrive", {"error": "mended"})
    assert planned["status"] == "planned" and len(planned["plan"]["actions"]) == 1
    assert len(queues.dead()) == 2
    assert invoke("tasks_redrive", {"error": "mended", "apply": planned["digest"]})["status"] == "done"
    eventually(lambda: queues.once("chores.sweep", key) == ["COMPLETED"])
    assert len(queues.dead()) == 1

    assert invoke("tasks_redrive", {"apply": True})["status"] == "done"
    letter = eventually(lambda: [one for one in queues.dead() if "redriven" in one])
    assert [(one["reason"], one["redriven"]) for one in letter] == [("failed", "1")]


@pytest.mark.parametrize("event", [
    {}, [], None, "text", {"Records": []}, {"Records": [{}]}, {"Records": [{"body": 7}]},
])
def test_an_event_of_the_wrong_shape_is_refused_in_one_sentence(invoke: Invoke, event: Any) -> None:
    answer = invoke("tasks_work", event)
    assert answer["status"] == "refused"
    assert answer["message"].startswith("tasks.work")
    assert "stackTrace" not in answer


@pytest.mark.parametrize("function", ["tasks_status", "tasks_peek", "tasks_redrive"])
@pytest.mark.parametrize("event", [[], None, 7, {"nothing": 1}, {"apply": 1}])
def test_an_operation_asked_wrongly_says_so(invoke: Invoke, function: str, event: Any) -> None:
    answer = invoke(function, event)
    assert answer["status"] == "refused"
    assert "stackTrace" not in answer
