"""Each operation before its time, in worlds in every state of set-up: an outcome with a remedy, never an exception."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib import context, registry
from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.crontab import job_file, timetable
from chalicelib.databases import connect
from chalicelib.engine.deployment import FleetQueues, Invoked, Lambda, OwnQueue, Schedule
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.health_checks import operations as health_checks
from chalicelib.schedules import release
from chalicelib.tasks import manifest, worker
from chalicelib.tunnels import controller
from testing.aws import FakeAws, FakeInstance, denied
from testing.fakes import Fault, MemoryQueue, MemoryTable, MemoryTopic
from testing.network import FakeNetwork
from testing.route53 import FakeRoute53
from tests.schedules.harness import job

NOW = 1_774_699_200.0  # 2026-03-28 12:00 UTC
REGIONS = ("eu-west-1", "us-east-1", "ap-southeast-1")
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/lamplighter-test-"
QUEUES = ("default", "default-dead", "schedule-runs", "schedule-runs-dead", "schedule-reconciles",
          "schedule-reconciles-dead")
GROUP = "lamplighter-test-tunnels"
BARE = """
name = "lamplighter"
coordination.regions = ["eu-west-1"]
queues = [{name = "default"}]
""" + "".join(f'[[regions]]\nname = "{name}"\n' for name in REGIONS)
# Every section. Nothing answers at these addresses.
FULL = """
name = "lamplighter"
coordination.regions = ["eu-west-1"]
queues = [{name = "default"}]
health_checks = {target_groups = ["web"]}
routing = {hostname = "app.example.com", zone = "ZONE", check = "tcp", port = 9}
tunnels = {primary = "us-east-1"}
""" + "".join(f'[[regions]]\nname = "{name}"\n'
              f'endpoint = {{addresses = ["127.0.0.{number}"], bucket = "flags-{name}"}}\n'
              for number, name in enumerate(REGIONS, 2)) + """
[databases]
flavour = "mariadb"
primary = "us-east-1"
secret = "watch"
admin_secret = "admin"
repair = "full"
""" + "".join(f'[[databases.servers]]\nregion = "{name}"\nhost = "127.0.0.{number}"\nport = 9\n'
              for number, name in enumerate(REGIONS, 2))

# A runner is invoked by its worker alone, and runs users' code.
LAMBDAS = [each for each in registry.lambdas() if not isinstance(each.trigger, Invoked)]
# The value of each required parameter, by its name.
VALUES = {"job": "jobs/one", "time": "2026-03-28T11:00Z", "region": "eu-west-1", "endpoint": "i-0001",
          "slot": "2026-03-28T12:00Z", "minute": 29_578_320}
REMEDY = re.compile(r"\b(run|add|name|write|deploy|look|ask|create|send|restore|repair|declare|set|start|wait|try|give|"
                    r"there are|takes|see|the next run tries again|lists all)\b", re.IGNORECASE)


class World:
    """The operations of eu-west-1, with everything set up. Each state of set-up takes something away."""

    def __init__(self, root: Path) -> None:
        self.now, self.text = NOW, FULL
        self.refusal: Exception | None = None
        self.table_fault: Fault = lambda call: None
        self.route53 = FakeRoute53(self._call)
        self.route53.zones["ZONE"] = []
        self.aws = {region: FakeAws(self._call, route53=self.route53) for region in REGIONS}
        for region, aws in self.aws.items():
            aws.instances["i-0001"] = FakeInstance("i-0001", "127.0.0.1", public_address="192.0.2.1")
            aws.groups[GROUP] = ["i-0001"]
            aws.target_groups |= {GROUP: {"i-0001": "healthy"}, "web": {"i-0001": "healthy"}}
            aws.s3.buckets[f"flags-{region}"] = None
        self.local, self.shared = MemoryTable(fault=self._table), MemoryTable(fault=self._table)
        self.root = root
        (root / "timetable.bin").write_bytes(timetable.build([job()]))
        (root / "jobs.bin").write_bytes(job_file.build([job()]))
        (root / manifest.FILE).write_bytes(msgspec.json.encode([]))

    def _call(self, call: str) -> None:
        if self.refusal:
            raise self.refusal

    def _table(self, call: str) -> None:
        self.table_fault(call)

    def client(self, service: str, region: str) -> Any:
        """boto3's clients, which nobody gave a port."""
        return Client(self.refusal or denied("ResourceNotFoundException", "Call", 404))

    def context(self) -> RegionContext:
        """The context of a Lambda."""
        return RegionContext(
            "eu-west-1", "test", fleet.parse(self.text), self.shared, self.local,
            {name: MemoryQueue() for name in QUEUES}, MemoryTopic(), account="123456789012",
            root=self.root, clock=lambda: self.now,
            aws_regions={name: aws.ports for name, aws in self.aws.items()})

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds


class Client:
    """A boto3 client whose every call is refused."""

    def __init__(self, refusal: Exception) -> None:
        self._refusal = refusal

    def get_paginator(self, operation: str) -> "Client":
        return self

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def refuse(*words: Any, **arguments: Any) -> Any:
            raise self._refusal
        return refuse


def nothing(world: World) -> None:
    """The stack is deployed, and nothing that fleet.toml names is there."""
    world.route53.zones.clear()
    for aws in world.aws.values():
        for kept in (aws.instances, aws.groups, aws.target_groups, aws.s3.buckets):
            kept.clear()


