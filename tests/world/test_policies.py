"""Least privilege: each Lambda is asked to do all that it does, then again with each permission taken away in turn.

With all permissions nothing is denied, so none is missing. Without one, exactly that action is denied, so none is
superfluous. What event source mappings need is not enforced here; tests/commands/test_packaging.py holds it.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.schedules.records import lock_key, minute_key
from commands import packaging, release, wheels
from sandbox.world import World
from tests.project import copy

pytestmark = pytest.mark.world
HOME, STANDBY = "eu-west-1", "us-east-1"
# Granted for Lambda's own poller and log writer; the emulator needs neither.
BEHIND = {"logs:CreateLogStream", "logs:PutLogEvents"}
BY_SOURCE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}

# No job is due by itself: what runs is what the test sends.
CRONTAB = """\
# lamp: name=fails
0 0 1 1 * echo no; false
# lamp: name=retried retries=1
0 0 1 1 * false
# lamp: name=single overlap=skip
0 0 1 1 * true
# lamp: name=queued on=queue
0 0 1 1 * {"task": "fine.quiet", "args": {}}
# lamp: name=often catch_up=skip
0 * * * * true
"""
TASKS = """\
from chalicelib.tasks import send, task

@task()
def quiet(): pass

@task(concurrency=2)
def placed(): pass

@task(key="number")
def once(number: int): pass

@task(key="number", retries=3)
def fails(number: int): raise ValueError("no")

@task(retries=0)
def dies(): raise ValueError("no")

