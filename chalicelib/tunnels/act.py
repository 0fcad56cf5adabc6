"""Carries out a round. The state is written first, then each action runs once, by its key and only while its round is
the last.

A failed action never stops the next. A denial by AWS becomes a result in the journal and, once an hour, an alert.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from chalicelib.aws import client
from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.tunnels import config_hosts as host
from chalicelib.tunnels import fences
from chalicelib.tunnels.config import Tunnels, managed_name
from chalicelib.tunnels.decide import manual as hand
from chalicelib.tunnels.state import KEY, PEER_REPORT_PK, AlertDelivery, RepairAction, TunnelState, body, read

# Run Command takes no less; whatever has not begun by then is not run any more ("SendCommand", API reference).
_DELIVERY_SECONDS = 30
_FASTER = "another round was faster"
_REFUSED = (client.ClientError, client.BotoCoreError)


def claim_state(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims the round. The state is replaced only if it is still the one that was read, and read recently."""
    [action] = actions
    memory = action.details["memory"]
    if late := fences.is_stale(_standing(site, memory["at"])):
        return [late]
    return ["remembered" if _kept(site, action.details["version"], memory) else _FASTER]


def _kept(site: RegionContext, version: int, memory: dict[str, Any]) -> bool:
    mark = memory["run_id"]
    if version:
        return site.local_store.compare_and_set(Item(*KEY, version, {}), memory, write_id=mark) is not None
    return site.local_store.create(*KEY, memory, write_id=mark) is not None


