"""One lost answer for each external call of each operation of databases: nothing is doubled, lost, or silent."""

from collections import Counter
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.databases.operations import Databases
from chalicelib.databases.state import (
    PRIMARY,
    PRIMARY_KEY,
    READINESS,
    READY,
    REPORT,
    PrimaryRecord,
    Promotion,
    RegionReport,
)
from chalicelib.engine import run as engine
from chalicelib.engine import state
from chalicelib.engine.operation import RunFailed
from chalicelib.engine.schema import Stored
from chalicelib.mysql.connection import DatabaseError
from chalicelib.mysql.status import ServerError
from testing.databases import Change, FakeFleet, FakeServer
from testing.fakes import MemoryTable, MemoryTopic
from testing.lost_answers import Calls, LostAnswer, check_every_lost_answer
from tests.databases.harness import AP, EU, FLEET, REGIONS, US

FAILS = (RunFailed, Unavailable)


def lost(name: str) -> Exception:
    """A server's answer that is lost is a broken connection, any other one AWS that gives no answer."""
    if name.startswith("server"):
        return DatabaseError(ServerError("silent", name.split()[1].split(".")[0], name))
    return Unavailable(name)


def check(scenario: Any) -> list[LostAnswer]:
    return check_every_lost_answer(scenario, error=lost)


