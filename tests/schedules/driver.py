"""Three regions minute by minute: rules, queues and workers as AWS drives them, without faults of their own."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.context import RegionContext
from chalicelib.crontab.dst import stamp
from chalicelib.crontab.job import Job
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.schedules import operations, starting
from chalicelib.schedules.runners import Attempt, RemoteRun, Result, Runners
from chalicelib.schedules.worker import Executor
from testing.fakes import MemoryQueue, MemoryTopic
from tests.schedules.harness import NOON, Place

VISIBILITY_SECONDS = {"schedule-runs": 960, "schedule-reconciles": 120}


class Letter(msgspec.Struct):
    """A message in a queue, from `due` on."""

    due: float
    region: str
    queue: str
    body: str
    received: int = 0


class Commands:
    """Both kinds of runners. Each start is counted, and ends as `end` says. A distant one ends when it is told to."""

    def __init__(self) -> None:
        self.starts: Counter[tuple[str, str]] = Counter()
        self.end: Callable[[Attempt], Result] = lambda attempt: Result("done", exit=0)
        self.remote: dict[str, Result | None] = {}
        self.stopped: list[str] = []

    def start(self, site: Any, attempt: Attempt) -> Result | RemoteRun:
        self.starts[attempt.job.name, attempt.slot] += 1
        if attempt.job.policy.on == "lambda":
            return self.end(attempt)
        handle = f"{attempt.slot}/{attempt.token}"
        self.remote[handle] = None
        return RemoteRun(handle)

    def poll(self, site: Any, job: Job, handle: str) -> Result | None:
        return self.remote[handle]

    def stop(self, site: Any, job: Job, handle: str) -> None:
        self.stopped.append(handle)


class Regions:
    """The fleet of `Place` with its triggers. `dead` regions get none."""

    def __init__(self, root: Path, jobs: Sequence[Job]) -> None:
        self.place = Place(root, jobs)
        self.commands = Commands()
        self.letters: list[Letter] = []
        self.dead: set[str] = set()
        self.minute_number = NOON
        runners = Runners({"lambda": self.commands, "ssm": self.commands}, {"ssm": self.commands})
        self.work = operations.work(Executor(lambda: runners))

    @property
    def home(self) -> RegionContext:
        """The context of the home region."""
        return self.place.sites["eu-west-1"]

    def minute(self) -> None:
        """The rules fire, and the queues deliver what is due within the minute."""
        for region in self.place.sites:
            if region not in self.dead:
                self.tick(self.place.sites[region])
        for _ in range(6):
            self.deliver()
            self.place.now += 10
        self.minute_number += 1

    def minutes(self, number: int) -> None:
        """So many minutes."""
        for _ in range(number):
            self.minute()

    def tick(self, site: RegionContext, wrapped: RegionContext | None = None) -> None:
        """The rule of a region fires. Lambda tries a run that fails again, at once here."""
        event = {"detail-type": "Scheduled Event", "time": f"{stamp(self.minute_number)}:00Z"}
        for context in (wrapped or site, site, site):
            try:
                engine.run(starting.TICK, context, event)
            except RunFailed:
                continue
            return

    def collect(self) -> None:
        """Takes what was sent into the queues."""
        for region, site in self.place.sites.items():
            for queue in VISIBILITY_SECONDS:
                memory = site.queues[queue]
                assert isinstance(memory, MemoryQueue)
                self.letters += [Letter(self.place.now + one.delay, region, queue, one.body) for one in memory.sent]
                memory.sent = []

    def deliver(self) -> None:
        """All messages that are due, also those that these runs send for now."""
        self.collect()
        while due := [one for one in self.letters if one.due <= self.place.now and one.region not in self.dead]:
            for letter in due:
                self.letters.remove(letter)
                self.receive(letter)
            self.collect()

    def take(self, queue: str, region: str = "eu-west-1", part: str = "") -> Letter:
        """The next message of a queue with `part` in its body, to be received with a lost answer."""
        self.collect()
        letter = next(one for one in self.letters if (one.queue, one.region) == (queue, region) and part in one.body)
        self.letters.remove(letter)
        return letter

    def receive(self, letter: Letter, wrapped: RegionContext | None = None) -> None:
        """One delivery. A message that is not done comes again, as soon as it was put off for."""
        letter.received += 1
        site = self.place.sites[letter.region]
        memory = site.queues[letter.queue]
        assert isinstance(memory, MemoryQueue)
        record = {"body": letter.body, "messageId": "m", "receiptHandle": "r",
                  "eventSourceARN": f"arn:aws:sqs:{letter.region}:1:lamplighter-test-{letter.queue}",
                  "attributes": {"ApproximateReceiveCount": str(letter.received)}}
        operation: Operation[Any] = self.work if letter.queue == "schedule-runs" else starting.SWEEP
        memory.hidden.clear()
        answer = engine.run(operation, wrapped or site, {"Records": [record]})
        if answer["batchItemFailures"]:
            hidden = memory.hidden[-1][1] if memory.hidden else VISIBILITY_SECONDS[letter.queue]
            letter.due = self.place.now + hidden
            self.letters.append(letter)

    def subjects(self) -> list[str]:
        """What people have got, of all regions."""
        topics = [site.alerts for site in self.place.sites.values()]
        return [subject for topic in topics if isinstance(topic, MemoryTopic) for subject, _ in topic.told]

    def states(self, job: str) -> dict[str, str]:
        """The state of each slot of a job."""
        return {slot: item.body["state"] for (pk, slot), (item, _, _) in self.place.coordination.store.items.items()
                if pk == f"run#{job}"}
