"""Each list of AWS is read to its last page: by the rule for all code, and over lists whose first page is empty."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import EndpointConnectionError, UnknownServiceError
from botocore.session import Session

from chalicelib.aws import client
from chalicelib.aws.autoscaling import GroupMember
from chalicelib.aws.ports import ports_at
from chalicelib.aws.store import DynamoStore
from chalicelib.tasks import observe
from testing.paging import EmptyFirstPage

ROOT = Path(__file__).resolve().parent.parent.parent
SERVICES = ("autoscaling", "cloudformation", "cloudwatch", "dynamodb", "ec2", "ecs", "elbv2", "events", "iam", "lambda",
            "logs", "route53", "s3", "secretsmanager", "sns", "sqs", "ssm", "sts")
TOKENS = {"nexttoken", "marker", "nextmarker", "nextrecordname", "lastevaluatedkey", "continuationtoken"}
# It reads page after page by itself, by a limit.
OWN_LOOPS = {"chalicelib/aws/store.py"}
CODE = sorted(path for folder in ("chalicelib", "commands", "agent", "lamplighter") for path in
              (ROOT / folder).rglob("*.py") if str(path.relative_to(ROOT)) not in OWN_LOOPS)


@cache
def pageable() -> frozenset[str]:
    """boto3's names of all calls that botocore has a paginator for, or whose answer has a token of a next page."""
    session, found = Session(), set[str]()
    for service in SERVICES:
        model = session.get_service_model(service)
        try:
            paginators = session.get_component("data_loader").load_service_model(service, "paginators-1")["pagination"]
        except UnknownServiceError:
            paginators = {}
        for name in model.operation_names:
            shape = model.operation_model(name).output_shape
            if name in paginators or (shape and TOKENS & {member.lower() for member in shape.members}):
                found.add(xform_name(name))
    # One word alone says nothing about AWS: `Store.query` is no list of a boto3 client.
    return frozenset(name for name in found if "_" in name)


def single_pages(tree: ast.AST) -> Iterator[str]:
    """The lists of AWS that `tree` calls by themselves, or pages by another way than `pages`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in pageable() or name == "get_paginator":
            yield name
        elif not name.endswith("pages"):
            yield from (one.value for one in node.args if isinstance(one, ast.Constant) and one.value in pageable())


@pytest.mark.slow
@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_list_of_aws_is_read_by_pages(path: Path) -> None:
    if path == ROOT / "chalicelib/aws/client.py":
        assert list(single_pages(ast.parse(path.read_text()))) == ["get_paginator"]
        return
    assert list(single_pages(ast.parse(path.read_text()))) == []


def test_a_list_that_is_not_paged_would_be_found() -> None:
    found = list(single_pages(ast.parse("a.describe_instances()\ncall('describe_stacks')\npages(a, 'list_functions')\n"
                                        "a.get_paginator('x')\na.get_metric_data()\na.get_command_invocation()\n")))
    assert sorted(found) == ["describe_instances", "describe_stacks", "get_metric_data", "get_paginator"]
    assert {"describe_change_set", "filter_log_events", "list_health_checks"} <= pageable()


class Answers:
    """A boto3 client that gives the same answer to each call of a name, and takes down what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, list[dict[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.asked.append(arguments)
            return self.answers[name]

        return call


INSTANCE = {"InstanceId": "i-1", "State": {"Name": "running"}}
CHECK = {"Id": "c", "HealthCheckVersion": 1, "CallerReference": "lamp-1", "HealthCheckConfig": {}}
RECORD = {"Name": "a.example.com.", "Type": "A"}
SERVED = {
    "ec2": Answers(describe_instances={"Reservations": [{"Instances": [INSTANCE]}]}),
    "autoscaling": Answers(describe_auto_scaling_groups={"AutoScalingGroups": [
        {"Instances": [{"InstanceId": "i-1", "LifecycleState": "InService"}]}]}),
    "elbv2": Answers(describe_target_groups={"TargetGroups": [{"TargetGroupArn": "arn"}]}, describe_target_health={
        "TargetHealthDescriptions": [{"Target": {"Id": "i-1"}, "TargetHealth": {"State": "healthy"}}]}),
    "route53": Answers(list_health_checks={"HealthChecks": [CHECK], "IsTruncated": False},
                       list_resource_record_sets={"ResourceRecordSets": [RECORD], "IsTruncated": False}),
    "cloudwatch": Answers(get_metric_data={"MetricDataResults": [{"Id": "q0", "Values": [7.0, 5.0]}]}),
}


def served(service: str, region: str) -> Any:
    return EmptyFirstPage(service, SERVED[service])


@pytest.mark.slow
def test_a_list_that_begins_with_an_empty_page_is_read_on() -> None:
    ports = ports_at("eu-west-1", "123456789012", served)
    assert list(ports.ec2.tagged("role", "tunnel")) == ["i-1"]
    assert list(ports.ec2.instances(["i-1"])) == ["i-1"]
    assert ports.autoscaling.members("g") == (GroupMember("i-1", "InService"),)
    assert ports.elb.targets("g") == {"i-1": "healthy"}
    assert [check.reference for check in ports.route53.health_checks("lamp-")] == ["lamp-1"]
    assert list(ports.route53.record_sets("Z")) == [RECORD]


def test_the_age_of_a_queue_is_its_newest_value_of_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "client", served)
    assert observe.ages("eu-west-1", {"default": "https://sqs/1/default"}, 1_800_000_000) == {"default": 7}


def test_one_page_alone_of_such_a_list_is_empty() -> None:
    ec2 = EmptyFirstPage("ec2", SERVED["ec2"])
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.missed == ["describe_instances"]


def test_a_page_that_aws_does_not_give_is_told_with_its_region() -> None:
    class Broken:
        def get_paginator(self, operation: str) -> Any:
            return self

        def paginate(self, **arguments: Any) -> Iterator[Any]:
            yield {"Functions": []}
            raise EndpointConnectionError(endpoint_url="https://lambda")

    found = client.region_pages("eu-west-1", Broken(), "list_functions")
    assert next(found) == {"Functions": []}
    with pytest.raises(client.Unavailable, match="eu-west-1"):
        next(found)


def test_a_query_and_a_scan_of_the_store_go_on_after_an_empty_page(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"pk": {"S": "p"}, "sk": {"S": "s"}, "version": {"N": "1"}, "body": {"S": "{}"}}
    dynamo = EmptyFirstPage("dynamodb", Answers(query={"Items": [record]}, scan={"Items": [record]}))
    monkeypatch.setattr(client, "client", lambda service, region: dynamo)
    store = DynamoStore("t", "eu-west-1")
    assert [item.sk for item in store.query("p")] == ["s"]
    assert [item.sk for item in store.scan_expired(0)] == ["s"]
