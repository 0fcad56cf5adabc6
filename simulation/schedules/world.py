"""Three regions run one timetable, while ticks get lost, come twice and come late, clocks are wrong, workers die at any
call, and whole regions vanish. The operations are those of production. Only what they reach is simulated.

The guarantees hold for any seed. No slot starts twice, none gets lost while a region lives, jobs that must not overlap
do not, and another region takes over in time. `World.verdict` counts every breach.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.aws.client import Message, Unavailable
from chalicelib.aws.store import Item, ReplicatedStore
from chalicelib.config.declared import Fleet
from chalicelib.context import RegionContext
from chalicelib.crontab.dst import stamp
from chalicelib.engine import delivery
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.engine.schema import ItemKey, Stored, decode
from chalicelib.schedules import operations, release, starting
from chalicelib.schedules.lambdas import MINUTES_QUEUE, RUNS_QUEUE
from chalicelib.schedules.runners import Runners, function
from chalicelib.schedules.state import ALERT_KIND_BY_STATE, RUN, Run
from chalicelib.schedules.worker import Executor
from simulation.scheduler import Crash, Scheduler
from simulation.schedules.options import Chances, Start, Verdict
from simulation.schedules.runners import SimulatedFunctions, SimulatedPosts, SimulatedRemoteRunner
from simulation.turning import WRONG_SECONDS, Backup, event_of_another_year
from testing.aws import FakeAws
from testing.fakes import MemoryQueue, MemoryTable, MemoryTopic, Store
from testing.triggers import RuleTriggers, TriggerModel

_VISIBILITY = {queue.name: float(queue.visibility_seconds) for queue in (RUNS_QUEUE, MINUTES_QUEUE)}
_DRAIN_SECONDS = 3 * 3600
# The place of an event of another year. After a table was restored, or a clock put right, runs of the time before are
# under way for so long at most.
_STRANGE, _CONFUSED_SECONDS, _IN_FLIGHT_SECONDS = "another year", 1200, 120
# Minutes before the end of all.
_LAST_TICKS = (20, 15, 10)
# Home's rule fires anywhere within the minute. A standby looks after its patience, wherever its own rule fires. From
# then on either may take this long to start what is due.
_HOME_SECONDS, _START_SECONDS = 60, 30
# Two standbys' patience and their work.
_NEXT_TRY_SECONDS = 360


class Region:
    """A region's clock, its life, and its site."""

    def __init__(self, world: "World", name: str, skew: float) -> None:
        self.name = name
        self.skew = skew
        # By how much (s) its Lambdas' clocks are wrong. The rules fire all the same.
        self.wrong_by = 0.0
        self.alive = True
        self.down: list[tuple[float, float]] = []
        self.local = Store()
        self.site = self._site(world)

    def _site(self, world: "World") -> RegionContext:
        functions = SimulatedFunctions(world, self.name)
        queues = {name: MemoryQueue(lambda message, name=name: world.deliver(self, name, message),  # type: ignore[misc]
                                    lambda call: world.fault(f"sqs {call}")) for name in _VISIBILITY}
        replicas = [MemoryTable(world.store, lambda call: world.fault(f"ledger {call}")) for _ in range(3)]
        return RegionContext(
            region=self.name, stage="sim", fleet=world.fleet, root=world.root, queues=queues,
            shared_store=ReplicatedStore(replicas, clock=lambda: world.hub.now),
            local_store=MemoryTable(self.local, lambda call: world.fault(f"regional {call}")),
            alerts=MemoryTopic(lambda call: world.fault(f"sns {call}")),
            clock=lambda: world.hub.now + self.skew + self.wrong_by, has_threads=False,
            aws_regions={self.name: msgspec.structs.replace(FakeAws().ports, functions=functions)})


