"""Elastic Load Balancing in the sandbox: health is probed, and connections go to healthy targets."""

import json
import random
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.world import Sandbox, WorldError
from testing.eventually import eventually
from tests.world.hosts import PORT, add_image, address, disk, get, launch, state
from tests.world.sites import BALANCED, HOME, OTHER, Site, ask, cut

pytestmark = pytest.mark.world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with an image of web servers, fifty times as fast as AWS."""
    with Sandbox.start() as made:
        add_image(made, tmp_path_factory.mktemp("image"))
        made.pace(50)
        yield made


@pytest.mark.parametrize("kind", ["network", "application"])
def test_connections_go_to_healthy_targets_in_turn(world: Sandbox, kind: str) -> None:
    site, ids = Site(world, f"turn-{kind}", kind), launch(world, HOME, 3)
    site.register(*ids)
    for one in ids:
        site.becomes(one, "healthy")
    assert site.answering() == set(ids)
    (disk(world, HOME, ids[0]) / "health").write_text("503")
    reason = site.becomes(ids[0], "unhealthy")
    assert reason == ("Target.FailedHealthChecks" if kind == "network" else "Target.ResponseCodeMismatch")
    eventually(lambda: site.answering() == set(ids[1:]))
    (disk(world, HOME, ids[0]) / "health").write_text("200")
    site.becomes(ids[0], "healthy")
    eventually(lambda: site.answering() == set(ids))


def test_probes_and_connections_come_from_the_balancers_own_address(world: Sandbox) -> None:
    site, one = Site(world, "source"), launch(world, HOME)[0]
    site.register(one)
    site.becomes(one, "healthy")
    assert site.get("/peer") == world.addresses()[site.name].host


ECHO = """
import os, socket, sys, threading
def serve(plug):
    with plug:
        while data := plug.recv(65536):
            plug.sendall(data)
        plug.shutdown(socket.SHUT_WR)
