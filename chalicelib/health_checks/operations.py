"""health_checks.rotate (each minute, in each region) and health_checks.status: observe -> decide -> act."""

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from chalicelib.control import Act, Operation, Request
from chalicelib.health_checks import act, decide, observe
from chalicelib.health_checks.api import Route53
from chalicelib.health_checks.records import Seen
from chalicelib.plan import Action, Plan
from chalicelib.site import Site


@cache
def _api(region: str, regions: int) -> Route53:
    return Route53(region, regions)


def _here(site: Site) -> Route53:
    return _api(site.region, len(site.fleet.regions))


def _decide(seen: Seen, request: Request) -> Plan:
    return decide.turn(seen, request.now, act.turn_of(request))


def _status(seen: Seen, request: Request) -> Plan:
    return decide.status(seen, request.now)


def rotate(api: Callable[[Site], Route53], wait: Callable[[float], None]) -> Operation[Seen]:
    """`health_checks.rotate` with this way to Route 53 and this way to wait."""

    def asking(do: Callable[[Site, Request, Sequence[Action], Route53], list[str]]) -> Act:
        return lambda site, request, actions: do(site, request, actions, api(site))

    return Operation(
        "health_checks.rotate", "one step of the health checks' round over the hosts",
        lambda site, request: observe.turn(site, request, api(site), wait), _decide,
        {"remember": act.remember, "create": asking(act.create), "found": asking(act.found),
         "swap": asking(act.change), "point": asking(act.change), "alert": act.alert,
         "publish": act.publish})


ROTATE = rotate(_here, time.sleep)
STATUS: Operation[Seen] = Operation(
    "health_checks.status", "anchors, rovers, and how long each host has been without a verdict", observe.known,
    _status)

ALL: tuple[Operation[Any], ...] = (ROTATE, STATUS)
