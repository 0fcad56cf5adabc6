"""One CloudFormation stack in one region. It is planned as a change set, shown, executed, and followed."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws.client import pages
from commands.deploy.account import Target, spoken
from commands.errors import UsageError

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
# How CloudFormation says that a change set is empty.
_EMPTY = ("didn't contain changes", "No updates are to be performed", "no changes")
_DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
# They stay when their stack goes (chalicelib/infrastructure/tables.py).
_TABLES = ("AWS::DynamoDB::GlobalTable", "AWS::DynamoDB::Table")
_CANCELLED = ("Resource creation cancelled", "Resource update cancelled", "Resource creation Initiated")


class Change(msgspec.Struct, frozen=True, order=True):
    """One resource in a change set, with `add`, `modify`, `replace` or `remove`."""

    action: str
    kind: str
    id: str


class Stack(msgspec.Struct, frozen=True):
    """A stack by its place and name."""

    region: str
    name: str

    def __str__(self) -> str:
        return f"{self.region} {self.name}"


class Prepared(msgspec.Struct, frozen=True):
    """A change set that waits to be executed. Without changes there is none.

    `lost_queues` has the URL of each SQS queue that it deletes or replaces, by logical id.
    """

    stack: Stack
    change_set: str
    new: bool
    changes: tuple[Change, ...]
    lost_queues: dict[str, str] = {}

    def count(self) -> dict[str, int]:
        """How many resources would be added, modified, replaced, removed."""
        return dict(Counter(change.action for change in self.changes))


class Pace(msgspec.Struct, frozen=True):
    """How often to look, in seconds, and when to give up. `over` ends all waiting at once."""

    look: float = 1.5
    most: float = 3600.0
    over: Callable[[], bool] = lambda: False


def prepare(
    target: Target, stack: Stack, body: dict[str, Any], url: str | None, tags: dict[str, str], pace: Pace
) -> Prepared:
    """A change set for `stack`. Clears away what an earlier, failed creation left. Raises `UsageError`."""
    with spoken(stack.region):
        new = _is_new(target, stack, pace)
        name = f"lamp-{time.time_ns()}"
        source = {"TemplateURL": url} if url else {"TemplateBody": json.dumps(body)}
        _client(target, stack).create_change_set(
            StackName=stack.name, ChangeSetName=name, ChangeSetType="CREATE" if new else "UPDATE",
            # A table that stayed when its stack was deleted comes back into the new one.
            ImportExistingResources=True, Capabilities=_CAPABILITIES,
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()], **source)
        said: list[dict[str, Any]] = []
        try:
            said = _changes(target, stack, name, pace)
        finally:
            if not said:
                _forget(target, stack, name, new=new)
        return Prepared(stack, name if said else "", new, tuple(sorted(map(_change, said))), _lost_queues(said))


def template(target: Target, stack: Stack) -> dict[str, Any] | None:
    """The template that the stack runs. `None` where nothing was deployed yet."""
    found = _status(target, stack)
    if found is None or found[0] in ("REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", "DELETE_COMPLETE", *_DEAD):
        return None
    try:
        answer = _client(target, stack).get_template(StackName=stack.name, TemplateStage="Original")
    except ClientError as error:
        if _is_gone(error):  # meanwhile
            return None
        raise
    body: Any = answer["TemplateBody"]
    parsed: dict[str, Any] = json.loads(body) if isinstance(body, str) else body
    return parsed


def exists(target: Target, stack: Stack) -> bool:
    """Whether there is such a stack, with resources or with what is left of them."""
    found = _status(target, stack)
    return found is not None and found[0] not in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE")


def resources(target: Target, stack: Stack, kind: str) -> list[tuple[str, str]]:
    """The logical and the physical id of each resource of the type in the stack."""
    with spoken(stack.region):
        return [(one["LogicalResourceId"], one["PhysicalResourceId"])
                for page in pages(_client(target, stack), "list_stack_resources", StackName=stack.name)
                for one in page["StackResourceSummaries"]
                if one["ResourceType"] == kind and one.get("PhysicalResourceId")]


def abandon(target: Target, prepared: Prepared) -> None:
    """Take the change set back, and the empty stack that a first one brings along."""
    if prepared.change_set:
        with spoken(prepared.stack.region):
            _forget(target, prepared.stack, prepared.change_set, new=prepared.new)


def execute(target: Target, prepared: Prepared, tell: Callable[[str, str], None], pace: Pace) -> None:
    """Carry the change set out. `tell(logical id, status)` as resources move on.

    Raises `UsageError` naming the resource that failed and why, once the stack is back as it was.
    """
    stack = prepared.stack
    with spoken(stack.region):
        newest = _newest_event(target, stack)
        _client(target, stack).execute_change_set(StackName=stack.name, ChangeSetName=prepared.change_set)
        reasons: list[str] = []
        for event in _follow(target, stack, newest, pace):
            tell(event["LogicalResourceId"], event["ResourceStatus"])
            if _is_cause(event):
                reasons.append(f"{event['LogicalResourceId']} ({event['ResourceType']}): "
                               f"{event.get('ResourceStatusReason', 'no reason given')}")
        _judge(target, prepared, reasons, pace)


def remove(target: Target, stack: Stack, pace: Pace) -> None:
    """Delete the stack and wait until it is gone. One that is not there is gone already."""
    with spoken(stack.region):
        if (found := _status(target, stack)) is None:
            return
        # By its id: under its name a stack that is gone cannot be looked at.
        _client(target, stack).delete_stack(StackName=stack.name)
        _wait(target, Stack(stack.region, found[1]), pace, until=lambda status: status in (None, "DELETE_COMPLETE"))


def _is_new(target: Target, stack: Stack, pace: Pace) -> bool:
    """Whether the stack is to be created. An obstacle to that, or to an update, is a `UsageError`."""
    found = _status(target, stack)
    if found is None or found[0] in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE"):
        return True
    if found[0] in _DEAD:
        remove(target, stack, pace)
        return True
    if found[0].endswith("_IN_PROGRESS"):
        raise UsageError(f"{stack} is {found[0]}. Another deployment is at work on it. Wait until it is through")
    if found[0] == "UPDATE_ROLLBACK_FAILED":
        raise UsageError(f"{stack} is {found[0]}. Continue the rollback in the CloudFormation console ({found[1]}), "
                      "skipping the resource that it names, then deploy again")
    return False


def _changes(target: Target, stack: Stack, name: str, pace: Pace) -> list[dict[str, Any]]:
    client, deadline = _client(target, stack), time.monotonic() + pace.most
    while True:
        answers = list(pages(client, "describe_change_set", StackName=stack.name, ChangeSetName=name))
        if answers[0]["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            break
        _pause(stack, pace, deadline)
    if answers[0]["Status"] == "FAILED":
        reason = answers[0].get("StatusReason", "")
        if any(sign in reason for sign in _EMPTY):
            return []
        raise UsageError(f"{stack}: CloudFormation refuses the template: {reason}")
    return [change["ResourceChange"] for answer in answers for change in answer.get("Changes", ())]


def _change(said: dict[str, Any]) -> Change:
    action = said["Action"].lower()
    if action == "modify" and said.get("Replacement") == "True":
        action = "replace"
    return Change(action, said["ResourceType"], said["LogicalResourceId"])


def _lost_queues(said: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The queues that go with their messages. The physical id of a queue is its URL."""
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in said
            if one["ResourceType"] == "AWS::SQS::Queue" and one.get("PhysicalResourceId")
            and _change(one).action in ("remove", "replace") and "Retain" not in one.get("PolicyAction", "")}


