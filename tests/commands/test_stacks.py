"""What CloudFormation says, read as it is meant. Its answers are copied from AWS; the sandbox proves the whole way."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ProfileNotFound

from commands.deploy import account, stacks
from commands.deploy.stacks import Change, Pace, Stack
from commands.errors import UsageError
from testing.paging import EmptyFirstPage

STACK = Stack("eu-west-1", "f-prod")


def refused(code: str, message: str, operation: str = "CreateChangeSet") -> ClientError:
    """A refusal by AWS."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Answers:
    """A CloudFormation that gives answers in turn, and remembers what it was asked."""

    def __init__(self, status: str | None, *change_sets: dict[str, Any]) -> None:
        self.status, self.change_sets, self.asked = status, list(change_sets), list[str]()

    def client(self, service: str, region: str) -> EmptyFirstPage:
        """Itself, with an empty page before each list."""
        return EmptyFirstPage(service, self)

    def describe_stacks(self, StackName: str) -> Any:
        """The stack's status, or AWS's way to say that there is none."""
        if self.status is None:
            raise refused("ValidationError", f"Stack with id {StackName} does not exist", "DescribeStacks")
        return {"Stacks": [{"StackStatus": self.status, "StackId": "arn:stack"}]}

    def describe_change_set(self, **asked: str) -> Any:
        """The next answer."""
        return self.change_sets.pop(0)

    def __getattr__(self, name: str) -> Any:
        def call(**asked: Any) -> dict[str, Any]:
            self.asked.append(f"{name} {asked.get('ChangeSetType', '')}".strip())
            return {}
        return call


def prepare(answers: Answers) -> stacks.Prepared:
    """A change set without waiting."""
    return stacks.prepare(answers, STACK, {}, None, {}, Pace(look=0))


def resource(action: str, id: str, replacement: str = "False") -> dict[str, Any]:
    """A change as DescribeChangeSet tells it."""
    return {"ResourceChange": {
        "Action": action, "LogicalResourceId": id, "ResourceType": "T", "Replacement": replacement}}


def complete(*changes: dict[str, Any], **more: str) -> dict[str, Any]:
    """A finished change set."""
    return {"Status": "CREATE_COMPLETE", "Changes": list(changes), **more}


@pytest.mark.slow
def test_a_change_set_is_waited_for_and_read_to_its_last_page() -> None:
    answers = Answers("UPDATE_COMPLETE", {"Status": "CREATE_PENDING"}, {"Status": "CREATE_IN_PROGRESS"},
                      complete(resource("Modify", "B", "True"), NextToken="t"),
                      complete(resource("Add", "A"), resource("Modify", "C", "Conditional"), resource("Remove", "D")))
    found = prepare(answers)
    assert found.changes == (Change("add", "T", "A"), Change("modify", "T", "C"), Change("remove", "T", "D"),
                             Change("replace", "T", "B"))
    assert answers.asked == ["create_change_set UPDATE"]


@pytest.mark.parametrize("reason", [
    "The submitted information didn't contain changes. Submit different information to create a change set.",
    "No updates are to be performed."])
def test_no_change_is_no_mistake_and_leaves_no_change_set(reason: str) -> None:
    answers = Answers("CREATE_COMPLETE", {"Status": "FAILED", "StatusReason": reason})
    assert prepare(answers).changes == ()
    assert answers.asked == ["create_change_set UPDATE", "delete_change_set"]


def test_a_refused_template_is_told_and_leaves_neither_change_set_nor_stack() -> None:
    answers = Answers(None, {"Status": "FAILED", "StatusReason": "Transform AWS::Serverless failed with: x"})
    with pytest.raises(UsageError, match=r"eu-west-1 f-prod: CloudFormation refuses the template: Transform .* x"):
        prepare(answers)
    assert answers.asked == ["create_change_set CREATE", "delete_change_set", "delete_stack"]


@pytest.mark.parametrize(("status", "kind"), [
    (None, "CREATE"), ("REVIEW_IN_PROGRESS", "CREATE"), ("CREATE_COMPLETE", "UPDATE"), ("UPDATE_COMPLETE", "UPDATE"),
    ("UPDATE_ROLLBACK_COMPLETE", "UPDATE"), ("IMPORT_COMPLETE", "UPDATE")])
