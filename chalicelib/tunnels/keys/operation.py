"""`tunnels.rotate_keys`, one step a run. By hand it begins. A schedule only goes on.

A compare-and-set on the observed state records every step before it runs, so only one of two runs takes it. The private
key is written and never read, and nothing here can fetch it.
"""

import secrets
import uuid
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from chalicelib.aws import refusals
from chalicelib.aws.client import ClientError
from chalicelib.aws.ports import AwsPorts
from chalicelib.aws.ssm import RUNNING, Invocation
from chalicelib.config import tunnel_hosts
from chalicelib.config.tunnels import managed_name
from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.limits import counted_at
from chalicelib.engine.operation import Operation, Rejected, Request, StateItem
from chalicelib.engine.plan import Action, Plan
from chalicelib.engine.schema import Stored, Unreadable
from chalicelib.tunnels.keys import decide
from chalicelib.tunnels.keys.openssh import Key, listed, published, shared
from chalicelib.tunnels.keys.state import KEY, SCHEMA, CommandStatus, Host, RotationObservation, RotationState

# For the agent to take the command; what it does then has the document's own time.
_DELIVERY_SECONDS = 60
# The document's word for each step that a host does.
_DOCUMENT_ACTIONS = {"reload": "reload-keys", "check-former-key": "check-former-key"}


class RotationParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`start` makes a new key if no rotation is in progress. Otherwise the rotation in progress goes on, and no other
    begins."""

    start: bool = True


class Observed(msgspec.Struct, frozen=True):
    """The state as it was read (or the reason why not), the observation of a run (`None` without one), the place, and
    the time there (epoch seconds)."""

    stored: Stored[RotationState] | Unreadable
    seen: RotationObservation | None
    region: str
    at: float


def operation(random: Callable[[int], bytes] = secrets.token_bytes) -> Operation[Observed]:
    """The operation with this source of private keys."""
    return Operation(
        "tunnels.rotate_keys", "changes the SSH key of a region's tunnel hosts, one step a run, without a cut",
        observe, _decide,
        {"create": lambda context, request, actions: _create(context, request, actions, random(32)),
         "reload": _command, "check-former-key": _command,
         "discard": _discard, "promote": _promote, "publish-keys": _publish, "remove-old-keys": _publish,
         "finish": _finish}, RotationParameters, StateItem(KEY, SCHEMA))


def observe(context: RegionContext, request: Request) -> Observed:
    """The state comes first, so later observations are not older than it. A schedule with nothing to go on with asks no
    more.
        
    """
    gateways = _gateways(context)
    stored = state.load(context.local_store, KEY, SCHEMA, RotationState(done=True))
    if isinstance(stored, Unreadable) or (request.trigger == "schedule" and stored.value.done):
        return Observed(stored, None, context.region, context.clock())
    current, pending, former = _versions(context)
    command = stored.value.command
    command_status = status(context, command.id, command.instance) if command and command.id else None
    everywhere, scattered = shared([published(aws.ssm.parameter(_parameter(context)) or "")
                                    for aws in gateways.values()])
    seen = RotationObservation(current, pending, everywhere, _hosts(context), command_status, scattered,
                               new_version=str(uuid.uuid4()), gateways=tuple(gateways), former=former)
    return Observed(stored, seen, context.region, context.clock())


def _decide(observed: Observed, request: Request) -> Plan:
    if isinstance(observed.stored, Unreadable):
        return Plan(notes=(f"the rotation does nothing ({observed.stored})",),
                    unreadable=(observed.stored,), not_judged=("*",))
    if observed.seen is None:
        return Plan(notes=("no change of key is under way",))
    now = counted_at(request.now, observed.at)
    if request.trigger == "manual":
        return decide.decide(observed.stored, observed.seen, now, start=request.parameters.start,
                             region=observed.region)
    # A schedule comes back by itself; `requeue_after_seconds` would have Lambda count a failure.
    plan = decide.decide(observed.stored, observed.seen, now, start=False, region=observed.region)
    return replace(plan, requeue_after_seconds=0)


# What is seen.


def _gateways(context: RegionContext) -> dict[str, AwsPorts]:
    """AWS in each region to which the shipped hosts have a route, by its name. Rejected where there are no such hosts.
    """
    tunnels = context.fleet.tunnels
    if tunnels is None or tunnels.hosts is None:
        raise Rejected("fleet.toml has no [tunnels.hosts], so the keys of your hosts are yours to change. "
                       "See docs/tunnels-host.md")
    if not tunnels.needs_tunnels(context.region):
        raise Rejected(f"{context.region} is the primary's region, which has no tunnel hosts. "
                       f"Ask one of {', '.join(place.name for place in tunnels.hosts.regions)}")
    routes = tunnel_hosts.primary_routes(tunnels.hosts, tunnels.primary)
    return {route.region: context.aws_regions[route.region] for route in routes}


def _versions(context: RegionContext) -> tuple[str, str, str]:
    """The versions labelled AWSCURRENT, AWSPENDING and AWSPREVIOUS, each empty if there is none. One label wins over
    two."""
    labels = context.aws.secrets.labels(_secret(context))
    if labels is None:
        raise Rejected(f"{context.region} has no secret {_secret(context)}: deploy [tunnels.hosts] first")
    current, pending = labels.get("AWSCURRENT", ""), labels.get("AWSPENDING", "")
    former = labels.get("AWSPREVIOUS", "")
    return current, pending if pending != current else "", former if former not in (current, pending) else ""


def _hosts(context: RegionContext) -> tuple[Host, ...]:
    """The members of the group that are not on their way out."""
    name = managed_name(_stack(context))
    members = context.aws.autoscaling.members(name)
    if members is None:
        raise Rejected(f"{context.region} has no Auto Scaling group {name}: deploy [tunnels.hosts] first")
    try:
        targets = context.aws.elb.targets(name)
    except ClientError as error:
        raise Rejected(f"the target group {name} in {context.region}: {refusals.explain(error)}") from None
    return tuple(Host(member.id, member.lifecycle == "InService", targets.get(member.id) == "healthy")
                 for member in members if not member.lifecycle.startswith(("Terminat", "Detach")))


def status(context: RegionContext, command: str, instance: str) -> CommandStatus:
    """The status of a command."""
    try:
        found: Invocation = context.aws.ssm.invocation(command, instance)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "InvocationDoesNotExist":
            raise
        return CommandStatus("running")  # for a moment after it was sent
    if found.status in RUNNING:
        return CommandStatus("running")
    version, gateways = ([line.removeprefix(word).strip() for line in found.output.splitlines()
                          if line.startswith(word)] for word in ("version=", "gateway="))
    if found.status == "Success" and version and version[0]:
        return CommandStatus("done", version[0], gateways=tuple(gateways))
    detail = found.error_output.strip()[-300:] or "it said nothing"
    return CommandStatus("failed", detail=f"{found.details or found.status}: {detail}")


# What is done. The state is claimed by then.


def _create(context: RegionContext, request: Request, actions: Sequence[Action], seed: bytes) -> list[str]:
    """The gateways come first. That half is no secret, and no host may get a key that a gateway does not know.

    The private half lives in this function alone, and goes from here into the secret.
    """
    [action] = actions
    claimed = state.current(context.local_store, KEY, SCHEMA, run_id=request.run_id)
    key = Key(seed, claimed.value.version)
    _tell(context, [*action.details.kept, key.line()])
    context.aws.secrets.put(_secret(context), key.version, key.private(), "AWSPENDING")
    return [f"{key.version}: the gateways know it, and the secret holds it"]


def _command(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """A host does what the document calls this step."""
    [action] = actions
    id = context.aws.ssm.send_command(action.target, managed_name(_stack(context)),
                                      {"Action": _DOCUMENT_ACTIONS[action.kind]}, timeout_seconds=_DELIVERY_SECONDS)

    def sent(before: RotationState | None) -> RotationState | None:
        if before is None or before.command is None or before.command.instance != action.target or before.command.id:
            return None
        return replace(before, command=replace(before.command, id=id))

    state.update(context.local_store, KEY, SCHEMA, sent, run_id=request.run_id)
    return [f"{action.target}: {id}"]


def _discard(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    [action] = actions
    context.aws.secrets.move_label(_secret(context), "AWSPENDING", from_=action.target)
    return [f"discard: {action.target}"]


def _promote(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    [action] = actions
    version, old = action.details.version, action.details.old
    context.aws.secrets.move_label(_secret(context), "AWSCURRENT", to=version, from_=old)
    context.aws.secrets.move_label(_secret(context), "AWSPENDING", from_=version)
    return [f"promote: {version}"]


def _publish(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    [action] = actions
    _tell(context, action.details.kept)
    return [f"{action.kind}: {action.target}"]


def _finish(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    """The state says it, and that is all."""
    return [f"finish: {action.target}" for action in actions]


def _tell(context: RegionContext, lines: Sequence[str]) -> None:
    """All gateways know these public keys, and no other of this region."""
    for aws in _gateways(context).values():
        aws.ssm.put_parameter(_parameter(context), listed(lines))


def _stack(context: RegionContext) -> str:
    return f"{context.fleet.name}-{context.stage}"


def _secret(context: RegionContext) -> str:
    return tunnel_hosts.private_key_secret(_stack(context))


def _parameter(context: RegionContext) -> str:
    return tunnel_hosts.public_keys_parameter(_stack(context), context.region)


ROTATE = operation()
