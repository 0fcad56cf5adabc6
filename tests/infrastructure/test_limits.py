"""Each value that is resolved from the longest legal fleet is one that AWS takes, by AWS's own models."""

import base64
import json
import re
import struct
from typing import Any

import pytest
from botocore.session import Session

from chalicelib import registry
from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.config.declared import LONGEST_NAME
from chalicelib.config.fleet import FleetError
from chalicelib.health_checks.check_config import reference_name, reference_prefix
from chalicelib.infrastructure import limits, tables, template
from chalicelib.infrastructure.files import files
from commands.deploy.packaging import STAGE
from tests.lint import registered

NAME, STAGE_NAME, REGIONS = "n" * LONGEST_NAME, "s" * 16, ("ap-southeast-1", "ap-northeast-1")
FUNCTIONS = [each.function for each in registry.lambdas()]
QUEUE = "q" * 31
HEAD = f"""
name = "{{name}}"
regions = [{{{{name = "{REGIONS[0]}"}}}}, {{{{name = "{REGIONS[1]}"}}}}]
coordination = {{{{regions = ["{REGIONS[0]}"]}}}}
alarm_email = "ops@example.com"
"""
QUEUES = f'[[queues]]\nname = "{QUEUE}"\nfifo = true\n[[queues]]\nname = "default"\n'
TUNNELS = f"""
[tunnels]
primary = "{REGIONS[0]}"
[tunnels.hosts]
gateway = "gateway.example.com"
host_keys = {{keys}}
database = "db.internal"
[[tunnels.hosts.regions]]
name = "{REGIONS[1]}"
vpc = "vpc-0123456789abcdef0"
subnets = ["subnet-0123456789abcdef0"]
"""


def rsa_key(number: int) -> str:
    """A legal host key of 716 characters."""
    def field(value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + value

    blob = field(b"ssh-rsa") + field(b"\x01\x00\x01") + field(bytes([0]) + bytes([number + 1]) * 512)
    return "ssh-rsa " + base64.b64encode(blob).decode()


def made(text: str, stage: str) -> dict[str, Any]:
    """The template of the fleet `text`, and of its coordination table, with each part's type."""
    declared = fleet.parse(text, "fleet.toml", stage)
    whole = template.merged(json.loads(files()["resources.json"]), declared, stage, FUNCTIONS)
    parts = {id: {"Type": "AWS::Serverless::Function", **part} if "FunctionName" in part.get("Properties", {}) else part
             for id, part in whole["Resources"].items()}
    return {"Resources": parts | tables.coordination(declared, stage)["Resources"]}


def refusals(found: dict[str, Any], stack: str) -> list[str]:
    """Each resolved text that is longer than the registry's schema of its resource allows, or of another pattern."""
    known, wrong = limits.pseudo_parameters(stack, REGIONS), list[str]()
    for id, part in found["Resources"].items():
        kind = str(part["Type"]).replace("Serverless::Function", "Lambda::Function")
        schema = registered(kind)
        for name, value in part["Properties"].items():
            text, said = limits.resolved(value, found["Resources"], known), schema.get(name, {})
            if not isinstance(text, str) or "${" in text:
                continue
            if len(text) > said.get("maxLength", len(text)) or not re.search(said.get("pattern", ""), text):
                wrong.append(f"{id}.{name}: {text}")
    return wrong


@pytest.mark.slow
def test_every_value_of_the_longest_fleet_fits() -> None:
    assert STAGE.fullmatch(STAGE_NAME) and not STAGE.fullmatch(STAGE_NAME + "s")
    found = made(HEAD.format(name=NAME) + QUEUES, STAGE_NAME)
    assert refusals(found, f"{NAME}-{STAGE_NAME}") == []
    assert len(found["Resources"]) > 60


@pytest.mark.slow
def test_every_value_of_the_longest_stack_with_tunnels_fits() -> None:
    stack_characters = 32 - len("-tunnels")
    name = "n" * (stack_characters - len("-prod"))
    found = made(HEAD.format(name=name) + TUNNELS.format(keys=json.dumps([rsa_key(0)])), "prod")
    assert refusals(found, f"{name}-prod") == []
    with pytest.raises(FleetError, match=r"Name of TunnelsTargets .* AWS allows 32 characters\. Take a shorter name"):
        made(HEAD.format(name=name + "n") + TUNNELS.format(keys=json.dumps([rsa_key(0)])), "prod")


def test_a_value_that_is_too_long_would_be_found() -> None:
    part = {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {
        "Name": {"Fn::Sub": "${AWS::StackName}-tunnels"}}}
    [found] = limits.mistakes({"Resources": {"T": part}}, "n" * 30, REGIONS)
    assert "38 characters, and AWS allows 32" in found


@pytest.mark.slow
def test_host_keys_that_fill_more_than_a_parameter_are_refused() -> None:
    assert made(HEAD.format(name="f") + TUNNELS.format(keys=json.dumps([rsa_key(n) for n in range(5)])), "s")
    with pytest.raises(FleetError, match=r"Value of TunnelsKnownHosts .* 4,096 characters\. Give each gateway fewer"):
        made(HEAD.format(name="f") + TUNNELS.format(keys=json.dumps([rsa_key(n) for n in range(6)])), "s")


def test_an_environment_does_not_grow_with_the_queues() -> None:
    def environment(count: int) -> Any:
        queues = "".join(f'[[queues]]\nname = "{"q" * 28}-{number}"\n' for number in range(count))
        whole = made(HEAD.format(name=NAME) + queues, STAGE_NAME)
        return whole["Resources"]["TasksWork"]["Properties"]["Environment"]

    assert environment(60) == environment(1)


def test_an_environment_above_4_kb_would_be_found() -> None:
    part = {"Properties": {"FunctionName": "f", "Environment": {"Variables": {"A": "x" * 4096}}}}
    [found] = limits.mistakes({"Resources": {"F": part}}, "n", REGIONS)
    assert "Environment of F has 4,097 characters, and AWS allows 4,096" in found


def test_a_stack_of_too_many_resources_and_a_role_of_too_long_policies_are_refused() -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {}}
    queue = {"Fn::Sub": "arn:aws:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-q"}
    role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": {"Statement": [queue] * 260}}]}}
    many = {f"T{number}": topic for number in range(limits.MOST_RESOURCES)}
    assert not list(limits.oversized({"Resources": many}, "n", REGIONS))
    resources, policy = limits.oversized({"Resources": {**many, "R": role}}, "n", REGIONS)
    assert "501 resources, and AWS allows 500. Declare fewer [[queues]]" in resources
    assert re.search(r"the policy of R has 11,\d{3} characters, and AWS allows 10,240\. Declare fewer", policy)


