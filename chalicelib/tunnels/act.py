"""Carries out a round: remembered first, then each act once, each by its key and only while its round is the last.

One act's failure never stops the next: what AWS refuses becomes a result in the journal and, once an hour, an alert.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from chalicelib import cloud
from chalicelib.control import Request, count
from chalicelib.ledger import Item
from chalicelib.plan import Action
from chalicelib.site import Site
from chalicelib.tunnels import fences, hand
from chalicelib.tunnels import hosts as host
from chalicelib.tunnels.declared import Tunnels, shipped
from chalicelib.tunnels.records import FAR, KEY, Act, Memory, Told, body, read

# Run Command takes no less; whatever has not begun by then is not run any more ("SendCommand", API reference).
_DELIVERY_SECONDS = 30
_FASTER = "another round was faster"
_REFUSED = (cloud.ClientError, cloud.BotoCoreError)


def remember(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Claims the round: the memory is replaced only if it is still the one that was seen, and seen recently."""
    [action] = actions
    memory = action.facts["memory"]
    if late := fences.late(_standing(site, memory["at"])):
        return [late]
    return ["remembered" if _kept(site, action.facts["rev"], memory) else _FASTER]


def _kept(site: Site, rev: int, memory: dict[str, Any]) -> bool:
    mark = memory["turn"]
    if rev:
        return site.regional.swap(Item(*KEY, rev, {}), memory, writer=mark) is not None
    return site.regional.create(*KEY, memory, writer=mark) is not None


