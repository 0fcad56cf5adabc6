"""What the time of a scheduled event may do: nothing, unless the clock of the Lambda bears it out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib import context as contexts
from chalicelib import registry
from chalicelib.config import fleet
from chalicelib.context import RegionContext
from chalicelib.engine.deployment import Schedule
from chalicelib.engine.operation import RunFailed
from tests.tunnels.fleets import TEXT
from tests.tunnels.harness import Yard

NOW = datetime(2026, 11, 29, 12, 0, 41, tzinfo=UTC)
SCHEDULED = [each for each in registry.lambdas() if isinstance(each.trigger, Schedule)]
# The controller of tunnels works by its own clock alone, whatever its event says.
BY_EVENT = [each.function for each in SCHEDULED if each.name != "tunnels.heal"]
WRONG = {
    "1970": datetime(1970, 1, 1, tzinfo=UTC), "a day and an hour late": NOW - timedelta(hours=25),
    "an hour ahead": NOW + timedelta(hours=1), "2099": datetime(2099, 1, 1, tzinfo=UTC),
    "8999": datetime(8999, 12, 31, tzinfo=UTC)}


class Untouchable:
    """Whatever is asked of it is too much."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name}: a run that is refused asks nothing of AWS")


def invoke(function: str, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Invokes the Lambda as it is deployed, at `NOW`, without anything behind it."""
    nothing: Any = Untouchable()
    declared = fleet.parse(TEXT)
    site = RegionContext("eu-west-1", "test", declared, nothing, nothing, {}, nothing, clock=NOW.timestamp,
                         aws_regions=dict.fromkeys((region.name for region in declared.regions), nothing))
    monkeypatch.setattr(contexts, "here", lambda: site)
    handler = registry.handler.__wrapped__(function)
    handler(event, type("Context", (), {"aws_request_id": "r"}))


def scheduled(at: datetime) -> dict[str, Any]:
    return {"detail-type": "Scheduled Event", "time": at.isoformat().replace("+00:00", "Z")}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("function", BY_EVENT)
def test_an_event_of_another_time_is_refused_before_anything_is_read_and_the_run_fails(
    function: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = WRONG[wrong]
    with pytest.raises(RunFailed) as refused:
        invoke(function, scheduled(at), monkeypatch)
    assert f'"time" {scheduled(at)["time"]!r}' in str(refused.value)
    [name] = [each.name for each in SCHEDULED if each.function == function]
    assert str(refused.value).startswith(f"{name}: ")


@pytest.mark.parametrize("function", BY_EVENT)
def test_the_refusals_are_of_the_time_alone(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right time, or one of an hour ago, the same Lambda goes to work."""
    for late in (timedelta(0), timedelta(hours=1)):
        stopped = ""
        try:
            invoke(function, scheduled(NOW - late), monkeypatch)
        except (AssertionError, RunFailed) as error:
            stopped = str(error)
        assert '"time"' not in stopped


def test_every_scheduled_operation_is_among_them() -> None:
    assert len(SCHEDULED) >= 9 and len(BY_EVENT) == len(SCHEDULED) - 1


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [*WRONG, "an hour late"])
def test_the_controller_of_tunnels_works_by_its_own_clock_whatever_its_event_says(wrong: str) -> None:
    yard, right = Yard(), Yard()
    at = WRONG.get(wrong, NOW - timedelta(hours=1))
    for one, event in ((yard, scheduled(at)), (right, scheduled(datetime.fromtimestamp(right.now, UTC)))):
        one.minute()
        one.sides["i-0001"] = ("local", "refused")
        ended = one.controller.handle(event, "r")
        assert ended["status"] == "done"
    assert yard.names() == right.names() and right.names()[:2] == ["elb deregister", "ssm send_command"]
    assert yard.state == right.state