def no_sections(world: World) -> None:
    world.text = BARE


def no_zone(world: World) -> None:
    world.route53.zones.clear()


def no_target_group(world: World) -> None:
    for aws in world.aws.values():
        aws.target_groups.clear()


def no_buckets(world: World) -> None:
    for aws in world.aws.values():
        aws.s3.buckets.clear()


def no_bucket_named(world: World) -> None:
    world.text = re.sub(r', bucket = "[\w-]+"', "", world.text)


def empty_tables(world: World) -> None:
    """All is there, and no operation has run yet."""


def access_denied(world: World) -> None:
    world.refusal = denied("AccessDenied")


def no_answer(world: World) -> None:
    world.refusal = EndpointConnectionError(endpoint_url="https://nowhere.example")


def unknown_refusal(world: World) -> None:
    world.refusal = denied("SomethingNewException")


def tables_denied(world: World) -> None:
    def refuse(call: str) -> None:
        raise denied("AccessDeniedException", call)
    world.table_fault = refuse


def tables_missing(world: World) -> None:
    def refuse(call: str) -> None:
        raise denied("ResourceNotFoundException", call)
    world.table_fault = refuse


STATES: Mapping[str, Callable[[World], None]] = {each.__name__: each for each in (
    nothing, no_sections, no_zone, no_target_group, no_buckets, no_bucket_named, empty_tables, access_denied, no_answer,
    unknown_refusal, tables_denied, tables_missing)}


class Invocation:
    """A Lambda's context."""

    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def parameters(declared: Lambda) -> dict[str, Any]:
    """The required parameters of an operation. A new name needs a value above."""
    target = registry._target(declared)
    shape = target.parameters if isinstance(target, Operation) else msgspec.defstruct("None_", [])
    return {field.name: VALUES[field.name] for field in msgspec.structs.fields(shape) if field.required}


def events(declared: Lambda) -> list[dict[str, Any]]:
    """What may start the operation."""
    asked = parameters(declared)
    found = [{}, asked, asked | {"apply": True}, asked | {"apply": "0" * 12}]
    if isinstance(declared.trigger, Schedule):
        found.append({"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(NOW, UTC).isoformat()})
    if isinstance(declared.trigger, OwnQueue | FleetQueues):
        queue = declared.trigger.name if isinstance(declared.trigger, OwnQueue) else "default"
        found.append({"Records": [{
            "messageId": "m1", "receiptHandle": "r1", "body": json.dumps(asked), "messageAttributes": {},
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1000"}, "md5OfBody": "",
            "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
            "eventSourceARN": f"arn:aws:sqs:eu-west-1:123456789012:lamplighter-test-{queue}"}]})
    return found


def check(said: str) -> None:
    """One sentence or two for people, on one line, with what to do."""
    assert said and said.isprintable() and REMEDY.search(said), said
    assert "Traceback" not in said and "object at 0x" not in said, said


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path)
    # These keep the context of a process, which is another one in each test.
    caches = (registry.handler, release.timetable, release.book, connect._secrets, worker._cold_start)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setenv("LAMP_QUEUES", json.dumps({name: f"{URL}{name}" for name in QUEUES}))
    monkeypatch.setenv("LAMP_TABLE", "table")
    monkeypatch.setattr(client, "client", made.client)
    monkeypatch.setattr(context, "here", made.context)
    monkeypatch.setattr(health_checks, "ALL", (health_checks.rotate(made.wait, lambda: made.now), health_checks.STATUS))
    monkeypatch.setattr(controller, "_here", lambda: controller.Controller(
        made.context(), FakeNetwork(lambda targets: {}), made.wait))
    yield made
    for cached in caches:
        cached.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("declared", LAMBDAS, ids=lambda declared: declared.name)
def test_operation_before_its_time_says_what_to_do(declared: Lambda, state: str, world: World) -> None:
    STATES[state](world)
    for event in events(declared):
        try:
            outcome = registry.handler(declared.function)(event, Invocation())
        except RunFailed as failure:
            # Lambda counts it, and its alarm tells people.
            assert "detail-type" in event
            check(str(failure))
            continue
        if "Records" in event:
            assert set(outcome) == {"batchItemFailures"}
            continue
        if outcome.get("status") in ("refused", "failed", "later"):
            check(outcome["message"])
        elif "batchItemFailures" not in outcome:
            assert outcome["status"] in ("done", "planned", "superseded"), outcome


def test_states_of_setup_are_told_apart(world: World) -> None:
    """Each state takes away what some operation needs."""
    assert len(LAMBDAS) > 30
    said = {}
    for name, function in (("no_zone", "routing_plan"), ("no_target_group", "health_checks_status"),
                           ("access_denied", "routing_plan"), ("tables_missing", "journal_alerts")):
        fresh = World(world.root)
        STATES[name](fresh)
        registry.handler.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(context, "here", fresh.context)
            said[name] = registry.handler(function)({}, Invocation())["message"]
    assert "`zone` of [routing] in fleet.toml" in said["no_zone"]
    assert "target group web of [health_checks] in eu-west-1" in said["no_target_group"]
    assert "renews the roles" in said["access_denied"]
    assert "`lamp deploy`" in said["tables_missing"]
    assert isinstance(denied("x"), ClientError)
