"""Carries out what the schedules' decisions ask for, one function for each kind of action."""

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.cloud import Message
from chalicelib.control import Request, count
from chalicelib.plan import Action
from chalicelib.schedules.records import BAD, Errand, Pause, Run, Sweep, body, minute_key, run_key
from chalicelib.site import Site

DAY = 86_400
# The Lambda has five minutes.
_PRUNE_SECONDS = 240


def sweep(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends reminders to this region's own sweep."""
    site.queues["schedule-sweeps"].send([
        Message(_json(Sweep(action.facts["minute"], action.facts.get("turn", 0))), action.facts["delay"])
        for action in actions])
    return [f"{action.target}: {action.reason}" for action in actions]


def record(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Writes down which jobs were due at a minute; whoever was first is right."""
    results = []
    for action in actions:
        facts = dict(action.facts)
        pk, sk = minute_key(facts.pop("minute"))
        made = site.coordination.create(pk, sk, facts, ttl=_ttl(site, request))
        results.append(f"{action.target}: {'recorded' if made else 'was recorded before'}")
    return results


def enqueue(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends one errand for each slot; the claim sees to it that more than one does no harm."""
    site.queues["schedule-runs"].send([
        Message(_json(Errand(action.target, facts["slot"], facts["minute"], facts["why"])), facts["delay"])
        for action in actions for facts in (action.facts,)])
    return [f"{action.target}: {action.reason}" for action in actions]


def set_aside(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Settles slots that are not to run, so that nobody else starts them."""
    return [_set_aside(site, request, action) for action in actions]


def alert(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Tells people, once for each `once` key: at least once if a region dies between telling and noting it."""
    return [_alert(site, request, action) for action in actions]


def pause(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Pauses jobs."""
    return [f"{action.target}: " + ("paused" if site.coordination.create(
        "paused", action.target, body(Pause(request.now, action.reason))) else "was paused already")
        for action in actions]


def resume(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Lets paused jobs run again, from the next minute on."""
    results = []
    for action in actions:
        item = site.coordination.get("paused", action.target)
        gone = item is None or site.coordination.delete(item)
        results.append(f"{action.target}: {'resumed' if gone else 'changed meanwhile: try again'}")
    return results


def prune(site: Site, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Deletes what has outlived its ttl: a strongly consistent global table does not do it by itself."""
    gone, until = 0, site.clock() + _PRUNE_SECONDS
    for action in actions:
        for item in site.coordination.expired(request.now, action.facts["part"], action.facts["parts"]):
            gone += site.coordination.delete(item)
            if site.clock() > until:
                return [f"{gone} items pruned; the rest next time"]
    return [f"{gone} items pruned"]


def _set_aside(site: Site, request: Request, action: Action) -> str:
    facts = action.facts
    run = Run(action.target, facts["slot"], facts["minute"], facts["state"], facts["why"], site.region, request.id,
              0, request.now, request.now, ended=request.now, detail=action.reason)
    key = run_key(run.job, run.slot)
    made = site.coordination.create(*key, body(run), ttl=_ttl(site, request))
    if not made:
        # A slot that waits, for its turn or its next attempt, may still be set aside; one that is going may not.
        item = site.coordination.get(*key)
        if item and item.body["state"] in ("waiting", "retrying"):
            made = site.coordination.swap(item, body(run), ttl=_ttl(site, request))
    return f"{run.job} {run.slot}: {run.state if made else 'was started meanwhile'}"


def _alert(site: Site, request: Request, action: Action) -> str:
    key = action.facts["once"]
    if site.coordination.get("told", key):
        return f"{action.target}: told before"
    tell(site, action.facts["kind"], action.target, action.reason)
    site.coordination.create("told", key, {"text": action.reason}, ttl=request.now + 7 * DAY)
    if action.facts["kind"] in BAD.values():
        _mark_told(site, request, action)
    return f"{action.target}: told"


def tell(site: Site, kind: str, target: str, text: str) -> None:
    """One notice to the region's topic, and one count of the metric `kind`."""
    site.alerts.publish(f"{kind}: {target}", text)
    count("Alert", kind=kind)


def _mark_told(site: Site, request: Request, action: Action) -> None:
    item = site.coordination.get(*run_key(action.target, action.facts["slot"]))
    if item:
        site.coordination.swap(item, item.body | {"told": True}, ttl=_ttl(site, request))


def _ttl(site: Site, request: Request) -> int:
    return request.now + site.fleet.schedules.keep


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
