"""Endpoints of the tunnels for tests of the Lambdas that look after them: instances in which nothing runs.

A tunnel that leads to a database is a port of an instance that greets as one, in this process, as long as it is open.
"""

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

from chalicelib.engine import schema
from chalicelib.tunnels.state import EFFECTS_PK, KEY, SCHEMA, Member, MemberPhase, ProbeStreak, TunnelState
from sandbox.mysql_stub import denial, greeting
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.world.least_privilege import HOME, Lambdas

PORT = 13306
GROUP, TARGETS, DOCUMENT, TAG = "endpoints", "entrances", "restart-tunnel", ("role", "tunnel")
SLOTS = 3
IMAGE = "ami-0fedcba9876543210"
SHIPPED = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
# The first of the group hold the slots; the others are there so that one that is replaced need not be waited for.
MEMBERS = 6

class Greeting(socketserver.BaseRequestHandler):
    """What a database says to a probe."""

    def handle(self) -> None:
        """A greeting, and no to whoever answers it."""
        self.request.sendall(greeting())
        if self.request.recv(4096):
            self.request.sendall(denial())


class Tunnels(Lambdas):
    """One stage with its endpoints."""

    @property
    def tagged(self) -> bool:
        """Whether endpoints are found by their tag."""
        return bool(self.fleet.tunnels and self.fleet.tunnels.tag)

    def members(self) -> list[str]:
        """The endpoints that are in service."""
        if self.tagged:
            found = self.world.client("ec2", HOME).describe_instances(
                Filters=[{"Name": f"tag:{TAG[0]}", "Values": [TAG[1]]}])["Reservations"]
            return sorted(one["InstanceId"] for some in found for one in some["Instances"])
        group = self.fleet.tunnels.group if self.fleet.tunnels else None
        found = self.world.client("autoscaling", HOME).describe_auto_scaling_groups(
            AutoScalingGroupNames=[group or f"{self.stack}-tunnels"])["AutoScalingGroups"]
        return [one["InstanceId"] for one in found[0]["Instances"] if one["LifecycleState"] == "InService"]

    def seats(self) -> list[str]:
        """The endpoints of the slots."""
        return eventually(lambda: found[:SLOTS] if len(found := self.members()) >= SLOTS else [])

    def balanced(self, *ids: str) -> None:
        """Exactly these are in the balancer."""
        elb = self.world.client("elbv2", HOME)
        arn = elb.describe_target_groups(Names=[TARGETS])["TargetGroups"][0]["TargetGroupArn"]
        there = {one["Target"]["Id"]: one["TargetHealth"]["State"]
                 for one in elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]}
        if gone := [{"Id": id} for id in there if id not in ids]:
            elb.deregister_targets(TargetGroupArn=arn, Targets=gone)
        if new := [{"Id": id} for id in ids if there.get(id, "draining") == "draining"]:
            elb.register_targets(TargetGroupArn=arn, Targets=new)

    def served(self, id: str) -> None:
        """Returns once the balancer sends to it, and so to a tunnel that leads to a database."""
        elb = self.world.client("elbv2", HOME)
        arn = elb.describe_target_groups(Names=[TARGETS])["TargetGroups"][0]["TargetGroupArn"]
        eventually(lambda: [one["TargetHealth"]["State"] for one in elb.describe_target_health(
            TargetGroupArn=arn, Targets=[{"Id": id}])["TargetHealthDescriptions"]] == ["healthy"])

    def state(self, id: str) -> str:
        """The state of an instance."""
        found = self.world.client("ec2", HOME).describe_instances(InstanceIds=[id])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def powered(self, *running: str, stopped: str = "") -> None:
        """These run, and this one does not."""
        ec2 = self.world.client("ec2", HOME)
        for id in running:
            if self.state(id) != "running":
                eventually(lambda id=id: self.state(id) in ("running", "stopped"))  # type: ignore[misc]
                ec2.start_instances(InstanceIds=[id])
        if stopped and self.state(stopped) != "stopped":
            ec2.stop_instances(InstanceIds=[stopped])
        eventually(lambda: all(self.state(id) == "running" for id in running)
                   and (not stopped or self.state(stopped) == "stopped"))

    def forgotten(self) -> None:
        """Nothing has been done yet, and nothing is broken."""
        self.world.clear_faults()
        dynamodb = self.world.client("dynamodb", HOME)
        done = dynamodb.query(TableName=self.stack, KeyConditionExpression="pk = :pk",
                              ExpressionAttributeValues={":pk": {"S": EFFECTS_PK}})["Items"]
        for one in done:
            dynamodb.delete_item(TableName=self.stack, Key={key: one[key] for key in ("pk", "sk")})

    def known(self, *slots: Member, **more: Any) -> None:
        """The controller's state, just written."""
        self.remember(*KEY, schema.encode(TunnelState(time.time(), slots, **more), SCHEMA))


def slot(number: int, instance: str, phase: MemberPhase, up: bool | None, **more: Any) -> Member:
    """A slot whose endpoint has answered, or failed, nine times in a row; `None`: nothing is known of it."""
    now = time.time()
    streak = None if up is None else ProbeStreak(up, 9, now - 60, now - 1, "up" if up else "local", "test")
    return Member(str(number), instance, phase, now - 60, streak, incident=1, **more)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


@contextlib.contextmanager
def leading(on: Tunnels, *ids: str) -> Iterator[None]:
    """The tunnels of these endpoints lead to a database while the block lasts."""
    found = on.world.client("ec2", HOME).describe_instances(InstanceIds=list(ids))["Reservations"]
    with contextlib.ExitStack() as stack:
        for place in [one["PrivateIpAddress"] for some in found for one in some["Instances"]]:
            server = stack.enter_context(_Server((place, PORT), Greeting))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
        yield


def build(world: Sandbox) -> None:
    """What people have: a group, instances by their tag, a target group, and a document."""
    for image in (IMAGE, SHIPPED):
        world.image(image, {})  # Systems Manager knows only instances of images that are known
    ec2, asg = world.client("ec2", HOME), world.client("autoscaling", HOME)
    elb = world.client("elbv2", HOME)
    group = elb.create_target_group(Name=TARGETS, Protocol="TCP", Port=PORT)["TargetGroups"][0]["TargetGroupArn"]
    balancer = elb.create_load_balancer(Name=TARGETS, Type="network")["LoadBalancers"][0]["LoadBalancerArn"]
    elb.create_listener(LoadBalancerArn=balancer, Protocol="TCP", Port=PORT,
                        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
    ec2.create_launch_template(LaunchTemplateName=GROUP, LaunchTemplateData={"ImageId": IMAGE})
    asg.create_auto_scaling_group(
        AutoScalingGroupName=GROUP, LaunchTemplate={"LaunchTemplateName": GROUP, "Version": "$Latest"}, MinSize=0,
        MaxSize=MEMBERS, DesiredCapacity=MEMBERS, AvailabilityZones=[f"{HOME}a"])
    ec2.run_instances(ImageId=IMAGE, MinCount=SLOTS, MaxCount=SLOTS, TagSpecifications=[
        {"ResourceType": "instance", "Tags": [{"Key": TAG[0], "Value": TAG[1]}]}])
    content = {"schemaVersion": "2.2", "description": "Restarts a tunnel", "parameters": {"Key": {"type": "String"}},
               "mainSteps": [{"action": "aws:runShellScript", "name": "act", "inputs": {"runCommand": ["true"]}}]}
    world.client("ssm", HOME).create_document(
        Name=DOCUMENT, DocumentType="Command", DocumentFormat="JSON", Content=json.dumps(content))