class Regions:
    """Three regions with a server each, watched for two minutes. `calls` counts and loses in what is `lossy`."""

    def __init__(self, calls: Calls) -> None:
        self.calls, self.now = calls, 1_800_000_000.0
        self.servers = FakeFleet({EU: "eu", US: "us", AP: "ap"}, lambda: self.now, Random(1))
        self.changes: Counter[tuple[str, Change]] = Counter()
        self.servers.on_change = lambda server, change, rows: self.changes.update([(server.region, change)])
        self.shared = MemoryTable()
        self.local = {region: MemoryTable() for region in REGIONS}
        self.topics = {region: MemoryTopic() for region in REGIONS}
        for _ in range(5):
            self.server(EU).write()
        self.minutes(2)
        self.changes.clear()

    def server(self, region: str) -> FakeServer:
        return self.servers.servers[region]

    def context(self, region: str) -> RegionContext:
        return RegionContext(region, "test", FLEET, self.shared, self.local[region], {}, self.topics[region],
                             clock=lambda: self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.servers.replicate()

    def settle(self) -> None:
        """The replicas get and apply all that there is."""
        for _ in range(30):
            self.pass_time(0.1)

    def invoke(self, name: str, region: str, event: dict[str, Any], *, lossy: bool = False) -> dict[str, Any]:
        """One invocation. A run that fails is empty."""
        def reach(site: RegionContext, there: str, admin: bool) -> Any:
            return self.calls.wrap(self.server(there), f"server {there}")

        operations = Databases(reach, self.pass_time, lambda ask, regions: [ask(region) for region in regions])
        operation, context = getattr(operations, name), self.calls.wrap_context(self.context(region))
        with suppress(*FAILS), self.calls.counted() if lossy else nullcontext():
            return engine.run(operation, context, event, "run")
        return {}

    def scheduled(self, name: str, region: str, *, lossy: bool = False) -> None:
        when = datetime.fromtimestamp(self.now, UTC).isoformat()
        self.invoke(name, region, {"detail-type": "Scheduled Event", "time": when}, lossy=lossy)

    def minutes(self, number: int) -> None:
        """So many minutes in which all goes well."""
        for _ in range(number):
            for _ in range(20):
                self.pass_time(3)
            for region in REGIONS:
                self.scheduled("watch", region)
                self.scheduled("heal", region)

    def minute(self, name: str, region: str) -> None:
        """The next minute in a region, in which an answer of this operation may get lost."""
        self.pass_time(60)
        self.scheduled(name, region, lossy=True)

    @property
    def primary(self) -> PrimaryRecord:
        stored = state.find(self.shared, PRIMARY_KEY, PRIMARY)
        return stored.value if isinstance(stored, Stored) else PrimaryRecord(EU)

    @primary.setter
    def primary(self, record: PrimaryRecord) -> None:
        before = state.find(self.shared, PRIMARY_KEY, PRIMARY)
        assert before is None or isinstance(before, Stored)
        assert state.write(self.shared, PRIMARY_KEY, PRIMARY, before, record, run_id="test")

    def report(self, region: str) -> RegionReport:
        stored = state.find(self.shared, ("databases", region), REPORT)
        assert isinstance(stored, Stored)
        return stored.value

    def told(self, region: str, about: str = "") -> list[str]:
        """The kinds of the notices of a region, that of a server whose answer was lost left out."""
        subjects = [subject.removesuffix(f": database in {region}") for subject, _ in self.topics[region].told]
        return [subject for subject in subjects if about in subject and "DatabaseUnreachable" not in subject]


@pytest.mark.slow
def test_watch_of_the_primary_goes_on_with_the_heartbeat() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.minute("watch", EU)
        found.minutes(2)
        report, ready = found.report(EU), state.find(found.local[EU], READINESS, READY)
        assert isinstance(ready, Stored) and ready.value.ready and ready.value.until > found.now
        assert report.heartbeats[-1] == found.server(EU).heartbeats[EU] > found.now - 60
        assert len(set(report.heartbeats)) == len(report.heartbeats)
        assert [found.told(region) for region in REGIONS] == [[], [], []] and not found.changes

    assert len(check(scenario)) >= 20


@pytest.mark.slow
def test_watch_fences_an_old_primary_and_nothing_opens_it() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.settle()
        found.primary = PrimaryRecord(AP, 1, fenced=(EU,), position=found.server(AP).executed)
        found.server(EU).write()
        found.minute("watch", EU)
        found.minutes(2)
        assert found.server(EU).read_only and found.changes[EU, "writable"] == 0
        assert found.told(EU).count("SplitBrain") <= 2
        # It is over once the server is closed. What the server has more is told all the same.
        assert any("transactions that the new primary never got" in text for _, text in found.topics[EU].told)

    assert len(check(scenario)) >= 30


@pytest.mark.slow
def test_watch_lets_a_server_rejoin_once() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.primary = PrimaryRecord(EU, 1, fenced=(US,))
        found.minute("watch", EU)
        found.minute("watch", US)
        found.minutes(2)
        assert found.primary == PrimaryRecord(EU, 1) and not found.changes
        assert found.told(US) == []

    assert len(check(scenario)) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["IO", "SQL"])
def test_heal_starts_a_thread_once(thread: str) -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.server(US).stop(thread)
        found.minute("heal", US)
        found.minutes(4)
        assert (found.server(US).io, found.server(US).sql) == ("running", "running")
        assert found.changes == {(US, "started"): 1} and found.told(US, "ReplicationBroken") == []

    assert len(check(scenario)) >= 20


@pytest.mark.slow
def test_heal_follows_a_new_primary_once() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.settle()
        found.server(AP).reset_replica()
        found.server(EU).set_read_only()
        found.server(AP).set_writable()
        found.primary = PrimaryRecord(AP, 1, fenced=(EU,), position=found.server(AP).executed)
        found.pass_time(60)
        found.scheduled("watch", AP)
        found.minute("heal", US)
        found.minutes(4)
        assert found.server(US).source == "ap" and found.changes[US, "source-changed"] == 1
        assert found.server(US).io == found.server(US).sql == "running"

    assert len(check(scenario)) >= 20


@pytest.mark.slow
def test_heal_tells_people_that_only_they_can_help() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.server(US).poison = 1062
        found.server(EU).write()
        for _ in range(5):
            found.pass_time(1)
        found.minute("heal", US)
        found.minutes(3)
        assert 1 <= len(found.told(US, "ReplicationBroken")) <= 2
        assert "Recovered: ReplicationBroken" not in found.told(US) and not found.changes

    assert len(check(scenario)) >= 15


