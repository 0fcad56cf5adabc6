"""The policies that `lamp deploy --print-policy` prints: complete for the fleet at hand, and limited to its names."""

import fnmatch
import json
from functools import cache
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.config import fleet
from chalicelib.config.declared import LONGEST_NAME
from chalicelib.infrastructure import runner_policy
from chalicelib.infrastructure.parts import logical
from commands import cli
from commands.deploy import packaging, permissions, resource_types
from tests.infrastructure.test_wildcards import TEXT

SMALL = 'name = "f"\nregions = [{name = "eu-west-1"}]\ncoordination = {regions = ["eu-west-1"]}\n'
STRONG = SMALL.replace('coordination = {regions = ["eu-west-1"]}',
                       'coordination = {regions = ["eu-west-1", "eu-west-3", "eu-central-1"]}')


@cache
def statements(text: str, stage: str = "s") -> dict[str, dict[str, Any]]:
    """Sid -> statement."""
    found = [each for document in permissions.documents(fleet.parse(text), stage).values()
             for each in document["Statement"]]
    assert len({each["Sid"] for each in found}) == len(found)
    return {each["Sid"]: each for each in found}


def allowed(text: str, action: str) -> bool:
    """Whether some statement allows the action on something."""
    return any(fnmatch.fnmatchcase(action, one) for each in statements(text).values() for one in each["Action"])


@pytest.mark.slow
@pytest.mark.parametrize("text", [SMALL, STRONG, TEXT])
def test_each_call_of_each_type_of_resource_is_allowed(text: str) -> None:
    declared = fleet.parse(text)
    for kind in permissions.kinds(declared, "s"):
        for action in resource_types.known().types[kind].actions:
            needed = action not in permissions._UNUSED and action != "iam:CreateServiceLinkedRole"
            assert not needed or allowed(text, action), (kind, action)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "action", "expected"), [
    *((SMALL, action, True) for action in (
        "iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:DetachRolePolicy", "iam:PassRole",
        "lambda:PutFunctionConcurrency", "lambda:PutFunctionRecursionConfig", "cloudformation:CreateChangeSet",
        "dynamodb:UpdateContinuousBackups", "s3:PutObject", "sqs:CreateQueue")),
    *((STRONG, action, True) for action in (
        "dynamodb:CreateTableReplica", "dynamodb:DeleteTableReplica", "iam:CreateServiceLinkedRole")),
    *((SMALL, action, False) for action in (
        "dynamodb:CreateTableReplica", "iam:CreateServiceLinkedRole", "ec2:RunInstances", "ssm:CreateDocument")),
    (TEXT, "ec2:RunInstances", True), (TEXT, "iam:AddRoleToInstanceProfile", True)])
def test_the_policy_is_that_of_the_fleet_at_hand(text: str, action: str, expected: bool) -> None:
    assert allowed(text, action) is expected


@pytest.mark.slow
def test_only_calls_without_a_resource_are_allowed_on_all() -> None:
    open_to_all = {sid for sid, each in statements(TEXT).items() if each["Resource"] == ["*"]}
    assert open_to_all == {"Identity", "Quotas", "LookForOperations", "WithoutResource"}
    wide = [one for one in statements(TEXT)["WithoutResource"]["Action"]
            if one not in resource_types.known().without_resource]
    # Application Auto Scaling gives its targets their ids, and scales no table here.
    assert all(one.startswith("application-autoscaling:") for one in wide)


@pytest.mark.slow
def test_roles_are_passed_to_lambda_and_hosts_alone_and_linked_roles_are_those_of_the_fleet() -> None:
    def services(text: str, sid: str, key: str) -> list[str]:
        found: list[str] = statements(text)[sid]["Condition"]["StringEquals"][key]
        return found

    assert services(SMALL, "PassRoles", "iam:PassedToService") == ["lambda.amazonaws.com"]
    assert services(TEXT, "PassRoles", "iam:PassedToService") == ["lambda.amazonaws.com", "ec2.amazonaws.com"]
    assert services(STRONG, "ServiceLinkedRoles", "iam:AWSServiceName") == ["replication.dynamodb.amazonaws.com"]


def generated(stack: str, id: str) -> str:
    """The name that CloudFormation makes for a role of a stack, by the rule of KensioSoftware/yulin issue 1113."""
    room = 64 - 14
    half = (room + 1) // 2
    kept = max(half, room - len(id))
    return f"{stack[:kept]}-{id[:room - len(stack[:kept])]}-ABCDEFGHIJKL"


def test_the_rule_of_generated_names_gives_those_of_real_stacks() -> None:
    for stack, id, name in (
            ("ChineseboostAnalyticsStack", "RainlyticsSummariesJobFunction", "ChineseboostAnalyticsStac-Rainlytics"
                                                                             "SummariesJobFun-"),
            ("agency-proj-t-dev-qnabotstack", "OpenSearchDashboardsRole", "agency-proj-t-dev-qnabotst-OpenSearch"
                                                                          "DashboardsRole-"),
            ("agency-proj-t-dev-qnabotstack", "CFNLambdaRole", "agency-proj-t-dev-qnabotstack-CFNLambdaRole-")):
        assert generated(stack, id).startswith(name)


ROLES = [logical(each.function) + "Role" for each in registry.lambdas()] + ["TunnelsRole", "TunnelsProfile"]


@pytest.mark.parametrize("size", range(3, LONGEST_NAME + 1 + 16 + 1))
def test_the_roles_of_a_stack_of_any_length_are_covered(size: int) -> None:
    name, stage = ("n" * (size - 2), "s") if size - 2 <= LONGEST_NAME else ("n" * LONGEST_NAME,
                                                                           "s" * (size - 1 - LONGEST_NAME))
    packaging.check_stage(stage)
    found = statements(SMALL.replace('"f"', f'"{name}"'), stage)
    made, passed = found["StackIam"]["Resource"], found["PassRoles"]["Resource"]
    denied = runner_policy.statements('{"Version": "2012-10-17", "Statement": []}', "p", f"{name}-{stage}")[-1]
    for id in ROLES:
        role = generated(f"{name}-{stage}", id)
        for kind, patterns in (("role", made), ("instance-profile", made), ("role", passed)):
            arn = f"arn:aws:iam::111122223333:{kind}/{role}"
            assert any(fnmatch.fnmatchcase(arn, one) for one in patterns), (kind, role)
        assert fnmatch.fnmatchcase(f":role/{role}", "*" + denied["Resource"][-1]["Fn::Sub"].partition("AccountId}")[2])


def test_each_document_fits_into_a_managed_policy() -> None:
    sizes = [len(json.dumps(one, separators=(",", ":")))
             for one in permissions.documents(fleet.parse(TEXT), "s").values()]
    assert len(sizes) > 1 and max(sizes) <= permissions.MOST_CHARACTERS


def test_the_command_prints_the_policies_and_needs_no_credentials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert cli.main(["deploy", "--stage", "prod", "--print-policy"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert all(name.startswith("lamplighter-prod-deploy-") and one["Version"] == "2012-10-17"
               for name, one in printed.items())
