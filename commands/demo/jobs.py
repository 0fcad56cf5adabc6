"""The demo's jobs and tasks in all regions, while the home region dies and comes back.

What happened is read from the store and from the Lambdas' own logs, after the fact.
"""

import json
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from chalicelib.aws.client import pages
from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable
from chalicelib.engine.schema import ItemKey, Stored, decode
from chalicelib.schedules.state import OPEN_STATES, RUN, Run
from commands.demo.part import Outage, Part, Section, patient
from commands.demo.staged import QUEUE, TASKS
from commands.deploy.packaging import Package
from commands.operate.show import plain_table
from sandbox.world import Sandbox

# Minutes with all regions, without home, and with home back. The first are more if the users' part needs them.
_TOGETHER, _ALONE, _AGAIN = 3, 2, 1
# Home dies this long before the first minute that it is to miss, and comes back as long before the last.
_LEAD_SECONDS, _SETTLE_SECONDS = 5, 90
# Final states of a run, and of a slot that its job's policy leaves out.
_RAN = frozenset({"done", "failed", "timed-out", "replaced"})
_SET_ASIDE = frozenset({"overlapped", "coalesced", "paused"})
_TASKS, _POISON, _FAIL_ONCE_EVERY = 1000, 3, 20


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """One slot of one job, with its stored run, and the number of workers that logged a claim."""

    job: str
    slot: str
    minute: int
    state: str = "not run"
    region: str = ""
    late: float = 0
    attempts: int = 1
    claims: int = 0

    @property
    def once(self) -> bool:
        """Whether it has run to its end, each attempt claimed by one worker. The job itself may have failed."""
        return self.state in _RAN and 1 <= self.claims <= self.attempts

    @property
    def settled(self) -> bool:
        """Whether it ran once, or was set aside by the policy of its job (as `overlap=skip` does) without a claim."""
        return self.once or (self.state in _SET_ASIDE and not self.claims)


class Tasks(msgspec.Struct, frozen=True):
    """The results of the sent messages. `twice` counts those done more than once."""

    sent: int
    done: int
    dead: int
    retried: int
    twice: int

    @property
    def add_up(self) -> bool:
        """Whether each message was done once or lies in the dead letters."""
        return self.sent == self.done + self.dead and not self.twice


class Outcome(msgspec.Struct, frozen=True):
    """The fates of slots and tasks. `home` was dead in the minutes `alone`, and `standby` took over."""

    home: str
    standby: str
    alone: tuple[int, ...]
    takeover_limit_seconds: float
    slots: list[Slot]
    tasks: Tasks

    @property
    def takeover_seconds(self) -> float:
        """The longest wait of a slot that another region started."""
        return max((slot.late for slot in self.slots if slot.region not in ("", self.home)), default=0.0)


