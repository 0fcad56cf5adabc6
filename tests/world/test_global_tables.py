"""Tables with replicas in several regions, as the sandbox has them."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.world import Sandbox
from testing.eventually import eventually

pytestmark = pytest.mark.world
HOME, OTHER = "eu-west-1", "us-east-1"


def global_table(world: Sandbox, name: str, **more: Any) -> None:
    """A GlobalTable in HOME and OTHER, by CloudFormation."""
    properties = {
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "Replicas": [{"Region": HOME}, {"Region": OTHER}], **more}
    template = {"Resources": {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}}
    client = world.client("cloudformation", HOME)
    client.create_stack(StackName=name, TemplateBody=json.dumps(template))
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def item(world: Sandbox, region: str, table: str) -> Any:
    """The value of the item `a` as `region` has it."""
    found = world.client("dynamodb", region).get_item(TableName=table, Key={"pk": {"S": "a"}}, ConsistentRead=True)
    return found.get("Item", {}).get("v", {}).get("S")


def put(world: Sandbox, region: str, table: str, value: str, **more: Any) -> None:
    """Write the item `a`."""
    world.client("dynamodb", region).put_item(TableName=table, Item={"pk": {"S": "a"}, "v": {"S": value}}, **more)


def test_copies_of_a_plain_global_table_arrive_late_and_the_last_writer_wins(empty: Sandbox) -> None:
    global_table(empty, "plain", StreamSpecification={"StreamViewType": "NEW_AND_OLD_IMAGES"})
    empty.lag(6.0)
    try:
        put(empty, HOME, "plain", "first")
        assert item(empty, OTHER, "plain") is None
        # Both regions win the same conditional write: why such tables are no place to agree.
        put(empty, OTHER, "plain", "second", ConditionExpression="attribute_not_exists(pk)")
        eventually(lambda: item(empty, HOME, "plain") == "second")
        assert item(empty, OTHER, "plain") == "second"
    finally:
        empty.clear_faults()


def test_a_strongly_consistent_global_table_lets_one_region_win(empty: Sandbox) -> None:
    global_table(empty, "strong", MultiRegionConsistency="STRONG")
    empty.lag(1.0)
    try:
        put(empty, HOME, "strong", "first", ConditionExpression="attribute_not_exists(pk)")
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            put(empty, OTHER, "strong", "second", ConditionExpression="attribute_not_exists(pk)")
    finally:
        empty.clear_faults()
    assert item(empty, OTHER, "strong") == "first"
