"""AWS stops a chain of messages at its 17th invocation of a Lambda, unless the Lambda may be in a loop.

A Lambda that sends itself each message again is stopped. Its message becomes a dead letter, as any that fails.
"""

import json
from typing import Any

import pytest

from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.conftest import make_lambda

pytestmark = pytest.mark.world
REGION = "eu-west-1"
SOURCE = """
import boto3, json
sqs = boto3.client("sqs")
def handler(event, context):
    for record in event["Records"]:
        said = json.loads(record["body"])
        sqs.send_message(QueueUrl=said["seen"], MessageBody=str(said["count"]))
        if said["count"] < 20:
            said["count"] += 1
            sqs.send_message(QueueUrl=said["again"], MessageBody=json.dumps(said))
"""


def queue(world: Sandbox, name: str, **attributes: Any) -> tuple[str, str]:
    """Its URL and its ARN."""
    sqs = world.client("sqs", REGION)
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return str(url), str(arn)


def depth(world: Sandbox, url: str) -> int:
    """The number of its messages."""
    found = world.client("sqs", REGION).get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(found["Attributes"]["ApproximateNumberOfMessages"])


@pytest.mark.parametrize(("setting", "runs"), [("Terminate", 16), ("Allow", 20)])
def test_a_chain_is_stopped_after_sixteen_invocations_unless_it_may_go_on(
    empty: Sandbox, setting: str, runs: int
) -> None:
    dead, dead_arn = queue(empty, f"dead-{setting}")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    again, again_arn = queue(empty, f"again-{setting}", VisibilityTimeout="15", RedrivePolicy=redrive)
    seen, _ = queue(empty, f"seen-{setting}")
    make_lambda(empty, REGION, f"loop-{setting}", SOURCE, timeout=15,
                allow=[{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}])
    lambdas = empty.client("lambda", REGION)
    lambdas.put_function_recursion_config(FunctionName=f"loop-{setting}", RecursiveLoop=setting)
    lambdas.create_event_source_mapping(FunctionName=f"loop-{setting}", EventSourceArn=again_arn, BatchSize=1)
    first = json.dumps({"count": 1, "seen": seen, "again": again})
    empty.client("sqs", REGION).send_message(QueueUrl=again, MessageBody=first)
    eventually(lambda: depth(empty, dead) == 1 if setting == "Terminate" else depth(empty, seen) == runs)
    assert (depth(empty, seen), depth(empty, again)) == (runs, 0)
