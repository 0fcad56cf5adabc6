"""The adapters of the AWS ports, against boto3's own model of each service: what they ask, and what they make of it."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.aws import client
from chalicelib.aws.autoscaling import GroupMember
from chalicelib.aws.ec2 import Instance
from chalicelib.aws.ports import AwsPorts, real_ports
from chalicelib.aws.ssm import Invocation

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/tunnels/0123456789abcdef"
Stub = Callable[[str], Stubber]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The stub of a service's client: it knows the shapes of requests and answers, and that each one was asked for."""
    stubs: dict[str, Stubber] = {}

    def made(service: str, region: str = REGION) -> Any:
        if service not in stubs:
            stubs[service] = Stubber(boto3.client(service, region_name=region, aws_access_key_id="k",
                                                  aws_secret_access_key="s"))
            stubs[service].activate()
        return stubs[service].client

    def stubbed(service: str) -> Stubber:
        made(service)
        return stubs[service]

    monkeypatch.setattr(client, "client", made)
    yield stubbed
    for one in stubs.values():
        one.assert_no_pending_responses()


@pytest.fixture
def aws() -> AwsPorts:
    """The real adapters."""
    return real_ports(REGION, ACCOUNT)


def test_members_of_a_group(stub: Stub, aws: AwsPorts) -> None:
    group = {"AutoScalingGroupName": "g", "MinSize": 1, "MaxSize": 2, "DesiredCapacity": 1, "DefaultCooldown": 1,
             "AvailabilityZones": ["a"], "HealthCheckType": "EC2", "CreatedTime": "2026-01-01T00:00:00Z", "Instances": [
                 {"InstanceId": "i-1", "AvailabilityZone": "a", "LifecycleState": "InService",
                  "HealthStatus": "Healthy", "ProtectedFromScaleIn": False}]}
    asked = {"AutoScalingGroupNames": ["g"]}
    service = stub("autoscaling")
    service.add_response("describe_auto_scaling_groups", {"AutoScalingGroups": [group]}, asked)
    service.add_response("describe_auto_scaling_groups", {"AutoScalingGroups": []}, asked)
    service.add_response("terminate_instance_in_auto_scaling_group", {},
                         {"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": False})
    assert aws.autoscaling.members("g") == (GroupMember("i-1", "InService"),)
    assert aws.autoscaling.members("g") is None
    aws.autoscaling.terminate("i-1")


@pytest.mark.slow
def test_instances(stub: Stub, aws: AwsPorts) -> None:
    found = {"Reservations": [{"Instances": [
        {"InstanceId": "i-2", "State": {"Name": "running"}, "PrivateIpAddress": "10.0.0.2"},
        {"InstanceId": "i-9", "State": {"Name": "stopped"}}]}]}
    service = stub("ec2")
    service.add_response("describe_instances", found, {"Filters": [{"Name": "instance-id", "Values": ["i-1", "i-2"]}]})
    service.add_response("describe_instances", found, {"Filters": [{"Name": "tag:role", "Values": ["tunnel"]}]})
    service.add_response("stop_instances", {}, {"InstanceIds": ["i-1"]})
    service.add_response("start_instances", {}, {"InstanceIds": ["i-1"]})
    # What was not asked for is not there, whatever EC2 answers.
    assert aws.ec2.instances(["i-1", "i-2"]) == {"i-2": Instance("i-2", "running", "10.0.0.2")}
    assert aws.ec2.instances([]) == {}
    assert list(aws.ec2.tagged("role", "tunnel")) == ["i-2", "i-9"]
    aws.ec2.stop("i-1")
    aws.ec2.start("i-1")


