"""Reserved concurrency as AWS has it: by the template, within the quota, and asked for before anything changes."""

from pathlib import Path

import msgspec
import pytest
from botocore.exceptions import ClientError

from chalicelib.infrastructure import concurrency
from commands.deploy.packaging import Package
from commands.errors import UsageError
from sandbox.world import Sandbox
from tests.world.conftest import make_lambda
from tests.world.test_deploy import HOME, deploy, small, stacks

pytestmark = pytest.mark.world


def reserving(name: str, tmp_path: Path, reserved: int | None) -> Package:
    """A package whose Lambda `schedules_tick` has a reservation in its template."""
    made = small(name, tmp_path)
    echo = dict(made.template["Resources"]["Echo"])
    echo["Properties"] = {**echo["Properties"], "FunctionName": f"{name}-t-schedules_tick",
                          **({"ReservedConcurrentExecutions": reserved} if reserved else {})}
    return msgspec.structs.replace(
        made, template={**made.template, "Resources": {**made.template["Resources"], "Echo": echo}})


def unreserved(world: Sandbox) -> int:
    """What the account has left at home."""
    return int(world.client("lambda", HOME).get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"])


def reserved(world: Sandbox, function: str) -> int | None:
    """What is reserved for a function at home."""
    found: int | None = world.client("lambda", HOME).get_function_concurrency(FunctionName=function).get(
        "ReservedConcurrentExecutions")
    return found


def test_a_reservation_comes_and_goes_with_the_template(empty: Sandbox, tmp_path: Path) -> None:
    before, package = unreserved(empty), reserving("room", tmp_path, 3)
    assert before == 1000 and concurrency.reserved(package.fleet) == {"schedules_tick": 3}
    assert {one.status for one in deploy(empty, package).values()} == {"deployed"}
    assert (reserved(empty, "room-t-schedules_tick"), unreserved(empty)) == (3, before - 3)
    assert {one.status for one in deploy(empty, package).values()} == {"unchanged"}
    deploy(empty, reserving("room", tmp_path, None))
    assert (reserved(empty, "room-t-schedules_tick"), unreserved(empty)) == (None, before)


def test_a_reservation_that_leaves_too_little_is_refused_by_aws_and_by_the_command_before(
    empty: Sandbox, tmp_path: Path
) -> None:
    made = deploy(empty, reserving("greedy", tmp_path, 950))
    assert "UnreservedConcurrentExecution below its minimum value of [100]" in made[HOME, "greedy-t"].error
    make_lambda(empty, HOME, "theirs", "def handler(event, context): pass")
    lambdas = empty.client("lambda", HOME)
    lambdas.put_function_concurrency(FunctionName="theirs", ReservedConcurrentExecutions=898)
    try:
        with pytest.raises(UsageError, match=r"eu-west-1: this account may run 1,000 .* Raise the quota to 1,001 "):
            deploy(empty, reserving("late", tmp_path, 3))
        assert stacks(empty, HOME, "late-t") == []
    finally:
        lambdas.delete_function_concurrency(FunctionName="theirs")
    assert deploy(empty, reserving("late", tmp_path, 3))[HOME, "late-t"].status == "deployed"


def test_a_lambda_that_somebody_disabled_is_refused(empty: Sandbox) -> None:
    make_lambda(empty, HOME, "disabled", "def handler(event, context): return 1")
    lambdas = empty.client("lambda", HOME)
    lambdas.put_function_concurrency(FunctionName="disabled", ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        lambdas.invoke(FunctionName="disabled")
