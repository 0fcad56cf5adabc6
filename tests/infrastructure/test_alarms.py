"""Silence is an alarm: whatever starts by a rule or serves a queue is missed when it does not."""

import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.config import fleet
from chalicelib.engine.deployment import FleetQueues, Invoked, OwnQueue, Schedule
from chalicelib.infrastructure import alarms, parts, template
from tests.tunnels.fleets import TEXT

ROOT = Path(__file__).resolve().parents[2]


def resources() -> dict[str, Any]:
    """The template of every section that .chalice/resources.json holds, and of a queue of fleet.toml."""
    whole = template.static(list(registry.lambdas()))["Resources"]
    declared = fleet.parse(TEXT + '[[queues]]\nname = "mail"\n[[queues]]\nname = "orders"\nfifo = true\n')
    return {**template.merged({"Resources": {}}, declared, "s", [])["Resources"], **whole}


def of_type(kind: str) -> dict[str, Any]:
    """Properties of the resources of one type, by logical id."""
    return {id: part["Properties"] for id, part in resources().items() if part["Type"] == f"AWS::{kind}"}


def silence() -> dict[str, Any]:
    """The alarms that breach without data."""
    return {id: alarm for id, alarm in of_type("CloudWatch::Alarm").items() if alarm["TreatMissingData"] == "breaching"}


