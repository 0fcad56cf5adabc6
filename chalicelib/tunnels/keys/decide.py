"""How the key of a region's tunnel hosts is changed, one step at a time, so that every moment has a key that works.

    tell      every gateway is told what one of them knows: one may be new, or a run may have died in between
    create    the far side is told of a new public key, then its private half is stored as AWSPENDING
    reload    one host after the other tries it with a tunnel of its own, and keeps it for its next connection
    promote   it becomes AWSCURRENT: hosts that are launched from now on begin with it
    withdraw  the far side forgets the old one, once every host there is has the new one

No tunnel is cut, because ssh needs its key only to connect. It is pure. Each run looks again, and takes the one next
step, also after a run that died anywhere. Times are epoch seconds.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from chalicelib.engine.plan import Action, Plan

# In the regional table.
KEY = ("tunnels", "keys")
# A command that has not been heard of for so long is given up; a host that could not is asked again after so long.
LOST, AGAIN = 120, 20
# A rotation that takes longer is told about, once.
OVERDUE = 1800
_LOOK, _SOON = 5, 1


class Command(msgspec.Struct, frozen=True):
    """A reload under way. `id` is Systems Manager's, empty until it is known to be sent."""

    instance: str
    at: float
    id: str = ""


class RotationState(msgspec.Struct, frozen=True):
    """The state that a run stores for the next. `version` is the one that was made last, `loaded` the one that each
    host has.

    `why` is what the last host that could not reload said, at `failed`. `done` means that nothing is left to do for
    `version`.
    """

    version: str = ""
    since: float = 0
    loaded: dict[str, str] = {}
    command: Command | None = None
    failed: float = 0
    why: str = ""
    told: bool = False
    done: bool = False


class CommandStatus(msgspec.Struct, frozen=True):
    """The status of the command in progress. `version` is the one that the host says it has now."""

    state: Literal["running", "done", "failed"]
    version: str = ""
    said: str = ""


class Host(msgspec.Struct, frozen=True):
    """A member of the group. `healthy` is the balancer's result, which comes from a probe through the tunnel."""

    id: str
    in_service: bool
    healthy: bool


class RotationObservation(msgspec.Struct, frozen=True):
    """The observation of a run, with versions by label, the lines that all gateways know by version, hosts, the command
    status, and the lines that only some know. `version` 0 means that there is no state yet."""

    memory: RotationState
    version: int
    current: str
    pending: str
    published: Mapping[str, str]
    hosts: tuple[Host, ...]
    reply: CommandStatus | None = None
    scattered: Mapping[str, str] = {}


class RotationStep(msgspec.Struct, frozen=True):
    """The next step, with an action or none, the reason, its own facts, and the seconds until the next look (0 is no
    need)."""

    kind: str
    target: str
    reason: str
    later: int = 0
    facts: dict[str, Any] = {}


def decide(seen: RotationObservation, now: float, *, start: bool) -> Plan:
    """The plan of one run. Only with `start` is a new key made when none is on its way."""
    memory = settled(seen, now)
    step = _next(seen, memory, now, start)
    overdue = not memory.told and not memory.done and memory.since > 0 and now - memory.since > OVERDUE
    known = {"version": seen.version, "loaded": memory.loaded, "why": memory.why, "told": memory.told or overdue,
             "over": memory.command is None}
    acts = []
    if step.kind:
        acts.append(Action(step.kind, step.target, step.reason, known | step.facts))
    elif memory != seen.memory or overdue:
        acts.append(Action("record", step.target, step.reason, known, unaudited=True))
    if overdue:
        acts.append(Action("alert", step.target, _overdue(memory, step, now)))
    return Plan(actions=tuple(acts), notes=(step.reason,), requeue_after_seconds=step.later)


