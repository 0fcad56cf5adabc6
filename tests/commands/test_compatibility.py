"""The changes of a stack that CloudFormation refuses half-way, with the way out of each."""

import json
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.config import fleet
from chalicelib.infrastructure import template
from chalicelib.infrastructure.files import files
from commands.deploy import compatibility, resource_types
from tests.tunnels.fleets import WAYS

FUNCTIONS = [each.function for each in registry.lambdas()]
FLEET = WAYS


def whole(text: str) -> dict[str, Any]:
    """The template of a fleet."""
    return template.merged(json.loads(files()["resources.json"]), fleet.parse(text), "s", FUNCTIONS)


def refused(before: str, after: str, region: str) -> list[str]:
    """What CloudFormation would refuse in the region."""
    return list(compatibility.mistakes(whole(before), whole(after), "f-s", region))


@pytest.mark.slow
def test_another_port_of_the_tunnels_is_refused_with_the_way_out_where_there_are_hosts() -> None:
    primary = fleet.parse(FLEET).tunnels.primary  # type: ignore[union-attr]
    other = next(one.name for one in fleet.parse(FLEET).regions if one.name != primary)
    after = FLEET.replace("[tunnels]\n", "[tunnels]\nport = 4406\n", 1)
    [line] = refused(FLEET, after, other)
    assert "TunnelsTargets has a name of its own and would be replaced for its new Port" in line
    assert f"Deploy once without [tunnels.hosts] in fleet.toml and with --region {other}" in line
    assert refused(FLEET, after, primary) == [] and refused(FLEET, FLEET, other) == []


@pytest.mark.slow
@pytest.mark.parametrize(("key", "changed", "line"), [
    ("[tunnels]\n", "[tunnels]\nhealth_port = 4407\n", "health_port 3307 of their launch, and the balancer would ask"),
    ("[tunnels.hosts]\n", "[tunnels.hosts]\ngateway_port = 2200\n", "no longer connect to port 22 of 0.0.0.0/0"),
    ("10.3.0.9", "10.3.0.8", "no longer connect to port 2222 of 10.3.0.9"),
    ('"10.9.8.7"', '"10.9.8.8"', ""), ("db.internal", "db2.internal", ""), ("10.3.0.9", "gw2.example.com", "")])
def test_a_setting_of_their_launch_does_not_change_around_running_hosts(key: str, changed: str, line: str) -> None:
    other = next(place.name for place in fleet.parse(FLEET).tunnels.hosts.regions)  # type: ignore[union-attr]
    found = refused(FLEET, FLEET.replace(key, changed, 1), other)
    assert [line in each and "Deploy once without [tunnels.hosts]" in each for each in found] == [True] * bool(line)
    # Without hosts, before or after it, nothing is cut off.
    assert refused(FLEET.partition("[tunnels.hosts]")[0], FLEET.replace(key, changed, 1), other) == []


@pytest.mark.slow
def test_another_vpc_of_the_tunnels_is_refused_in_its_region_alone() -> None:
    hosts = fleet.parse(FLEET).tunnels.hosts.regions  # type: ignore[union-attr]
    after = FLEET.replace(hosts[0].vpc, "vpc-0000000f")
    same = {place.name for place in hosts if place.vpc == hosts[0].vpc}
    assert {place.name: len(refused(FLEET, after, place.name)) for place in hosts} == {
        place.name: int(place.name in same) for place in hosts}


def test_a_resource_that_becomes_another_type_is_refused() -> None:
    [line] = compatibility.mistakes({"Resources": {"A": {"Type": "AWS::SNS::Topic"}}},
                                    {"Resources": {"A": {"Type": "AWS::SQS::Queue"}}}, "f-s", "eu-west-1")
    assert "A is of type AWS::SNS::Topic and would be of type AWS::SQS::Queue" in line and "put it back" in line


@pytest.mark.parametrize(("before", "after", "count"), [
    ({"QueueName": "a"}, {"QueueName": "b", "FifoQueue": True}, 0), ({}, {"FifoQueue": True}, 0),
    ({"QueueName": "a"}, {"QueueName": "a", "VisibilityTimeout": 9}, 0),
    ({"QueueName": "a"}, {"QueueName": "a", "FifoQueue": True}, 1)])
def test_a_resource_that_keeps_its_name_may_not_be_replaced(before: Any, after: Any, count: int) -> None:
    old, new = ({"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": one}}} for one in (before, after))
    assert len(list(compatibility.mistakes(old, new, "f-s", "eu-west-1"))) == count


def test_every_type_of_a_template_is_known_with_its_name() -> None:
    parts = whole(FLEET)["Resources"].values()
    known = resource_types.known().types
    assert {part["Type"] for part in parts if "Type" in part} <= known.keys()
    for part in parts:
        names = [name for name in part["Properties"] if name.endswith("Name") and "Type" in part]
        own = known[part["Type"]].name if "Type" in part else ""
        assert not own or own in part["Properties"] or own not in names