def _forget(target: Target, stack: Stack, name: str, *, new: bool) -> None:
    client = _client(target, stack)
    client.delete_change_set(StackName=stack.name, ChangeSetName=name)
    if new:
        # A first change set brings an empty stack along, which would stay in review for ever.
        client.delete_stack(StackName=stack.name)


def _follow(target: Target, stack: Stack, newest: str, pace: Pace) -> Iterator[dict[str, Any]]:
    """The stack's events after the one with id `newest`, oldest first, until it rests."""
    deadline, seen = time.monotonic() + pace.most, {newest}
    while True:
        # The status first: what it rests on has its events by then.
        status = _status(target, stack)
        for event in reversed(_events(target, stack, newest, seen)):
            seen.add(event["EventId"])
            yield event
        if status is None or not status[0].endswith("_IN_PROGRESS"):
            return
        _pause(stack, pace, deadline)


def _events(target: Target, stack: Stack, newest: str, seen: set[str]) -> list[dict[str, Any]]:
    """Those after `newest` that were not `seen`, newest first. No clock decides: this machine's may differ from AWS's.
    """
    found: list[dict[str, Any]] = []
    for page in pages(_client(target, stack), "describe_stack_events", StackName=stack.name):
        later = list(takewhile(lambda event: event["EventId"] != newest, page["StackEvents"]))
        found += [event for event in later if event["EventId"] not in seen]
        if any(event["EventId"] in seen for event in page["StackEvents"]):
            break
    return found