def settled(seen: RotationObservation, now: float) -> RotationState:
    """The memory once the reply to its command is taken into account, and hosts that are gone are forgotten."""
    memory, there = seen.memory, {host.id for host in seen.hosts}
    loaded = {id: version for id, version in memory.loaded.items() if id in there}
    command, reply = memory.command, seen.reply or CommandStatus("running")
    if command is None or (reply.state == "running" and now - command.at < LOST):
        return msgspec.structs.replace(memory, loaded=loaded)
    if reply.state == "done":
        return msgspec.structs.replace(
            memory, loaded=loaded | {command.instance: reply.version}, command=None, failed=0, why="")
    why = reply.said if reply.state == "failed" else f"no answer in {LOST} s"
    return msgspec.structs.replace(memory, loaded=loaded, command=None, failed=now, why=f"{command.instance}: {why}")


def _next(seen: RotationObservation, memory: RotationState, now: float, start: bool) -> RotationStep:
    if memory.command:
        return RotationStep("", memory.command.instance, f"{memory.command.instance} is trying the key", _LOOK)
    if seen.scattered:
        told = {**seen.published, **seen.scattered}
        return RotationStep("publish-keys", ", ".join(sorted(seen.scattered)), "not every gateway knows it", _SOON,
                    {"kept": [told[version] for version in sorted(told)]})
    if seen.pending and seen.pending not in seen.published:
        return RotationStep("discard", seen.pending, "the far side was never told of this key, or has lost it", _SOON)
    if not seen.pending and (begin := _begin(seen, memory, start)):
        return begin
    return _load(seen, memory, now) or _conclude(seen)


def _begin(seen: RotationObservation, memory: RotationState, start: bool) -> RotationStep | None:
    """A new key, where one is wanted or was lost on its way. `None` if the current one's rotation is to be finished."""
    lost = memory.version not in ("", seen.current) and not memory.done
    if not lost and seen.current in seen.published and (len(seen.published) > 1 or not memory.done):
        return None
    if not lost and not start:
        return RotationStep("", "key", "no key is being changed")
    why = "the key that was begun was lost on its way" if lost else "asked for"
    kept = [seen.published[seen.current]] if seen.current in seen.published else []
    return RotationStep("create", "key", why, _SOON, {"kept": kept})


def _load(seen: RotationObservation, memory: RotationState, now: float) -> RotationStep | None:
    """The next host to fetch the key. `None` when all have it."""
    version = seen.pending or seen.current
    lacking = [host for host in seen.hosts if memory.loaded.get(host.id) != version]
    if not lacking:
        return None
    ready = [host for host in lacking if host.in_service]
    if not ready:
        return RotationStep("", lacking[0].id, f"{lacking[0].id} is not in service yet", AGAIN)
    if now - memory.failed < AGAIN:
        return RotationStep("", ready[0].id, f"asked again soon: {memory.why}", AGAIN)
    # One that carries nothing has nothing to lose.
    host = min(ready, key=lambda one: (one.healthy, one.id))
    if host.healthy and not any(other.healthy for other in seen.hosts if other.id != host.id):
        return RotationStep("", host.id, f"{host.id} is the only healthy one; it is left alone until another one is",
                            AGAIN)
    return RotationStep("reload", host.id, f"it has not tried the key {version}", _LOOK, {"instance": host.id})


def _conclude(seen: RotationObservation) -> RotationStep:
    if seen.pending:
        return RotationStep("promote", seen.pending, "every host has tried it and has it", _SOON, {"old": seen.current})
    old = sorted(seen.published.keys() - {seen.current})
    if old:
        facts = {"kept": [seen.published[seen.current]]}
        return RotationStep("remove-old-keys", ", ".join(old), "every host has the new key", _SOON, facts)
    return RotationStep("finish", seen.current, "every host has it, and the far side takes no other")


def _overdue(memory: RotationState, step: RotationStep, now: float) -> str:
    minutes = int(now - memory.since) // 60
    return (f"The key of the tunnels has been changing for {minutes} minutes; both keys work meanwhile. "
            f"Next: {step.reason}. {memory.why}".strip())
