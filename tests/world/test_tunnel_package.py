"""A whole package with `[tunnels.hosts]`, deployed as `./lamp deploy` does it: hosts that run behind a balancer."""

from pathlib import Path

import pytest

from commands.deploy import dependencies, packaging, release
from sandbox.hosts.programs import Programs
from sandbox.hosts.tunnels import Tunnels, primary_region, tables
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.project import copy
from tests.world.test_tunnel_hosts import ask

pytestmark = [pytest.mark.world, pytest.mark.slow]
PRIMARY, HERE = "us-east-1", "eu-west-1"
FLEET = f"""
name = "shop"
coordination = {{ regions = ["{HERE}"] }}
[[regions]]
name = "{HERE}"
[[regions]]
name = "{PRIMARY}"
[[queues]]
name = "default"
timeout = "2m"
"""


def test_it_brings_hosts_to_every_region_but_the_primaries(tmp_path: Path) -> None:
    project = copy(tmp_path)
    with Sandbox.start() as world, \
            primary_region(world, PRIMARY, "shop-test", most=10, programs=Programs()) as far:
        world.pace(10)
        (project / "fleet.toml").write_text(FLEET + tables(world, far, far.keyring, [HERE]))
        package = packaging.build("test", root=project, product=project, machine=dependencies.here())
        done = release.release(world, package, [HERE, PRIMARY], release.Quiet(), lambda: True, look_seconds=0.1)
        assert [one.error for one in done] == ["", "", ""]
        tunnels = Tunnels(world, far, far.keyring, package.fleet, "test")
        tunnels.identify(HERE)
        tunnels.rotate(HERE)
        eventually(lambda: len(tunnels.healthy(HERE)) == 2)
        assert ask(tunnels.endpoint(HERE)).side == "up"
        groups = world.client("autoscaling", PRIMARY).describe_auto_scaling_groups()["AutoScalingGroups"]
        assert groups == [], "the primary's region needs no tunnels"
        again = release.release(world, package, [HERE, PRIMARY], release.Quiet(), lambda: True, look_seconds=0.1)
        assert {one.status for one in again} == {"unchanged"}
