"""The refusals of CloudFormation that the emulator leaves out.

- A template that changes the type of a resource gives a change set that failed (aws/aws-sam-cli issue 6786).
- A resource with a name of its own is not created where that name is taken, by a stack or by one that was kept ("Name
  type", template reference). The emulator takes the other one over.
- A Lambda's environment has 4 KB at most ("Lambda quotas", developer guide).
- A kept global table may be imported into a new stack, as a kept table may.

The emulator itself refuses to replace a resource with a name ("Name type", as above).
"""

import contextvars
from collections.abc import Mapping
from typing import Any

from sandbox.emulator_patches import Context, change

# The property with the name, of each type that the product's templates have.
NAMES: Mapping[str, str] = {
    "AWS::AutoScaling::AutoScalingGroup": "AutoScalingGroupName", "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::DynamoDB::GlobalTable": "TableName", "AWS::DynamoDB::Table": "TableName",
    "AWS::EC2::LaunchTemplate": "LaunchTemplateName", "AWS::ElasticLoadBalancingV2::LoadBalancer": "Name",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "Name", "AWS::Events::Rule": "Name", "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName", "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName", "AWS::SQS::Queue": "QueueName", "AWS::SSM::Document": "Name",
    "AWS::SSM::Parameter": "Name", "AWS::SecretsManager::Secret": "Name",
}
_ENVIRONMENT_BYTES = 4096
_changed_types: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("lamplighter_types", default=())


@change("services.cloudformation.changesets", "_diff_resources",
        "old_template new_template resources template changed_params retag",
        "a change set knows of the types that it would change")
def differences(original: Any, context: Context) -> Any:
    def compare(old_template: Any, new_template: Any, *more: Any, **named: Any) -> Any:
        old, new = old_template.get("Resources", {}), new_template.get("Resources", {})
        _changed_types.set(tuple(sorted(
            id for id in old.keys() & new.keys() if old[id].get("Type") != new[id].get("Type"))))
        return original(old_template, new_template, *more, **named)

    return compare


@change("services.cloudformation.changesets", "_create_change_set", "params",
        "a change set that changes the type of a resource fails")
def change_sets(original: Any, context: Context) -> Any:
    from ministack.services.cloudformation import changesets, handlers

    def create(params: Any) -> Any:
        _changed_types.set(())
        answer = original(params)
        if (changed := _changed_types.get()) and answer[0] == 200:
            _, made = changesets._find_change_set(
                changesets._p(params, "ChangeSetName"), changesets._p(params, "StackName"))
            made.update(Status="FAILED", ExecutionStatus="UNAVAILABLE", Changes=[], StatusReason=(
                "Update of resource type is not permitted. The new template modifies resource type of the following "
                f"resources: [{', '.join(changed)}]"))
        return answer

    handlers._ACTION_HANDLERS["CreateChangeSet"] = create
    return create


@change("services.cloudformation.stacks", "_provision_resource", "resource_type logical_id props stack_name",
        "no resource takes the name of another one, and no environment is above 4 KB")
def provision(original: Any, context: Context) -> Any:
    def create(resource_type: str, logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        name = props.get(NAMES.get(resource_type, ""))
        if name and _is_taken(resource_type, name, (stack_name, logical_id)):
            raise ValueError(f"Resource of type '{resource_type}' with identifier '{name}' already exists.")
        _check_environment(resource_type, props)
        return original(resource_type, logical_id, props, stack_name)

    return create


@change("services.cloudformation.stacks", "_update_resource",
        "resource_type physical_id old_props new_props stack_name logical_id old_attrs",
        "no environment is above 4 KB")
def updating(original: Any, context: Context) -> Any:
    def update(resource_type: str, physical_id: str, old_props: Any, new_props: Any, *more: Any, **named: Any) -> Any:
        _check_environment(resource_type, new_props)
        return original(resource_type, physical_id, old_props, new_props, *more, **named)

    return update


def _is_taken(kind: str, name: str, own: tuple[str, str]) -> bool:
    """Whether a stack of this region has a resource with the name, or one was kept when its stack went."""
    from ministack.services import cloudwatch_logs, dynamodb, lambda_svc, sqs
    from ministack.services.cloudformation import _stacks

    kept: dict[str, Any] = {
        "AWS::DynamoDB::Table": dynamodb._tables, "AWS::DynamoDB::GlobalTable": dynamodb._tables,
        "AWS::Lambda::Function": lambda_svc._functions, "AWS::Logs::LogGroup": cloudwatch_logs._log_groups,
        "AWS::SQS::Queue": sqs._queue_name_to_url}
    if name in kept.get(kind, ()):
        return True
    for stack in list(_stacks.values()):
        for id, part in stack.get("_resources", {}).items():
            if (stack.get("StackStatus") != "DELETE_COMPLETE" and part.get("ResourceType") == kind
                    and (stack.get("StackName"), id) != own
                    and (part.get("Properties") or {}).get(NAMES[kind]) == name):
                return True
    return False


def _check_environment(kind: str, props: Mapping[str, Any]) -> None:
    variables = (props.get("Environment") or {}).get("Variables") or {} if kind == "AWS::Lambda::Function" else {}
    size = sum(len(f"{name}{value}".encode()) for name, value in variables.items())
    if size > _ENVIRONMENT_BYTES:
        raise ValueError("Lambda was unable to configure your environment variables because the environment variables "
                         "you have provided exceeded the 4KB limit. String measured: "
                         f"{size} bytes (Service: Lambda, Status Code: 400)")


@change("services.cloudformation.changesets", "_existing_resources", "changes template",
        "a kept global table comes back into a stack")
def imports(original: Any, context: Context) -> Any:
    from ministack.services.cloudformation import changesets, provisioners

    lookups, handlers = changesets._IMPORT_LOOKUPS, provisioners._RESOURCE_HANDLERS

    def existing(changes: Any, template: Any) -> Any:
        lookups["AWS::DynamoDB::GlobalTable"] = lookups["AWS::DynamoDB::Table"]
        handlers["AWS::DynamoDB::GlobalTable"]["import"] = handlers["AWS::DynamoDB::Table"]["import"]
        return original(changes, template)

    return existing
