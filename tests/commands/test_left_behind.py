"""The regions in which an installation may have left a stack: which answers mean that there is none."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from chalicelib.config import fleet
from commands.deploy import left_behind, packaging
from commands.errors import UsageError
from testing.paging import EmptyFirstPage

DENIED = "User: arn:aws:iam::1:user/a is not authorized to perform: cloudformation:DescribeStacks "
BY_ALL = f"{DENIED}on resource: * with an explicit deny in a service control policy: arn:aws:organizations::1:policy/p"
BY_ONE = f"{DENIED}because no identity-based policy allows the action"


def refusal(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


class Aws:
    """Three regions without stacks, of which each in `answers` gives an error instead."""

    def __init__(self, answers: dict[str, ClientError | BotoCoreError]) -> None:
        self.answers = answers

    def regions(self) -> Sequence[str]:
        return ("eu-west-1", "eu-west-3", "us-east-1")

    def client(self, service: str, region: str) -> Any:
        return EmptyFirstPage(service, Stacks(self.answers.get(region)))


class Stacks:
    """CloudFormation without a stack, or with an error."""

    def __init__(self, error: ClientError | BotoCoreError | None) -> None:
        self._error = error

    def describe_stacks(self, StackName: str) -> Any:
        raise self._error or refusal("ValidationError", f"Stack with id {StackName} does not exist")


def looked(region: str, error: ClientError | BotoCoreError) -> tuple[list[str], str]:
    """What is told, and why the table is refused, if `region` answers with `error`."""
    declared = fleet.parse('name = "f"\nregions = [{name = "us-east-1"}, {name = "eu-west-3"}]\n'
                           'coordination = {regions = ["us-east-1"]}\n')
    package = packaging.Package(declared, "prod", Path(), "digest", {}, {}, ())
    aws, refused = Aws({region: error}), ""
    with ThreadPoolExecutor(2) as pool:
        found = left_behind.found(aws, package, pool)
        try:
            left_behind.refuse_table(aws, package, pool)
        except UsageError as mistake:
            refused = str(mistake)
        words = "could not be asked" if found.unknown else "no stack of this installation is left there"
        with pytest.raises(UsageError, match=f"--remove-region eu-west-1: .*{words}"):
            left_behind.removable(aws, found, ["eu-west-1"], drop_messages=False)
    return list(left_behind.told(found, ())), refused


@pytest.mark.parametrize("error", [
    refusal("OptInRequired"), refusal("AuthFailure"), refusal("InvalidClientTokenId"),
    refusal("UnrecognizedClientException"), refusal("AccessDenied", BY_ALL)])
def test_a_region_that_is_closed_to_the_account_has_no_stack(error: ClientError) -> None:
    assert looked("eu-west-1", error) == ([], "")


@pytest.mark.parametrize("error", [
    refusal("Throttling", "Rate exceeded"), refusal("AccessDenied", BY_ONE), refusal("InternalFailure"),
    refusal("ExpiredToken"), EndpointConnectionError(endpoint_url="https://cloudformation.eu-west-1.amazonaws.com")])
def test_a_region_that_gives_no_answer_is_told_and_no_second_table_is_made(error: ClientError | BotoCoreError) -> None:
    [told], refused = looked("eu-west-1", error)
    assert told.startswith("eu-west-1 could not be asked: ") and "stack of this installation may be there" in told
    assert refused.splitlines()[0] == told
    assert "f-prod-coordination is not in us-east-1, but it may be where nobody could look" in refused


def test_a_region_of_the_fleet_that_is_denied_to_all_is_not_empty() -> None:
    told, refused = looked("eu-west-3", refusal("AccessDenied", BY_ALL))
    assert told == [] and "eu-west-3 could not be asked" in refused