def drain(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Out of the balancer; the target group cuts the connections that there are."""
    return _each(site, actions, lambda settings, key, id: _elb(site, settings, "deregister_targets", id))


def undrain(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Back into the balancer."""
    return _each(site, actions, lambda settings, key, id: _elb(site, settings, "register_targets", id))


def restart(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """The tunnel service anew, by a document that takes the act's key and nothing else, and runs each key once."""
    return _each(site, actions, lambda settings, key, id: _command(site, settings, key, id, Key=[key]))


def _command(site: Site, settings: Tunnels, key: str, id: str, **parameters: list[str]) -> dict[str, Any]:
    answer = _call(site, "ssm", "send_command", InstanceIds=[id], DocumentName=settings.document or _shipped(site),
                   Parameters=parameters, TimeoutSeconds=_DELIVERY_SECONDS, Comment=key[:100])
    return {"command": answer["Command"]["CommandId"]}


def point(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """The region's hosts are told where to lead, and this one takes the way there once it has tried it."""
    to = actions[0].facts["to"]  # a round leads all of them to one

    def send(settings: Tunnels, key: str, id: str) -> dict[str, Any]:
        _call(site, "ssm", "put_parameter", Name=host.lead(f"{site.fleet.name}-{site.stage}"), Value=to, Type="String",
              Overwrite=True)
        # Without the key: the document would run it once, and say of a second one that all is well.
        return _command(site, settings, key, id, Action=["point"], Master=[to])

    return _each(site, actions, send)


def replace(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """The instance is terminated, and its Auto Scaling group launches another."""
    return _each(site, actions, lambda settings, key, id: _call(
        site, "autoscaling", "terminate_instance_in_auto_scaling_group", InstanceId=id,
        ShouldDecrementDesiredCapacity=False))


def stop(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Where no group replaces it: stopped, to be started on other hardware."""
    return _each(site, actions, lambda settings, key, id: _call(site, "ec2", "stop_instances", InstanceIds=[id]))


def start(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """And started."""
    return _each(site, actions, lambda settings, key, id: _call(site, "ec2", "start_instances", InstanceIds=[id]))


def page(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people, and notes that it went out; what was not noted is told again by a later round."""
    results = []
    for action in actions:
        try:
            results.append(_told(site, action))
        except cloud.NO_ANSWER as error:
            results.append(f"{action.target}: not told, to be tried again: {error}")
    return results


def report(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """Other regions' healers learn what this one knows of the far side."""
    [action] = actions
    try:
        if site.coordination.create(FAR, site.region, action.facts):
            return []
        there = site.coordination.get(FAR, site.region)
        if there and there.body["at"] < action.facts["at"]:
            site.coordination.swap(there, action.facts)
    except cloud.NO_ANSWER as error:
        return [f"other regions could not be told of the far side: {error}"]
    return []


def by_hand(site: Site, request: Request, actions: Sequence[Action]) -> list[str]:
    """What people asked for: the memory as it is now gets the act that was planned, and then it is done."""
    [action] = actions
    item = site.regional.get(*KEY)
    facts, settings = action.facts, site.fleet.tunnels
    asked = hand.done(read(item.body), settings, facts["instance"], facts["ask"], facts["kind"], site.clock()
                      ) if item and settings else None
    if item is None or asked is None or (asked.act.key if asked.act else "") != facts["key"]:
        return [f"{facts['instance']}: left: the healer has done something since; look again"]
    if not _kept(site, item.rev, body(asked.memory)):
        return [f"{facts['instance']}: left: {_FASTER}; look again"]
    return _DOING[asked.act.kind](site, request, [_action(asked.act, asked.memory)]) if asked.act else ["remembered"]


def _action(act: Act, memory: Memory) -> Action:
    return Action(act.kind, f"slot {act.slot}", act.reason,
                  {"key": act.key, "instance": act.instance, "turn": memory.turn})


# How one kind of act is done: settings, key and instance id go in, what is to be noted of it comes out.
_Do = Callable[[Tunnels, str, str], Any]


def _each(site: Site, actions: Sequence[Action], do: _Do) -> list[str]:
    return [f"{action.target}: {action.kind} of {action.facts['instance']}: {_one(site, action, do)}"
            for action in actions]


def _one(site: Site, action: Action, do: _Do) -> str:
    """Looked at, claimed, looked at once more, done; its claim keeps what came of it."""
    try:
        # A round that came second has decided the same act, by the same key: its claim would keep the first from it.
        if left := _left(site, action.facts["turn"]):
            return left
        claim = fences.claim(site.regional, action.facts["key"], site.clock())
        if claim is None:
            return "left: it is being done, or was"
        return _left(site, action.facts["turn"]) or _claimed(site, action, do, claim)
    except cloud.Unreachable as error:
        return f"no answer, so it may have been done: {error}"


def _claimed(site: Site, action: Action, do: _Do, claim: Item) -> str:
    settings = site.fleet.tunnels
    assert settings is not None  # noqa: S101 - nothing is planned without
    try:
        noted = do(settings, action.facts["key"], action.facts["instance"])
    except _REFUSED as error:
        _note(site, claim, {"error": str(error)})
        return f"refused: {error}{_complained(site, action, error)}"
    _note(site, claim, {"command": noted["command"]} if "command" in noted else {})
    return "asked for"


def _left(site: Site, turn: str) -> str:
    item = site.regional.get(*KEY)
    if item is None:
        return "left: the memory is gone"
    # If the memory is this round's, so is its time.
    return fences.refusal(_standing(site, item.body["at"], turn, item.body["turn"]))


def _standing(site: Site, at: float, turn: str = "", there: str = "") -> fences.Standing:
    stale = site.fleet.tunnels.stale if site.fleet.tunnels else 0
    return fences.Standing(at, site.clock(), stale, turn, there)


def _note(site: Site, claim: Item, more: dict[str, Any]) -> None:
    if more:
        site.regional.swap(claim, claim.body | more, ttl=int(site.clock()) + fences.CLAIM_DAYS * 86_400)


def _complained(site: Site, action: Action, error: Exception) -> str:
    """People hear once an hour of what AWS refuses; the journal has it each time, and whether they could be told."""
    try:
        _complain(site, action, error)
    except cloud.NO_ANSWER as silent:
        return f"; nobody could be told: {silent}"
    return ""


def _complain(site: Site, action: Action, error: Exception) -> None:
    count("ActRefused", kind=action.kind)
    code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    hour = int(site.clock()) // 3600
    if fences.claim(site.regional, f"refused/{action.kind}/{code}/{hour}", site.clock()):
        site.alerts.publish(f"TunnelActRefused: {action.kind} of {action.facts['instance']}",
                            f"{action.target}: {action.reason}. AWS refused: {error}. {_REMEDIES[action.kind]}")


def _told(site: Site, action: Action) -> str:
    facts = action.facts
    if not fences.claim(site.regional, f"{facts['told']}/{facts['at']}", site.clock()):
        return f"{action.target}: told by another"
    if fences.late(_standing(site, facts["at"])):
        return f"{action.target}: left for a later round"
    site.alerts.publish(f"{facts['kind']}: {action.target}", action.reason)
    count("Alert", kind=facts["kind"])
    item = site.regional.get(*KEY)
    memory = read(item.body) if item else Memory()
    if item and facts["told"] in memory.told:
        told = memory.told | {facts["told"]: Told(memory.told[facts["told"]].at, sure=True)}
        site.regional.swap(item, body(msgspec.structs.replace(memory, told=told)))
    return f"{action.target}: told"


def _elb(site: Site, settings: Tunnels, method: str, id: str) -> Any:
    groups = _call(site, "elbv2", "describe_target_groups", Names=[settings.target_group or _shipped(site)])
    arn = groups["TargetGroups"][0]["TargetGroupArn"]
    return _call(site, "elbv2", method, TargetGroupArn=arn, Targets=[{"Id": id}])


def _call(site: Site, service: str, method: str, **asked: Any) -> Any:
    return cloud.reach(site.region, lambda: getattr(cloud.client(service, site.region), method)(**asked))


def _shipped(site: Site) -> str:
    return shipped(f"{site.fleet.name}-{site.stage}")


_DOING: dict[str, Callable[[Site, Request, Sequence[Action]], list[str]]] = {
    "drain": drain, "undrain": undrain, "restart": restart, "point": point, "replace": replace, "stop": stop,
    "start": start}
_REMEDIES = {
    "drain": "Look at tunnels.target_group in fleet.toml and whether that group is there.",
    "undrain": "Look at tunnels.target_group in fleet.toml and whether that group is there.",
    "restart": "Look at tunnels.document in fleet.toml, and whether the instance is managed by Systems Manager.",
    "point": "Look at [[tunnels.hosts.ways]] in fleet.toml, deploy it, and look at the Lambda's policy.",
    "replace": "Look at tunnels.group in fleet.toml, and at the group's activity history.",
    "stop": "Look at the Lambda's policy.", "start": "Look at the Lambda's policy.",
}
