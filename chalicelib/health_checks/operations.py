"""health_checks.rotate (each minute, in each region) and health_checks.status."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from chalicelib.aws.route53 import REQUESTS_PER_SECOND, Pace
from chalicelib.context import RegionContext
from chalicelib.engine.limits import decided_at
from chalicelib.engine.operation import Operation, Request, StateItem
from chalicelib.engine.plan import Plan
from chalicelib.health_checks import act, decide, observe
from chalicelib.health_checks.state import KEY, SCHEMA, RotationObservation


def _decide(observation: RotationObservation, request: Request) -> Plan:
    return decide.reconcile(observation, decided_at(request.now, observation.began))


def _status(observation: RotationObservation, request: Request) -> Plan:
    return decide.status(observation, request.now)


def rotate(wait: Callable[[float], None], clock: Callable[[], float]) -> Operation[RotationObservation]:
    """`health_checks.rotate` with this way to wait, and the clock (seconds) by which its requests keep their distance.
    """
    paces: dict[int, Pace] = {}

    def keep_pace(context: RegionContext) -> None:
        # The account's requests are shared by all regions, which rotate in the same minute.
        regions = len(context.fleet.regions)
        if regions not in paces:
            paces[regions] = Pace(regions / REQUESTS_PER_SECOND, clock, wait)
        paces[regions].keep()

    return Operation(
        "health_checks.rotate",
        "one step of the health checks' round over the hosts",
        partial(observe.rotation, wait=wait, pace=keep_pace),
        _decide,
        {
            "create-check": partial(act.create, pace=keep_pace),
            "create-calculated-check": partial(act.create, pace=keep_pace),
            "update-calculated-check": partial(act.update_checks, pace=keep_pace),
            "retarget-check": partial(act.update_checks, pace=keep_pace),
            "publish": act.publish,
        },
        state=StateItem(KEY, SCHEMA),
    )


ROTATE = rotate(time.sleep, time.monotonic)
STATUS: Operation[RotationObservation] = Operation(
    "health_checks.status", "fixed and rotating checks, and how long each host has been without a result",
    observe.known, _status, raises_alerts=False)

ALL: tuple[Operation[Any], ...] = (ROTATE, STATUS)