def is_over(found: Regions) -> bool:
    return found.primary.region == US and found.primary.promotion is None


@pytest.mark.slow
def test_promotion_that_somebody_goes_on_with_ends_once_and_loses_nothing() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        rows = [found.server(EU).write() for _ in range(9)]
        opened = list[bool]()
        count = found.servers.on_change

        def changed(server: FakeServer, change: Change, lost: Any) -> None:
            count(server, change, lost)
            if change == "writable":
                opened.append(found.server(EU).read_only and all(map(server.has, rows)))

        found.servers.on_change = changed
        answer = found.invoke("promote", US, {"apply": True, "region": US}, lossy=True)
        for _ in range(5):
            if is_over(found):
                break
            # The claim may be there or not: a person looks, and goes on.
            found.pass_time(20)
            found.invoke("promote", AP, {"apply": True, "region": US})
        found.minutes(2)
        found.settle()
        assert is_over(found) and found.primary.term == 1 and found.primary.fenced == (EU,)
        assert opened and all(opened) and not found.server(US).read_only and found.server(EU).read_only
        assert found.server(AP).source == "us" and found.server(AP).executed == found.server(US).executed
        told = [subject for region in REGIONS for subject in found.told(region, "Promoted")]
        # Whoever asked for it hears it at any rate, and also that nobody else does.
        unsaid = any("nobody could be told" in line for line in answer.get("results", ()))
        assert 1 - unsaid <= len(told) <= 2 and set(told) <= {"Promoted: us-east-1 has the primary"}

    assert len(check(scenario)) >= 80


@pytest.mark.slow
def test_claim_of_a_promotion_is_one_term_whatever_gets_lost() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.invoke("promote", US, {"apply": True, "region": US}, lossy=True)
        assert found.primary.term <= 1
        assert found.primary.promotion is None or isinstance(found.primary.promotion, Promotion)
        writers = [region for region in REGIONS if not found.server(region).read_only]
        assert len(writers) <= 1

    assert len(check(scenario)) >= 80


@pytest.mark.slow
def test_fence_is_done_and_proven_by_the_run_after() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        answer = found.invoke("fence", EU, {"apply": True}, lossy=True)
        while not answer or answer["status"] != "done":
            answer = found.invoke("fence", EU, {"apply": True})
        report = found.report(EU)
        if not (report.fenced and report.read_only):
            # The report was lost, and says so; the watch makes up for it.
            assert any("not reported" in line for line in answer["results"])
            found.minutes(1)
        report = found.report(EU)
        assert report.fenced and report.read_only and report.term == found.primary.term == 0
        assert found.server(EU).read_only and found.primary.fenced == (EU,) and found.changes[EU, "writable"] == 0

    assert len(check(scenario)) >= 20


@pytest.mark.slow
def test_tune_leaves_replication_running() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        found.server(US).connect_retry = 60
        answer = found.invoke("tune", US, {"apply": True}, lossy=True)
        if not answer or answer["status"] != "done":
            answer = found.invoke("tune", US, {"apply": True})
        assert answer["status"] == "done" and found.server(US).connect_retry == 1
        assert found.server(US).io == found.server(US).sql == "running"

    assert len(check(scenario)) >= 14


@pytest.mark.slow
def test_status_changes_nothing_and_says_when_it_does_not_know() -> None:
    def scenario(calls: Calls) -> None:
        found = Regions(calls)
        before = dict(found.shared.store.items), dict(found.local[US].store.items)
        answer = found.invoke("status", US, {}, lossy=True)
        if calls.is_lost:
            assert answer["status"] == "failed" or not answer["plan"]["report"]["here"]["ready"]
        assert (found.shared.store.items, found.local[US].store.items) == before and not found.changes

    assert len(check(scenario)) >= 8
