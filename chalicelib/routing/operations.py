"""The operations of routing. Each joins an observation, a decision and its actions.

`plan` and `apply` are one decision. A manual run of both only plans without `{"apply": true}`. Evacuate, restore and
hold touch nothing but S3 and the regions' endpoints, so they work while Route 53's own API is away.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from chalicelib.aws.client import Throttled
from chalicelib.engine.limits import counted_at
from chalicelib.engine.operation import Operation, Request, RequeueAfter
from chalicelib.engine.plan import Plan
from chalicelib.routing import act, decide, observe
from chalicelib.routing.state import FleetObservation, ZoneObservation

_BUSY_SECONDS = 30

P = ParamSpec("P")
T = TypeVar("T")


def _later_if_busy(step: Callable[P, T]) -> Callable[P, T]:
    """`step`, after which the same trigger comes back while Route 53 is busy with others."""

    @wraps(step)
    def patient(*args: P.args, **arguments: P.kwargs) -> T:
        try:
            return step(*args, **arguments)
        except Throttled as error:
            why = f"Route 53 is busy ({error}). The changes so far stay, the rest follows"
            raise RequeueAfter(why, _BUSY_SECONDS) from None

    return patient


_zone = _later_if_busy(observe.zone)
_CHANGING = {
    "prepare-flag-bucket": act.prepare_flag_buckets,
    "create-check": _later_if_busy(act.create_checks),
    "change-records": act.summarize,
    "batch": _later_if_busy(act.change),
    "delete-check": _later_if_busy(act.delete_checks),
}
_MARKING = {"set-evacuation-flag": act.set_flag, "clear-evacuation-flag": act.clear_flag,
            "record": act.record_region, "report": act.publish_report}


def _plan(saw: ZoneObservation, request: Request) -> Plan:
    if request.apply:
        return Plan(rejected_because="routing.plan only plans. To apply, run routing.apply")
    return decide.plan(saw)


def _apply(saw: ZoneObservation, request: Request) -> Plan:
    return decide.plan(saw)


def _drift(saw: ZoneObservation, request: Request) -> Plan:
    return decide.drift(saw)


def _evacuate(saw: FleetObservation, request: Request) -> Plan:
    return decide.evacuate(saw, request.now)


def _restore(saw: FleetObservation, request: Request) -> Plan:
    return decide.restore(saw)


def _hold(saw: FleetObservation, request: Request) -> Plan:
    return decide.hold(saw, counted_at(request.now, saw.at))


def _status(saw: FleetObservation, request: Request) -> Plan:
    return decide.status(saw)


PLAN: Operation[ZoneObservation] = Operation(
    "routing.plan", "the changes that Route 53 would get", _zone, _plan, parameters=observe.ZoneAsked,
    raises_alerts=False)
APPLY: Operation[ZoneObservation] = Operation(
    "routing.apply", "brings Route 53 to what fleet.toml wants, step by step", _zone, _apply, _CHANGING,
    observe.ZoneAsked, raises_alerts=False)
DRIFT: Operation[ZoneObservation] = Operation(
    "routing.drift", "tells people if Route 53 does not hold what fleet.toml wants", _zone, _drift,
    parameters=observe.ZoneAsked)
EVACUATE: Operation[FleetObservation] = Operation(
    "routing.evacuate", "keeps users away from a region", observe.fleet, _evacuate, _MARKING, observe.RegionAsked,
    raises_alerts=False)
RESTORE: Operation[FleetObservation] = Operation(
    "routing.restore", "lets users come back to a region", observe.fleet, _restore, _MARKING, observe.RegionAsked,
    raises_alerts=False)
HOLD: Operation[FleetObservation] = Operation(
    "routing.hold", "keeps users away from a region that died until it has been quiet", observe.hold, _hold, _MARKING)
STATUS: Operation[FleetObservation] = Operation(
    "routing.status", "the regions that live, and those that users stay away from", observe.fleet, _status,
    raises_alerts=False)

ALL: tuple[Operation[Any], ...] = (PLAN, APPLY, DRIFT, EVACUATE, RESTORE, HOLD, STATUS)
