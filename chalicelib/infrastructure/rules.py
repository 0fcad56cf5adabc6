"""The rules, permissions and alarms of scheduled and invoked Lambdas, as their capabilities declare them. Pure."""

from collections.abc import Sequence

from chalicelib.engine.deployment import MINUTE, Invoked, Lambda, Schedule
from chalicelib.infrastructure import alarms
from chalicelib.infrastructure.parts import Json, attribute, logical, named, resource


def resources(declared: Sequence[Lambda]) -> Json:
    """The parts of the template for every such trigger. `Metadata` names the section that fleet.toml must have."""
    parts: Json = {}
    # Every stack has it, and it runs each minute.
    [witness, *_] = [each.function for each in declared if isinstance(each.trigger, Schedule) and
                     each.trigger.expression == MINUTE and not each.trigger.section]
    for each in declared:
        if isinstance(each.trigger, Schedule):
            made = _parts(each.function, each.trigger, witness)
            parts |= {id: _placed(part, each.trigger) for id, part in made.items()}
        elif isinstance(each.trigger, Invoked):
            parts[f"{logical(each.function)}Throttled"] = alarms.throttled(
                each.function, alarms.throttled_section(each.function))
    return parts


def _placed(part: Json, schedule: Schedule) -> Json:
    section = {"Metadata": {"Section": schedule.section}} if schedule.section else {}
    return {**part, **section, **({"Condition": schedule.condition} if schedule.condition else {})}


def _parts(function: str, schedule: Schedule, witness: str) -> Json:
    id = logical(function)
    often = "Each minute" if schedule.seconds == 60 else "Each hour"
    return {
        f"{id}Rule": resource("Events::Rule", {
            "Name": named(function.replace("_", "-")), "Description": f"{often}: {schedule.does}",
            "ScheduleExpression": schedule.expression, "State": "ENABLED",
            "Targets": [{"Id": "lambda", "Arn": attribute(id, "Arn")}]}),
        f"{id}Permission": resource("Lambda::Permission", {
            "Action": "lambda:InvokeFunction", "FunctionName": {"Ref": id}, "Principal": "events.amazonaws.com",
            "SourceArn": attribute(f"{id}Rule", "Arn")}),
        # What the next run does anyway is not tried again after its time.
        f"{id}Retries": resource("Lambda::EventInvokeConfig", {
            "FunctionName": {"Ref": id}, "Qualifier": "$LATEST", "MaximumRetryAttempts": schedule.retries,
            "MaximumEventAgeInSeconds": schedule.expires_seconds}),
        f"{id}Failing": alarms.failing(function, schedule),
        f"{id}Silent": alarms.silent(function, schedule, witness),
    }