@pytest.mark.parametrize("name", ["internal", "internal-x", "aws-tools", "amazonas", "amzn", "sthree-x", "xn--bcher"])
def test_a_name_that_aws_keeps_for_itself_is_refused(name: str) -> None:
    with pytest.raises(FleetError, match=r"fleet\.toml:2: name: .* which AWS keeps for itself\. Choose another"):
        fleet.parse(HEAD.format(name=name))


@pytest.mark.parametrize("name", ["internals", "a-aws", "sthreex", "xn-y"])
def test_a_name_that_only_resembles_one_is_taken(name: str) -> None:
    assert fleet.parse(HEAD.format(name=name)).name == name


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 7, 105])
@pytest.mark.parametrize("deletions", [0, 1, 1000])
def test_the_reference_of_a_health_check_fits_and_is_the_checks_own(number: int, deletions: int) -> None:
    most = Session().get_service_model("route53").shape_for("HealthCheckNonce").metadata["max"]
    made = {reference_prefix(name, STAGE_NAME, region, minute) + reference_name(number, [(number, 0)] * deletions)
            for name in ("f", "a" * 13, NAME, "m" * LONGEST_NAME) for region in REGIONS
            for minute in (30_000_000, 99_999_999)}
    assert max(map(len, made)) <= most
    assert len(made) == 16


def test_the_subject_of_a_notice_is_one_that_sns_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    class Sns:
        def publish(self, **asked: str) -> None:
            sent.append(asked["Subject"])

    monkeypatch.setattr(client, "client", lambda service, region: Sns())
    client.SnsTopic("arn", REGIONS[0]).publish("\nö " + "x" * 200, "text")
    assert sent == ["x" * 99]


def test_the_limits_are_those_of_the_registrys_schemas() -> None:
    checked = 0
    for (kind, name), limit in limits.LIMITS.items():
        if "Serverless" in kind:
            continue
        said = registered(kind)[name]
        if "maxLength" in said:
            checked += 1
            assert limit.most <= said["maxLength"], (kind, name)
    assert checked >= 3
