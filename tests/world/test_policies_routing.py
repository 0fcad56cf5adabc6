"""The permissions of routing's Lambdas: none missing, none superfluous."""

import json
import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest

from chalicelib.config.fleet import parse
from chalicelib.engine import schema
from chalicelib.routing import evacuation_flags
from chalicelib.routing.observe import prefix
from chalicelib.routing.records import diff
from chalicelib.routing.state import (
    HEALTH_PK,
    HEALTH_SCHEMA,
    REPORT_PK,
    REPORT_SCHEMA,
    EndpointReport,
    RegionHealth,
)
from commands import roots
from sandbox.world import Sandbox
from testing.eventually import eventually
from testing.servers import process
from tests.project import copy
from tests.world.least_privilege import HOME, STANDBY, Exercise, Lambdas, LeastPrivilege, deploy, numbers

pytestmark = pytest.mark.world

# Where the two regions take their users in; the port is given when the test listens there.
ENTRANCES = {HOME: process.loopback(), STANDBY: process.loopback()}
BUCKETS = {HOME: "marks-of-home", STANDBY: "marks-of-standby"}
DECLARED = f"""
[[stages.policy.regions]]
name = "eu-west-1"
endpoint = {{addresses = ["{ENTRANCES[HOME]}"], bucket = "marks-of-home"}}

[[stages.policy.regions]]
name = "us-east-1"
endpoint = {{addresses = ["{ENTRANCES[STANDBY]}"], bucket = "marks-of-standby"}}

[[stages.policy.regions]]
name = "ap-southeast-1"
endpoint = {{addresses = ["{process.loopback()}"]}}

[stages.policy.health_checks]
target_groups = ["web"]

[stages.policy.routing]
hostname = "app.example.com"
zone = "ZONE"
check = "tcp"
port = 1
hold_down = "1m"
"""
OWNER = "lamplighter-policy"


def written(zone: str = "ZONE", port: int = 1) -> str:
    """fleet.toml for this test."""
    return (roots.PRODUCT / "fleet.toml").read_text() + DECLARED.replace("ZONE", zone).replace(
        "port = 1", f"port = {port}")


class Doors:
    """The regions' entrances: sockets on one port of several addresses."""

    def __init__(self) -> None:
        self.port = process.free_port(ENTRANCES[HOME])
        self.open_: dict[str, socket.socket] = {}
        for region in ENTRANCES:
            self.open(region)

    def open(self, region: str) -> None:
        """The region answers."""
        if region not in self.open_:
            self.open_[region] = socket.create_server((ENTRANCES[region], self.port))

    def close(self, region: str) -> None:
        """It does not answer."""
        if region in self.open_:
            self.open_.pop(region).close()


class Zone(Lambdas):
    """The deployed fleet with what its routing acts on."""

    doors: Doors
    zone: str

    def bare(self) -> None:
        """Nothing of ours in the zone, one bucket without a policy, one not there, one check that nobody needs."""
        route53, s3 = self.world.client("route53", HOME), self.world.client("s3", HOME)
        there = route53.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        ours = diff.groups(one for one in there if one["Type"] not in ("NS", "SOA"))
        changes = [change for group in diff.changes({}, ours) for change in group]
        if changes:
            route53.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch={"Changes": changes})
        self.drop_checks()
        self.stale_check()
        for bucket in BUCKETS.values():
            self.drop_bucket(bucket)
        s3.create_bucket(Bucket=BUCKETS[HOME], CreateBucketConfiguration={"LocationConstraint": HOME})

    def drop_checks(self) -> None:
        """No check of routing's is left."""
        route53 = self.world.client("route53", HOME)
        for page in route53.get_paginator("list_health_checks").paginate():
            for check in page["HealthChecks"]:
                if check["CallerReference"].startswith(prefix(OWNER)):
                    route53.delete_health_check(HealthCheckId=check["Id"])

    def stale_check(self) -> None:
        """A check as an older fleet.toml wanted it."""
        self.world.client("route53", HOME).create_health_check(
            CallerReference=f"{prefix(OWNER)}open-{HOME}:{next(numbers)}",
            HealthCheckConfig={"Type": "TCP", "Port": 1, "IPAddress": "127.0.0.9"})

    def drop_bucket(self, bucket: str) -> None:
        """The bucket is not there."""
        s3 = self.world.client("s3", HOME)
        if bucket in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
            for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
                s3.delete_object(Bucket=bucket, Key=one["Key"])
            s3.delete_bucket(Bucket=bucket)

    def mark(self, region: str, body: str) -> None:
        """`region` is evacuated; its mark lies with the other one."""
        other = STANDBY if region == HOME else HOME
        self.world.client("s3", HOME).put_object(Bucket=BUCKETS[other], Key=f"evacuated/{region}", Body=body.encode())

    def unmark(self) -> None:
        """Both buckets are there, without a mark. Nobody may read marks but by a permission."""
        s3 = self.world.client("s3", HOME)
        for region, bucket in BUCKETS.items():
            if bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
                where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
                self.world.client("s3", region).create_bucket(Bucket=bucket, **where)
            s3.delete_bucket_policy(Bucket=bucket)
            for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
                s3.delete_object(Bucket=bucket, Key=one["Key"])

    def known(self) -> None:
        """Each region has answered for long, as far as is remembered."""
        for region in (HOME, STANDBY, "ap-southeast-1"):
            self.remember(HEALTH_PK, region, schema.encode(RegionHealth(healthy_since=1), HEALTH_SCHEMA))

    def open_buckets(self) -> None:
        """Everybody may read flags."""
        s3 = self.world.client("s3", HOME)
        for region, bucket in BUCKETS.items():
            s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={
                "BlockPublicPolicy": False, "RestrictPublicBuckets": False})
            s3.put_bucket_policy(Bucket=bucket, Policy=evacuation_flags.policy(bucket, region))

    def flags(self) -> set[str]:
        """All flags."""
        s3 = self.world.client("s3", HOME)
        return {one["Key"] for bucket in BUCKETS.values()
                for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ())}


