"""The permissions of the health checks' Lambdas: none missing, none superfluous."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.config.fleet import parse
from chalicelib.health_checks import published
from chalicelib.health_checks.state import KEY
from commands import roots
from sandbox.sample_app import GROUP, PORT, Product
from sandbox.world import Sandbox
from tests.project import copy
from tests.world.least_privilege import HOME, Exercise, Lambdas, LeastPrivilege, deploy, numbers

pytestmark = pytest.mark.world

WRITTEN = (roots.PRODUCT / "fleet.toml").read_text() + f"""
[health_checks]
target_groups = ["{GROUP}"]
port = {PORT}
fixed_checks = 3
healthy_threshold = 2
rotating_checks = 3
"""
LONG_AGO = 1_000_000_000.0


class Hosts(Lambdas):
    """The deployed fleet with one host that lives, and checks that the operator made."""

    host: str
    address: str
    ids: list[str]
    parent: str

    def check(self, number: int, host: str = "i-gone", address: str = "127.0.0.9", **more: Any) -> dict[str, Any]:
        """One remembered check."""
        return {"number": number, "id": self.ids[number - 1], "version": 1, "host": host, "address": address,
                "since": LONG_AGO, "minute": 0, "confirmed": True, "healthy": False, "read": LONG_AGO, **more}


def rotate(on: Lambdas) -> None:
    """A turn in which all happens: fixed_checks are lost and told, one check moves, two are in doubt, one is made."""
    assert isinstance(on, Hosts)
    checks = [on.check(1), on.check(2), on.check(3, on.host, on.address, healthy=None), on.check(4),
              on.check(5, confirmed=False), on.check(6, confirmed=False, id="")]
    # Just changed, so that it stays as it is and can be published.
    parent = {"children": [1, 2], "threshold": 2, "id": on.parent, "version": 1, "changed": time.time()}
    on.drop(published.PK, HOME)
    for _ in range(2):  # the second turn finds what the first one has published
        on.remember(*KEY, {"schema": 1, "minute": 0, "checks": checks, "parent": parent, "first_minute": next(numbers)})
        on.invoke("health_checks_rotate", {"apply": True})


EXERCISES: dict[str, Exercise] = {
    "health_checks_rotate": rotate,
    "health_checks_status": lambda on: on.invoke("health_checks_status", {})}


@pytest.fixture(scope="module")
def lambdas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The real Lambdas, and a host that they can see."""
    project = copy(tmp_path_factory.mktemp("health-checks"))
    (project / "fleet.toml").write_text(WRITTEN)
    with Sandbox.start() as world:
        product = Product(world, {HOME: 1})
        product.build()
        found = Hosts(world, deploy(world, project))
        [found.host] = product.ids(HOME)
        [some] = world.client("ec2", HOME).describe_instances(InstanceIds=[found.host])["Reservations"]
        found.address = some["Instances"][0]["PublicIpAddress"]
        route53 = world.client("route53", HOME)
        config = {"Type": "HTTP_STR_MATCH", "IPAddress": found.address, "Port": PORT, "ResourcePath": "/",
                  "SearchString": found.host, "RequestInterval": 10, "FailureThreshold": 3}
        found.ids = [route53.create_health_check(CallerReference=f"made-{number}", HealthCheckConfig=config)[
            "HealthCheck"]["Id"] for number in range(6)]
        found.parent = route53.create_health_check(CallerReference="parent", HealthCheckConfig={
            "Type": "CALCULATED", "ChildHealthChecks": found.ids[:2], "HealthThreshold": 2})["HealthCheck"]["Id"]
        yield found


class TestHealthChecks(LeastPrivilege):
    prefixes = ("health_checks_",)
    exercises = EXERCISES
    fleet = parse(WRITTEN)
