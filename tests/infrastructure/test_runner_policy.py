"""The policy that a team declares for its jobs: what is taken, what is refused, and what it can never give."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.fleet import FleetError, parse
from chalicelib.infrastructure import runner_policy
from chalicelib.infrastructure.parts import Json
from commands.deploy import runner_policy as of_project

READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme/*"}
FLEET = """
name = "acme"
regions = [{name = "eu-west-1"}]
coordination.regions = ["eu-west-1"]
"""


def document(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def taken(*statements: Json) -> list[Json]:
    """The statements of the team's own, as they go to CloudFormation."""
    *own, denied = runner_policy.statements(document(*statements), "p.json", "acme-prod")
    assert denied["Effect"] == "Deny"
    return own


def refused(text: str) -> str:
    with pytest.raises(FleetError) as told:
        runner_policy.statements(text, "p.json", "acme-prod")
    return str(told.value)


def test_a_policy_is_taken_as_it_is() -> None:
    assert taken(READ) == [READ]
    one = json.dumps({"Version": "2012-10-17", "Statement": READ})
    assert runner_policy.statements(one, "p.json", "acme-prod")[0] == READ


def test_the_stacks_own_names_are_filled_in_and_policy_variables_left_alone() -> None:
    queue = "arn:aws:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-default"
    [found] = taken({"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": [queue, "arn:aws:s3:::${aws:userid}"],
                     "Condition": {"StringEquals": {"a": "${AWS::StackName}/${aws:userid}"}}})
    assert found["Resource"] == [{"Fn::Sub": queue}, "arn:aws:s3:::${aws:userid}"]
    assert found["Condition"] == {"StringEquals": {"a": {"Fn::Sub": "${AWS::StackName}/${!aws:userid}"}}}


def test_what_is_denied_in_any_case_names_each_part_of_the_stack() -> None:
    denied = json.dumps(runner_policy.statements(document(READ), "p.json", "acme-prod")[-1])
    for part in ("table/${AWS::StackName}\"", "table/${AWS::StackName}/*", "table/${AWS::StackName}-coordination\"",
                 "table/${AWS::StackName}-coordination/*", "${AWS::StackName}-schedule-runs\"",
                 "${AWS::StackName}-schedule-reconciles\"", "function:${AWS::StackName}-*", "-alerts",
                 ":role/acme-prod-*"):
        assert part in denied.replace('\\"', '"'), part


@pytest.mark.parametrize(("text", "words"), [
    ("{", "it is not JSON"), ("[]", "it is not a policy document"),
    ('{"Statement": "x"}', "it is not a policy document"),
    (json.dumps({"Version": "2008-10-17", "Statement": [READ]}), 'its Version is not "2012-10-17"'),
    (document(5), "statement 1: it is not an object"),
    (document(READ, {**READ, "Principal": "*"}), "statement 2: Principal belongs to the policies of buckets"),
    (document({**READ, "Actions": "x"}), "Actions is no key of a statement"),
    (document({**READ, "Effect": "allow"}), "its Effect is neither Allow nor Deny"),
    (document({"Effect": "Allow", "Resource": "*"}), "it needs either Action or NotAction"),
    (document({**READ, "NotResource": "*"}), "it needs either Resource or NotResource"),
    (document({**READ, "Action": []}), "its Action is neither a text nor a list of texts"),
    (document({**READ, "Resource": {"Ref": "X"}}), "its Resource is neither a text nor a list of texts"),
    (document({**READ, "Resource": "arn:${AWS::URLSuffix}"}), "${AWS::URLSuffix} is not known here"),
    (document(*[READ] * 200), "more than 8,000 characters"),
])
def test_what_is_no_policy_is_refused_with_the_place_and_the_remedy(text: str, words: str) -> None:
    found = refused(text)
    assert all(line.startswith("p.json:1: runners.policy: ") for line in found.splitlines())
    assert words in found


@pytest.mark.parametrize("actions", [
    {"Action": "iam:PassRole"}, {"Action": "IAM:passrole"}, {"Action": "iam:Pass*"}, {"Action": ["s3:Get*", "iam:*"]},
    {"Action": "*"}, {"Action": "i?m:PassRole"}, {"NotAction": "s3:*"}, {"NotAction": ["iam:Get*"]}])
@pytest.mark.parametrize("resources", [
    {"Resource": "*"}, {"Resource": ["arn:aws:iam::1:role/a", "arn:aws:iam::1:role/b*"]},
    {"Resource": "arn:aws:iam::1:role/?"}, {"NotResource": "arn:aws:iam::1:role/a"}])
def test_passing_any_role_is_refused(actions: Json, resources: Json) -> None:
    assert "it allows iam:PassRole on a wildcard" in refused(document({"Effect": "Allow", **actions, **resources}))


@pytest.mark.parametrize("statement", [
    {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/a"},
    {"Effect": "Deny", "Action": "*", "Resource": "*"},
    {"Effect": "Allow", "Action": ["iam:Get*", "s3:*", "iam:PassRole?"], "Resource": "*"},
    {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}])
def test_what_passes_no_role_or_a_named_one_is_taken(statement: Json) -> None:
    assert taken(statement) == [statement]


def test_the_file_must_lie_in_the_project(tmp_path: Path) -> None:
    fleet = parse(f'{FLEET}runners.policy = "own.json"\n')
    root = tmp_path / "project"
    root.mkdir()
    outside = tmp_path / "own.json"
    outside.write_text(document(READ))
    for is_linked in (False, True):
        if is_linked:
            (root / "own.json").symlink_to(outside)
        with pytest.raises(FleetError, match=r"runners\.policy: 'own\.json' is no file of this project"):
            of_project.statements(root, fleet, "prod")
    (root / "own.json").unlink()
    (root / "own.json").write_bytes(b"\xff")
    with pytest.raises(FleetError, match=r"own\.json:1: runners\.policy: cannot be read"):
        of_project.statements(root, fleet, "prod")
    (root / "own.json").write_text(document(READ))
    assert of_project.statements(root, fleet, "prod")[0] == READ
    assert of_project.statements(root, parse(FLEET), "prod") == []
