"""Carries out what routing's decisions ask for. Only plan and apply call Route 53. Marks are objects in S3."""

from collections.abc import Sequence

import msgspec

from chalicelib.aws import client
from chalicelib.aws.route53 import Route53
from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.limits import may_replace
from chalicelib.engine.operation import Rejected, Request
from chalicelib.engine.plan import Action
from chalicelib.routing import evacuation_flags
from chalicelib.routing.records.checks import renewed_reference
from chalicelib.routing.state import (
    CLOCK_SKEW_SECONDS,
    HEALTH_PK,
    HEALTH_SCHEMA,
    REPORT_PK,
    REPORT_SCHEMA,
    BucketObservation,
    EndpointReport,
    HealthChange,
    NewCheck,
    RecordBatch,
)

# The other two blocks of S3 are about access lists, which nobody needs here.
_PUBLIC_ACCESS = {"BlockPublicAcls": True, "IgnorePublicAcls": True,
                  "BlockPublicPolicy": False, "RestrictPublicBuckets": False}


def create_checks(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Creates checks, children before those that watch them. Asked twice, Route 53 gives back the same one."""
    ids: dict[str, str] = {}
    results = []
    for action in actions:
        new: NewCheck = action.details
        ids |= new.known_ids
        config = dict(new.config)
        if "ChildHealthChecks" in config:
            config["ChildHealthChecks"] = [ids[child] for child in config["ChildHealthChecks"]]
        ids[action.target] = _create(context.aws.route53, new.reference, config, request.now)
        results.append(f"{action.target}: created as {ids[action.target]}")
    return results


def _create(route53: Route53, reference: str, config: dict[str, object], now: int) -> str:
    try:
        return route53.create_health_check(reference, config).id
    except client.ClientError as error:
        if client.error_code(error) != "HealthCheckAlreadyExists":
            raise
        # Route 53 never forgets the reference of a check that somebody deleted: a new one of the same name.
        return route53.create_health_check(renewed_reference(reference, now), config).id


def prepare_flag_buckets(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Makes the buckets for flags, and lets health checkers read those. Rejected if the account forbids that."""
    results = []
    for action in actions:
        bucket: BucketObservation = action.details
        s3 = context.aws_regions[bucket.region].s3
        try:
            if bucket.state == "missing":
                s3.create_bucket(bucket.name)
            s3.put_public_access_block(bucket.name, _PUBLIC_ACCESS)
            s3.put_policy(bucket.name, evacuation_flags.policy(bucket.name, bucket.region))
        except client.ClientError as error:
            raise Rejected(f"the bucket {bucket.name} in {bucket.region} does not open for health checkers "
                           f"({error}). Does the account block public policies as a whole, or has somebody else that "
                           "name?") from None
        results.append(f"{bucket.name}: readable below evacuated/")
    return results


def delete_checks(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Deletes checks, those that watch others first. One that is gone already is deleted."""
    watchers_first = sorted(actions, key=lambda action: not action.target.startswith("serving-"))
    for action in watchers_first:
        try:
            context.aws.route53.delete_health_check(action.details)
        except client.ClientError as error:
            if client.error_code(error) != "NoSuchHealthCheck":
                raise
    return [f"{action.target}: deleted" for action in watchers_first]


def summarize(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Only for the journal, because the batches that follow are too long for it."""
    return [f"{action.target}: {action.reason}" for action in actions]


def change(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """One request for each batch. Route 53 carries out all of a batch or nothing."""
    results = []
    for action in actions:
        batch: RecordBatch = action.details
        status = context.aws.route53.change_record_sets(batch.zone, batch.changes, f"Lamplighter {action.target}")
        results.append(f"batch {action.target}: {action.reason}, {status.lower()}")
    return results


def set_flag(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Puts the object that makes Route 53 keep users away, once its checkers see it.

    They have no credentials. An object that they cannot read does nothing, so it is taken away again and told.
    """
    for action in actions:
        region = evacuation_flags.flag_region(context.fleet, action.target)
        s3, key = context.aws_regions[region].s3, evacuation_flags.flag_key(action.target)
        bucket = evacuation_flags.flag_bucket(context.fleet, region)
        s3.put_object(bucket, key, msgspec.json.encode(action.details), "application/json")
        if not s3.is_public(bucket, key):
            s3.delete_object(bucket, key)
            raise Rejected(
                f"{action.target} still gets users: s3://{bucket}/{key} cannot be read without credentials, so Route "
                "53 does not see it. Look at the encryption of the bucket (a KMS key hides it) and at its public "
                f"access (aws s3api get-public-access-block --bucket {bucket}). Then run routing.apply, and try again")
    return [f"{action.target}: users stay away" for action in actions]


def clear_flag(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Removes that object."""
    for action in actions:
        region = evacuation_flags.flag_region(context.fleet, action.target)
        context.aws_regions[region].s3.delete_object(
            evacuation_flags.flag_bucket(context.fleet, region), evacuation_flags.flag_key(action.target))
    return [f"{action.target}: users may come back" for action in actions]


def publish_report(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """The other regions learn which endpoints gave this one no answer. Without the table they do not."""
    [action] = actions
    report: EndpointReport = action.details

    try:
        state.publish(context.shared_store, (REPORT_PK, context.region), REPORT_SCHEMA, report, run_id=request.run_id,
                      replaces=lambda old: may_replace(report.at, old.at, CLOCK_SKEW_SECONDS))
    except client.AWS_ERRORS as error:
        return [f"the other regions do not learn which endpoints answer here ({error})"]
    return []


def record_region(context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
    """Notes since when a region answers, or how often it did not. If another run was faster, that one's note stays."""
    for action in actions:
        change: HealthChange = action.details
        state.write(context.local_store, (HEALTH_PK, action.target), HEALTH_SCHEMA, change.before, change.after,
                    run_id=request.run_id)
    return []