class Jobs(Part):
    """The part of jobs and tasks. `first` to `end` are its minutes. `ready` holds home's death up."""

    def __init__(self, world: Sandbox, package: Package, outage: Outage, ready: Callable[[], bool]) -> None:
        super().__init__(world, package, "waiting for the first full minute")
        with zipfile.ZipFile(package.zip) as packed:
            self.timetable = Timetable.load(packed.read("timetable.bin"))
            self.book = JobFile.load(packed.read("jobs.bin"))
        self.regions = [region.name for region in package.fleet.regions]
        self._outage, self._ready, self._since = outage, ready, time.time()
        self.first = int(time.time()) // 60 + 1
        self.alone = self.first + _TOGETHER
        self._ids: list[str] = []

    @property
    def end(self) -> int:
        """The minute after the last."""
        return self.alone + _ALONE + _AGAIN

    def _run(self) -> None:
        _sleep_until(self.first * 60)
        self._ids = self._send()
        self.note = f"all regions live; {len(self._ids):,} tasks sent: 50 of them fail once, {_POISON} always"
        _sleep_until(self.alone * 60 - _LEAD_SECONDS)
        while not self._ready():
            self.alone += 1
            _sleep_until(self.alone * 60 - _LEAD_SECONDS)
        self._outage.kill()
        patience = self.package.fleet.schedules.takeover_delay
        self.note = f"{self.regions[0]} is dead; {self.regions[1]} waits {patience} s, then does its work"
        _sleep_until((self.alone + _ALONE) * 60 - _LEAD_SECONDS)
        self._outage.revive()
        self.note = f"{self.regions[0]} is back and starts the next minute"
        _sleep_until(self.end * 60 - 45)
        self.note = "waiting until everything is settled"
        patient(self._settled, _SETTLE_SECONDS, 1.0)
        self.note = "everything is settled"

    def _settled(self) -> bool:
        return all(slot.state not in {*OPEN_STATES, "not run"} for slot in self.slots()) and self._tasks().add_up

    def _section(self) -> Section:
        patience = self.package.fleet.schedules.takeover_delay
        found = Outcome(self.regions[0], self.regions[1], tuple(range(self.alone, self.alone + _ALONE)), patience + 60,
                        self.slots(logs=True), self._tasks())
        slots, tasks = found.slots, found.tasks
        ran = Counter(slot.region for slot in slots if slot.once)
        failed = sum(slot.once and slot.state != "done" for slot in slots)
        table = plain_table("", "")
        table.show_header = False
        table.add_row("slots due", f"{len(slots)}, of {len({slot.job for slot in slots})} jobs")
        table.add_row("ran exactly once", f"{ran.total()}: " + ", ".join(
            f"{count} in {region}" for region, count in ran.most_common()))
        table.add_row("longest wait of a slot", f"{found.takeover_seconds:.0f} s, of which {patience} s are the "
                      "takeover delay")
        table.add_row("tasks", f"{tasks.sent:,} sent = {tasks.done:,} done + {tasks.dead} dead letters; "
                      f"{tasks.retried} failed at first")
        aside = sum(slot.settled and not slot.once for slot in slots)
        own = [f"{failed} of these runs failed by themselves, as `lamp status` tells."] if failed else []
        own += [f"{aside} slots were set aside by the policy of their jobs."] if aside else []
        return Section("The jobs and tasks", table, own, found, [*self.failures, *wrong(found)])

    def slots(self, *, logs: bool = False) -> list[Slot]:
        """Every slot that was due, with its run. Claims are counted only with `logs`."""
        due = [(self.book[found.job], slot) for found in self.timetable.missed(self.first, self.end)
               for slot in found.slots()]
        # A job whose commands run elsewhere needs machines that this one does not have.
        wanted = [(job.name, slot) for job, slot in due if job.policy.on in ("lambda", "queue")]
        runs = self._runs(sorted({job for job, _ in wanted}))
        claims = self._claims() if logs else Counter[tuple[str, str]]()
        return [_slot(Slot(job, slot.name, slot.minute, claims=claims[job, slot.name]), runs.get((job, slot.name)))
                for job, slot in wanted]

    def _runs(self, jobs: Sequence[str]) -> dict[tuple[str, str], Run]:
        stopped = self._stopped()
        region = next(name for name in self.package.fleet.coordination.regions if name not in stopped)
        client, table = self.world.client("dynamodb", region), f"{self.package.stack}-coordination"

        def query(job: str) -> list[Run]:
            items = client.query(
                TableName=table, KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": f"run#{job}"}}, ConsistentRead=True)["Items"]
            runs = [decode(msgspec.json.decode(item["body"]["S"]), RUN, ItemKey(table, job, item["sk"]["S"]))
                    for item in items]
            return [run.value for run in runs if isinstance(run, Stored)]

        with ThreadPoolExecutor(4) as pool:
            return {(run.job, run.slot): run for runs in pool.map(query, jobs) for run in runs}

    def _claims(self) -> Counter[tuple[str, str]]:
        return Counter((line["job"], line["slot"]) for line in self._log("schedules_work")
                       if line.get("message") == "claimed")

    def _send(self) -> list[str]:
        """The tasks, sent as any program would, as plain JSON to SQS, to all regions in turn. SQS's ids."""
        bodies = [json.dumps({"task": f"{TASKS}.poison", "args": {"number": number}} if number < _POISON else {
            "task": f"{TASKS}.sweep", "args": {"number": number, "fail_once": number % _FAIL_ONCE_EVERY == 19}})
            for number in range(_TASKS)]

        def batch(start: int) -> list[str]:
            sqs = self.world.client("sqs", self.regions[start // 10 % len(self.regions)])
            url = sqs.get_queue_url(QueueName=f"{self.package.stack}-{QUEUE}")["QueueUrl"]
            answer = sqs.send_message_batch(QueueUrl=url, Entries=[
                {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])])
            return [sent["MessageId"] for sent in answer["Successful"]]

        with ThreadPoolExecutor(4) as pool:
            return [id for ids in pool.map(batch, range(0, _TASKS, 10)) for id in ids]

    def _tasks(self) -> Tasks:
        fates: dict[str, list[str]] = defaultdict(list)
        own = set(self._ids)
        for line in self._log("tasks_work"):
            for fate, named in line.get("ids", {}).items():
                fates[fate] += own.intersection(named)
        done = Counter(fates["done"])
        return Tasks(len(own), len(done), len(set(fates["dead"])), len(fates["retried"]),
                     sum(count > 1 for count in done.values()))

    def _stopped(self) -> Sequence[str]:
        stopped: list[str] = self.world.control("stopped")
        return stopped

    def _log(self, function: str) -> Iterator[dict[str, Any]]:
        stopped = self._stopped()
        for region in (region for region in self.regions if region not in stopped):
            found = pages(
                self.world.client("logs", region), "filter_log_events", startTime=int(self._since * 1000),
                logGroupName=f"/aws/lambda/{self.package.stack}-{function}")
            for text in (event["message"].strip() for page in found for event in page["events"]):
                if text.startswith("{"):
                    yield json.loads(text)


def _slot(slot: Slot, run: Run | None) -> Slot:
    if run is None:
        return slot
    return msgspec.structs.replace(slot, state=run.state, region=run.region, attempts=run.attempt,
                                   late=round(run.started - slot.minute * 60, 1))


def wrong(found: Outcome) -> Iterator[str]:
    """The broken promises. Nothing due, nothing sent and nothing taken over prove nothing, so each is a failure."""
    if not found.slots:
        yield "no job was due in all that time"
    if not found.tasks.sent:
        yield "no task was sent"
    elif not found.tasks.add_up:
        yield f"tasks do not add up: {json.dumps(msgspec.to_builtins(found.tasks))}"
    for slot in found.slots:
        if not slot.settled:
            yield f"{slot.job} for {slot.slot}: {slot.state}, claimed {slot.claims} times"
        if slot.minute in found.alone and slot.region == found.home:
            yield f"{slot.job} for {slot.slot} ran in {found.home}, which was dead"
    if found.takeover_seconds > found.takeover_limit_seconds:
        yield (f"a slot was taken over only after {found.takeover_seconds} s; "
               f"{found.takeover_limit_seconds:.0f} s is the limit")
    if not any(slot.minute in found.alone and slot.region == found.standby for slot in found.slots):
        yield f"{found.standby} took nothing over"


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.time()))
