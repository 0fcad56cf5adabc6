"""Least privilege, as tests see it: Lambdas that are made to use every permission in a world that has what they read.

With all permissions nothing is denied, so none is missing. The sandbox tells for each call by which statement alone it
was allowed, so none is superfluous. Some are taken away for real, to see that the call is then denied. What event
source mappings need is not enforced here; tests/commands/test_packaging.py holds it.
"""

import contextlib
import itertools
import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.declared import Fleet
from chalicelib.engine import delivery
from chalicelib.infrastructure import policies
from chalicelib.schedules.state import minute_key
from commands import roots
from commands.deploy import dependencies, packaging, release
from sandbox.world import Sandbox

HOME, STANDBY = "eu-west-1", "us-east-1"
POLICIES = roots.PRODUCT / ".chalice" / "policies"
# Granted for Lambda's own poller and log writer; the emulator needs neither.
_BEHIND = {"logs:CreateLogStream", "logs:PutLogEvents"}
# By Sid: what the poller of a queue does, what makes S3 say "not there" instead of "denied", and the network interfaces
# that Lambda makes for a function in a VPC by the function's own role ("Lambda execution role", developer guide).
_READS = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan"}
_UNSEEN = {"Receive": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
           "MissMarks": {"s3:ListBucket"},
           "Network": {"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces"}}

# So many grants of a Lambda are taken away for real.
_TAKEN_AWAY = 2

numbers = itertools.count(1)


class Lambdas:
    """The deployed fleet, and how each Lambda is made to use every permission that it has."""

    def __init__(self, world: Sandbox, package: packaging.Package) -> None:
        self.world, self.stack, self.fleet = world, package.stack, package.fleet

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
            "messageId": f"m-{number}", "receiptHandle": f"r-{number}", "messageAttributes": {},
            "body": json.dumps(body),
            "attributes": {"ApproximateReceiveCount": str(received), "SentTimestamp": "1790000000000"},
            "eventSource": "aws:sqs", "eventSourceARN": f"arn:aws:sqs:{region}:111122223333:{self.stack}-{queue}",
            "awsRegion": region} for number, body in zip(numbers, bodies, strict=False)]}

    def put(self, pk: str, sk: str, body: Any, ttl: int = 0, table: str = "-coordination") -> None:
        """An item in the coordination table, written by the operator."""
        item = {"pk": {"S": pk}, "sk": {"S": sk}, "version": {"N": "1"}, "body": {"S": json.dumps(body)},
                "write_id": {"S": "test"}, **({"ttl": {"N": str(ttl)}} if ttl else {})}
        self.world.client("dynamodb", HOME).put_item(TableName=f"{self.stack}{table}", Item=item)

    def remember(self, pk: str, sk: str, body: Any) -> None:
        """An item in home's own table, written by the operator."""
        self.put(pk, sk, body, table="")

    def nobody_was_told(self) -> None:
        """No alert has been delivered yet. One that has is not repeated for an hour, so SNS would not be asked."""
        for region in (HOME, STANDBY):
            dynamodb = self.world.client("dynamodb", region)
            with contextlib.suppress(dynamodb.exceptions.ResourceNotFoundException):
                for one in dynamodb.query(TableName=self.stack, KeyConditionExpression="pk = :pk",
                                          ExpressionAttributeValues={":pk": {"S": delivery.PK}})["Items"]:
                    dynamodb.delete_item(TableName=self.stack, Key={key: one[key] for key in ("pk", "sk")})

    def started(self, minute: int) -> None:
        """Home has started the jobs of this minute."""
        pk, sk = minute_key(minute)
        self.put(pk, sk, {"timetable": "", "due": "0", "region": HOME, "since": minute, "schema": 1})

    def drop(self, pk: str, sk: str, table: str = "-coordination") -> None:
        """Delete an item of the coordination table, or of home's own one (`table` is empty)."""
        self.world.client("dynamodb", HOME).delete_item(
            TableName=f"{self.stack}{table}", Key={"pk": {"S": pk}, "sk": {"S": sk}})

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

    def found(self, function: str) -> set[str]:
        """What the reads of a Lambda have found since the last `forget`: `table/partition key`, as policies say it."""
        return {found for call in self.world.calls() if call["principal"] == f"{self.stack}-{function}"
                for found in call["found"]}


Exercise = Callable[[Lambdas], object]


def deploy(
    world: Sandbox, project: Path, stage: str = "policy", regions: Sequence[str] = (HOME, STANDBY)
) -> packaging.Package:
    """The package of `project` in `regions` of `world`, where nothing runs by itself."""
    package = packaging.build(stage, root=project, product=project, machine=dependencies.here())
    done = release.release(world, package, regions, release.Quiet(), lambda: True, look_seconds=0.1)
    assert [one.error for one in done] == [""] * (len(regions) + 1)
    for region in regions:
        events = world.client("events", region)
        for rule in events.list_rules()["Rules"]:
            events.disable_rule(Name=rule["Name"])
        mappings = world.client("lambda", region).list_event_source_mappings()["EventSourceMappings"]
        for mapping in mappings:
            world.client("lambda", region).update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    return package