def test_targets(stub: Stub, aws: AwsPorts) -> None:
    service = stub("elbv2")
    service.add_response("describe_target_groups", {"TargetGroups": [{"TargetGroupArn": ARN}]}, {"Names": ["tunnels"]})
    service.add_response("describe_target_health", {"TargetHealthDescriptions": [
        {"Target": {"Id": "i-1"}, "TargetHealth": {"State": "draining"}}]}, {"TargetGroupArn": ARN})
    # The name is looked up with each look at the targets, and not again for what is done about them.
    service.add_response("register_targets", {}, {"TargetGroupArn": ARN, "Targets": [{"Id": "i-1"}]})
    service.add_response("deregister_targets", {}, {"TargetGroupArn": ARN, "Targets": [{"Id": "i-1"}]})
    assert aws.elb.targets("tunnels") == {"i-1": "draining"}
    aws.elb.register("tunnels", "i-1")
    aws.elb.deregister("tunnels", "i-1")


def test_a_target_group_that_was_not_looked_at_is_looked_up(stub: Stub) -> None:
    from chalicelib.aws.elb import AwsElb

    service = stub("elbv2")
    service.add_response("describe_target_groups", {"TargetGroups": [{"TargetGroupArn": ARN}]}, {"Names": ["tunnels"]})
    service.add_response("register_targets", {}, {"TargetGroupArn": ARN, "Targets": [{"Id": "i-1"}]})
    AwsElb(REGION).register("tunnels", "i-1")


def test_commands_and_parameters(stub: Stub, aws: AwsPorts) -> None:
    service = stub("ssm")
    id = "0123456789abcdef0123456789abcdef0123"
    service.add_response("send_command", {"Command": {"CommandId": id}}, {
        "InstanceIds": ["i-0123456789abcdef0"], "DocumentName": "d-tunnels", "TimeoutSeconds": 30, "Comment": "c" * 100,
        "Parameters": {"Key": ["k"]}})
    service.add_response("get_command_invocation", {
        "Status": "Success", "StatusDetails": "Success", "StandardOutputContent": "o"},
        {"CommandId": id, "InstanceId": "i-0123456789abcdef0"})
    service.add_response("get_parameter", {"Parameter": {"Value": "v"}}, {"Name": "/p"})
    service.add_client_error("get_parameter", "ParameterNotFound")
    service.add_client_error("get_parameter", "AccessDeniedException")
    service.add_response("put_parameter", {}, {"Name": "/p", "Value": "v", "Type": "String", "Overwrite": True})
    sent = aws.ssm.send_command("i-0123456789abcdef0", "d-tunnels", {"Key": "k"}, timeout_seconds=30, comment="c" * 200)
    assert aws.ssm.invocation(sent, "i-0123456789abcdef0") == Invocation("Success", "Success", "o")
    assert aws.ssm.parameter("/p") == "v" and aws.ssm.parameter("/p") is None
    with pytest.raises(client.ClientError):
        aws.ssm.parameter("/p")
    aws.ssm.put_parameter("/p", "v")


def test_secrets(stub: Stub, aws: AwsPorts) -> None:
    service, new, old = stub("secretsmanager"), "b" * 36, "a" * 36
    service.add_response("describe_secret", {"VersionIdsToStages": {old: ["AWSCURRENT"], new: ["AWSPENDING", "x"]}},
                         {"SecretId": "s"})
    service.add_client_error("describe_secret", "ResourceNotFoundException")
    service.add_response("put_secret_value", {}, {"SecretId": "s", "ClientRequestToken": new, "SecretString": "v",
                                                  "VersionStages": ["AWSPENDING"]})
    service.add_response("update_secret_version_stage", {}, {
        "SecretId": "s", "VersionStage": "AWSCURRENT", "MoveToVersionId": new, "RemoveFromVersionId": old})
    assert aws.secrets.labels("s") == {"AWSCURRENT": old, "AWSPENDING": new, "x": new}
    assert aws.secrets.labels("s") is None
    aws.secrets.put("s", new, "v", "AWSPENDING")
    aws.secrets.move_label("s", "AWSCURRENT", to=new, from_=old)