def read(function: str) -> Exercise:
    """A look at a zone in which everything is still to be done."""
    def exercise(on: Lambdas) -> None:
        assert isinstance(on, Zone)
        on.bare()
        on.invoke(function, {"apply": function == "routing_drift"})
    return exercise


def apply(on: Lambdas) -> None:
    """From nothing to all of it: buckets, checks, records, and the check that is left over."""
    assert isinstance(on, Zone)
    on.bare()

    def step() -> bool:
        # Raised or refused: something was denied. Nothing to do: all was asked for. Until then checks settle.
        answer = on.invoke("routing_apply", {"apply": True})
        return any(word in answer for word in ("errorType", "refused", "nothing to do"))

    eventually(step)


def evacuate(on: Lambdas) -> None:
    """A region that is not evacuated, with a bucket that hides its flags."""
    assert isinstance(on, Zone)
    on.unmark()
    on.doors.open(STANDBY)
    on.known()
    on.invoke("routing_evacuate", {"region": HOME, "apply": True})


def restore(on: Lambdas) -> None:
    """A region that is evacuated."""
    assert isinstance(on, Zone)
    on.unmark()
    on.mark(HOME, '{"by": "manual", "reason": "test", "at": 1}')
    on.known()
    on.invoke("routing_restore", {"region": HOME, "apply": True})


def hold(on: Lambdas) -> None:
    """A region that comes back after its quiet time, and one that has died."""
    assert isinstance(on, Zone)
    on.unmark()
    on.doors.close(STANDBY)
    on.remember("region-health", STANDBY, {"schema": 1, "healthy_since": 0, "failures_in_a_row": 5})
    # Another region says so too, and the report of an earlier run is there.
    for region in ("ap-southeast-1", HOME):
        report = EndpointReport(int(time.time()) - 60, (STANDBY,))
        on.put(REPORT_PK, region, schema.encode(report, REPORT_SCHEMA))
    on.invoke("routing_hold", {"apply": True})
    on.doors.open(STANDBY)
    on.remember("region-health", "ap-southeast-1", {"schema": 1, "healthy_since": 0, "failures_in_a_row": 5})
    on.remember("region-health", STANDBY, {"schema": 1, "healthy_since": 1, "failures_in_a_row": 0})
    on.mark(STANDBY, '{"by": "hold_down", "reason": "test", "at": 1}')
    on.invoke("routing_hold", {"apply": True})
    # What cannot be read is told to people.
    on.remember("region-health", STANDBY, {})
    on.invoke("routing_hold", {"apply": True})


def status(on: Lambdas) -> None:
    """A look at a region that is evacuated, and at one that is not."""
    assert isinstance(on, Zone)
    on.unmark()
    on.mark(HOME, '{"by": "manual", "reason": "test", "at": 1}')
    on.known()
    on.invoke("routing_status", {})


EXERCISES: dict[str, Exercise] = {
    "routing_plan": read("routing_plan"), "routing_drift": read("routing_drift"), "routing_apply": apply,
    "routing_evacuate": evacuate, "routing_restore": restore, "routing_hold": hold, "routing_status": status}


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    """The real Lambdas with a hosted zone, two entrances, and a verdict of each region's hosts."""
    doors = Doors()
    with Sandbox.start() as world:
        route53 = world.client("route53", HOME)
        made = route53.create_hosted_zone(Name="example.com", CallerReference="z")["HostedZone"]["Id"]
        project = copy(tmp_path_factory.mktemp("routing"))
        (project / "fleet.toml").write_text(written(made.rpartition("/")[2], doors.port))
        found = Zone(world, deploy(world, project))
        found.doors, found.zone = doors, made.rpartition("/")[2]
        for region in (HOME, STANDBY, "ap-southeast-1"):
            parent = route53.create_health_check(CallerReference=f"parent-{region}", HealthCheckConfig={
                "Type": "CALCULATED", "ChildHealthChecks": [], "HealthThreshold": 0})["HealthCheck"]["Id"]
            found.put("region-check", region, {"schema": 1, "id": parent})
        yield found
    for region in ENTRANCES:
        doors.close(region)


class TestRouting(LeastPrivilege):
    prefixes = ("routing_",)
    exercises = EXERCISES
    fleet = parse(written(), stage="policy")


def test_a_flag_that_health_checkers_cannot_read_is_taken_back_and_told(lambdas: Zone) -> None:
    lambdas.unmark()
    lambdas.doors.open(STANDBY)
    event = {"region": HOME, "reason": "ACME's data", "apply": True}
    answer = json.loads(lambdas.invoke("routing_evacuate", event))
    assert answer["status"] == "refused" and "cannot be read without credentials" in answer["message"]
    assert lambdas.flags() == set()
    lambdas.open_buckets()
    answer = json.loads(lambdas.invoke("routing_evacuate", event))
    assert answer["status"] == "done" and lambdas.flags() == {f"evacuated/{HOME}"}
    flag = f"{lambdas.world.endpoint}/{BUCKETS[STANDBY]}/evacuated/{HOME}"
    with urllib.request.urlopen(flag, timeout=10) as shown:  # noqa: S310
        assert "ACME" not in shown.read().decode()
    lambdas.unmark()
