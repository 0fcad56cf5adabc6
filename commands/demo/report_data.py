"""The data of the demo's report, read from the store and from the Lambdas' own logs, after the fact."""

import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from chalicelib.crontab.job import Job
from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.missed import MissedRuns
from chalicelib.crontab.timetable import Timetable
from chalicelib.engine.schema import ItemKey, Stored, decode
from chalicelib.schedules.state import RUN, Run
from commands.demo.faults import Told as Tunnelled
from commands.demo.routing import Told
from commands.deploy.packaging import Package
from sandbox.world import Sandbox


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """One slot of one job, with its stored run, and the number of workers that logged a claim."""

    job: str
    slot: str
    minute: int
    state: str = "not run"
    region: str = ""
    why: str = ""
    late: float = 0
    claims: int = 0

    @property
    def once(self) -> bool:
        """Whether it has run to its end, once."""
        return self.state == "done" and self.claims == 1


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


class Report(msgspec.Struct, frozen=True):
    """The results of the demo. `failures` is empty when all of it held. Times in seconds from the start of the command.
    """

    deployed_after: float
    finished_after: float
    home: str
    stopped: str
    restarted: str
    slots: list[Slot]
    tasks: Tasks
    takeover_seconds: float
    failures: list[str]
    routing: Told | None = None
    tunnels: Tunnelled | None = None

    @property
    def failed(self) -> bool:
        """Whether anything did not hold."""
        told = [one.failures for one in (self.routing, self.tunnels) if one]
        return any([self.failures, *told])


class Evidence:
    """Reads a world in which `package` runs. Times are UTC minutes since the epoch, or seconds where it says so."""

    def __init__(self, world: Sandbox, package: Package, since: float) -> None:
        self.world, self.package, self.since = world, package, since
        with zipfile.ZipFile(package.zip) as packed:
            self.timetable = Timetable.load(packed.read("timetable.bin"))
            self.book = JobFile.load(packed.read("jobs.bin"))
        self._regions = [region.name for region in package.fleet.regions]

    def due(self, first: int, end: int) -> list[tuple[Job, MissedRuns]]:
        """The jobs that have slots from minute `first` up to, not including, `end`."""
        return [(self.book[found.job], found) for found in self.timetable.missed(first, end)]

    def slots(self, first: int, end: int, *, logs: bool) -> list[Slot]:
        """Every slot that was due, with its run. Claims are counted only with `logs`."""
        wanted = [(job, slot) for job, found in self.due(first, end) for slot in found.slots()]
        runs = self._runs(sorted({job.name for job, _ in wanted}))
        claims = self.claims() if logs else Counter[tuple[str, str]]()
        return [self._slot(job.name, slot.name, slot.minute, runs.get((job.name, slot.name)), claims)
                for job, slot in wanted]

    def claims(self) -> Counter[tuple[str, str]]:
        """How often workers, wherever, logged that they claimed (job, slot)."""
        return Counter((line["job"], line["slot"]) for region in self._regions
                       for line in self._log(region, "schedules_work") if line.get("message") == "claimed")

    def tasks(self, ids: Sequence[str]) -> Tasks:
        """The workers' logs about these messages (SQS's ids)."""
        fates: dict[str, list[str]] = defaultdict(list)
        own = set(ids)
        for region in self._regions:
            for line in self._log(region, "tasks_work"):
                for fate, named in line.get("ids", {}).items():
                    fates[fate] += [id for id in named if id in own]
        done = Counter(fates["done"])
        return Tasks(len(ids), len(done), len(set(fates["dead"])), len(fates["retried"]),
                     sum(count > 1 for count in done.values()))

    def _slot(self, job: str, slot: str, minute: int, run: Run | None, claims: Counter[tuple[str, str]]) -> Slot:
        if run is None:
            return Slot(job, slot, minute, claims=claims[job, slot])
        return Slot(job, slot, minute, run.state, run.region, run.why, round(run.started - minute * 60, 1),
                    claims[job, slot])

    def _runs(self, jobs: Sequence[str]) -> dict[tuple[str, str], Run]:
        region = next(name for name in self.package.fleet.coordination.regions if name not in self._stopped())
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

    def _stopped(self) -> Sequence[str]:
        stopped: list[str] = self.world.control("stopped")
        return stopped

    def _log(self, region: str, function: str) -> Iterator[dict[str, Any]]:
        if region in self._stopped():
            return
        logs = self.world.client("logs", region)
        page: dict[str, str] = {}
        while True:
            answer = logs.filter_log_events(logGroupName=f"/aws/lambda/{self.package.stack}-{function}",
                                            startTime=int(self.since * 1000), **page)
            for event in answer["events"]:
                text = event["message"].strip()
                if text.startswith("{"):
                    yield json.loads(text)
            if "nextToken" not in answer:
                return
            page = {"nextToken": answer["nextToken"]}