def _newest_event(target: Target, stack: Stack) -> str:
    """The id of the stack's last event. Empty if it has none."""
    return next((str(event["EventId"])
                 for page in pages(_client(target, stack), "describe_stack_events", StackName=stack.name)
                 for event in page["StackEvents"]), "")


def _is_cause(event: dict[str, Any]) -> bool:
    """A failure of its own, not one that followed from another's."""
    reason = event.get("ResourceStatusReason", "")
    return (event["ResourceStatus"].endswith("_FAILED") and event["ResourceType"] != "AWS::CloudFormation::Stack"
            and not reason.startswith(_CANCELLED))


def _judge(target: Target, prepared: Prepared, reasons: list[str], pace: Pace) -> None:
    stack, found = prepared.stack, _status(target, prepared.stack)
    status = found[0] if found else "gone"
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return
    if prepared.new and status in _DEAD:
        remove(target, stack, pace)
        left = "nothing of it is left" + (
            " but its table, which the next deployment takes back"
            if any(change.kind in _TABLES for change in prepared.changes) else "")
    else:
        left = f"the stack is {status}"
    raise UsageError(f"{stack}: rolled back, {left}. The cause: " + ("; ".join(reasons) or "CloudFormation named none"))


def _wait(target: Target, stack: Stack, pace: Pace, until: Callable[[str | None], bool]) -> None:
    deadline = time.monotonic() + pace.most
    while True:
        found = _status(target, stack)
        status = found[0] if found else None
        if until(status):
            return
        if status == "DELETE_FAILED":
            raise UsageError(
                f"CloudFormation could not delete {stack} (DELETE_FAILED). See its events in the CloudFormation console"
            )
        _pause(stack, pace, deadline)


def _pause(stack: Stack, pace: Pace, deadline: float) -> None:
    if pace.over() or time.monotonic() > deadline:
        raise UsageError(
            f"stopped looking at {stack}. CloudFormation goes on by itself, so deploy again to see how it ended"
        )
    time.sleep(pace.look)


def _status(target: Target, stack: Stack) -> tuple[str, str] | None:
    """The stack's status and id. `None` when there is no such stack."""
    try:
        found = [one for page in pages(_client(target, stack), "describe_stacks", StackName=stack.name)
                 for one in page["Stacks"]]
    except ClientError as error:
        if _is_gone(error):
            return None
        raise
    return (str(found[0]["StackStatus"]), str(found[0]["StackId"])) if found else None


def _is_gone(error: ClientError) -> bool:
    return "does not exist" in error.response.get("Error", {}).get("Message", "")


def _client(target: Target, stack: Stack) -> Any:
    return target.client("cloudformation", stack.region)
