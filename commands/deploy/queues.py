"""The messages that a deployment would delete with their queues."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from commands.deploy import stacks
from commands.deploy.account import Target, spoken
from commands.deploy.stacks import Prepared, Stack

# Those that wait, those that a consumer has now, and those that are delayed.
_DEPTHS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
# Reminders to look again, of which a region always has some. With their region nobody needs them.
_REMINDERS = frozenset({"ScheduleReconciles", "ScheduleReconcilesDead"})
REMEDY = ("nothing was changed. Let these queues run empty, or redrive their dead letters with tasks.redrive, then "
          "deploy again. --drop-messages deletes the messages")


def lost_messages(target: Target, plan: Prepared) -> Iterator[str]:
    """A line for each queue with messages that `plan` deletes or replaces.

    Replacing a queue is deleting it, because the new one begins empty (API reference, DeleteQueue).
    """
    for id, url in plan.lost_queues.items():
        if count := _messages(target, plan.stack.region, url):
            yield f"{plan.stack}: {id} ({url.rsplit('/', 1)[-1]}) would be lost with its messages, {count:,} by now"


def messages_of(target: Target, stack: Stack) -> Iterator[str]:
    """A line for each queue with messages that the end of `stack` deletes."""
    for id, url in stacks.resources(target, stack, "AWS::SQS::Queue"):
        if id not in _REMINDERS and (count := _messages(target, stack.region, url)):
            yield f"{stack}: {id} ({url.rsplit('/', 1)[-1]}) would be lost with its messages, {count:,} by now"


def _messages(target: Target, region: str, url: str) -> int:
    with spoken(region):
        try:
            found = target.client("sqs", region).get_queue_attributes(QueueUrl=url, AttributeNames=_DEPTHS)
        except ClientError as error:
            # Somebody deleted the queue already.
            if "NonExistentQueue" in error.response.get("Error", {}).get("Code", ""):
                return 0
            raise
    return sum(int(found["Attributes"].get(name, 0)) for name in _DEPTHS)
