"""Users of twelve countries, real hosts in three regions, the packaged Lambdas: a region dies, one is evacuated.

The demo tells the same story with rotated checks and a hold, which take minutes to settle.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from commands.deploy import dependencies, packaging, release
from sandbox.crowd import Crowd, orders, settled
from sandbox.sample_app import HOSTNAME, PORT, Product
from sandbox.world import Sandbox
from testing.eventually import eventually

pytestmark = pytest.mark.world
HOME, SECOND, THIRD = "eu-west-1", "us-east-1", "ap-southeast-1"
ORDERS = orders([HOME, SECOND, THIRD])
# The time until a checker asks again.
CHECK_SECONDS = 10


def routing(product: Product) -> str:
    """As quick to notice as Route 53 can be: one failure, every ten seconds."""
    regions = "".join(f'[[stages.users.regions]]\nname = "{region}"\nendpoint = {{addresses = ["{address}"], bucket = '
                      f'"marks-{region}"}}\n' for region, address in product.entrances().items())
    return f"""
{regions}
[stages.users.routing]
hostname = "{HOSTNAME}"
zone = "{product.zone}"
ttl = "1s"
check = "http"
port = {PORT}
failures = 1
hold_down = "0s"
"""


class Served:
    """The world, its Lambdas, and its users."""

    def __init__(self, world: Sandbox, stack: str, crowd: Crowd) -> None:
        self.world, self.stack, self.crowd = world, stack, crowd

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """The answer of a Lambda of the second region."""
        answer = self.world.client("lambda", SECOND).invoke(
            FunctionName=f"{self.stack}-{function}", Payload=json.dumps(event))
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        return found

    def become(self, *away: str) -> None:
        """Waits until every user is answered by the nearest region that is not away."""
        eventually(lambda: settled(self.crowd.now(), ORDERS, away))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Sandbox.start() as world:
        product = Product(world, dict.fromkeys((HOME, SECOND, THIRD), 2))
        product.build()
        package = packaging.build("users", machine=dependencies.here(), more=routing(product))
        done = release.release(world, package, [HOME, SECOND, THIRD], release.Quiet(), lambda: True, look_seconds=0.1)
        assert [one.error for one in done] == [""] * 4
        # A machine that stands still for some seconds is no fault of routing's; what nobody answers for as long as a
        # check takes is.
        crowd = Crowd(world, CHECK_SECONDS)
        found = Served(world, package.stack, crowd)
        eventually(lambda: found.invoke("routing_apply", {"apply": True}).get("message") == "nothing to do")
        with crowd:
            yield found


def test_every_user_is_answered_by_the_nearest_region(served: Served) -> None:
    served.become()
    assert {served.crowd.now()[who] for who in ("SE", "DE", "GB", "FR")} == {HOME}
    assert {served.crowd.now()[who] for who in ("US", "CA", "BR")} == {SECOND}


def test_to_evacuate_a_region_costs_nobody_a_request(served: Served) -> None:
    served.become()
    began = time.time()
    assert served.invoke("routing_evacuate", {"region": THIRD, "apply": True})["status"] == "done"
    served.become(THIRD)
    assert served.invoke("routing_restore", {"region": THIRD, "apply": True})["status"] == "done"
    served.become()
    assert [moment for moment in served.crowd.moments if moment.at >= began and not moment.region] == []


def test_a_dead_region_s_users_are_answered_by_their_second_closest_while_the_api_is_away(served: Served) -> None:
    served.become()
    served.world.refuse_route53()
    began = time.time()
    served.world.stop_region(HOME)
    served.become(HOME)
    served.world.start_region(HOME)
    served.become()
    served.world.mend_route53()
    failed = {moment.who for moment in served.crowd.moments if moment.at >= began and not moment.region}
    # Not every one of them need notice: a request of before may end only when a later one has been answered already.
    assert failed <= {who for who, order in ORDERS.items() if order[0] == HOME}
