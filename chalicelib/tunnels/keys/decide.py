"""How the key of a region's tunnel hosts is changed, one step at a time, so that every moment has a key that works.

    publish-keys      every gateway is told what one of them knows: one may be new, or a run may have died in between
    create            the gateways are told of a new public key, then its private half is stored as AWSPENDING
    reload            one host after the other logs in with it at every gateway, and keeps it for its next connection
    promote           once each gateway has let a host in, it becomes AWSCURRENT: hosts launched later begin with it
    remove-old-keys   the gateways are told to forget the old one, once every host there is has the new one
    check-former-key  a host logs in with the old one at every gateway, and is denied

A parameter that is written is not a gateway that obeys. A host has to see it, as the one who uses the gateway.
No tunnel is cut, because ssh needs its key only to connect. It is pure. Each run looks again, and takes the one next
step, also after a run that died anywhere. Times are epoch seconds.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from chalicelib.engine.alerts import Alert
from chalicelib.engine.limits import not_ahead
from chalicelib.engine.plan import Action, Claim, Plan
from chalicelib.engine.schema import Stored
from chalicelib.tunnels.keys.state import (
    Command,
    CommandStatus,
    Promotion,
    PublicKeys,
    RotationObservation,
    RotationState,
)

# A command that has not been heard of for so long is given up; a host that could not is asked again after so long (s).
LOST_SECONDS, RETRY_SECONDS = 120, 20
# A rotation that takes longer is told about.
OVERDUE_SECONDS = 1800
_LOOK_SECONDS, _SOON_SECONDS = 5, 1


class RotationStep(msgspec.Struct, frozen=True):
    """The next step, with an action or none, the reason, its details, and the seconds until the next look (0 is no
    need)."""

    kind: str
    target: str
    reason: str
    again_seconds: int = 0
    details: Any = None


def decide(
    stored: Stored[RotationState], seen: RotationObservation, now: float, *, start: bool, region: str = ""
) -> Plan:
    """The plan of one run. Only with `start` is a new key made when none is on its way."""
    state = settled(not_ahead(stored.value, now), seen, now)
    step = _next(seen, state, now, start)
    after = _after(state, step, seen.new_version, now)
    actions = (Action(step.kind, step.target, step.reason, step.details),) if step.kind else ()
    claim = Claim(stored, after) if actions or after != stored.value else None
    overdue = not state.done and state.since > 0 and now - state.since > OVERDUE_SECONDS
    return Plan(actions, (step.reason,), requeue_after_seconds=step.again_seconds, claim=claim,
                alerts=(_overdue(state, step, now, region),) if overdue else ())


def settled(state: RotationState, seen: RotationObservation, now: float) -> RotationState:
    """The state once the status of its command is taken into account, and hosts that are gone are forgotten."""
    present = {host.id for host in seen.hosts}
    state = replace(state, loaded={id: version for id, version in state.loaded.items() if id in present},
                    admitted={id: gateways for id, gateways in state.admitted.items() if id in present})
    command, status = state.command, seen.command or CommandStatus("running")
    if command is None or (status.state == "running" and now - command.at < LOST_SECONDS):
        return state
    if status.state != "done":
        detail = status.detail if status.state == "failed" else f"no answer in {LOST_SECONDS} s"
        return replace(state, command=None, failed_at=now, failure=f"{command.instance}: {detail}")
    after = replace(state, command=None, failed_at=0, failure="")
    if command.kind == "reload":
        return replace(after, loaded=state.loaded | {command.instance: status.version},
                       admitted=state.admitted | {command.instance: status.gateways})
    if unseen := sorted(set(seen.gateways) - set(status.gateways)):
        return replace(after, failed_at=now, failure=f"{command.instance}: {_too_old(unseen)}")
    if status.version not in (seen.former, "none"):
        return replace(after, failed_at=now, failure=f"{command.instance}: it tried the key {status.version}")
    return replace(after, denied=seen.former)


def _too_old(gateways: Sequence[str]) -> str:
    """For a host that does not ask these gateways, because its launch is older than they or than this question."""
    return (f"no host that is there logs in at the gateway of {', '.join(gateways)}. "
            "Call `tunnels.replace` for one, since the next one does")


def _after(state: RotationState, step: RotationStep, new_version: str, now: float) -> RotationState:
    """The state to write before the step is done. A command whose sending is in doubt is waited for, then sent again,
    which is harmless."""
    if step.kind == "create":
        return RotationState(version=new_version, since=now)
    if step.kind in ("reload", "check-former-key"):
        return replace(state, command=Command(step.target, now, kind=step.kind))
    return replace(state, done=True) if step.kind == "finish" else state


def _next(seen: RotationObservation, state: RotationState, now: float, start: bool) -> RotationStep:
    if state.command:
        return RotationStep("", state.command.instance, f"{state.command.instance} is trying a key", _LOOK_SECONDS)
    if seen.scattered:
        known = {**seen.published, **seen.scattered}
        return RotationStep("publish-keys", ", ".join(sorted(seen.scattered)), "not every gateway knows it",
                            _SOON_SECONDS, PublicKeys(tuple(known[version] for version in sorted(known))))
    if seen.pending and seen.pending not in seen.published:
        return RotationStep("discard", seen.pending, "the gateways do not know this key, or have lost it",
                            _SOON_SECONDS)
    if not seen.pending and (begin := _begin(seen, state, start)):
        return begin
    return _load(seen, state, now) or _prove(seen, state) or _conclude(seen, state, now)


def _begin(seen: RotationObservation, state: RotationState, start: bool) -> RotationStep | None:
    """A new key, where one is wanted or was lost on its way. `None` if the current one's rotation is to be finished."""
    lost = state.version not in ("", seen.current) and not state.done
    if not lost and seen.current in seen.published and (len(seen.published) > 1 or not state.done):
        return None
    if not lost and not start:
        return RotationStep("", "key", "no change of key is under way")
    reason = "the begun key got lost on its way" if lost else "asked for"
    kept = (seen.published[seen.current],) if seen.current in seen.published else ()
    return RotationStep("create", "key", reason, _SOON_SECONDS, PublicKeys(kept))


