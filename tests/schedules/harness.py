"""A site in memory with a release of a few jobs, and the triggers of its operations. The tests of schedules use it."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.aws.client import Message
from chalicelib.aws.functions import Invocation
from chalicelib.aws.store import Item
from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.context import RegionContext
from chalicelib.crontab import job_file, timetable
from chalicelib.crontab.dst import stamp
from chalicelib.crontab.expression import parse
from chalicelib.crontab.job import Job, Policy
from chalicelib.engine import delivery
from chalicelib.engine import run as engine
from chalicelib.schedules import operations, starting
from chalicelib.schedules.command import Command, Result, result
from chalicelib.schedules.lambdas import RUNNER
from chalicelib.schedules.published import ALERTS
from chalicelib.schedules.runners import Attempt
from testing.alerts import ORIGIN
from testing.aws import FakeAws
from testing.fakes import MemoryQueue, MemoryTable, MemoryTopic

FLEET = fleet.parse("""
name = "lamplighter"
regions = [{name = "eu-west-1"}, {name = "us-east-1"}, {name = "ap-southeast-1"}]
coordination.regions = ["eu-west-1", "eu-central-1", "eu-west-3"]
queues = [{name = "default"}, {name = "orders", fifo = true}]
schedules.http.base = "http://127.0.0.1:9"
""")
SLOT = "2026-03-28T12:00Z"
HOME, STANDBY = "eu-west-1", "us-east-1"
RUNNER_NAME = f"lamplighter-test-{RUNNER}"
NOON = 29_578_320  # 2026-03-28 12:00 UTC, a Saturday, in minutes since the epoch


def job(name: str = "jobs/one", schedule: str = "* * * * *", **more: Any) -> Job:
    """A job that runs `true`; keyword arguments of `Policy` go there, the others to `Job`."""
    policy = {key: more.pop(key) for key in list(more) if key in Policy.__struct_fields__}
    facts: dict[str, Any] = {
        "tz": "UTC", "command": "true", "stdin": "", "env": {"SHELL": "/bin/sh"}, "user": "root", "mailto": None,
        "file": "cron.d/test", "line": 3, "kind": "crontab"} | more
    return Job(name=name, expression=parse(schedule), schedule=schedule, policy=Policy(**policy), **facts)


# What lies where: hypothesis asks for the same place hundreds of times, and a disk takes milliseconds for a file.
_lying: dict[Path, bytes] = {}


def _lay(path: Path, content: bytes) -> None:
    if _lying.get(path) != content:
        path.write_bytes(content)
        _lying[path] = content


def runner(payload: bytes) -> Invocation:
    """The runner Lambda as far as most tests need it: a shell. `test_child` has the real one."""
    command = msgspec.json.decode(payload, type=Command)
    with subprocess.Popen(["/bin/sh", "-c", command.words], env=command.environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, start_new_session=True,
                          cwd=command.environment.get("HOME", "/")) as process:
        try:
            found = result(process.wait(command.seconds), "", "lambda")
        except subprocess.TimeoutExpired:
            found = Result("timed-out", detail=f"ended, since it still ran after {command.seconds} s")
            os.killpg(process.pid, signal.SIGKILL)
        output = process.stdout.read() if process.stdout else ""
    return Invocation(msgspec.json.encode(msgspec.structs.replace(found, output=output)))


class Place:
    """A fleet's regions over one coordination table, with a clock that tests set. `aws` has what each region reaches.
    """

    def __init__(self, root: Path, jobs: Sequence[Job], declared: Fleet = FLEET) -> None:
        self.now = float(NOON * 60)
        self.coordination = MemoryTable()
        self.aws = {region.name: FakeAws() for region in declared.regions}
        for aws in self.aws.values():
            aws.functions[RUNNER_NAME] = runner
        self.sites = {region.name: self._site(region.name, root, declared) for region in declared.regions}
        _lay(root / "timetable.bin", timetable.build(jobs))
        _lay(root / "jobs.bin", job_file.build(jobs))

    def _site(self, region: str, root: Path, declared: Fleet) -> RegionContext:
        names = ("schedule-runs", "schedule-reconciles", "default", "orders")
        return RegionContext(
            region=region,
            stage="test",
            fleet=declared,
            shared_store=self.coordination,
            local_store=MemoryTable(),
            queues={name: MemoryQueue() for name in names},
            alerts=MemoryTopic(),
            account="123456789012",
            root=root,
            clock=lambda: self.now,
            aws_regions={name: aws.ports for name, aws in self.aws.items()},
        )

    def sent(self, queue: str, region: str = "eu-west-1") -> list[Any]:
        """What was sent to a queue of a region, oldest first; each message is given once."""
        memory = self.sites[region].queues[queue]
        assert isinstance(memory, MemoryQueue)
        sent, memory.sent = memory.sent, []
        return sent

    def told(self, region: str = "eu-west-1") -> list[tuple[str, str]]:
        """The notices of a region's topic, once its next tick has delivered what waits for it."""
        site = self.sites[region]
        delivery.deliver(site.local_store, site.alerts, ALERTS, (), self.now, origin=ORIGIN, events=True)
        topic = site.alerts
        assert isinstance(topic, MemoryTopic)
        return topic.told

    def run(self, name: str, slot: str) -> dict[str, Any]:
        """The body of a run's record."""
        item = self.coordination.get(f"run#{name}", slot)
        assert isinstance(item, Item), f"{name} has no run for {slot}"
        return item.body


def tick(place: Place, minute: int = NOON, region: str = HOME) -> dict[str, Any]:
    event = {"detail-type": "Scheduled Event", "time": f"{stamp(minute)}:00Z"}
    return engine.run(starting.TICK, place.sites[region], event)


def handle(place: Place, operation: Any, message: Message, region: str = HOME, received: int = 1) -> Any:
    queue = "schedule-runs" if operation is operations.WORK else "schedule-reconciles"
    record = {"body": message.body, "messageId": "m", "receiptHandle": "r",
              "eventSourceARN": f"arn:aws:sqs:{region}:1:lamplighter-test-{queue}",
              "attributes": {"ApproximateReceiveCount": str(received)}}
    return engine.run(operation, place.sites[region], {"Records": [record]})


def work(place: Place, region: str = HOME) -> None:
    for message in place.sent("schedule-runs", region):
        assert handle(place, operations.WORK, message, region) == {"batchItemFailures": []}


def sweep(place: Place, region: str = HOME) -> None:
    for message in place.sent("schedule-reconciles", region):
        handle(place, starting.SWEEP, message, region)


def ask(place: Place, operation: Any, **event: Any) -> dict[str, Any]:
    return engine.run(operation, place.sites[HOME], event)


def why(place: Place, name: str, minute: int) -> tuple[str, str]:
    report = ask(place, operations.WHY, job=name, time=f"{stamp(minute)}Z")["plan"]["report"]
    return report["answer"], report["sentence"]


def attempt(one: Job, replaced: bool = False) -> Attempt:
    """An attempt of the job, the third of its slot."""
    return Attempt(one, SLOT, NOON, 3, "0123456789abcdef", lambda: replaced)
