"""The alarms of CloudWatch: a Lambda fails, is silent, a queue is not served, dead letters wait. Pure.

Each description says what is wrong, what that means, and where the runbook has the steps.
"""

from collections.abc import Sequence
from typing import Any

from chalicelib.engine.deployment import Schedule
from chalicelib.infrastructure.parts import Json, attribute, logical, named, resource

RUNBOOK = "docs/runbook.md"
_TELL: Json = {"AlarmActions": [{"Ref": "Alerts"}], "OKActions": [{"Ref": "Alerts"}]}


def run_section(function: str) -> str:
    """The section of the runbook for a scheduled Lambda that fails or does not run."""
    return f"{function}-fails-or-does-not-run"


def unserved_section(function: str) -> str:
    """The section of the runbook for a Lambda that does not serve its queue."""
    return f"{function}-does-not-serve-its-queue"


def throttled_section(function: str) -> str:
    """The section of the runbook for a Lambda that others invoke, and that does not begin."""
    return f"{function}-is-throttled"


def failing(function: str, schedule: Schedule) -> Json:
    """Two of three runs end with an error."""
    return _alarm(f"{_dashed(function)}-failing", f"{function} fails: {schedule.harm}.", run_section(function), {
        **_of_lambda("Errors", function), "Statistic": "Sum", "Period": schedule.seconds, "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0,
        "TreatMissingData": "notBreaching"})


def silent(function: str, schedule: Schedule, witness: str) -> Json:
    """No run begins for two intervals (the witness) or three, whatever the cause.

    A throttled invocation does not count as one ("Types of metrics for Lambda functions", developer guide), and a rule
    that is disabled leaves no data at all. Without `FILL` an alarm judges older data points that lie in its evaluation
    range in the place of missing ones ("Configuring how CloudWatch alarms treat missing data"). The data of the
    newest period comes late, so that what `FILL` puts there is no observation ("Using metric math"). It is a zero for
    the witness, whose alarm thus needs one period more. For all others it is a run, so that they look at four periods
    and need three.

    A new alarm is evaluated at once, on the periods before its creation, too. No Lambda ran in these, so each new stack
    would send a page for each rule, and hourly ones would stay on until their first run. Thus a period counts only if
    `witness` ran in it, the Lambda of a rule that each stack has each minute. Its own alarm needs no other, and tells
    when all are silent.
    """
    seconds, metrics, expression = schedule.seconds, [], "FILL(begun, 0)"
    if function != witness:
        metrics = [_metric("alive", "AWS/Lambda", "Invocations", _name(witness), "Sum", seconds)]
        expression = f"IF(FILL(alive, 0) > 0, {expression}, 1)"
    metrics += [_metric("begun", "AWS/Lambda", "Invocations", _name(function), "Sum", seconds),
                {"Id": "runs", "Label": "runs", "ReturnData": True, "Expression": expression}]
    mute = "" if function == witness else f" This alarm is mute while {witness} does not run."
    text = f"{function} does not run: {schedule.harm}.{mute}"
    return _alarm(f"{_dashed(function)}-silent", text, run_section(function), {
        "Metrics": metrics, "EvaluationPeriods": 3 if function == witness else 4, "DatapointsToAlarm": 3,
        "ComparisonOperator": "LessThanThreshold", "Threshold": 1, "TreatMissingData": "breaching"})


def unserved(queue: str, id: str, function: str, harm: str, *, fifo: bool = False) -> Json:
    """For three minutes no invocation begins or runs, and messages wait or nobody polls the queue.

    A mapping polls without end. So an idle queue has empty receives in every minute, but none without its mapping.
    Messages wait without an invocation when every one is throttled. A mapping at its highest concurrency does
    not poll, but then invocations run.

    Messages of a FIFO queue also wait for an earlier one of their group that will be tried again, and count as visible
    (boto/boto3 issue 1372). So only the polls tell there, and `throttled` has the throttled invocations.
    """
    idle = "FILL(empty, 0) < 1" if fifo else "(FILL(waiting, 0) > 0 OR FILL(empty, 0) < 1)"
    name = [{"Name": "QueueName", "Value": attribute(id, "QueueName")}]
    of = _name(function)
    metrics = [
        *([] if fifo else [_metric("waiting", "AWS/SQS", "ApproximateNumberOfMessagesVisible", name, "Maximum")]),
        _metric("empty", "AWS/SQS", "NumberOfEmptyReceives", name, "Sum"),
        _metric("begun", "AWS/Lambda", "Invocations", of, "Sum"),
        _metric("running", "AWS/Lambda", "ConcurrentExecutions", of, "Maximum"),
        {"Id": "unserved", "Label": "unserved", "ReturnData": True, "Expression":
            f"IF((FILL(begun, 0) + FILL(running, 0) < 1) AND {idle}, 1, 0)"}]
    return _alarm(f"{queue}-unserved", f"Nobody serves {queue}: {harm}.", unserved_section(function), {
        "Metrics": metrics, "EvaluationPeriods": 3, "DatapointsToAlarm": 3,
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0, "TreatMissingData": "breaching"})


def dead_letters(queue: str, id: str) -> Json:
    """A message could not be handled."""
    text = f"Messages ended in {queue}: look with tasks.peek, mend, then tasks.redrive."
    return _alarm(f"{queue}-not-empty", text, "dead-letters", {
        "Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": attribute(id, "QueueName")}], "Statistic": "Maximum",
        "Period": 60, "EvaluationPeriods": 1, "DatapointsToAlarm": 1, "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 0, "TreatMissingData": "notBreaching"})


def throttled(function: str, section: str = "") -> Json:
    """Each of three minutes refused invocations: some wait, though others may run."""
    text = f"{function} is throttled: raise the account's Lambda concurrency in this region."
    return _alarm(f"{_dashed(function)}-throttled", text, section or unserved_section(function), {
        **_of_lambda("Throttles", function), "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 3,
        "DatapointsToAlarm": 3, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0,
        "TreatMissingData": "notBreaching"})


def _alarm(name: str, text: str, section: str, properties: Json) -> Json:
    return resource("CloudWatch::Alarm", {
        "AlarmName": named(name), "AlarmDescription": f"{text} {RUNBOOK}#{section}", **properties, **_TELL})


def _of_lambda(metric: str, function: str) -> Json:
    return {"Namespace": "AWS/Lambda", "MetricName": metric,
            "Dimensions": _name(function)}


def _name(function: str) -> list[Json]:
    return [{"Name": "FunctionName", "Value": {"Ref": logical(function)}}]


def _metric(id: str, namespace: str, name: str, dimensions: Sequence[Any], statistic: str, seconds: int = 60) -> Json:
    return {"Id": id, "ReturnData": False, "MetricStat": {"Period": seconds, "Stat": statistic, "Metric": {
        "Namespace": namespace, "MetricName": name, "Dimensions": dimensions}}}


def _dashed(function: str) -> str:
    return function.replace("_", "-")