def test_what_is_there_decides_between_creating_and_updating(status: str | None, kind: str) -> None:
    answers = Answers(status, complete(resource("Add", "A")))
    assert prepare(answers).new == (kind == "CREATE")
    assert answers.asked == [f"create_change_set {kind}"]


@pytest.mark.parametrize(("status", "says"), [
    ("UPDATE_IN_PROGRESS", "Another deployment"), ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Another deployment"),
    ("ROLLBACK_IN_PROGRESS", "Another deployment"), ("UPDATE_ROLLBACK_FAILED", "Continue the rollback")])
def test_what_is_in_the_way_is_told_before_anything_is_changed(status: str, says: str) -> None:
    answers = Answers(status)
    with pytest.raises(UsageError, match=says):
        prepare(answers)
    assert answers.asked == []


def test_waiting_ends_when_it_is_told_to() -> None:
    answers = Answers("CREATE_COMPLETE", {"Status": "CREATE_PENDING"})
    with pytest.raises(UsageError, match="CloudFormation goes on by itself"):
        stacks.prepare(answers, STACK, {}, None, {}, Pace(look=0, over=lambda: True))


@pytest.mark.parametrize(("status", "reason", "cause"), [
    ("CREATE_FAILED", "Role is invalid", True), ("UPDATE_FAILED", "x", True), ("CREATE_COMPLETE", "", False),
    ("CREATE_FAILED", "Resource creation cancelled", False)])
def test_the_cause_is_not_what_followed_from_it(status: str, reason: str, cause: bool) -> None:
    event = {"ResourceStatus": status, "ResourceStatusReason": reason, "ResourceType": "AWS::IAM::Role"}
    assert stacks._is_cause(event) is cause


def said() -> Iterator[tuple[Any, str]]:
    """Errors of boto3, and what they become."""
    yield NoCredentialsError(), "no AWS credentials found. Sign in"
    yield ProfileNotFound(profile="x"), "Set AWS_PROFILE to one of your profiles"
    yield EndpointConnectionError(endpoint_url="https://sts.eu-no-1.amazonaws.com"), "Is it the name of an AWS region"
    yield refused("InvalidClientTokenId", "x"), "AWS does not know these credentials"
    yield refused("ExpiredToken", "x"), "the AWS session has expired"
    yield refused("AccessDenied", "not authorized to perform: a:B"), "AWS denied CreateChangeSet (not authorized"
    yield refused("LimitExceeded", "too many"), "CreateChangeSet: LimitExceeded: too many"


@pytest.mark.parametrize(("error", "text"), list(said()))
def test_refusals_say_where_and_what_to_do(error: Any, text: str) -> None:
    with pytest.raises(UsageError) as mistake, account.spoken("eu-west-1"):
        raise error
    assert str(mistake.value).startswith("eu-west-1: ") and text in str(mistake.value)


class Executed(Answers):
    """A CloudFormation that carries out a change set at once. Its clock says what it likes, as AWS's may."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__("UPDATE_COMPLETE")
        self.events, self.after = [self.event(number) for number in range(before)], after

    @staticmethod
    def event(number: int) -> dict[str, Any]:
        return {"EventId": f"e{number}", "LogicalResourceId": f"R{number}", "ResourceStatus": "UPDATE_COMPLETE",
                "ResourceType": "T", "Timestamp": datetime(2001, 1, 1, tzinfo=UTC)}

    def describe_stack_events(self, StackName: str, NextToken: str = "0") -> Any:
        """Newest first, two a page."""
        newest, start = self.events[::-1], int(NextToken)
        more = {"NextToken": str(start + 2)} if start + 2 < len(newest) else {}
        return {"StackEvents": newest[start:start + 2], **more}

    def execute_change_set(self, **asked: str) -> None:
        self.events += [self.event(number + len(self.events)) for number in range(self.after)]


@pytest.mark.parametrize(("before", "after"), [(0, 3), (1, 1), (5, 4), (4, 7)])
def test_the_events_of_a_deployment_are_those_after_the_last_one_before_it(before: int, after: int) -> None:
    seen: list[str] = []
    stacks.execute(Executed(before, after), stacks.Prepared(STACK, "c", False, ()),
                   lambda resource, status: seen.append(resource), Pace(look=0))
    assert seen == [f"R{number}" for number in range(before, before + after)]
