"""health_checks.rotate with one lost answer for each of its external calls: nothing doubled, lost or silent."""

import contextlib
from collections.abc import Callable

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.operation import RunFailed
from chalicelib.health_checks import operations
from chalicelib.health_checks.state import KEY
from testing.fakes import MemoryTopic
from testing.lost_answers import Calls, check_every_lost_answer
from tests.health_checks.harness import REGION, Region


def scenario_after(minutes: int, happens: Callable[[Region], None], subject: str = "") -> None:
    """Each answer of the run after so many minutes is lost in turn. Just before, something `happens`."""

    def scenario(calls: Calls) -> None:
        region = Region()
        for _ in range(minutes):
            region.run(region.context)
        happens(region)
        with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
            region.run(calls.wrap_context(region.context))
        for _ in range(8):
            region.run(region.context)
        checks = region.route53.checks.values()
        references = [check.reference for check in checks]
        assert len(references) == len(set(references)) == 7
        known = {check.id: check for check in region.remembered().checks}
        assert {check.id: (check.version, check.config["IPAddress"]) for check in checks
                if check.config["Type"] != "CALCULATED" and known[check.id].confirmed} == {
            id: (check.version, check.address) for id, check in known.items() if check.confirmed}
        if subject:
            # Delivery is at least once: the notice whose answer was lost is published again.
            assert [one.partition(":")[0] for one in region.subjects()].count(subject) in (1, 2)

    check_every_lost_answer(scenario, least_calls=5)


def nothing(region: Region) -> None:
    """All is well."""


@pytest.mark.slow
def test_the_first_run_with_one_lost_answer_makes_no_check_twice() -> None:
    scenario_after(0, nothing)


@pytest.mark.slow
def test_a_later_run_with_one_lost_answer_moves_no_check_twice() -> None:
    scenario_after(8, nothing)


@pytest.mark.slow
def test_an_unhealthy_region_with_one_lost_answer_is_heard_of() -> None:
    scenario_after(8, lambda region: setattr(region, "dead", True), "RegionUnhealthy")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(7))
def test_a_deleted_check_with_one_lost_answer_is_made_anew_once_and_heard_of(number: int) -> None:
    # The tenth run looks the calculated check up.
    scenario_after(9, lambda region: region.delete(number), "HealthCheckDeleted")


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_check_deleted_just_before_the_calculated_one_changes_is_made_anew_once_and_heard_of(number: int) -> None:
    def happens(region: Region) -> None:
        parent = region.remembered().parent
        assert parent
        deleted = parent.children[number - 1]
        region.delete(deleted)
        # Another fixed check loses its host, so its place in the calculated check is taken by a rotating one.
        other = parent.children[number % 4]
        [host] = [check.host for check in region.remembered().checks if check.number == other]
        region.targets[host] = "draining"

    scenario_after(9, happens, "HealthCheckDeleted")


@pytest.mark.slow
def test_status_with_one_lost_answer_fails_or_tells_and_changes_nothing() -> None:
    def scenario(calls: Calls) -> None:
        region = Region()
        for _ in range(8):
            region.run(region.context)
        before, requests = dict(region.local_store.store.items), list(region.route53.requests)
        with calls.counted():
            outcome = engine.run(operations.STATUS, calls.wrap_context(region.context), {})
        assert outcome["status"] == "planned" or "AWS did not answer" in outcome["message"]
        assert region.local_store.store.items == before and region.route53.requests == requests

    check_every_lost_answer(scenario, least_calls=3)


@pytest.mark.slow
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