listener = socket.create_server((os.environ["ADDRESS"], 8080), backlog=100)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
"""


def test_all_bytes_pass_both_ways_and_an_end_is_passed_on(world: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    world.image("ami-0123456789abcdef6", {"echo": f"exec {sys.executable} -S {tmp_path / 'echo.py'}"})
    made = world.client("ec2", HOME).run_instances(ImageId="ami-0123456789abcdef6", MinCount=1, MaxCount=1)
    site, one = Site(world, "echo", HealthCheckProtocol="TCP"), made["Instances"][0]["InstanceId"]
    eventually(lambda: state(world, HOME, one) == "running")
    site.register(one)
    site.becomes(one, "healthy")
    host, sent = world.addresses()[site.name].host, random.Random(1).randbytes(3_000_000)

    def say(plug: socket.socket) -> None:
        plug.sendall(sent)
        plug.shutdown(socket.SHUT_WR)

    def echoed(_: int) -> bool:
        with socket.create_connection((host, BALANCED), 10) as plug, plug.makefile("rb") as stream:
            writer = threading.Thread(target=say, args=(plug,))
            writer.start()
            found = stream.read()
            writer.join()
            return found == sent

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(echoed, range(8)))


def test_with_no_healthy_target_all_get_connections(world: Sandbox) -> None:
    site, ids = Site(world, "open"), launch(world, HOME, 2)
    site.register(*ids)
    for one in ids:
        (disk(world, HOME, one) / "health").write_text("500")
        site.becomes(one, "unhealthy")
    eventually(lambda: site.answering() == set(ids))


def test_a_new_target_is_initial_and_a_group_without_a_listener_is_not_in_use(world: Sandbox) -> None:
    elb, one = world.client("elbv2", HOME), launch(world, HOME)[0]
    group = elb.create_target_group(Name="idle", Protocol="TCP", Port=1)["TargetGroups"][0]
    assert (group["HealthCheckProtocol"], group["HealthCheckTimeoutSeconds"]) == ("TCP", 10)
    elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": one}])
    found = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"][0]
    assert (found["TargetHealth"]["State"], found["TargetHealth"]["Reason"]) == ("unused", "Target.NotInUse")
    world.pace(1)
    try:
        site = Site(world, "fresh", HealthCheckIntervalSeconds=300, HealthCheckPort="1")  # nothing listens there
        site.register(one)
        assert site.health()[one][0] == "initial"
        eventually(lambda: site.health()[one] == ("initial", "Elb.InitialHealthChecking"))
    finally:
        world.pace(50)
    assert site.becomes(one, "unhealthy") == "Target.FailedHealthChecks"


def test_a_tcp_check_passes_on_a_hung_service_and_an_http_check_times_out(world: Sandbox) -> None:
    blind, one = Site(world, "blind", HealthCheckProtocol="TCP"), launch(world, HOME)[0]
    deep = Site(world, "deep", "application")
    for site in (blind, deep):
        site.register(one)
        site.becomes(one, "healthy")
    world.hang(one, "web")
    assert deep.becomes(one, "unhealthy") == "Target.Timeout"
    assert blind.health()[one] == ("healthy", "")
    world.thaw(one, "web")
    deep.becomes(one, "healthy")


def test_a_health_port_of_its_own_is_probed_and_a_port_override_is_a_target_of_its_own(world: Sandbox) -> None:
    script = f"exec {sys.executable} -S -m http.server --bind $ADDRESS 8181"
    world.image("ami-0123456789abcdef5", {"web": world_web(world), "health": script})
    site, one = Site(world, "ports", HealthCheckPort="8181", HealthCheckPath="/"), launch(
        world, HOME, image="ami-0123456789abcdef5")[0]
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": one}, {"Id": one, "Port": 9999}])
    found = eventually(lambda: [health for health in site.elb.describe_target_health(
        TargetGroupArn=site.group)["TargetHealthDescriptions"] if health["TargetHealth"]["State"] == "healthy"][:2])
    assert {health["HealthCheckPort"] for health in found} == {"8181"}
    world.kill(one, "health")
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": one, "Port": 9999}])
    states = {health["Target"]["Port"]: health["TargetHealth"]["State"] for health in site.elb.describe_target_health(
        TargetGroupArn=site.group)["TargetHealthDescriptions"]}
    assert states[9999] == "draining" and states[PORT] != "draining"


def world_web(world: Sandbox) -> str:
    """The command line of the image's web server."""
    one = launch(world, HOME)[0]
    pid = get(address(world, HOME, one), "/pid")
    return "exec " + " ".join(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0"))


def test_targets_that_do_not_run_are_refused_unused_or_gone(world: Sandbox) -> None:
    site, ids = Site(world, "states"), launch(world, HOME, 2)
    site.register(*ids)
    site.becomes(ids[0], "healthy")
    ec2 = world.client("ec2", HOME)
    ec2.stop_instances(InstanceIds=[ids[0]])
    eventually(lambda: site.health()[ids[0]] == ("unused", "Target.InvalidState"))
    eventually(lambda: state(world, HOME, ids[0]) == "stopped")
    ec2.start_instances(InstanceIds=[ids[0]])
    site.becomes(ids[0], "healthy")
    ec2.terminate_instances(InstanceIds=[ids[0]])
    eventually(lambda: ids[0] not in site.health())
    with pytest.raises(ClientError, match="not in a running state"):
        site.register(ids[0])


def test_what_no_target_takes_is_answered_as_the_kind_of_balancer_does(world: Sandbox) -> None:
    web, net = Site(world, "none-web", "application"), Site(world, "none-net")
    for site in (web, net):
        eventually(lambda site=site: BALANCED in world.addresses()[site.name].ports)  # type: ignore[misc]
    plug = socket.create_connection((world.addresses()[web.name].host, BALANCED), 5)
    plug.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert plug.recv(4096).startswith(b"HTTP/1.1 503 ")
    plug.close()
    # The reset may come as early as while the client still connects.
    with pytest.raises(ConnectionError), socket.create_connection(
            (world.addresses()[net.name].host, BALANCED), 5) as plug:
        ask(plug)


def test_a_balancer_that_is_deleted_listens_no_more(world: Sandbox) -> None:
    site, one = Site(world, "short"), launch(world, HOME)[0]
    site.register(one)
    site.becomes(one, "healthy")
    host, (plug, _) = world.addresses()[site.name].host, site.connect()
    site.elb.delete_load_balancer(LoadBalancerArn=site.arn)
    eventually(lambda: get(host, port=BALANCED) == "")
    assert site.name not in world.addresses() and cut(plug)
    plug.close()


def test_a_low_port_is_listened_on_or_mapped(world: Sandbox) -> None:
    site, one = Site(world, "low"), launch(world, HOME)[0]
    site.register(one)
    site.elb.modify_listener(ListenerArn=site.listener, Port=80)
    eventually(lambda: 80 in world.addresses()[site.name].ports)
    where = world.addresses()[site.name]
    site.becomes(one, "healthy")
    assert get(where.host, port=where.ports[80]) == one and BALANCED not in where.ports


def test_a_region_dies_with_its_balancers_and_comes_back_with_them(world: Sandbox) -> None:
    here, there = Site(world, "dies"), Site(world, "lives", region=OTHER)
    one, other = launch(world, HOME)[0], launch(world, OTHER)[0]
    here.register(one)
    there.register(other)
    here.becomes(one, "healthy")
    there.becomes(other, "healthy")
    world.stop_region(HOME)
    try:
        eventually(lambda: here.get() == "")
        assert there.get() == other
    finally:
        world.start_region(HOME)
    eventually(lambda: here.get() == one)
    assert state(world, HOME, one) == "running" and here.becomes(one, "healthy") == ""


def test_ip_targets_and_templates(world: Sandbox) -> None:
    one = launch(world, HOME)[0]
    resources = {
        "Balancer": {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
                     "Properties": {"Name": "stacked", "Type": "network", "Scheme": "internal"}},
        "Group": {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {
            "Name": "stacked", "Protocol": "TCP", "Port": PORT, "TargetType": "ip", "VpcId": "vpc-00000001",
            "TargetGroupAttributes": [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]}},
        "Listener": {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": {
            "LoadBalancerArn": {"Ref": "Balancer"}, "Port": BALANCED, "Protocol": "TCP",
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Group"}}]}}}
    stacks = world.client("cloudformation", HOME)
    stacks.create_stack(StackName="elb", TemplateBody=json.dumps({
        "Resources": resources, "Outputs": {"Name": {"Value": {"Fn::GetAtt": ["Balancer", "DNSName"]}},
                                            "Group": {"Value": {"Ref": "Group"}}}}))
    stacks.get_waiter("stack_create_complete").wait(StackName="elb", WaiterConfig={"Delay": 1})
    outputs = {one["OutputKey"]: one["OutputValue"]
               for one in stacks.describe_stacks(StackName="elb")["Stacks"][0]["Outputs"]}
    elb = world.client("elbv2", HOME)
    elb.register_targets(TargetGroupArn=outputs["Group"], Targets=[{"Id": address(world, HOME, one)}])
    eventually(lambda: get(world.addresses()[outputs["Name"]].host, port=BALANCED) == one)
    elb.deregister_targets(TargetGroupArn=outputs["Group"], Targets=[{"Id": address(world, HOME, one)}])
    assert elb.describe_target_health(TargetGroupArn=outputs["Group"])["TargetHealthDescriptions"] == []


def test_a_pace_out_of_bounds_is_refused(world: Sandbox) -> None:
    with pytest.raises(WorldError, match="not above 0"):
        world.pace(0)


@pytest.mark.parametrize(("settings", "says"), [
    ({"HealthCheckPort": "soon"}, "Health check port 'soon'"), ({"HealthCheckPort": "70000"}, "Health check port"),
    ({"Matcher": {"HttpCode": "good"}}, "matcher HTTP code 'good'"),
    ({"TargetType": "alb"}, "no target groups of type alb")])
def test_a_target_group_that_cannot_be_is_refused(world: Sandbox, settings: dict[str, Any], says: str) -> None:
    elb = world.client("elbv2", HOME)
    with pytest.raises(ClientError, match=says):
        elb.create_target_group(Name="refused", **{"Protocol": "TCP", "Port": PORT, **settings})
    if "TargetType" not in settings:
        made = elb.create_target_group(Name=f"modified-{len(says)}", Protocol="TCP", Port=PORT)["TargetGroups"][0]
        with pytest.raises(ClientError, match=says):
            elb.modify_target_group(TargetGroupArn=made["TargetGroupArn"], **settings)
        elb.delete_target_group(TargetGroupArn=made["TargetGroupArn"])


def test_an_ip_target_that_is_no_address_is_refused(world: Sandbox) -> None:
    elb = world.client("elbv2", HOME)
    made = elb.create_target_group(Name="odd-ip", Protocol="TCP", Port=PORT, TargetType="ip")["TargetGroups"][0]
    with pytest.raises(ClientError, match="'localhost' is not a valid"):
        elb.register_targets(TargetGroupArn=made["TargetGroupArn"], Targets=[{"Id": "localhost"}])


def test_a_listener_forwards_to_one_group_however_it_is_named(world: Sandbox) -> None:
    site, one = Site(world, "forward"), launch(world, HOME)[0]
    group = {"TargetGroupArn": site.group, "Weight": 1}
    site.elb.modify_listener(ListenerArn=site.listener, Port=9191, DefaultActions=[
        {"Type": "forward", "ForwardConfig": {"TargetGroups": [group]}}])
    site.register(one)
    site.becomes(one, "healthy")
    assert get(world.addresses()[site.name].host, port=9191) == one
    with pytest.raises(ClientError, match="forward to one target group"):
        site.elb.modify_listener(ListenerArn=site.listener, DefaultActions=[
            {"Type": "forward", "ForwardConfig": {"TargetGroups": [group, group]}}])


def test_a_target_group_that_is_not_there_is_refused(world: Sandbox) -> None:
    with pytest.raises(ClientError, match="TargetGroupNotFound"):
        world.client("elbv2", HOME).describe_target_groups(Names=["nobody-made-it"])