def metrics(alarm: dict[str, Any]) -> dict[str, Any]:
    """What an alarm on an expression watches: metric -> its dimension."""
    return {one["MetricStat"]["Metric"]["MetricName"]: one["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
            for one in alarm.get("Metrics", ()) if "MetricStat" in one}


@pytest.mark.slow
def test_every_target_of_a_rule_has_an_alarm_on_its_silence() -> None:
    watched = {metrics(alarm)["Invocations"]["Ref"]: alarm for alarm in silence().values()
               if metrics(alarm).keys() == {"Invocations"}}
    targets = {target["Arn"]["Fn::GetAtt"][0]: rule for rule in of_type("Events::Rule").values()
               for target in rule["Targets"]}
    assert len(targets) >= 9 and targets.keys() == watched.keys()
    for target, rule in targets.items():
        alarm, interval = watched[target], 60 if rule["ScheduleExpression"] == "cron(* * * * ? *)" else 3600
        *witness, begun, runs = alarm["Metrics"]
        assert begun["MetricStat"]["Metric"]["Namespace"] == "AWS/Lambda" and begun["MetricStat"]["Stat"] == "Sum"
        assert begun["MetricStat"]["Period"] == interval
        # Without FILL older data points stand in for missing ones. Those of the newest period come late.
        runs_of = {"SchedulesTick": "FILL(begun, 0)"}.get(target, "IF(FILL(alive, 0) > 0, FILL(begun, 0), 1)")
        assert (runs["Expression"], runs["ReturnData"]) == (runs_of, True)
        assert [one["MetricStat"]["Metric"]["Dimensions"] for one in witness] == ([] if target == "SchedulesTick" else [
            [{"Name": "FunctionName", "Value": {"Ref": "SchedulesTick"}}]])
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
        assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (3, 3 if target == "SchedulesTick" else 4)


def test_each_lambda_has_the_alarms_of_its_trigger_and_each_names_its_own_page() -> None:
    """As the capabilities declare them, so that a new rule or queue cannot come without."""
    found = {id: (alarm["TreatMissingData"], alarm["AlarmDescription"].rpartition("#")[2], alarm["AlarmActions"])
             for id, alarm in of_type("CloudWatch::Alarm").items()}
    wanted = {}
    for each in registry.lambdas():
        id, serves = parts.logical(each.function), alarms.unserved_section(each.function)
        own = parts.logical(getattr(each.trigger, "name", ""))
        queues = [own] if isinstance(each.trigger, OwnQueue) else ["QueueMail", "QueueOrders"]
        match each.trigger:
            case Schedule():
                # A throttled run is no invocation, and a disabled rule leaves no data.
                wanted[f"{id}Silent"] = ("breaching", alarms.run_section(each.function))
                wanted[f"{id}Failing"] = ("notBreaching", alarms.run_section(each.function))
            case OwnQueue() | FleetQueues():
                wanted |= {f"{queue}Unserved": ("breaching", serves) for queue in queues}
                wanted |= {f"{queue}DeadAlarm": ("notBreaching", "dead-letters") for queue in queues}
                wanted[f"{id}Throttled"] = ("notBreaching", serves)
            case Invoked():
                wanted[f"{id}Throttled"] = ("notBreaching", alarms.throttled_section(each.function))
    assert found == {id: (*alarm, [{"Ref": "Alerts"}]) for id, alarm in wanted.items()} and len(found) > 20


@pytest.mark.slow
def test_every_queue_that_is_served_has_an_alarm_on_its_consumers_silence() -> None:
    watched = {}
    for alarm in silence().values():
        if "NumberOfEmptyReceives" in (found := metrics(alarm)):
            watched[found["NumberOfEmptyReceives"]["Fn::GetAtt"][0]] = (alarm, found)
    mappings = of_type("Lambda::EventSourceMapping").values()
    served = {mapping["EventSourceArn"]["Fn::GetAtt"][0]: mapping["FunctionName"]["Ref"] for mapping in mappings}
    assert len(served) >= 3 and served.keys() == watched.keys()
    for queue, function in served.items():
        alarm, found = watched[queue]
        assert found["Invocations"] == found["ConcurrentExecutions"] == {"Ref": function}
        waiting = found.get("ApproximateNumberOfMessagesVisible")
        assert waiting == (None if queue == "QueueOrders" else found["NumberOfEmptyReceives"])
        assert alarm["EvaluationPeriods"] * 60 <= 180


# Of one minute: messages that wait, empty receives, invocations that begin and that run -> whether it is silence.
@pytest.mark.parametrize(("what", "waiting", "empty", "begun", "running", "silent"), [
    ("idle and polled", 0, 15, 0, 0, False), ("busy", 9, 0, 40, 5, False),
    ("one long run at the limit", 9, 0, 0, 1, False),
    ("the mapping is disabled", 0, 0, 0, 0, True), ("every invocation is throttled", 3, 2, 0, 0, True),
    ("disabled with a backlog", 3, 0, 0, 0, True)])
def test_a_minute_of_a_queue_is_silent_or_not(
    what: str, waiting: int, empty: int, begun: int, running: int, silent: bool
) -> None:
    assert judged(waiting, empty, begun, running) is silent, what


@pytest.mark.parametrize(("what", "waiting", "empty", "begun", "running", "silent"), [
    ("idle and polled", 0, 15, 0, 0, False), ("busy", 9, 0, 40, 5, False),
    ("successors of a message that will be tried again", 3, 15, 0, 0, False),
    ("the mapping is disabled", 0, 0, 0, 0, True), ("disabled with a backlog", 3, 0, 0, 0, True)])
def test_a_minute_of_a_fifo_queue_is_silent_or_not(
    what: str, waiting: int, empty: int, begun: int, running: int, silent: bool
) -> None:
    assert judged(waiting, empty, begun, running, fifo=True) is silent, what


def judged(waiting: int, empty: int, begun: int, running: int, *, fifo: bool = False) -> bool:
    """Whether the alarm's expression calls a minute silence."""
    made = alarms.unserved("q", "Q", "tasks_work", "x", fifo=fifo)["Properties"]["Metrics"]
    [expression] = [one["Expression"] for one in made if "Expression" in one]
    values = {"waiting": waiting, "empty": empty, "begun": begun, "running": running}
    if fifo:
        del values["waiting"]
    assert set(re.findall(r"FILL\((\w+), 0\)", expression)) == values.keys() == {
        one["Id"] for one in made if "MetricStat" in one}
    python = re.sub(r"FILL\((\w+), 0\)", r"\1", expression).replace(" AND ", " and ").replace(" OR ", " or ")
    return bool(eval(python, {"IF": lambda condition, yes, no: yes if condition else no}, values))  # noqa: S307 - own


def test_every_alarm_names_a_section_of_the_runbook_and_says_what_is_wrong() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    sections = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    found = of_type("CloudWatch::Alarm")
    assert len(found) > 20
    for id, alarm in found.items():
        words, _, section = alarm["AlarmDescription"].rpartition(f" {alarms.RUNBOOK}#")
        assert words.endswith(".") and section in sections, id


def test_the_runbook_has_no_section_of_a_lambda_that_does_not_alarm() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    told = re.findall(r"^### (\w+_\w+) (fails or does not run|does not serve its queue|is throttled)$", text, re.M)
    titles = {Schedule: "fails or does not run", Invoked: "is throttled"}
    wanted = {(each.function, titles.get(type(each.trigger), "does not serve its queue"))
              for each in registry.lambdas() if each.trigger}
    assert set(told) == wanted and len(told) == len(wanted)


@pytest.mark.slow
def test_ids_of_the_template_are_those_of_the_functions() -> None:
    for each in registry.lambdas():
        if isinstance(each.trigger, Schedule):
            assert {f"{parts.logical(each.function)}{part}" for part in ("Rule", "Silent")} <= resources().keys()