@task()
def sends(): send("fine.quiet")
"""

# A full hour far ahead, in minutes since the epoch: each minute used is later than all before it.
FAR = 40_000_020
_numbers = itertools.count(1)


class Lambdas:
    """The deployed fleet, and how each Lambda is made to use every permission that it has."""

    def __init__(self, world: World, package: packaging.Package) -> None:
        self.world, self.stack = world, package.stack

    def invoke(self, function: str, event: Any, region: str = HOME) -> str:
        """The answer of a Lambda, as text."""
        answer = self.world.client("lambda", region).invoke(
            FunctionName=f"{self.stack}-{function}", Payload=json.dumps(event))
        return str(answer["Payload"].read().decode())

    def queue(self, name: str) -> Any:
        """Its URL in the home region."""
        return self.world.client("sqs", HOME).get_queue_url(QueueName=f"{self.stack}-{name}")["QueueUrl"]

    def records(self, queue: str, *bodies: Any, received: int = 1, region: str = HOME) -> dict[str, Any]:
        """A batch as a mapping hands it over."""
        return {"Records": [{
            "messageId": f"m-{next(_numbers)}", "receiptHandle": "r", "body": json.dumps(body), "messageAttributes": {},
            "attributes": {"ApproximateReceiveCount": str(received), "SentTimestamp": "1790000000000"},
            "eventSource": "aws:sqs", "eventSourceARN": f"arn:aws:sqs:{region}:111122223333:{self.stack}-{queue}",
            "awsRegion": region} for body in bodies]}

    def put(self, pk: str, sk: str, body: Any, ttl: int = 0) -> None:
        """An item in the coordination table, written by the operator."""
        item = {"pk": {"S": pk}, "sk": {"S": sk}, "rev": {"N": "1"}, "body": {"S": json.dumps(body)},
                "writer": {"S": "test"}, **({"ttl": {"N": str(ttl)}} if ttl else {})}
        self.world.client("dynamodb", HOME).put_item(TableName=f"{self.stack}-coordination", Item=item)

    def started(self, minute: int) -> None:
        """Home has started the jobs of this minute."""
        pk, sk = minute_key(minute)
        self.put(pk, sk, {"timetable": "", "due": "0", "region": HOME, "since": minute})

    def drop(self, pk: str, sk: str) -> None:
        """Delete an item of the coordination table."""
        self.world.client("dynamodb", HOME).delete_item(
            TableName=f"{self.stack}-coordination", Key={"pk": {"S": pk}, "sk": {"S": sk}})

    def dead_letter(self) -> None:
        """One more message in the dead letters."""
        self.world.client("sqs", HOME).send_message(
            QueueUrl=self.queue("default-dead"), MessageBody='{"task": "fine.quiet", "args": {}}')

    def seen(self, function: str) -> dict[str, int]:
        """The actions that a Lambda has asked for since the last `forget`, with how often each was denied."""
        found: dict[str, int] = {}
        for call in self.world.calls():
            if call["principal"] == f"{self.stack}-{function}":
                found[call["action"]] = found.get(call["action"], 0) + call["denied"]
        return found


def errand(job: str) -> dict[str, Any]:
    """A message for `schedules.work`."""
    return {"job": job, "slot": f"hand#{next(_numbers)}", "minute": 1, "why": "by hand"}


def tick(on: Lambdas) -> None:
    """A minute with jobs due, after a gap in which runs were lost."""
    minute = FAR + 1440 * next(_numbers)
    on.started(minute - 720)
    time = datetime.fromtimestamp(minute * 60, UTC).isoformat()
    on.invoke("schedules_tick", {"detail-type": "Scheduled Event", "time": time})


def sweep(on: Lambdas) -> None:
    """A standby finds a minute that home has not started, after one that it had."""
    minute = FAR + 1440 * next(_numbers)
    on.started(minute - 720)
    batch = on.records("schedule-sweeps", {"minute": minute}, region=STANDBY)
    on.invoke("schedules_sweep", batch, STANDBY)


def work(on: Lambdas) -> None:
    """A run that fails, one that is tried again, one with a lock, one by message, one of an unknown job."""
    on.drop(*lock_key("single"))  # left behind when it might not be deleted
    jobs = ("fails", "retried", "single", "queued", "unknown")
    on.invoke("schedules_work", on.records("schedule-runs", *map(errand, jobs)))


def pause(on: Lambdas) -> None:
    """A job that is not paused."""
    on.drop("paused", "fails")
    on.invoke("schedules_pause", {"job": "fails", "apply": True})


def resume(on: Lambdas) -> None:
    """A job that is paused."""
    on.put("paused", "fails", {"since": 1, "reason": "test"})
    on.invoke("schedules_resume", {"job": "fails", "apply": True})


def prune(on: Lambdas) -> None:
    """Something to prune."""
    on.put("old", str(next(_numbers)), {}, ttl=1)
    on.invoke("schedules_prune", {"apply": True})


def tasks_work(on: Lambdas) -> None:
    """Tasks with a place, with a key, tasks that fail once or for good, and one that sends another."""
    number = next(_numbers)
    for task, args in (("placed", {}), ("once", {"number": number}), ("once", {"number": number}),
                       ("fails", {"number": number}), ("dies", {}), ("sends", {})):
        on.invoke("tasks_work", on.records("default", {"task": f"fine.{task}", "args": args}))
    on.invoke("tasks_work", on.records("default", {"task": "fine.quiet", "args": {}}, received=2))


def peek(on: Lambdas) -> None:
    """A dead letter to look at."""
    on.dead_letter()
    on.invoke("tasks_peek", {})


def redrive(on: Lambdas) -> None:
    """Two dead letters, one of which is brought back."""
    on.dead_letter()
    on.dead_letter()
    on.invoke("tasks_redrive", {"limit": 1, "apply": True})


EXERCISES: dict[str, Callable[[Lambdas], object]] = {
    "schedules_tick": tick, "schedules_sweep": sweep, "schedules_work": work, "schedules_pause": pause,
    "schedules_resume": resume, "schedules_prune": prune, "tasks_work": tasks_work, "tasks_peek": peek,
    "tasks_redrive": redrive,
    "schedules_status": lambda on: on.invoke("schedules_status", {}),
    "schedules_why": lambda on: on.invoke("schedules_why", {"job": "fails", "time": "2026-01-01T00:00Z"}),
    "schedules_run": lambda on: on.invoke("schedules_run", {"job": "fails", "apply": True}),
    "tasks_status": lambda on: on.invoke("tasks_status", {}),
}


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambdas]:
    """The real Lambdas and policies with jobs and tasks made for this test, in two regions."""
    project = copy(tmp_path_factory.mktemp("policies"))
    for path in [*(project / "cron").rglob("*"), *(project / "tasks").rglob("*")]:
        if path.is_file():
            path.unlink()
    (project / "cron" / "crontabs" / "made").write_text(CRONTAB)
    (project / "tasks" / "fine.py").write_text(TASKS)
    package = packaging.build("policy", root=project, machine=wheels.here())
    with World.start() as world:
        done = release.release(world, package, [HOME, STANDBY], release.Quiet(), lambda: True, look_seconds=0.1)
        assert [one.error for one in done] == ["", "", ""]
        for region in (HOME, STANDBY):  # the test alone decides what runs when
            for name in ("every-minute", "every-hour"):
                world.client("events", region).disable_rule(Name=f"{package.stack}-{name}")
            mappings = world.client("lambda", region).list_event_source_mappings()["EventSourceMappings"]
            for mapping in mappings:
                world.client("lambda", region).update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        yield Lambdas(world, package)


def granted(function: str) -> list[tuple[str, str]]:
    """(Sid, action) of all that the policy file of `function` grants in this fleet and the emulator can enforce."""
    path = packaging.ROOT / ".chalice" / "policies" / f"policy-{function}.json"
    found = []
    for statement in json.loads(path.read_text())["Statement"]:
        resource = statement["Resource"]
        if not str(resource).startswith(("{ecs", "{ssm")):
            behind = BEHIND | (BY_SOURCE if statement["Sid"] == "Receive" else set())
            found += [(statement["Sid"], action) for action in statement["Action"] if action not in behind]
    return found


def test_every_lambda_is_exercised() -> None:
    files = {path.stem.removeprefix("policy-") for path in
             Path(packaging.ROOT / ".chalice" / "policies").glob("policy-*.json")}
    assert EXERCISES.keys() == files


@pytest.mark.parametrize("function", EXERCISES)
def test_no_permission_is_missing(lambdas: Lambdas, function: str) -> None:
    lambdas.world.forget_calls()
    EXERCISES[function](lambdas)
    seen = lambdas.seen(function)
    assert {action: denied for action, denied in seen.items() if denied} == {}
    assert seen.keys() == {action for _, action in granted(function)}


@pytest.mark.parametrize(("function", "sid", "action"), [
    (function, sid, action) for function in EXERCISES for sid, action in granted(function)])
def test_no_permission_is_superfluous(lambdas: Lambdas, function: str, sid: str, action: str) -> None:
    iam, region = lambdas.world.client("iam", HOME), STANDBY if function == "schedules_sweep" else HOME
    found = lambdas.world.client("lambda", region).get_function(FunctionName=f"{lambdas.stack}-{function}")
    role = found["Configuration"]["Role"].rpartition("/")[2]
    name = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(without(whole, sid, action)))
    try:
        lambdas.world.forget_calls()
        EXERCISES[function](lambdas)
        assert {asked for asked, denied in lambdas.seen(function).items() if denied} == {action}
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))


def without(policy: dict[str, Any], sid: str, action: str) -> dict[str, Any]:
    """`policy` without `action` in the statement `sid`."""
    statements = []
    for statement in policy["Statement"]:
        actions = [one for one in statement["Action"] if (statement["Sid"], one) != (sid, action)]
        statements += [{**statement, "Action": actions}] if actions else []
    return {**policy, "Statement": statements}
