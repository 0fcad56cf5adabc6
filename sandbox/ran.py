"""What ran in a deployed stack: slots by the store of its runs, claims and tasks by the Lambdas' own logs."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from chalicelib.aws.client import pages
from chalicelib.config.declared import Fleet
from chalicelib.engine.schema import ItemKey, Stored, decode
from chalicelib.schedules.state import RUN, Run
from sandbox.world import Sandbox

# Final states of a run, and of a slot that its job's policy leaves out.
_RAN = frozenset({"done", "failed", "timed-out", "replaced"})
_SET_ASIDE = frozenset({"overlapped", "coalesced", "paused"})


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
    def started(self) -> float:
        """When (epoch seconds) it started, if it has."""
        return self.minute * 60 + self.late

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


class Ran:
    """The evidence of the stack `<name of the fleet>-<stage>`, from `since` (epoch seconds) on."""

    def __init__(self, world: Sandbox, fleet: Fleet, stack: str, since: float) -> None:
        self._world, self._fleet, self._stack, self._since = world, fleet, stack, since

    def slots(self, due: Sequence[Slot], *, logs: bool = False) -> list[Slot]:
        """The slots that were `due`, with their runs. Claims are counted only with `logs`."""
        claims = Counter((line["job"], line["slot"]) for line in (self._log("schedules_work") if logs else ())
                         if line.get("message") == "claimed")
        runs = {(run.job, run.slot): run for run in self._runs(sorted({slot.job for slot in due}))}
        return [_with(slot, runs.get((slot.job, slot.slot)), claims[slot.job, slot.slot]) for slot in due]

    def tasks(self, ids: Collection[str]) -> Tasks:
        """What became of the messages with these `ids` of SQS."""
        fates: dict[str, list[str]] = defaultdict(list)
        for line in self._log("tasks_work"):
            for fate, named in line.get("ids", {}).items():
                fates[fate] += [id for id in named if id in ids]
        done = Counter(fates["done"])
        return Tasks(len(ids), len(done), len(set(fates["dead"])), len(fates["retried"]),
                     sum(count > 1 for count in done.values()))

    def _runs(self, jobs: Iterable[str]) -> Iterator[Run]:
        region = next(iter(self._living(self._fleet.coordination.regions)))
        client, table = self._world.client("dynamodb", region), f"{self._stack}-coordination"
        for job in jobs:
            for item in client.query(
                    TableName=table, KeyConditionExpression="pk = :pk", ConsistentRead=True,
                    ExpressionAttributeValues={":pk": {"S": f"run#{job}"}})["Items"]:
                run = decode(msgspec.json.decode(item["body"]["S"]), RUN, ItemKey(table, job, item["sk"]["S"]))
                if isinstance(run, Stored):
                    yield run.value

    def _log(self, function: str) -> Iterator[dict[str, Any]]:
        """The lines of a Lambda's log that are JSON, in all living regions."""
        for region in self._living([region.name for region in self._fleet.regions]):
            found = pages(self._world.client("logs", region), "filter_log_events", startTime=int(self._since * 1000),
                          logGroupName=f"/aws/lambda/{self._stack}-{function}")
            for text in (event["message"].strip() for page in found for event in page["events"]):
                if text.startswith("{"):
                    yield json.loads(text)

    def _living(self, regions: Iterable[str]) -> list[str]:
        stopped = self._world.control("stopped")
        return [region for region in regions if region not in stopped]


def _with(slot: Slot, run: Run | None, claims: int) -> Slot:
    if run is None:
        return msgspec.structs.replace(slot, claims=claims)
    return msgspec.structs.replace(slot, state=run.state, region=run.region, attempts=run.attempt, claims=claims,
                                   late=round(run.started - slot.minute * 60, 1))
