"""Carries out what the schedules' decisions ask for, one function for each kind of action."""

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.aws.client import Message
from chalicelib.context import RegionContext
from chalicelib.engine.metrics import count
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.schedules.state import (
    ALERT_KIND_BY_STATE,
    Pause,
    ReconcileRequest,
    Run,
    RunRequest,
    body,
    minute_key,
    run_key,
)

DAY = 86_400
# The Lambda has five minutes.
_PRUNE_SECONDS = 240


def schedule_reconcile(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends reminders to this region's own sweep."""
    site.queues["schedule-reconciles"].send(
        [
            Message(
                _json(ReconcileRequest(action.details["minute"], action.details.get("attempt", 0))),
                action.details["delay"],
            )
            for action in actions
        ]
    )
    return [f"{action.target}: {action.reason}" for action in actions]


def record(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Writes down which jobs were due at a minute. The first writer is right."""
    results = []
    for action in actions:
        facts = dict(action.details)
        pk, sk = minute_key(facts.pop("minute"))
        made = site.shared_store.create(pk, sk, facts, ttl=_ttl(site, request))
        results.append(f"{action.target}: {'recorded' if made else 'was recorded before'}")
    return results


def enqueue(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends one run request for each slot. The claim sees to it that more than one does no harm."""
    site.queues["schedule-runs"].send([
        Message(_json(RunRequest(action.target, facts["slot"], facts["minute"], facts["why"])), facts["delay"])
        for action in actions for facts in (action.details,)])
    return [f"{action.target}: {action.reason}" for action in actions]


def skip(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Settles slots that are not to run, so that nobody else starts them."""
    return [_set_aside(site, request, action) for action in actions]


def alert(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Sends an alert once for each `once` key. It goes out at least once if a region dies between the alert and its
    record."""
    return [_alert(site, request, action) for action in actions]


def pause(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Pauses jobs."""
    return [f"{action.target}: " + ("paused" if site.shared_store.create(
        "paused", action.target, body(Pause(request.now, action.reason))) else "was paused already")
        for action in actions]


def resume(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Lets paused jobs run again, from the next minute on."""
    results = []
    for action in actions:
        item = site.shared_store.get("paused", action.target)
        gone = item is None or site.shared_store.delete(item)
        results.append(f"{action.target}: {'resumed' if gone else 'changed meanwhile: try again'}")
    return results


def prune(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Deletes items whose ttl has passed, because a strongly consistent global table does not delete them by itself."""
    gone, until = 0, site.clock() + _PRUNE_SECONDS
    for action in actions:
        for item in site.shared_store.scan_expired(request.now, action.details["part"], action.details["parts"]):
            gone += site.shared_store.delete(item)
            if site.clock() > until:
                return [f"{gone} items pruned; the rest next time"]
    return [f"{gone} items pruned"]


def _set_aside(site: RegionContext, request: Request, action: Action) -> str:
    facts = action.details
    run = Run(action.target, facts["slot"], facts["minute"], facts["state"], facts["why"], site.region, request.id,
              0, request.now, request.now, ended=request.now, detail=action.reason)
    key = run_key(run.job, run.slot)
    made = site.shared_store.create(*key, body(run), ttl=_ttl(site, request))
    if not made:
        # A slot that waits, for its turn or its next attempt, may still be set aside; one that is going may not.
        item = site.shared_store.get(*key)
        if item and item.body["state"] in ("waiting", "retrying"):
            made = site.shared_store.compare_and_set(item, body(run), ttl=_ttl(site, request))
    return f"{run.job} {run.slot}: {run.state if made else 'was started meanwhile'}"


def _alert(site: RegionContext, request: Request, action: Action) -> str:
    key = action.details["once"]
    if site.shared_store.get("told", key):
        return f"{action.target}: told before"
    send_alert(site, action.details["kind"], action.target, action.reason)
    site.shared_store.create("told", key, {"text": action.reason}, ttl=request.now + 7 * DAY)
    if action.details["kind"] in ALERT_KIND_BY_STATE.values():
        _mark_told(site, request, action)
    return f"{action.target}: told"


def send_alert(site: RegionContext, kind: str, target: str, text: str) -> None:
    """One notice to the region's topic, and one count of the metric `kind`."""
    site.alerts.publish(f"{kind}: {target}", text)
    count("Alert", kind=kind)


def _mark_told(site: RegionContext, request: Request, action: Action) -> None:
    item = site.shared_store.get(*run_key(action.target, action.details["slot"]))
    if item:
        site.shared_store.compare_and_set(item, item.body | {"told": True}, ttl=_ttl(site, request))


def _ttl(site: RegionContext, request: Request) -> int:
    return request.now + site.fleet.schedules.keep


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
