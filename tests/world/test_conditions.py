"""A template with conditions on its region: each region gets what is meant for it, by stack and by change set."""

import json

import pytest

from sandbox.world import Sandbox
from testing.eventually import eventually

pytestmark = pytest.mark.world


@pytest.mark.parametrize("transform", [{}, {"Transform": "AWS::Serverless-2016-10-31"}])
@pytest.mark.parametrize("by_change_set", [False, True])
def test_a_condition_knows_its_region(empty: Sandbox, transform: dict[str, str], by_change_set: bool) -> None:
    name = f"conditions-{len(transform)}-{by_change_set:d}"
    body = json.dumps({
        "AWSTemplateFormatVersion": "2010-09-09", **transform,
        "Conditions": {"There": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}]}},
        "Resources": {"Always": {"Type": "AWS::SNS::Topic"}, "Sometimes": {
            "Type": "AWS::SNS::Topic", "Condition": "There"}}})
    found = {}
    for region in ("us-east-1", "eu-west-1"):
        stacks = empty.client("cloudformation", region)
        asked = {"StackName": name, "TemplateBody": body, "Capabilities": ["CAPABILITY_AUTO_EXPAND"]}
        if by_change_set:
            stacks.create_change_set(**asked, ChangeSetName="c", ChangeSetType="CREATE")
            stacks.get_waiter("change_set_create_complete").wait(
                StackName=name, ChangeSetName="c", WaiterConfig={"Delay": 1})
            stacks.execute_change_set(StackName=name, ChangeSetName="c")
        else:
            stacks.create_stack(**asked)
        eventually(lambda stacks=stacks: stacks.describe_stacks(  # type: ignore[misc]
            StackName=name)["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE")
        parts = stacks.describe_stack_resources(StackName=name)["StackResources"]
        found[region] = sorted(part["LogicalResourceId"] for part in parts)
    assert found == {"us-east-1": ["Always"], "eu-west-1": ["Always", "Sometimes"]}
