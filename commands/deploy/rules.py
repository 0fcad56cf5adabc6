"""The rules, permissions and alarms of scheduled Lambdas that fleet.toml declares. Pure."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chalicelib.config.fleet import Fleet

Json = dict[str, Any]

MINUTE = "cron(* * * * ? *)"


class Timer(NamedTuple):
    """A Lambda that runs by the clock where `wanted` says so.

    `failing` tells people what it means when it fails, after two of three runs.
    """

    function: str
    schedule: str
    wanted: Callable[[Fleet], bool]
    does: str
    failing: str

    @property
    def seconds(self) -> int:
        """From one run to the next."""
        return 60 if self.schedule == MINUTE else 3600


TIMERS = (
    Timer("routing_hold", MINUTE, lambda fleet: fleet.routing is not None,
          "keep users away from a region that died until it has been quiet",
          "routing_hold fails: a region that dies may get its users back too soon"),
    Timer("routing_drift", "cron(23 * * * ? *)", lambda fleet: fleet.routing is not None,
          "compare Route 53 with fleet.toml", "routing_drift fails: nobody sees if Route 53 differs from fleet.toml"),
    Timer("health_checks_rotate", MINUTE, lambda fleet: fleet.health_checks is not None,
          "one step of the health checks' round over the hosts",
          "health_checks_rotate fails: checks stay on hosts that may be gone"),
    Timer("tunnels_heal", MINUTE, lambda fleet: fleet.tunnels is not None,
          "a minute of rounds over the tunnels", "tunnels_heal fails: tunnels that break stay broken"),
    Timer("databases_watch", MINUTE, lambda fleet: fleet.databases is not None,
          "look at the region's database, write the heartbeat",
          "databases_watch fails: nobody sees replication stop, and an old master is not fenced"),
    Timer("databases_heal", MINUTE, lambda fleet: fleet.databases is not None,
          "start replication that stands still", "databases_heal fails: replication that stops stays stopped"),
)


def resources(fleet: Fleet) -> Json:
    """The parts of the template for all timers that `fleet` wants."""
    return dict(part for timer in TIMERS if timer.wanted(fleet) for part in _timer(timer))


def _timer(timer: Timer) -> Iterator[tuple[str, Json]]:
    id = "".join(part.capitalize() for part in timer.function.split("_"))
    name = timer.function.replace("_", "-")
    yield f"{id}Rule", {"Type": "AWS::Events::Rule", "Properties": {
        "Name": _sub(name), "Description": f"{_often(timer)}: {timer.does}", "ScheduleExpression": timer.schedule,
        "State": "ENABLED", "Targets": [{"Id": "lambda", "Arn": {"Fn::GetAtt": [id, "Arn"]}}]}}
    yield f"{id}Permission", {"Type": "AWS::Lambda::Permission", "Properties": {
        "Action": "lambda:InvokeFunction", "FunctionName": {"Ref": id}, "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": [f"{id}Rule", "Arn"]}}}
    # What the next run does anyway is not tried again after its time.
    yield f"{id}Retries", {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": {
        "FunctionName": {"Ref": id}, "Qualifier": "$LATEST", "MaximumRetryAttempts": 0,
        "MaximumEventAgeInSeconds": 60}}
    yield f"{id}Failing", {"Type": "AWS::CloudWatch::Alarm", "Properties": {
        "AlarmName": _sub(f"{name}-failing"), "AlarmDescription": timer.failing, "Namespace": "AWS/Lambda",
        "MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": {"Ref": id}}], "Statistic": "Sum",
        "Period": timer.seconds, "EvaluationPeriods": 3, "DatapointsToAlarm": 2,
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0, "TreatMissingData": "notBreaching",
        "AlarmActions": [{"Ref": "Alerts"}], "OKActions": [{"Ref": "Alerts"}]}}


def _often(timer: Timer) -> str:
    return "Each minute" if timer.seconds == 60 else "Each hour"


def _sub(name: str) -> Json:
    return {"Fn::Sub": f"${{AWS::StackName}}-{name}"}