def drain(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Out of the balancer. The target group cuts the connections that there are."""
    return _each(site, actions, lambda settings, key, id: _elb(site, settings, "deregister_targets", id))


def undrain(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Back into the balancer."""
    return _each(site, actions, lambda settings, key, id: _elb(site, settings, "register_targets", id))


def restart(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """The tunnel service anew, by a document that takes the act's key and nothing else, and runs each key once."""
    return _each(site, actions, lambda settings, key, id: _command(site, settings, key, id, Key=[key]))


def _command(site: RegionContext, settings: Tunnels, key: str, id: str, **parameters: list[str]) -> dict[str, Any]:
    answer = _call(site, "ssm", "send_command", InstanceIds=[id], DocumentName=settings.document or _shipped(site),
                   Parameters=parameters, TimeoutSeconds=_DELIVERY_SECONDS, Comment=key[:100])
    return {"command": answer["Command"]["CommandId"]}


def repoint(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """The region's hosts are told where to lead, and this one takes the way there once it has tried it."""
    to = actions[0].details["to"]  # a round leads all of them to one

    def send(settings: Tunnels, key: str, id: str) -> dict[str, Any]:
        _call(
            site,
            "ssm",
            "put_parameter",
            Name=host.primary_region_parameter(f"{site.fleet.name}-{site.stage}"),
            Value=to,
            Type="String",
            Overwrite=True,
        )
        # Without the key: the document would run it once, and say of a second one that all is well.
        return _command(site, settings, key, id, Action=["point"], Master=[to])

    return _each(site, actions, send)


def replace(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """The instance is terminated, and its Auto Scaling group launches another."""
    return _each(site, actions, lambda settings, key, id: _call(
        site, "autoscaling", "terminate_instance_in_auto_scaling_group", InstanceId=id,
        ShouldDecrementDesiredCapacity=False))


def stop(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Stops an instance that no group replaces, so that it starts on other hardware."""
    return _each(site, actions, lambda settings, key, id: _call(site, "ec2", "stop_instances", InstanceIds=[id]))


def start(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """And started."""
    return _each(site, actions, lambda settings, key, id: _call(site, "ec2", "start_instances", InstanceIds=[id]))


def send_alert(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people, and notes that it went out. A later round sends an alert again that was not recorded."""
    results = []
    for action in actions:
        try:
            results.append(_told(site, action))
        except client.AWS_ERRORS as error:
            results.append(f"{action.target}: not told, to be tried again: {error}")
    return results


def publish_report(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Other regions' controllers learn what this one knows of the primary's side."""
    [action] = actions
    try:
        if site.shared_store.create(PEER_REPORT_PK, site.region, action.details):
            return []
        there = site.shared_store.get(PEER_REPORT_PK, site.region)
        if there and there.body["at"] < action.details["at"]:
            site.shared_store.compare_and_set(there, action.details)
    except client.AWS_ERRORS as error:
        return [f"other regions could not be told of the far side: {error}"]
    return []


def manual(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """A manual change. The current state gets the planned action, and then the action runs."""
    [action] = actions
    item = site.local_store.get(*KEY)
    facts, settings = action.details, site.fleet.tunnels
    asked = hand.done(read(item.body), settings, facts["instance"], facts["ask"], facts["kind"], site.clock()
                      ) if item and settings else None
    if item is None or asked is None or (asked.act.key if asked.act else "") != facts["key"]:
        return [f"{facts['instance']}: left: the healer has done something since; look again"]
    if not _kept(site, item.version, body(asked.memory)):
        return [f"{facts['instance']}: left: {_FASTER}; look again"]
    return _DOING[asked.act.kind](site, request, [_action(asked.act, asked.memory)]) if asked.act else ["remembered"]


def _action(act: RepairAction, memory: TunnelState) -> Action:
    return Action(act.kind, f"slot {act.slot}", act.reason,
                  {"key": act.key, "instance": act.instance, "run_id": memory.run_id})


# How one kind of act is done: settings, key and instance id go in, what is to be noted of it comes out.
_Do = Callable[[Tunnels, str, str], Any]


def _each(site: RegionContext, actions: Sequence[Action], do: _Do) -> list[str]:
    return [f"{action.target}: {action.kind} of {action.details['instance']}: {_one(site, action, do)}"
            for action in actions]


def _one(site: RegionContext, action: Action, do: _Do) -> str:
    """Looked at, claimed, looked at once more, done. Its claim keeps what came of it."""
    try:
        # A round that came second has decided the same act, by the same key: its claim would keep the first from it.
        if left := _left(site, action.details["run_id"]):
            return left
        claim = fences.claim(site.local_store, action.details["key"], site.clock())
        if claim is None:
            return "left: it is being done, or was"
        return _left(site, action.details["run_id"]) or _claimed(site, action, do, claim)
    except client.Unavailable as error:
        return f"no answer, so it may have been done: {error}"


def _claimed(site: RegionContext, action: Action, do: _Do, claim: Item) -> str:
    settings = site.fleet.tunnels
    assert settings is not None  # noqa: S101 - nothing is planned without
    try:
        noted = do(settings, action.details["key"], action.details["instance"])
    except _REFUSED as error:
        _note(site, claim, {"error": str(error)})
        return f"refused: {error}{_complained(site, action, error)}"
    _note(site, claim, {"command": noted["command"]} if "command" in noted else {})
    return "asked for"


def _left(site: RegionContext, turn: str) -> str:
    item = site.local_store.get(*KEY)
    if item is None:
        return "left: the memory is gone"
    # If the memory is this round's, so is its time.
    return fences.refusal(_standing(site, item.body["at"], turn, item.body["run_id"]))


def _standing(site: RegionContext, at: float, turn: str = "", there: str = "") -> fences.EffectContext:
    stale = site.fleet.tunnels.stale if site.fleet.tunnels else 0
    return fences.EffectContext(at, site.clock(), stale, turn, there)


def _note(site: RegionContext, claim: Item, more: dict[str, Any]) -> None:
    if more:
        site.local_store.compare_and_set(claim, claim.body | more, ttl=int(site.clock()) + fences.CLAIM_DAYS * 86_400)


def _complained(site: RegionContext, action: Action, error: Exception) -> str:
    """People hear once an hour of what AWS refuses. The journal has it each time, and whether they could be told."""
    try:
        _complain(site, action, error)
    except client.AWS_ERRORS as silent:
        return f"; nobody could be told: {silent}"
    return ""


def _complain(site: RegionContext, action: Action, error: Exception) -> None:
    count("ActRefused", kind=action.kind)
    code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    hour = int(site.clock()) // 3600
    if fences.claim(site.local_store, f"refused/{action.kind}/{code}/{hour}", site.clock()):
        site.alerts.publish(f"TunnelActionDenied: {action.kind} of {action.details['instance']}",
                            f"{action.target}: {action.reason}. AWS refused: {error}. {_REMEDIES[action.kind]}")


def _told(site: RegionContext, action: Action) -> str:
    facts = action.details
    if not fences.claim(site.local_store, f"{facts['told']}/{facts['at']}", site.clock()):
        return f"{action.target}: told by another"
    if fences.is_stale(_standing(site, facts["at"])):
        return f"{action.target}: left for a later round"
    site.alerts.publish(f"{facts['kind']}: {action.target}", action.reason)
    count("Alert", kind=facts["kind"])
    item = site.local_store.get(*KEY)
    memory = read(item.body) if item else TunnelState()
    if item and facts["told"] in memory.alerts:
        told = memory.alerts | {facts["told"]: AlertDelivery(memory.alerts[facts["told"]].at, sure=True)}
        site.local_store.compare_and_set(item, body(msgspec.structs.replace(memory, alerts=told)))
    return f"{action.target}: told"


def _elb(site: RegionContext, settings: Tunnels, method: str, id: str) -> Any:
    groups = _call(site, "elbv2", "describe_target_groups", Names=[settings.target_group or _shipped(site)])
    arn = groups["TargetGroups"][0]["TargetGroupArn"]
    return _call(site, "elbv2", method, TargetGroupArn=arn, Targets=[{"Id": id}])


def _call(site: RegionContext, service: str, method: str, **asked: Any) -> Any:
    return client.aws_call(site.region, lambda: getattr(client.client(service, site.region), method)(**asked))


def _shipped(site: RegionContext) -> str:
    return managed_name(f"{site.fleet.name}-{site.stage}")


_DOING: dict[str, Callable[[RegionContext, Request, Sequence[Action]], list[str]]] = {
    "drain": drain, "undrain": undrain, "restart": restart, "repoint": repoint, "replace": replace, "stop": stop,
    "start": start}
_REMEDIES = {
    "drain": "Look at tunnels.target_group in fleet.toml and whether that group is there.",
    "undrain": "Look at tunnels.target_group in fleet.toml and whether that group is there.",
    "restart": "Look at tunnels.document in fleet.toml, and whether the instance is managed by Systems Manager.",
    "repoint": "Look at [[tunnels.hosts.ways]] in fleet.toml, deploy it, and look at the Lambda's policy.",
    "replace": "Look at tunnels.group in fleet.toml, and at the group's activity history.",
    "stop": "Look at the Lambda's policy.", "start": "Look at the Lambda's policy.",
}
