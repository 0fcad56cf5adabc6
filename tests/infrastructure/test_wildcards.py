"""The resolved policies of all Lambdas, for a fleet that declares everything: no wildcard without a written reason."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.engine.deployment import Lambda, Permission
from chalicelib.infrastructure import policies
from chalicelib.registry import lambdas
from chalicelib.schedules.runners import Attempt, ecs
from tests.schedules.harness import SLOT, job
from tests.tunnels.fleets import WAYS


def _region(name: str) -> str:
    return (f'name = "{name}"\necs = {{subnets = ["subnet-00000001"], security_groups = ["sg-00000001"]}}\n'
            f'endpoint = {{load_balancer = "app.{name}.elb.amazonaws.com", zone = "Z0EXAMPLE", bucket = "m-{name}"}}\n')


TEXT = WAYS
for _name in ("us-east-1", "eu-west-1", "ap-southeast-1"):
    TEXT = TEXT.replace(f'[[regions]]\nname = "{_name}"\n', f"[[regions]]\n{_region(_name)}", 1)
TEXT += """
[routing]
hostname = "app.example.com"
zone = "Z0EXAMPLE"
[[queues]]
name = "mail"
[schedules]
ecs = {cluster = "jobs", task_definition = "cron:7", container = "c", roles = ["task", "path/execution"]}
ssm = {tag = "role", value = "cron"}
[databases]
flavour = "mariadb"
primary = "us-east-1"
secret = "db"
admin_secret = "admin"
[[databases.servers]]
region = "us-east-1"
host = "db.internal"
"""


def statements(declared: Fleet) -> Iterator[tuple[Lambda, Permission, dict[str, Any]]]:
    """Each statement as it is deployed, with the permission that it comes from."""
    for one in lambdas():
        by_id = {permission.sid: permission for permission in policies.permissions(one)}
        for statement in policies.resolved(policies.policy(one), declared)["Statement"]:
            yield one, by_id[statement["Sid"]], statement


def texts(resource: Any) -> Iterator[str]:
    if isinstance(resource, str):
        yield resource
    else:
        for inner in resource.values() if isinstance(resource, dict) else resource:
            yield from texts(inner)


FLEET = fleet.parse(TEXT)


def test_each_wildcard_has_a_written_reason() -> None:
    seen = 0
    for one, permission, statement in statements(FLEET):
        if any("*" in text or "?" in text for text in texts(statement["Resource"])):
            seen += 1
            assert len(permission.wildcard.split()) >= 4, (one.function, permission.sid, statement["Resource"])
        assert not any("*" in action for action in statement["Action"])
    assert seen > 20


def test_only_the_declared_roles_are_passed_and_only_to_ecs() -> None:
    passing = [statement for _, _, statement in statements(FLEET) if "iam:PassRole" in statement["Action"]]
    assert [statement["Resource"] for statement in passing] == [[
        {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/task"},
        {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/path/execution"}]]
    assert passing[0]["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


def test_a_task_is_started_without_another_role() -> None:
    assert FLEET.schedules.ecs
    overrides = ecs._overrides(FLEET.schedules.ecs, Attempt(job(on="ecs"), SLOT, 0, 1, "owner", lambda: False))
    assert overrides.keys() == {"containerOverrides"}


def test_commands_reach_only_instances_with_the_tag_of_the_fleet() -> None:
    for one, permission, statement in statements(FLEET):
        instances = any(":instance/" in text for text in texts(statement["Resource"]))
        if instances and "ssm:SendCommand" in statement["Action"]:
            [(operator, tags)] = statement["Condition"].items()
            assert operator == "StringEquals" and all(key.startswith("ssm:resourceTag/") and value
                                                      for key, value in tags.items()), (one.function, permission.sid)


@pytest.mark.parametrize("role", ["*", "a*", "arn:aws:iam::1:role/x", "a?", "", "a b", "x\n", "${AWS::AccountId}"])
def test_a_role_is_a_plain_name(role: str) -> None:
    with pytest.raises(fleet.FleetError, match="roles"):
        fleet.parse(TEXT.replace('"task",', f"{json.dumps(role)},"))


@pytest.mark.slow
@given(tag=st.text(min_size=1, max_size=20), value=st.text(max_size=20))
def test_a_tag_of_the_fleet_stays_one_key_and_one_value(tag: str, value: str) -> None:
    ssm = FLEET.schedules.ssm
    assert ssm

    changed = msgspec.structs.replace(FLEET, schedules=msgspec.structs.replace(
        FLEET.schedules, ssm=msgspec.structs.replace(ssm, tag=tag, value=value)))
    [found] = [statement for _, permission, statement in statements(changed) if permission.sid == "OnSsmInstances"]
    assert found["Condition"] == {"StringEquals": {f"ssm:resourceTag/{tag}": value}}
