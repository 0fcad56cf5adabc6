"""health_checks.rotate with one lost answer for each of its external calls: nothing doubled, lost or silent."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

from chalicelib.aws.client import Unavailable
from chalicelib.aws.route53 import HealthCheck, ProbeReport
from chalicelib.config.declared import HealthChecks
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine import state
from chalicelib.engine.operation import RunFailed
from chalicelib.engine.schema import Unreadable
from chalicelib.health_checks import operations
from chalicelib.health_checks.state import KEY, SCHEMA, RotationState
from simulation.health_checks import world
from testing.aws import FakeAws, FakeInstance
from testing.coverage import lines_executed
from testing.fakes import MemoryTable, MemoryTopic
from testing.lost_answers import Calls, check_every_lost_answer
from testing.route53 import FakeRoute53
from tests.health_checks.harness import FLEET, NOON

REGION = "eu-west-1"


class Region:
    """Ten hosts behind a target group. `dead`: none of them answers from outside."""

    def __init__(self) -> None:
        self.now, self.dead = float(NOON), False
        self.route53 = FakeRoute53(probe=self._probe)
        aws = FakeAws(route53=self.route53)
        for number in range(1, 11):
            id = f"i-{number:02d}"
            aws.instances[id] = FakeInstance(id, public_address=f"192.0.2.{number}")
        aws.target_groups["web"] = dict.fromkeys(aws.instances, "healthy")
        self.topic = MemoryTopic()
        self.context = RegionContext(
            region=REGION, stage="test", fleet=FLEET, shared_store=MemoryTable(), local_store=MemoryTable(), queues={},
            alerts=self.topic, clock=lambda: self.now, aws_regions={REGION: aws.ports})
        self.operation = operations.rotate(self._wait, lambda context: None)

    def run(self, context: RegionContext) -> None:
        """The next minute's run."""
        self.now = (self.now // 60 + 1) * 60 + 1
        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(self.now // 60 * 60, UTC).isoformat()}
        engine.run(self.operation, context, event)

    def subjects(self) -> list[str]:
        """The alerts that people have got."""
        return [subject for subject, _ in self.topic.told]

    def remembered(self) -> RotationState:
        """The operation's state."""
        stored = state.load(self.context.local_store, KEY, SCHEMA, RotationState())
        assert not isinstance(stored, Unreadable)
        return stored.value

    def _wait(self, seconds: float) -> None:
        self.now += seconds

    def _probe(self, check: HealthCheck) -> Sequence[ProbeReport]:
        return [ProbeReport(passed=not self.dead)] * 16


def scenario_after(minutes: int, dead: bool) -> None:
    """Each answer of the run after so many minutes is lost in turn."""

    def scenario(calls: Calls) -> None:
        region = Region()
        for _ in range(minutes):
            region.run(region.context)
        region.dead = dead
        with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
            region.run(calls.wrap_context(region.context))
        for _ in range(4):
            region.run(region.context)
        checks = region.route53.checks.values()
        references = [check.reference for check in checks]
        assert len(references) == len(set(references)) <= 7
        known = {check.id: check for check in region.remembered().checks}
        assert {check.id: (check.version, check.config["IPAddress"]) for check in checks
                if check.config["Type"] != "CALCULATED" and known[check.id].confirmed} == {
            id: (check.version, check.address) for id, check in known.items() if check.confirmed}
        if dead:
            assert any(subject.startswith("RegionUnhealthy") for subject in region.subjects())

    check_every_lost_answer(scenario, least_calls=5)


def test_the_first_run_with_one_lost_answer_makes_no_check_twice() -> None:
    scenario_after(0, dead=False)


def test_a_later_run_with_one_lost_answer_moves_no_check_twice() -> None:
    scenario_after(8, dead=False)


def test_an_unhealthy_region_with_one_lost_answer_is_heard_of() -> None:
    scenario_after(8, dead=True)


def test_a_lost_notice_is_published_again_by_the_next_run_and_its_end_is_told() -> None:
    region = Region()
    for _ in range(8):
        region.run(region.context)
    region.dead = True

    def fault(call: str) -> None:
        raise Unavailable("SNS does not answer")

    lost = MemoryTopic(fault)
    before = region.context
    unheard = RegionContext(**{name: getattr(before, name) for name in before.__struct_fields__} | {"alerts": lost})
    while not any(check.healthy is False for check in region.remembered().checks):
        region.run(unheard)
    for _ in range(3):
        region.run(unheard)
    assert region.subjects() == []
    region.run(region.context)
    assert any(subject.startswith("RegionUnhealthy") for subject in region.subjects())
    region.dead = False
    for _ in range(30):
        region.run(region.context)
    assert any(subject == f"Recovered: RegionUnhealthy: {REGION}" for subject in region.subjects())


def test_a_state_that_cannot_be_read_is_told_once_and_nothing_is_done() -> None:
    region = Region()
    region.context.local_store.create(*KEY, {})
    for _ in range(3):
        region.run(region.context)
    assert region.route53.requests == []
    assert [subject.partition(":")[0] for subject in region.subjects()] == ["UnreadableItem"]


def test_the_simulation_executes_the_operation() -> None:
    modules = [f"chalicelib.health_checks.{name}" for name in ("operations", "observe", "act")]
    plot = world.Plot(3, "adversarial", HealthChecks(target_groups=("hosts",)), 20, 1200, rough=True)
    executed = lines_executed(lambda: world.World(plot).run(), modules)
    shares = {name: (round(one.share, 2), one.missing) for name, one in executed.items()}
    assert all(one.share > 0.87 for one in executed.values()), shares
