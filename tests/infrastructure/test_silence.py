"""Whatever silences a Lambda, an alarm of the template goes off within three of its intervals, and none in peace.

The alarms are evaluated as CloudWatch does it, on the data points that AWS publishes in each case: a throttled
invocation is no invocation, and what nobody does leaves no data at all.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.engine.deployment import FleetQueues, Invoked, OwnQueue, Schedule
from chalicelib.infrastructure import parts
from tests.infrastructure.test_alarms import of_type

# The data points of one interval by metric. A metric without one has no data.
Points = Mapping[str, float]

RUNS: Points = {"alive": 1, "Invocations": 1, "Errors": 0, "Throttles": 0, "ConcurrentExecutions": 1}
BUSY: Points = {**RUNS, "Invocations": 9, "ApproximateNumberOfMessagesVisible": 4, "NumberOfEmptyReceives": 0}
IDLE: Points = {"ApproximateNumberOfMessagesVisible": 0, "NumberOfEmptyReceives": 15}
# One run of several minutes keeps the mapping from polling.
LONG: Points = {"ConcurrentExecutions": 1, "ApproximateNumberOfMessagesVisible": 3}
# What the Lambda of another rule does shows that the stack exists.
NOTHING: Points = {"alive": 1}
BEFORE: Points = {}
# CloudWatch gets the data of the newest interval late, and judges it all the same.
LATE: Points = {}
OF_RULES = {"its rule is disabled": NOTHING, "its rule is gone": NOTHING,
            "every run is throttled": {**NOTHING, "Throttles": 3}, "its concurrency is 0": {**NOTHING, "Throttles": 1},
            "the function is inactive": NOTHING, "each run fails": {**RUNS, "Errors": 1}}
OF_QUEUES = {"its mapping is disabled": {"ApproximateNumberOfMessagesVisible": 3},
             "its mapping is disabled and nobody sends": {"ApproximateNumberOfMessagesVisible": 0},
             "every invocation is throttled": {"Throttles": 5, "ApproximateNumberOfMessagesVisible": 3,
                                               "NumberOfEmptyReceives": 1},
             "its concurrency is 0": {"Throttles": 5, "ApproximateNumberOfMessagesVisible": 3}}
_BREACHES = {"GreaterThanThreshold": lambda value, threshold: value > threshold,
             "LessThanThreshold": lambda value, threshold: value < threshold}


def goes_off(alarm: Mapping[str, Any], intervals: Sequence[Points]) -> bool:
    """Whether the alarm is on after the last interval.

    CloudWatch gets two data points more than it judges, and takes them in the place of missing ones ("Configuring how
    CloudWatch alarms treat missing data"). An expression with `FILL` has none that is missing.
    """
    periods = int(alarm["EvaluationPeriods"])
    near = [points for points in intervals[-periods - 2:] if _value(alarm, points) is not None][-periods:]
    missing = [BEFORE] * (periods - len(near))
    return sum(_breaches(alarm, points) for points in (*missing, *near)) >= int(alarm["DatapointsToAlarm"])


def _breaches(alarm: Mapping[str, Any], points: Points) -> bool:
    value = _value(alarm, points)
    if value is None:
        return bool(alarm["TreatMissingData"] == "breaching")
    return bool(_BREACHES[alarm["ComparisonOperator"]](value, alarm["Threshold"]))


def _value(alarm: Mapping[str, Any], points: Points) -> float | None:
    if "MetricName" in alarm:
        return points.get(alarm["MetricName"])
    found = {one["Id"]: points.get("alive" if one["Id"] == "alive" else one["MetricStat"]["Metric"]["MetricName"])
             for one in alarm["Metrics"] if "MetricStat" in one}
    [expression] = [one["Expression"] for one in alarm["Metrics"] if one["ReturnData"]]
    python = re.sub(r"FILL\((\w+), 0\)", r"fill(\1)", expression).replace(" AND ", " and ").replace(" OR ", " or ")
    helpers = {"IF": lambda condition, yes, no: yes if condition else no, "fill": lambda value: value or 0}
    return float(eval(python, helpers, found))  # noqa: S307 - own


def alarms_of(function: str, queue: str = "") -> list[dict[str, Any]]:
    """Those of the Lambda, and of its `queue` (logical ids) without those of dead letters."""
    ids = [f"{parts.logical(function)}{end}" for end in ("Silent", "Failing", "Throttled")] + [f"{queue}Unserved"]
    return [alarm for id, alarm in of_type("CloudWatch::Alarm").items() if id in ids]


RULES = [each.function for each in registry.lambdas() if isinstance(each.trigger, Schedule)]
QUEUES = [(each.function, queue) for each in registry.lambdas() for queue in (
    [parts.logical(each.trigger.name)] if isinstance(each.trigger, OwnQueue) else
    ["QueueMail", "QueueOrders"] if isinstance(each.trigger, FleetQueues) else [])]
INVOKED = [each.function for each in registry.lambdas() if isinstance(each.trigger, Invoked)]


@pytest.mark.slow
@pytest.mark.parametrize("function", RULES)
def test_somebody_is_told_within_three_intervals_of_a_scheduled_lambda(function: str) -> None:
    found = alarms_of(function)
    assert len(found) == 2
    for fault, points in OF_RULES.items():
        for newest in ([], [LATE]):
            assert any(goes_off(alarm, [RUNS] * 9 + [points] * 3 + newest) for alarm in found), fault
    # One run that is lost, late or doubled is none.
    for last in ([RUNS], [NOTHING, NOTHING, {**RUNS, "Invocations": 2}], [NOTHING, RUNS],
                 [{**RUNS, "Errors": 1}, RUNS, RUNS]):
        for newest in ([], [LATE]):
            assert not any(goes_off(alarm, [RUNS] * 9 + last + newest) for alarm in found)


@pytest.mark.slow
@pytest.mark.parametrize("function", RULES)
def test_nobody_is_told_of_a_scheduled_lambda_whose_stack_is_new(function: str) -> None:
    first = [*[BEFORE] * 9, NOTHING, RUNS, RUNS, RUNS]
    alarms = alarms_of(function)
    for newest in ([], [LATE]):
        told = [end for end in range(9, len(first) + 1)
                if any(goes_off(alarm, first[:end] + newest) for alarm in alarms)]
        # All others rely on that one, which has nobody to rely on, for its first minutes.
        assert told == ([9, 10] if function == "schedules_tick" else [])


@pytest.mark.parametrize(("function", "queue"), QUEUES)
def test_somebody_is_told_within_three_minutes_of_a_queue_that_is_not_served(function: str, queue: str) -> None:
    found = alarms_of(function, queue)
    assert len(found) == 2 and all(one.get("Period", 60) == 60 for one in found)
    for before in (BUSY, IDLE):
        for fault, points in OF_QUEUES.items():
            for newest in ([], [LATE]):
                assert any(goes_off(alarm, [before] * 9 + [points] * 3 + newest) for alarm in found), fault
    # A FIFO queue whose mapping does not poll while a batch runs is told apart by the run.
    for before, last in ((BUSY, [BUSY]), (IDLE, [IDLE]), (IDLE, [LONG] * 3), (BUSY, [{"Throttles": 2}, BUSY, BUSY])):
        for newest in ([], [LATE]):
            assert not any(goes_off(alarm, [before] * 9 + last + newest) for alarm in found)


@pytest.mark.parametrize("function", INVOKED)
def test_somebody_is_told_within_three_minutes_of_a_runner_that_does_not_begin(function: str) -> None:
    [alarm] = alarms_of(function)
    assert alarm["Period"] == 60 and goes_off(alarm, [NOTHING] * 9 + [{"Throttles": 1}] * 3)
    assert goes_off(alarm, [NOTHING] * 9 + [{"Throttles": 1}] * 4 + [LATE])
    assert not goes_off(alarm, [NOTHING] * 12) and not goes_off(alarm, [RUNS, RUNS, {**RUNS, "Throttles": 1}])


def test_every_lambda_that_starts_by_itself_is_among_them() -> None:
    tried = {*RULES, *INVOKED, *(function for function, _ in QUEUES)}
    assert tried == {each.function for each in registry.lambdas() if each.trigger} and len(tried) > 10
