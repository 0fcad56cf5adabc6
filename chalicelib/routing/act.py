"""Carries out what routing's decisions ask for. Only plan and apply call Route 53. Marks are objects in S3."""

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.aws import client, route53
from chalicelib.context import RegionContext
from chalicelib.engine.operation import Request
from chalicelib.engine.plan import Action
from chalicelib.routing import evacuation_flags, flag_buckets
from chalicelib.routing.state import BucketObservation


def create_checks(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Creates checks, children before those that watch them. Asked twice, Route 53 gives back the same one."""
    ids: dict[str, str] = {}
    results = []
    for action in actions:
        ids |= action.details["known"]
        config = dict(action.details["config"])
        if "ChildHealthChecks" in config:
            config["ChildHealthChecks"] = [ids[child] for child in config["ChildHealthChecks"]]
        ids[action.target] = _create(action.details["reference"], config, request.now)
        results.append(f"{action.target}: created as {ids[action.target]}")
    return results


def _create(reference: str, config: dict[str, Any], now: int) -> str:
    try:
        answer = route53.call("create_health_check", CallerReference=reference, HealthCheckConfig=config)
    except client.ClientError as error:
        if error.response.get("Error", {}).get("Code") != "HealthCheckAlreadyExists":
            raise
        # Route 53 never forgets the reference of a check that somebody deleted: a new one of the same name.
        answer = route53.call("create_health_check", CallerReference=route53.again(reference, now),
                              HealthCheckConfig=config)
    return str(answer["HealthCheck"]["Id"])


def prepare_flag_buckets(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Makes the buckets for marks, and lets health checkers read those."""
    return [flag_buckets.make(msgspec.convert(action.details, BucketObservation)) for action in actions]


def delete_checks(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Deletes checks, those that watch others first."""
    first = sorted(actions, key=lambda action: not action.target.startswith("serving-"))
    for action in first:
        route53.call("delete_health_check", HealthCheckId=action.details["id"])
    return [f"{action.target}: deleted" for action in first]


def summarize(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Only for the journal, because the batches that follow are too long for it."""
    return [f"{action.target}: {action.reason}" for action in actions]


def change(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """One request for each batch. Route 53 carries out all of a batch or nothing."""
    results = []
    for action in actions:
        batch = {"Comment": f"Lamplighter {action.target}", "Changes": action.details["changes"]}
        answer = route53.call("change_resource_record_sets", HostedZoneId=action.details["zone"], ChangeBatch=batch)
        results.append(f"batch {action.target}: {action.reason}, {answer['ChangeInfo']['Status'].lower()}")
    return results


def set_flag(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Puts the object that makes Route 53 keep users away. Takes effect when its checkers see it."""
    for action in actions:
        away = evacuation_flags.flag_region(site.fleet, action.target)
        body = msgspec.json.encode(action.details["mark"])
        client.aws_call(
            away,
            lambda away=away, body=body, region=action.target: client.client("s3", away).put_object(  # type: ignore[misc]
                Bucket=evacuation_flags.flag_bucket(site.fleet, away),
                Key=evacuation_flags.flag_key(region),
                Body=body,
                ContentType="application/json",
            ),
        )
    return [f"{action.target}: users are kept away" for action in actions]


def clear_flag(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Removes that object."""
    for action in actions:
        away = evacuation_flags.flag_region(site.fleet, action.target)
        client.aws_call(away, lambda away=away, region=action.target: client.client("s3", away).delete_object(  # type: ignore[misc]
            Bucket=evacuation_flags.flag_bucket(site.fleet, away), Key=evacuation_flags.flag_key(region)))
    return [f"{action.target}: users may come back" for action in actions]


def record_region(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Notes since when a region answers, or how often it did not."""
    for action in actions:
        old = site.local_store.get("hold", action.target)
        _ = site.local_store.compare_and_set(old,
                                             action.details) if old else site.local_store.create("hold", action.target,
                                                                                                 action.details)
    return []


def alert(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Tells people."""
    for action in actions:
        site.alerts.publish(f"Route 53 differs from fleet.toml: {action.target}", action.reason)
    return [f"{action.target}: told" for action in actions]

