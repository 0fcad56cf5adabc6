"""The product of a customer before Lamplighter, with web hosts behind a balancer in each region, and a hosted zone.

product = Product(world, {"eu-west-1": 4, "us-east-1": 6}) product.build() product.endpoints() # where each region takes
its users in product.replace("us-east-1", old) # a new host for an old one, as a rolling update does it
"""

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sandbox.compute.machine import ROOT
from sandbox.world import Sandbox, WorldError

IMAGE, GROUP, PORT = "ami-web", "web", 8080
ALIAS_ZONE = "ZBALANCERS"
ZONE_NAME, HOSTNAME = "example.com", "app.example.com"
_WAIT_SECONDS = 180.0
_LOOK_SECONDS = 0.2


class Product:
    """The hosts of all regions. `hosts` says how many of them there are in each."""

    def __init__(self, world: Sandbox, hosts: Mapping[str, int]) -> None:
        self.world, self.hosts = world, dict(hosts)
        self.zone = ""
        self._groups: dict[str, str] = {}
        self._balancers: dict[str, str] = {}

    def build(self) -> None:
        """All of it, until every host is healthy. `WorldError` if one is not after a minute."""
        self.world.image(IMAGE, {"web": f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -P -m "
                                        f"sandbox.hosts.web {PORT}"})
        made = self.world.client("route53", "us-east-1").create_hosted_zone(
            Name=ZONE_NAME, CallerReference="the product")["HostedZone"]["Id"]
        self.zone = str(made).rpartition("/")[2]
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            list(pool.map(self._region, self.hosts))

    def entrances(self) -> dict[str, str]:
        """The address of each region's balancer, which listens on `PORT`."""
        known = self.world.addresses()
        return {region: known[name].host for region, name in self._balancers.items()}

    def alias(self, region: str) -> str:
        """The DNS name of a region's balancer, to which an alias may lead. Its hosted zone is `ALIAS_ZONE`."""
        name = self._balancers[region]
        self.world.outside(name, ALIAS_ZONE, [self.entrances()[region]])
        return name

    def ids(self, region: str) -> list[str]:
        """The registered hosts of a region that do not drain."""
        return [id for id, state in self.states(region).items() if state != "draining"]

    def states(self, region: str) -> dict[str, str]:
        """The target group's state of each host."""
        found = self._elb(region).describe_target_health(TargetGroupArn=self._groups[region])
        return {one["Target"]["Id"]: str(one["TargetHealth"]["State"]) for one in found["TargetHealthDescriptions"]}

    def add(self, region: str, count: int = 1) -> list[str]:
        """New hosts, registered and healthy. Their ids."""
        made = self._ec2(region).run_instances(ImageId=IMAGE, MinCount=count, MaxCount=count)["Instances"]
        ids = [str(one["InstanceId"]) for one in made]
        self._wait(lambda: self._running(region, ids), f"{region}: {', '.join(ids)} do not run")
        self._elb(region).register_targets(
            TargetGroupArn=self._groups[region], Targets=[{"Id": id} for id in ids])
        self._wait(lambda: all(self.states(region).get(id) == "healthy" for id in ids),
                   f"{region}: {', '.join(ids)} are not healthy")
        return ids

    def drain(self, region: str, ids: Iterable[str]) -> None:
        """These hosts get no new connections. They go on answering for the group's delay."""
        self._elb(region).deregister_targets(
            TargetGroupArn=self._groups[region], Targets=[{"Id": id} for id in ids])

    def terminate(self, region: str, ids: Iterable[str]) -> None:
        """These hosts are gone."""
        self._ec2(region).terminate_instances(InstanceIds=list(ids))

    def _region(self, region: str) -> None:
        elb = self._elb(region)
        balancer = elb.create_load_balancer(Name=GROUP, Type="application")["LoadBalancers"][0]
        self._balancers[region] = str(balancer["DNSName"])
        group = elb.create_target_group(
            Name=GROUP, Protocol="HTTP", Port=PORT, HealthCheckPath="/", HealthCheckIntervalSeconds=5,
            HealthyThresholdCount=2, UnhealthyThresholdCount=2)["TargetGroups"][0]
        self._groups[region] = str(group["TargetGroupArn"])
        elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=PORT, DefaultActions=[
            {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}])
        self.add(region, self.hosts[region])

    def _running(self, region: str, ids: list[str]) -> bool:
        found = self._ec2(region).describe_instances(InstanceIds=ids)["Reservations"]
        return all(one["State"]["Name"] == "running" for some in found for one in some["Instances"])

    def _wait(self, done: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise WorldError(f"{otherwise} after {_WAIT_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def _elb(self, region: str) -> Any:
        return self.world.client("elbv2", region)

    def _ec2(self, region: str) -> Any:
        return self.world.client("ec2", region)
