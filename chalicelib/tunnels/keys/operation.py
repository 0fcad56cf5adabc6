"""`tunnels.rotate_keys`, one step a run. By hand it begins. A schedule only goes on.

A compare-and-set on the observed state records every step before it runs, so only one of two runs takes it.
"""

import secrets
import uuid
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from chalicelib.aws.store import Item
from chalicelib.context import RegionContext
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Handler, Operation, Rejected, Request
from chalicelib.engine.plan import Action, Plan
from chalicelib.tunnels import config_hosts as host
from chalicelib.tunnels.keys import decide
from chalicelib.tunnels.keys.aws import AwsKeys, Keys
from chalicelib.tunnels.keys.decide import Command, RotationObservation, RotationState
from chalicelib.tunnels.keys.openssh import Key, shared

_FASTER = "another run was faster"

Api = Callable[[RegionContext], Keys]
# What an act does to the keys, and the word for it.
Do = Callable[[Keys, Action], None]


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`start` makes a new key if no rotation is in progress. Otherwise the rotation in progress goes on, and no other
    begins."""

    start: bool = True


@cache
def _aws(region: str, gateways: tuple[str, ...], stack: str) -> Keys:
    return AwsKeys(region, gateways, stack)


def here(site: RegionContext) -> Keys:
    """The keys of the region's shipped hosts. Refused where there are none."""
    tunnels = site.fleet.tunnels
    if tunnels is None or tunnels.hosts is None:
        raise Rejected("fleet.toml has no [tunnels.hosts]: the keys of hosts of your own are yours to change; "
                      "see docs/tunnels-host.md")
    if not tunnels.needs_tunnels(site.region):
        raise Rejected(f"{site.region} is the master's region, which has no tunnel hosts; "
                      f"ask one of {', '.join(place.name for place in tunnels.hosts.regions)}")
    gateways = tuple(way.region for way in host.primary_routes(tunnels.hosts, tunnels.master))
    return _aws(site.region, gateways, f"{site.fleet.name}-{site.stage}")


def operation(api: Api = here, random: Callable[[int], bytes] = secrets.token_bytes) -> Operation[RotationObservation]:
    """The operation with this way to AWS and this source of private keys."""

    def acting(change: Callable[[RotationState], RotationState], do: Do) -> Handler:
        return lambda site, request, actions: _act(site, actions, change, lambda action: do(api(site), action))

    return Operation(
        "tunnels.rotate_keys", "changes the SSH key of a region's tunnel hosts, one step a run, without a cut",
        lambda site, request: observe(site, request, api(site)), _decide,
        {"create": lambda site, request, actions: _create(site, actions, api(site), random(32)),
         "reload": lambda site, request, actions: _reload(site, actions, api(site)),
         "discard": acting(_as_it_is, lambda keys, action: keys.discard(action.target)),
         "promote": acting(_as_it_is, lambda keys, action: keys.promote(action.target, action.details["old"])),
         "publish-keys": acting(_as_it_is, lambda keys, action: keys.publish(action.details["kept"])),
         "remove-old-keys": acting(_as_it_is, lambda keys, action: keys.publish(action.details["kept"])),
         "finish": acting(_done, lambda keys, action: None),
         "record": acting(_as_it_is, lambda keys, action: None), "alert": _alert}, Ask)


def observe(site: RegionContext, request: Request, keys: Keys) -> RotationObservation:
    """The state comes first, so later observations are not older than it. A schedule with nothing to go on with asks no
    more.
        
    """
    item = site.local_store.get(*decide.KEY)
    memory = msgspec.convert(item.body, RotationState) if item else RotationState(done=True)
    if request.trigger == "schedule" and memory.done:
        return RotationObservation(memory, item.version if item else 0, memory.version, "", {memory.version: ""}, ())
    current, pending = keys.versions()
    command = memory.command
    reply = keys.reply(command.id, command.instance) if command and command.id else None
    published, scattered = shared(keys.published())
    return RotationObservation(memory, item.version if item else 0, current, pending, published, keys.hosts(), reply,
                               scattered)


def _decide(seen: RotationObservation, request: Request) -> Plan:
    if request.trigger == "manual":
        return decide.decide(seen, request.now, start=request.parameters.start)
    # A schedule comes back by itself; `later` would have Lambda count a failure.
    return msgspec.structs.replace(decide.decide(seen, request.now, start=False), requeue_after_seconds=0)


def _create(site: RegionContext, actions: Sequence[Action], keys: Keys, seed: bytes) -> list[str]:
    """The gateways come first. That half is no secret, and no host may get a key that a gateway does not know.

    The private half lives in this function alone, and goes from here into the secret.
    """
    [action] = actions
    key = Key(seed, str(uuid.uuid4()))
    if _remember(site, action, lambda memory: RotationState(version=key.version, since=site.clock())) is None:
        return [_FASTER]
    keys.publish([*action.details["kept"], key.line()])
    keys.store(key)
    return [f"{key.version}: the far side is told, and it is kept"]


def _reload(site: RegionContext, actions: Sequence[Action], keys: Keys) -> list[str]:
    """Remembered before it is sent. One whose sending is in doubt is waited for, then sent again, which is harmless."""
    [action] = actions
    command = Command(action.target, site.clock())
    item = _remember(site, action, lambda memory: msgspec.structs.replace(memory, command=command))
    if item is None:
        return [_FASTER]
    sent = msgspec.structs.replace(command, id=keys.reload(command.instance))
    memory = msgspec.structs.replace(msgspec.convert(item.body, RotationState), command=sent)
    site.local_store.compare_and_set(item, msgspec.to_builtins(memory))
    return [f"{command.instance}: {sent.id}"]


def _act(
    site: RegionContext,
    actions: Sequence[Action],
    change: Callable[[RotationState], RotationState],
    do: Callable[[Action], None],
) -> list[str]:
    [action] = actions
    if _remember(site, action, change) is None:
        return [_FASTER]
    do(action)
    return [f"{action.kind}: {action.target}"]


def _alert(site: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """Tells people. The memory has it that they were told."""
    for action in actions:
        site.alerts.publish(f"tunnels.rotate_keys in {site.region}: {action.target}", action.reason)
        count("Alert", kind="keys")
    return [f"{action.target}: told" for action in actions]


def _remember(site: RegionContext, action: Action, change: Callable[[RotationState], RotationState]) -> Item | None:
    """The memory as the plan has it, changed. `None` if it is no longer the one that the plan was made on."""
    facts, item = action.details, site.local_store.get(*decide.KEY)
    if (item.version if item else 0) != facts["version"]:
        return None
    old = msgspec.convert(item.body, RotationState) if item else RotationState()
    over = facts["over"] and old.command is not None
    failed = (site.clock() if over else old.failed) if facts["why"] else 0
    plain = msgspec.to_builtins(change(msgspec.structs.replace(
        old, loaded=facts["loaded"], why=facts["why"], told=facts["told"], failed=failed,
        command=None if facts["over"] else old.command)))
    return site.local_store.compare_and_set(item, plain) if item else site.local_store.create(*decide.KEY, plain)


def _as_it_is(memory: RotationState) -> RotationState:
    return memory


def _done(memory: RotationState) -> RotationState:
    return msgspec.structs.replace(memory, done=True)


ROTATE = operation()
