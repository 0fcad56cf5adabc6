"""The rules, permissions and alarms of scheduled Lambdas, as their capabilities declare them. Pure."""

from collections.abc import Iterator
from typing import Any

from chalicelib import registry
from chalicelib.config.fleet import Fleet
from chalicelib.engine.deployment import Schedule

Json = dict[str, Any]


def resources(fleet: Fleet) -> Json:
    """The parts of the template for every schedule whose section `fleet` has."""
    scheduled = [(each.function, each.trigger) for each in registry.lambdas()
                 if each.trigger and getattr(fleet, each.trigger.section) is not None]
    return dict(part for function, schedule in scheduled for part in _parts(function, schedule))


def _parts(function: str, schedule: Schedule) -> Iterator[tuple[str, Json]]:
    id = "".join(part.capitalize() for part in function.split("_"))
    name = function.replace("_", "-")
    yield f"{id}Rule", {"Type": "AWS::Events::Rule", "Properties": {
        "Name": _sub(name), "Description": f"{_often(schedule)}: {schedule.description}",
        "ScheduleExpression": schedule.expression, "State": "ENABLED",
        "Targets": [{"Id": "lambda", "Arn": {"Fn::GetAtt": [id, "Arn"]}}]}}
    yield f"{id}Permission", {"Type": "AWS::Lambda::Permission", "Properties": {
        "Action": "lambda:InvokeFunction", "FunctionName": {"Ref": id}, "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": [f"{id}Rule", "Arn"]}}}
    # What the next run does anyway is not tried again after its time.
    yield f"{id}Retries", {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": {
        "FunctionName": {"Ref": id}, "Qualifier": "$LATEST", "MaximumRetryAttempts": 0,
        "MaximumEventAgeInSeconds": 60}}
    yield f"{id}Failing", {"Type": "AWS::CloudWatch::Alarm", "Properties": {
        "AlarmName": _sub(f"{name}-failing"), "AlarmDescription": schedule.failing, "Namespace": "AWS/Lambda",
        "MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": {"Ref": id}}], "Statistic": "Sum",
        "Period": schedule.seconds, "EvaluationPeriods": 3, "DatapointsToAlarm": 2,
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0, "TreatMissingData": "notBreaching",
        "AlarmActions": [{"Ref": "Alerts"}], "OKActions": [{"Ref": "Alerts"}]}}


def _often(schedule: Schedule) -> str:
    return "Each minute" if schedule.seconds == 60 else "Each hour"


def _sub(name: str) -> Json:
    return {"Fn::Sub": f"${{AWS::StackName}}-{name}"}
