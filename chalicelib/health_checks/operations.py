"""health_checks.rotate (each minute, in each region) and health_checks.status."""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from chalicelib.aws.route53 import REQUESTS_PER_SECOND, Pace
from chalicelib.context import RegionContext
from chalicelib.engine.operation import Operation, Request, StateItem
from chalicelib.engine.plan import Plan
from chalicelib.health_checks import act, decide, observe
from chalicelib.health_checks.state import KEY, SCHEMA, RotationObservation


@cache
def _fair_share(regions: int) -> Pace:
    """The account's requests are shared by all regions, which rotate in the same minute."""
    return Pace(regions / REQUESTS_PER_SECOND)


def _keep_to_fair_share(context: RegionContext) -> None:
    _fair_share(len(context.fleet.regions)).keep()


def _decide(observation: RotationObservation, request: Request) -> Plan:
    return decide.reconcile(observation, request.now)


def _status(observation: RotationObservation, request: Request) -> Plan:
    return decide.status(observation, request.now)


def rotate(wait: Callable[[float], None], pace: Callable[[RegionContext], None]) -> Operation[RotationObservation]:
    """`health_checks.rotate` with this way to wait, and `pace` called before each request to Route 53."""
    return Operation(
        "health_checks.rotate",
        "one step of the health checks' round over the hosts",
        partial(observe.rotation, wait=wait, pace=pace),
        _decide,
        {
            "create-check": partial(act.create, pace=pace),
            "create-calculated-check": partial(act.create, pace=pace),
            "update-calculated-check": partial(act.update_checks, pace=pace),
            "retarget-check": partial(act.update_checks, pace=pace),
            "publish": act.publish,
        },
        state=StateItem(KEY, SCHEMA),
    )


ROTATE = rotate(time.sleep, _keep_to_fair_share)
STATUS: Operation[RotationObservation] = Operation(
    "health_checks.status", "fixed_checks, rotating_checks, and how long each host has been without a result",
                                                   observe.known,
    _status)

ALL: tuple[Operation[Any], ...] = (ROTATE, STATUS)
