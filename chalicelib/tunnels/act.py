"""Carries out a round's actions. Each runs once, by its key, and only while its round is the last and its observation
fresh.

One action's failure never stops the next. A denial by AWS becomes a result in the journal, and an alert.
"""

from collections.abc import Callable, Sequence
from functools import partial

from chalicelib.aws.client import AWS_ERRORS
from chalicelib.config import tunnel_hosts
from chalicelib.config.tunnels import Tunnels, managed_name
from chalicelib.context import RegionContext
from chalicelib.engine import effects, state
from chalicelib.engine.alerts import Alert, hourly
from chalicelib.engine.limits import may_replace
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Handler, Request
from chalicelib.engine.plan import Action, Results
from chalicelib.tunnels.state import (
    EFFECTS_PK,
    KEY,
    PEER_REPORT,
    PEER_REPORT_PK,
    PEER_REPORT_SECONDS,
    SCHEMA,
    PeerReport,
    RepairAction,
)

# Run Command takes no less; whatever has not begun by then is not run any more ("SendCommand", API reference).
_DELIVERY_SECONDS = 30

# How one kind of action is done; the reference finds it again at AWS.
_Do = Callable[[Tunnels, RepairAction], str | None]


def drain(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """Out of the balancer. The target group cuts the connections that there are."""
    return _each(context, request, actions, lambda tunnels, action: context.aws.elb.deregister(
        tunnels.target_group or _managed_name(context), action.instance))


def undrain(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """Back into the balancer."""
    return _each(context, request, actions, lambda tunnels, action: context.aws.elb.register(
        tunnels.target_group or _managed_name(context), action.instance))


def restart(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """The tunnel service anew, by a document that takes the action's key and nothing else, and runs each key once."""
    return _each(context, request, actions, lambda tunnels, action: context.aws.ssm.send_command(
        action.instance, tunnels.document or _managed_name(context), {"Key": action.key},
        timeout_seconds=_DELIVERY_SECONDS, comment=action.key))


def repoint(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """The region's hosts are told where to go, and these take the route there once they have tried it."""
    first: RepairAction = actions[0].details
    parameter = tunnel_hosts.primary_region_parameter(f"{context.fleet.name}-{context.stage}")
    # A round connects all of them to one region.
    told = _once(context, request, f"{first.key}/parameter",
                 lambda: context.aws.ssm.put_parameter(parameter, first.primary_region))
    if told.status != "done":
        return _results(context, [(action, told) for action in actions])
    # Without the key: the document would run it once, and say of a second one that all is well.
    return _each(context, request, actions, lambda tunnels, action: context.aws.ssm.send_command(
        action.instance, tunnels.document or _managed_name(context),
        {"Action": "point", "Primary": action.primary_region}, timeout_seconds=_DELIVERY_SECONDS,
        comment=action.key))


def replace(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """The instance is terminated, and its Auto Scaling group launches another."""
    return _each(context, request, actions,
                 lambda tunnels, action: context.aws.autoscaling.terminate(action.instance))


def stop(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """Stops an instance that no group replaces, so that it starts on other hardware."""
    return _each(context, request, actions, lambda tunnels, action: context.aws.ec2.stop(action.instance))


def start(context: RegionContext, request: Request, actions: Sequence[Action]) -> Results:
    """And started."""
    return _each(context, request, actions, lambda tunnels, action: context.aws.ec2.start(action.instance))


def publish_report(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Other regions' controllers learn what this one knows of the primary."""
    [action] = actions
    report: PeerReport = action.details
    try:
        state.publish(context.shared_store, (PEER_REPORT_PK, context.region), PEER_REPORT, report,
                      run_id=request.run_id, replaces=lambda old: may_replace(report.at, old.at, PEER_REPORT_SECONDS))
    except AWS_ERRORS as error:
        return [f"the report of the primary did not reach other regions ({error})"]
    return []


def _each(context: RegionContext, request: Request, actions: Sequence[Action], do: _Do) -> Results:
    tunnels = context.fleet.tunnels
    assert tunnels is not None  # noqa: S101 - nothing is planned without
    return _results(context, [
        (action, _once(context, request, action.details.key, partial(do, tunnels, action.details)))
        for action in actions])


def _once(context: RegionContext, request: Request, key: str, do: Callable[[], str | None]) -> effects.EffectResult:
    return effects.once(context.local_store, EFFECTS_PK, key, do, context.clock, fence=lambda: _fence(context, request))


def _results(context: RegionContext, done: Sequence[tuple[Action, effects.EffectResult]]) -> Results:
    denied = [(action, result) for action, result in done if result.status == "refused"]
    for action, _ in denied:
        count("ActionDenied", kind=action.kind)
    return Results(tuple(f"{action.target}: {action.kind} of {action.details.instance}: {result}"
                         for action, result in done),
                   tuple(_denied(context, action, result) for action, result in denied))


def _fence(context: RegionContext, request: Request) -> str:
    """The reason why the run may not act any more, because a later one has decided, or its observation is old. Nothing
    if it may."""
    tunnels = context.fleet.tunnels
    try:
        current = state.current(context.local_store, KEY, SCHEMA, run_id=request.run_id)
    except state.Superseded as error:
        return str(error)
    return effects.is_stale(current.value.at, context.clock(), tunnels.stale if tunnels else 0)


def _denied(context: RegionContext, action: Action, result: effects.EffectResult) -> Alert:
    """People hear of each reason once an hour. The journal has it each time."""
    return hourly(Alert(
        "TunnelActionDenied",
        f"{action.kind} of {action.details.instance}",
        f"{action.reason}; AWS refused the action: {result.detail}",
        cause=result.error_code,
        tried=("The controller tries it again as long as the tunnel needs it.",),
        steps=(_REMEDIES[action.kind],),
    ), context.clock())


def _managed_name(context: RegionContext) -> str:
    return managed_name(f"{context.fleet.name}-{context.stage}")


HANDLERS: dict[str, Handler] = {
    "drain": drain, "undrain": undrain, "restart": restart, "repoint": repoint, "replace": replace, "stop": stop,
    "start": start, "publish-report": publish_report}
_REMEDIES = {
    "drain": "Look at tunnels.target_group in fleet.toml, and whether that group is there.",
    "undrain": "Look at tunnels.target_group in fleet.toml, and whether that group is there.",
    "restart": "Look at tunnels.document in fleet.toml, and whether Systems Manager manages the instance.",
    "repoint": "Look at [[tunnels.hosts.ways]] in fleet.toml, deploy it, and look at the Lambda's policy.",
    "replace": "Look at tunnels.group in fleet.toml, and at the group's activity history.",
    "stop": "Look at the Lambda's policy.", "start": "Look at the Lambda's policy.",
}
