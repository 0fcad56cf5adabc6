"""health_checks.rotate (each minute, in each region) and health_checks.status."""

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from chalicelib.context import RegionContext
from chalicelib.engine.operation import Handler, Operation, Request
from chalicelib.engine.plan import Action, Plan
from chalicelib.health_checks import act, decide, observe
from chalicelib.health_checks.route53_checks import Route53
from chalicelib.health_checks.state import RotationObservation


@cache
def _api(region: str, regions: int) -> Route53:
    return Route53(region, regions)


def _here(site: RegionContext) -> Route53:
    return _api(site.region, len(site.fleet.regions))


def _decide(seen: RotationObservation, request: Request) -> Plan:
    return decide.reconcile(seen, request.now, act.turn_of(request))


def _status(seen: RotationObservation, request: Request) -> Plan:
    return decide.status(seen, request.now)


def rotate(api: Callable[[RegionContext], Route53], wait: Callable[[float], None]) -> Operation[RotationObservation]:
    """`health_checks.rotate` with this way to Route 53 and this way to wait."""

    def asking(do: Callable[[RegionContext, Request, Sequence[Action], Route53], list[str]]) -> Handler:
        return lambda site, request, actions: do(site, request, actions, api(site))

    return Operation(
        "health_checks.rotate",
        "one step of the health checks' round over the hosts",
        lambda site, request: observe.turn(site, request, api(site), wait),
        _decide,
        {
            "claim-state": act.claim_state,
            "create-check": asking(act.create),
            "create-calculated-check": asking(act.create_calculated),
            "update-calculated-check": asking(act.update_checks),
            "retarget-check": asking(act.update_checks),
            "alert": act.alert,
            "publish": act.publish,
        },
    )


ROTATE = rotate(_here, time.sleep)
STATUS: Operation[RotationObservation] = Operation(
    "health_checks.status", "anchors, rovers, and how long each host has been without a verdict", observe.known,
    _status)

ALL: tuple[Operation[Any], ...] = (ROTATE, STATUS)