def granted(function: str, fleet: Fleet) -> list[tuple[str, str]]:
    """(Sid, action) of all that the policy file of `function` grants in `fleet` and the emulator can enforce."""
    policy = json.loads((POLICIES / f"policy-{function}.json").read_text())
    found = []
    for statement in policies.resolved(policy, fleet)["Statement"]:
        behind = _BEHIND | _UNSEEN.get(statement["Sid"], set())
        found += [(statement["Sid"], action) for action in statement["Action"] if action not in behind]
    return found


def unfound(lambdas: Lambdas, function: str) -> list[str]:
    """The items that the policy of `function` lets it read, of which the last exercise has found none.

    A read that finds nothing takes no further step, and shows nothing of what the Lambda would do then.
    """
    found = lambdas.found(function)
    policy = policies.resolved(json.loads((POLICIES / f"policy-{function}.json").read_text()), lambdas.fleet)
    wanted = set()
    for statement in policy["Statement"]:
        if not _READS.isdisjoint(statement["Action"]):
            table = f"{lambdas.stack}{'-coordination' if '-coordination' in json.dumps(statement['Resource']) else ''}"
            [keys] = [one["dynamodb:LeadingKeys"] for one in statement.get("Condition", {}).values()] or [["*"]]
            wanted |= {f"{table}/{key}" for key in keys}
    return sorted(one for one in wanted if not any(fnmatchcase(it, one) for it in found))


class LeastPrivilege:
    """The tests of the Lambdas whose names begin with `prefixes`; a fixture `lambdas` is the deployed fleet."""

    prefixes: tuple[str, ...]
    exercises: dict[str, Exercise]
    fleet: Fleet

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Pytest's own hook for a class: a test for each function."""
        if "function" in metafunc.fixturenames:
            metafunc.parametrize("function", self.exercises)

    def test_every_lambda_is_exercised(self) -> None:
        assert self.exercises.keys() == functions(*self.prefixes)

    def test_no_permission_is_missing_or_superfluous(self, lambdas: Lambdas, function: str) -> None:
        each_is_needed(lambdas, function, self.exercises[function])

    def test_what_is_taken_away_is_denied(self, lambdas: Lambdas) -> None:
        function, exercise = next(iter(self.exercises.items()))
        what_is_taken_away_is_denied(lambdas, function, exercise)


def functions(*prefixes: str) -> set[str]:
    """The Lambdas with a policy whose names begin with one of `prefixes`."""
    names = {path.stem.removeprefix("policy-") for path in POLICIES.glob("policy-*.json")}
    return {name for name in names if name.startswith(prefixes)}


def each_is_needed(lambdas: Lambdas, function: str, exercise: Exercise) -> None:
    """With all that is granted nothing is denied, in a world that has each thing it reads. Each grant allows a call
    that no other one allows."""
    lambdas.nobody_was_told()
    lambdas.world.forget_calls()
    exercise(lambdas)
    seen = lambdas.seen(function)
    assert {action: denied for action, denied in seen.items() if denied} == {}
    wanted = set(granted(function, lambdas.fleet))
    assert seen.keys() == {action for _, action in wanted}
    superfluous = wanted - lambdas.world.needed(f"{lambdas.stack}-{function}")
    assert not superfluous, f"{function} is granted {sorted(superfluous)}, and nothing that it did would fail without"
    missing = unfound(lambdas, function)
    assert not missing, f"the exercise finds nothing under {missing}, so that it is tested on an empty world"


def what_is_taken_away_is_denied(lambdas: Lambdas, function: str, exercise: Exercise) -> None:
    """Without any one of its first grants exactly that action is denied: what the sandbox says of a need is what a role
    without it meets."""
    region = STANDBY if function == "schedules_reconcile" else HOME
    iam = lambdas.world.client("iam", HOME)
    found = lambdas.world.client("lambda", region).get_function(FunctionName=f"{lambdas.stack}-{function}")
    role = found["Configuration"]["Role"].rpartition("/")[2]
    name = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    try:
        for sid, action in granted(function, lambdas.fleet)[:_TAKEN_AWAY]:
            changed = json.dumps(_without(whole, sid, action))
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=changed)
            lambdas.nobody_was_told()
            lambdas.world.forget_calls()
            exercise(lambdas)
            assert {asked for asked, denied in lambdas.seen(function).items() if denied} == {action}, (sid, action)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))


def _without(policy: dict[str, Any], sid: str, action: str) -> dict[str, Any]:
    """`policy` without `action` in the statement `sid`."""
    statements = []
    for statement in policy["Statement"]:
        actions = [one for one in statement["Action"] if (statement["Sid"], one) != (sid, action)]
        statements += [{**statement, "Action": actions}] if actions else []
    return {**policy, "Statement": statements}
