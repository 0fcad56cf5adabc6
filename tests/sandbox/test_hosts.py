"""Calls about hosts: what is refused, and the resource that each is authorized on."""

import json
from typing import Any

import pytest

from sandbox.compute.authorization import document, queried
from sandbox.compute.autoscaling import size_problem
from sandbox.compute.elb_checks import attribute_problem, problem, with_defaults

HERE = ("eu-west-1", "111122223333")


@pytest.mark.parametrize(("given", "codes", "says"), [
    ({"HealthCheckIntervalSeconds": "4"}, "", "between '5' and '300'"),
    ({"HealthCheckIntervalSeconds": "301"}, "", "between '5' and '300'"),
    ({"HealthCheckTimeoutSeconds": "1"}, "", "between '2' and '120'"),
    ({"HealthyThresholdCount": "11"}, "", "between '2' and '10'"),
    ({"UnhealthyThresholdCount": "x"}, "", "between '2' and '10'"),
    ({"HealthCheckPort": "0"}, "", "Health check port '0'"), ({}, "200-", "matcher"), ({}, "600", "matcher"),
    ({"TargetType": "alb"}, "", "type alb")])
def test_a_target_group_that_aws_refuses_is_refused(given: dict[str, Any], codes: str, says: str) -> None:
    assert says in problem(given, codes)


@pytest.mark.parametrize(("given", "codes"), [
    ({}, ""), ({"HealthCheckIntervalSeconds": "5", "HealthCheckTimeoutSeconds": "2"}, "200"),
    ({"HealthCheckIntervalSeconds": 300, "HealthyThresholdCount": 10}, "200-299,301"),
    ({"HealthCheckPort": "traffic-port"}, "200,202"), ({"HealthCheckPort": 65535}, "")])
def test_one_that_aws_takes_is_taken(given: dict[str, Any], codes: str) -> None:
    assert problem(given, codes) == ""


@pytest.mark.parametrize(("key", "value", "fine"), [
    ("deregistration_delay.timeout_seconds", "0", True), ("deregistration_delay.timeout_seconds", "3601", False),
    ("deregistration_delay.timeout_seconds", "soon", False), ("stickiness.type", "anything", True),
    ("deregistration_delay.connection_termination.enabled", "true", True),
    ("deregistration_delay.connection_termination.enabled", "yes", False)])
def test_attributes_of_a_target_group(key: str, value: str, fine: bool) -> None:
    assert (attribute_problem([{"Key": key, "Value": value}]) == "") is fine


@pytest.mark.parametrize(("given", "protocol", "timeout"), [
    ({"Protocol": "TCP"}, "TCP", "10"), ({"Protocol": "TCP", "HealthCheckProtocol": "HTTP"}, "HTTP", "6"),
    ({"Protocol": "TCP", "HealthCheckTimeoutSeconds": "3"}, "TCP", "3"), ({"Protocol": "HTTP"}, None, None), ({}, None,
                                                                                                          None)])
def test_defaults_of_a_tcp_group(given: dict[str, Any], protocol: str | None, timeout: str | None) -> None:
    full = with_defaults(given)
    assert (full.get("HealthCheckProtocol"), full.get("HealthCheckTimeoutSeconds")) == (protocol, timeout)


@pytest.mark.parametrize(("sizes", "fine"), [
    ((0, 0, 0), True), ((1, 2, 3), True), ((3, 2, 4), False), ((1, 5, 4), False), ((2, 2, 1), False)])
def test_sizes_of_a_group(sizes: tuple[int, int, int], fine: bool) -> None:
    assert (size_problem(*sizes) == "") is fine


@pytest.mark.parametrize(("action", "data", "resource"), [
    ("SendCommand", {"DocumentName": "mine"}, "arn:aws:ssm:eu-west-1:111122223333:document/mine"),
    ("SendCommand", {"DocumentName": "AWS-RunShellScript"}, "arn:aws:ssm:eu-west-1::document/AWS-RunShellScript"),
    ("SendCommand", {"DocumentName": "arn:x"}, "arn:x"), ("GetCommandInvocation", {"CommandId": "1"}, ""),
    ("GetDocument", {"Name": "mine"}, "arn:aws:ssm:eu-west-1:111122223333:document/mine"),
    ("GetParameter", {"Name": "mine"}, "")])
def test_resources_of_systems_manager(action: str, data: dict[str, Any], resource: str) -> None:
    assert document(action, json.dumps(data).encode(), *HERE) == resource


def test_a_body_that_is_no_json_is_authorized_on_everything() -> None:
    assert document("SendCommand", b"{", *HERE) == "*"


@pytest.mark.parametrize(("service", "action", "resource"), [
    ("ec2", "DescribeInstances", "*"), ("elasticloadbalancing", "DescribeTargetHealth", "*"),
    ("autoscaling", "DescribeAutoScalingGroups", "*"), ("elasticloadbalancing", "RegisterTargets", ""),
    ("ec2", "TerminateInstances", ""), ("ec2", "DescribeVerifiedAccessInstances", "")])
def test_resources_of_query_services(service: str, action: str, resource: str) -> None:
    assert queried(service, {"Action": action}, *HERE) == resource