class World:
    """One simulated fleet. `root` is a folder with timetable.bin and jobs.bin.

    With `to_first_harm` it ends at the first slot that starts twice, and at the first overlap.
    """

    def __init__(self, fleet: Fleet, root: Path, seed: int, first: int, minutes: int, chances: Chances,
                 *, to_first_harm: bool = False) -> None:
        self.fleet, self.root, self.chances, self.to_first_harm = fleet, root, chances, to_first_harm
        self.first, self.last = first, first + minutes
        self.prefix = f"{fleet.name}-sim-"
        self.hub = Scheduler(seed, first * 60 - 600)
        self.store = Store()
        self.starts: dict[tuple[str, str], list[Start]] = defaultdict(list)
        self.going: Counter[str] = Counter()
        self.overlaps = self.outages = self.believed = 0
        # The slots that needed nothing more when the table was restored, and until when (s) runs may overlap.
        self.settled: set[tuple[str, str]] = set()
        self.backed_up_at = self.restored_at = self.confused_until = 0.0
        self.crashes: Counter[str] = Counter()
        self.broken: list[BaseException] = []
        remote = SimulatedRemoteRunner(self)
        runners = Runners({"lambda": function, "http": SimulatedPosts(self), "ssm": remote}, {"ssm": remote})
        self.work = operations.work(Executor(lambda: runners))
        skews = [self.hub.chance.uniform(-chances.skew, chances.skew) for _ in fleet.regions]
        self.regions = [Region(self, known.name, skew) for known, skew in zip(fleet.regions, skews, strict=True)]

    def run(self) -> Verdict:
        """Lets all of it happen, waits for the dust to settle, and judges."""
        for number in range(100):
            # Marks of the past, for pruning. Each hour it takes some of them away.
            self.store.put(Item("taken-alert", f"old-{number}", 1, {}), "", self.first * 60 - 86_400)
        for region in self.regions:
            self._plan_ticks(region, RuleTriggers(self.chances.triggers, self.hub.chance), self.first)
            self._plan_outage(region, self.first * 60)
            self._plan_prune(region, RuleTriggers(TriggerModel(), self.hub.chance), self.first)
        if self.chances.people:
            self._plan_people(self.first)
        self._plan_turns()
        if self.chances.home_away:
            begin, end = ((self.first + minute) * 60.0 for minute in self.chances.home_away)
            self.hub.at(begin, lambda: self._away(self.regions[0], end))
        until = self.last * 60 + _DRAIN_SECONDS
        # What the last runs have left for a tick is delivered by one of these.
        for region in self.regions:
            for minute in _LAST_TICKS:
                self._tick_at(region, until // 60 - minute)
        self.hub.run(until)
        if self.broken:
            raise self.broken[0]
        return self.verdict()

    def fault(self, call: str) -> None:
        """Before and after every call time passes, and now and then the worker dies or the answer gets lost."""
        activity = self.hub.current()
        if activity.gone:
            raise Crash
        if activity.place == _STRANGE:
            self.believed += 1
        self.hub.wait(self.hub.chance.expovariate(50))
        luck = self.hub.chance.random()
        if luck < self.chances.crash:
            self.crashes[call] += 1
            activity.gone = True
            raise Crash
        if luck < self.chances.crash + self.chances.silence:
            raise Unavailable(f"simulated silence at {call}")

    def deliver(self, region: Region, queue: str, message: Message) -> None:
        """SQS delivers at least once, after the delay."""
        copies = 2 if self.hub.chance.random() < self.chances.message_twice else 1
        for _ in range(copies):
            when = self.hub.now + message.delay + self.hub.chance.expovariate(2)
            self.hub.at(when, lambda: self._receive(region, queue, message.body, 1))

    def _receive(self, region: Region, queue: str, body: str, received: int) -> None:
        if not region.alive:
            self.hub.at(self.hub.now + 60, lambda: self._receive(region, queue, body, received))
            return
        record = {"body": body, "messageId": "m", "receiptHandle": "r", "eventSourceARN": f"arn:::{self.prefix}{queue}",
                  "attributes": {"ApproximateReceiveCount": str(received)}}
        operation = self.work if queue == "schedule-runs" else starting.SWEEP
        answer: dict[str, Any] = {}

        def ended(failure: BaseException | None) -> None:
            again = self._note(failure) or answer.get("batchItemFailures")
            if again:
                hidden = _hidden(region.site, queue) if not failure else _VISIBILITY[queue]
                self.hub.at(self.hub.now + hidden, lambda: self._receive(region, queue, body, received + 1))

        self.hub.spawn(lambda: answer.update(engine.run(operation, region.site, {"Records": [record]})),
                       region.name, ended)

    def _plan_ticks(self, region: Region, rule: RuleTriggers, minute: int) -> None:
        if minute >= self.last:
            return
        # The region's scheduler goes by the region's clock.
        due = minute * 60 - region.skew
        for at in rule.of_minute(due):
            self.hub.at(at, lambda: self._tick(region, minute, 0))
        self.hub.at(due, lambda: self._plan_ticks(region, rule, minute + 1))

    def _tick_at(self, region: Region, minute: int) -> None:
        self.hub.at(minute * 60 - region.skew, lambda: self._tick(region, minute, 0))

    def _tick(self, region: Region, minute: int, tries: int) -> None:
        if not region.alive or tries > 2:
            return

        def ended(failure: BaseException | None) -> None:
            if self._note(failure):
                self.hub.at(self.hub.now + 60, lambda: self._tick(region, minute, tries + 1))

        self.hub.spawn(lambda: engine.run(starting.TICK, region.site, _event(minute)), region.name, ended)

    def begins(self, region: str, job: str, slot: str) -> None:
        """A command begins. Notes whether another run of a job that must not overlap is going."""
        claim = _run(self.store.items[f"run#{job}", slot][0])
        self.starts[job, slot].append(Start(region, self.hub.now, claim.minute))
        self.going[job] += 1
        number = release.book(self.root).find(job)
        if number is not None and release.book(self.root)[number].policy.overlap != "allow" and self.going[job] > 1:
            self.overlaps += self.hub.now > self.confused_until
        if self.to_first_harm and (self.overlaps or self._is_twice(job, slot)):
            self.hub.stop()

    def ends(self, job: str) -> None:
        """A command of the job has ended."""
        self.going[job] -= 1

    def _plan_turns(self) -> None:
        """A table is restored, a clock is wrong, and events of other years come, if they are to."""
        chances, chance = self.chances, self.hub.chance
        if chances.backup:
            made_at, restored_at = ((self.first + minute) * 60.0 + chance.uniform(0, 60) for minute in chances.backup)
            self.hub.at(made_at, partial(self._back_up, restored_at))
        if chances.wrong_clock:
            begin, end = ((self.first + minute) * 60.0 for minute in chances.wrong_clock)
            region = chance.choice(self.regions)
            self.hub.at(begin, partial(self._set_clock, region, chance.choice((-1, 1)) * WRONG_SECONDS))
            self.hub.at(end, partial(self._set_clock, region, 0))
        for minute in range(self.first, self.last if chances.strange_event else self.first):
            if chance.random() < chances.strange_event:
                self.hub.at(minute * 60.0 + chance.uniform(0, 60), self._strange_event)

    def _back_up(self, restored_at: float) -> None:
        self.backed_up_at = self.hub.now
        self.hub.at(restored_at, partial(self._restore, Backup(self.store)))

    def _restore(self, backup: Backup) -> None:
        """The coordination table is as it was. Runs that began before are done, whatever the table says."""
        self.settled = {(pk.removeprefix("run#"), sk) for (pk, sk), (item, _, _) in self.store.items.items()
                        if pk.startswith("run#") and _run(item).final} | self.starts.keys()
        self.restored_at, self.confused_until = self.hub.now, self.hub.now + _CONFUSED_SECONDS
        backup.restore()

    def _set_clock(self, region: Region, wrong_by: float) -> None:
        region.wrong_by, self.confused_until = wrong_by, float("inf") if wrong_by else self.hub.now + _CONFUSED_SECONDS

    def _strange_event(self) -> None:
        right = [region for region in self.regions if region.alive and not region.wrong_by]
        if right:
            region, operation = self.hub.chance.choice(right), self.hub.chance.choice((starting.TICK, operations.PRUNE))
            event = event_of_another_year(self.hub.now, self.hub.chance)
            self.hub.spawn(lambda: engine.run(operation, region.site, event), _STRANGE, lambda failure: None)

    def _plan_prune(self, region: Region, rule: RuleTriggers, minute: int) -> None:
        def ended(failure: BaseException | None) -> None:
            self._note(failure)

        def prune() -> None:
            if region.alive:
                self.hub.spawn(lambda: engine.run(operations.PRUNE, region.site, _event(minute)), region.name, ended)

        if minute < self.last:
            for at in rule.of_minute(minute * 60 - region.skew):
                self.hub.at(at, prune)
            self.hub.at(minute * 60, lambda: self._plan_prune(region, rule, minute + 60))

    def _plan_people(self, minute: int) -> None:
        """Now and then a person pauses, resumes or runs a job, or asks about it. A pause ends within an hour."""
        if minute >= self.last:
            return
        chance = self.hub.chance
        if chance.random() < self.chances.people:
            book = release.book(self.root)
            name = book[chance.randrange(len(book))].name
            asked = chance.choice((operations.PAUSE, operations.RUN, operations.STATUS, operations.WHY))
            when = minute * 60 + chance.uniform(0, 60)
            self.hub.at(when, lambda: self._ask(asked, name, minute))
            if asked is operations.PAUSE:
                self.hub.at(when + chance.uniform(60, 3600), lambda: self._ask(operations.RESUME, name, minute))
        self.hub.at((minute + 1) * 60, lambda: self._plan_people(minute + 1))

    def _ask(self, operation: Operation[Any], name: str, minute: int) -> None:
        region = self.hub.chance.choice([region for region in self.regions if region.alive])
        event: dict[str, Any] = {"job": name}
        if operation is operations.WHY:
            event["time"] = f"{stamp(minute - 5)}Z"
        elif operation is not operations.STATUS:
            event["apply"] = True
        answer: dict[str, Any] = {}

        def ended(failure: BaseException | None) -> None:
            # A person who gets no answer asks again, and goes on until it is done.
            again = self._note(failure) or answer.get("status") in ("failed", "superseded")
            if again and operation is not operations.RUN and self.hub.now < self.last * 60 + 3600:
                self.hub.at(self.hub.now + 30, lambda: self._ask(operation, name, minute))

        self.hub.spawn(lambda: answer.update(engine.run(operation, region.site, event)), region.name, ended)

    def _note(self, failure: BaseException | None) -> bool:
        """Whether an activity failed. One that failed for no simulated reason is a bug, and kept."""
        if failure and not isinstance(failure, Crash | RunFailed):
            self.broken.append(failure)
        return failure is not None

    def _plan_outage(self, region: Region, now: float) -> None:
        if not self.chances.outages:
            return
        begin = now + self.hub.chance.expovariate(self.chances.outages / 86_400)
        if begin < self.last * 60:
            self.hub.at(begin, lambda: self._outage(region))

    def _outage(self, region: Region) -> None:
        # While home is away for certain, no other region goes: somebody must live.
        begin, end = self.chances.home_away or (0, 0)
        is_home_away = (self.first + begin) * 60 - 3 * 3600 < self.hub.now < (self.first + end) * 60
        if not (end and is_home_away) and region.alive and sum(other.alive for other in self.regions) > 1:
            back = self.hub.now + self.hub.chance.uniform(30, 3 * 3600)
            self._away(region, back)
            self._plan_outage(region, back)
        else:
            self._plan_outage(region, self.hub.now)

    def _away(self, region: Region, back: float) -> None:
        region.alive = False
        self.outages += 1
        self.hub.kill(region.name)
        region.down.append((self.hub.now, back))
        self.hub.at(back, lambda: setattr(region, "alive", True))

    def verdict(self) -> Verdict:
        """Compares what the timetable asked for with what was started."""
        due = [(release.book(self.root)[missed.job], slot) for missed in release.timetable(self.root).missed(
            self.first, self.last) for slot in missed.slots()]
        twice = sum(self._is_twice(job, slot) for job, slot in self.starts)
        lost = [slot for job, slot in due
                if not self._settled(job.name, slot.name) and not self._is_in_doubt(slot.minute)]
        states = Counter(item.body.get("state") for item, _, _ in self.store.items.values())
        waits = list(self._waits())
        taken_over = sum(starts[0].region != self.fleet.home for starts in self.starts.values())
        idle = sum(self._idle())
        return Verdict(len(due), twice, len(lost), self.overlaps, idle, self._silent(),
                       sum(wait > _START_SECONDS for wait in waits),
                       states["interrupted"], self.outages, taken_over, round(max(waits, default=0), 1),
                       dict(sorted(self.crashes.items())), self.believed)

    def _silent(self) -> int:
        """Runs that ended badly without an alert, and alerts that wait although ticks came after them."""
        runs = [_run(item) for (pk, _), (item, _, _) in self.store.items.items() if pk.startswith("run#")]
        last_tick = self.hub.now - max(_LAST_TICKS) * 60 - self.chances.skew
        waiting: int = sum(pk.startswith(delivery.EVENTS_PK) and item.body["alert"]["since"] < last_tick
                      for region in self.regions for (pk, _), (item, _, _) in region.local.items.items())
        return waiting + sum(
            run.state in ALERT_KIND_BY_STATE and not run.alerted for run in runs
            if self.restored_at < run.minute * 60 < self.last * 60)

    def _idle(self) -> Iterator[int]:
        """1 for each slot that was set aside while no run of its job was claimed, or about to be.

        A worker that dies between lock and claim leaves the lock to whoever is sent for the same slot next.
        """
        skews = {region.name: region.skew for region in self.regions}
        runs: dict[str, list[Run]] = defaultdict(list)
        for (pk, _), (item, _, _) in self.store.items.items():
            if pk.startswith("run#"):
                run = _run(item)
                here = skews[run.region]
                runs[run.job].append(msgspec.structs.replace(run, started=run.started - here, ended=run.ended - here))
        for of_job in runs.values():
            held = [(run.started - _NEXT_TRY_SECONDS, run.ended + 90) for run in of_job if run.attempt]
            for run in of_job:
                if run.state == "overlapped":
                    yield not any(begin <= run.ended <= end for begin, end in held)

    def _waits(self) -> Iterator[float]:
        """For each slot, how long (s) beyond its patience the first region that lived all the while let it wait.

        Jobs that queue behind others are left out. Of a home that lives the patience is the minute of its rule.
        """
        book = release.book(self.root)
        for (name, slot), starts in self.starts.items():
            if slot.endswith("#manual") or starts[0].minute >= self.last:
                continue
            number = book.find(name)
            policy = book[number].policy if number is not None else None
            if policy and policy.overlap == "allow":
                yield from self._wait(starts[0], policy.jitter)

    def _wait(self, start: Start, jitter: int) -> Iterator[float]:
        for rank, region in enumerate(self.regions):
            patience = rank * self.fleet.schedules.takeover_delay or _HOME_SECONDS
            due = start.minute * 60 - region.skew
            if not any(begin < due + patience + _START_SECONDS and end > due - 1 for begin, end in region.down):
                yield start.at - due - patience - jitter
                return

    def _is_twice(self, job: str, slot: str) -> bool:
        starts = self.starts[job, slot]
        if len(starts) > 1 and starts[0].at < self.restored_at < starts[1].at and (
                starts[0].minute * 60 < self.backed_up_at or starts[0].at > self.restored_at - _IN_FLIGHT_SECONDS):
            # The backup has its minute and not its run, or its request came twice in this very moment.
            return False
        return len(starts) > 1 and not self._retries(job)

    def _is_in_doubt(self, minute: int) -> bool:
        """Whether the slots of a minute may have been under way when the table was restored. These may get lost."""
        return self.restored_at - _CONFUSED_SECONDS < minute * 60 < self.restored_at + _IN_FLIGHT_SECONDS

    def _retries(self, job: str) -> int:
        number = release.book(self.root).find(job)
        return 0 if number is None else release.book(self.root)[number].policy.retries

    def _settled(self, job: str, slot: str) -> bool:
        found = self.store.items.get((f"run#{job}", slot))
        return (job, slot) in self.settled or (found is not None and _run(found[0]).final)


def _run(item: Item) -> Run:
    run = decode(item.body, RUN, ItemKey("coordination", item.pk, item.sk))
    if not isinstance(run, Stored):
        raise TypeError(f"a run that the product wrote is unreadable ({run})")
    return run.value


def _hidden(context: RegionContext, queue: str) -> float:
    """For how long the message was last hidden. Its queue's time-out if it was not."""
    hidden = context.queues[queue].hidden  # type: ignore[attr-defined]
    return float(hidden.pop()[1]) if hidden else _VISIBILITY[queue]


def _event(minute: int) -> dict[str, str]:
    return {"detail-type": "Scheduled Event", "time": f"{stamp(minute)}:00Z"}

