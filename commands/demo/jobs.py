"""The demo's jobs and tasks in all regions, while the home region dies and comes back."""

import json
import time
import zipfile
from collections import Counter
from collections.abc import Iterator

import msgspec

from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable
from chalicelib.schedules.state import OPEN_STATES
from commands.demo.part import Part, Section, patient
from commands.demo.staged import QUEUE, TASKS
from commands.deploy.packaging import Package
from sandbox.ran import Ran, Slot, Tasks

# Minutes with all regions, without home, and with home back. The first are more if the users' part needs them.
_TOGETHER, _ALONE, _AGAIN = 3, 2, 1
# Home dies so long before the first minute that it is to miss, once it is quiet, and is back so long before the last.
_LEAD_SECONDS, _SETTLE_SECONDS, _TAKEOVER_SECONDS = 5, 150, 30
_TASKS, _POISON, _FAIL_ONCE_EVERY = 1000, 3, 20


class Outcome(msgspec.Struct, frozen=True):
    """The fates of slots and tasks. `home` was dead in the minutes `alone`, surely between the times of `dead`."""

    home: str
    standby: str
    alone: tuple[int, ...]
    dead: tuple[float, float]
    takeover_limit_seconds: float
    slots: list[Slot]
    tasks: Tasks

    @property
    def takeover_seconds(self) -> float:
        """The longest wait of a slot that another region started."""
        return max((slot.late for slot in self.slots if slot.region not in ("", self.home)), default=0.0)


class Jobs(Part):
    """The part of jobs and tasks. `first` to `end` are its minutes."""

    def start(self, package: Package) -> None:
        with zipfile.ZipFile(package.zip) as packed:
            self.timetable = Timetable.load(packed.read("timetable.bin"))
            self.book = JobFile.load(packed.read("jobs.bin"))
        self._ran = Ran(self.world, package.fleet, self.stack, time.time())
        self.first = int(time.time()) // 60 + 1
        self.alone = self.first + _TOGETHER
        self._ids: set[str] = set()
        super().start(package)

    @property
    def end(self) -> int:
        """The minute after the last."""
        return self.alone + _ALONE + _AGAIN

    def _run(self) -> None:
        home, standby, delay = self.regions[0], self.regions[1], self.fleet.schedules.takeover_delay
        self.note = "waiting for the first full minute"
        _sleep_until(self.first * 60)
        self._send()
        self.note = f"all regions live; {len(self._ids):,} tasks sent: 50 of them fail once, {_POISON} always"
        _sleep_until(self.alone * 60 - _LEAD_SECONDS)
        while not self.outage.allowed:
            self.alone += 1
            _sleep_until(self.alone * 60 - _LEAD_SECONDS)
        patient(lambda: self._quiet(self.alone), 60 - _LEAD_SECONDS, 0.5)
        self.outage.died = time.time()
        self.world.stop_region(home)
        self.note = f"{home} is dead; {standby} waits {delay} s, then does its work"
        _sleep_until((self.alone + _ALONE) * 60 - _LEAD_SECONDS)
        self.world.start_region(home)
        self.outage.returned = time.time()
        self.note = f"{home} is back and starts the next minute"
        _sleep_until(self.end * 60 - 45)
        self.note = "waiting until everything is settled"
        patient(lambda: self._quiet(self.end) and self._ran.tasks(self._ids).add_up, _SETTLE_SECONDS, 1.0)

    def _quiet(self, minute: int) -> bool:
        return all(slot.state not in {*OPEN_STATES, "not run"} for slot in self.slots() if slot.minute < minute)

    def _section(self) -> Section:
        delay = self.fleet.schedules.takeover_delay
        found = Outcome(self.regions[0], self.regions[1], tuple(range(self.alone, self.alone + _ALONE)),
                        (self.outage.died + _LEAD_SECONDS, self.outage.returned - _LEAD_SECONDS),
                        delay + _TAKEOVER_SECONDS, self.slots(logs=True), self._ran.tasks(self._ids))
        slots, tasks = found.slots, found.tasks
        ran = Counter(slot.region for slot in slots if slot.once)
        where = ", ".join(f"{count} in {region}" for region, count in ran.most_common())
        failed = sum(slot.once and slot.state != "done" for slot in slots)
        aside = sum(slot.settled and not slot.once for slot in slots)
        sentences = [
            f"{len(slots)} slots of {len({slot.job for slot in slots})} jobs were due. {ran.total()} ran exactly once: "
            f"{where}. The longest wait was {found.takeover_seconds:.0f} s, of which {delay} s are the takeover delay.",
            f"{tasks.sent:,} tasks were sent. {tasks.done:,} were done, {tasks.retried} of them after a failure, and "
            f"{tasks.dead} are dead letters."]
        sentences += [f"{failed} of these runs failed by themselves, as `lamp status` tells."] if failed else []
        sentences += [f"{aside} slots were set aside by the policy of their jobs."] if aside else []
        return Section("The jobs and tasks", None, sentences, found, [*self.failures, *wrong(found)])

    def slots(self, *, logs: bool = False) -> list[Slot]:
        """Every slot that was due, with its run. Claims are counted only with `logs`."""
        due = [(self.book[found.job], slot) for found in self.timetable.missed(self.first, self.end)
               for slot in found.slots()]
        # A job whose commands run elsewhere needs machines that this one does not have.
        return self._ran.slots([Slot(job.name, slot.name, slot.minute) for job, slot in due
                                if job.policy.on in ("lambda", "queue")], logs=logs)

    def _send(self) -> None:
        """The tasks, sent as any program would, as plain JSON to SQS, to all regions in turn."""
        bodies = [json.dumps({"task": f"{TASKS}.poison", "args": {"number": number}} if number < _POISON else {
            "task": f"{TASKS}.sweep", "args": {"number": number, "fail_once": number % _FAIL_ONCE_EVERY == 19}})
            for number in range(_TASKS)]
        for start in range(0, _TASKS, 10):
            sqs = self.world.client("sqs", self.regions[start // 10 % len(self.regions)])
            url = sqs.get_queue_url(QueueName=f"{self.stack}-{QUEUE}")["QueueUrl"]
            answer = sqs.send_message_batch(QueueUrl=url, Entries=[
                {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])])
            self._ids |= {sent["MessageId"] for sent in answer["Successful"]}


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
        if slot.region == found.home and found.dead[0] < slot.started < found.dead[1]:
            yield f"{slot.job} for {slot.slot} ran in {found.home}, which was dead"
    if found.takeover_seconds > found.takeover_limit_seconds:
        yield (f"a slot was taken over only after {found.takeover_seconds} s; "
               f"{found.takeover_limit_seconds:.0f} s is the limit")
    if not any(slot.minute in found.alone and slot.region == found.standby for slot in found.slots):
        yield f"{found.standby} took nothing over"


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.time()))