def _load(seen: RotationObservation, state: RotationState, now: float) -> RotationStep | None:
    """The next host to fetch the key. `None` when all have it."""
    version = seen.pending or seen.current
    # A host that has not said which gateways let it in is asked again: the release before did not ask.
    unsaid = set() if not _unproven(seen, state) else {host.id for host in seen.hosts} - state.admitted.keys()
    lacking = [host for host in seen.hosts if state.loaded.get(host.id) != version or host.id in unsaid]
    if not lacking:
        return None
    ready = [host for host in lacking if host.in_service]
    if not ready:
        return RotationStep("", lacking[0].id, f"{lacking[0].id} is not in service yet", RETRY_SECONDS)
    if now - state.failed_at < RETRY_SECONDS:
        return RotationStep("", ready[0].id, f"asked again soon ({state.failure})", RETRY_SECONDS)
    # One that carries nothing has nothing to lose.
    host = min(ready, key=lambda one: (one.healthy, one.id))
    if host.healthy and not any(other.healthy for other in seen.hosts if other.id != host.id):
        reason = f"{host.id} is the only healthy one. It is left alone until another one is"
        return RotationStep("", host.id, reason, RETRY_SECONDS)
    return RotationStep("reload", host.id, f"it has not tried the key {version}", _LOOK_SECONDS)


def _prove(seen: RotationObservation, state: RotationState) -> RotationStep | None:
    """Nothing, if each gateway has let in a host that is there. Otherwise the reason to wait."""
    unproven = _unproven(seen, state)
    return RotationStep("", ", ".join(unproven), _too_old(unproven), RETRY_SECONDS) if unproven else None


def _unproven(seen: RotationObservation, state: RotationState) -> list[str]:
    """The regions of the gateways that were not seen to let a host in that is there. Read once all have loaded."""
    return sorted(set(seen.gateways).difference(*state.admitted.values()))


def _conclude(seen: RotationObservation, state: RotationState, now: float) -> RotationStep:
    if seen.pending:
        return RotationStep("promote", seen.pending, "every host has tried it and has it", _SOON_SECONDS,
                            Promotion(seen.pending, seen.current))
    old = sorted(seen.published.keys() - {seen.current})
    if old:
        return RotationStep("remove-old-keys", ", ".join(old), "every host has the new key", _SOON_SECONDS,
                            PublicKeys((seen.published[seen.current],)))
    if seen.former and state.denied != seen.former:
        return _check(seen, state, now)
    return RotationStep("finish", seen.current, "every host has it, and the gateways take no other")


def _check(seen: RotationObservation, state: RotationState, now: float) -> RotationStep:
    """A host, of those that know most gateways, tries the former key. It keeps its tunnel, so any will do."""
    if now - state.failed_at < RETRY_SECONDS:
        return RotationStep("", seen.former, f"asked again soon ({state.failure})", RETRY_SECONDS)
    ready = [host.id for host in seen.hosts if host.in_service]
    if not ready:
        return RotationStep("", seen.former, "no host is in service that could try the former key", RETRY_SECONDS)
    host = min(ready, key=lambda id: (-len(state.admitted.get(id, ())), id))
    return RotationStep("check-former-key", host, f"every gateway has to deny the former key {seen.former}",
                        _LOOK_SECONDS)


def _overdue(state: RotationState, step: RotationStep, now: float, region: str) -> Alert:
    minutes = int(now - state.since) // 60
    return Alert(
        "KeyRotationOverdue",
        region,
        f"The SSH key of the tunnel hosts in {region} has been changing for {minutes} minutes",
        since=state.since,
        tried=(
            f"The next step is this. {step.reason}.",
            *([state.failure] if state.failure else ()),
            "Every host can connect meanwhile.",
        ),
        steps=(
            "Look at the named host, and at what Run Command says of it.",
            "Call `lamp run tunnels.rotate_keys` to see the next step.",
        ),
    )
