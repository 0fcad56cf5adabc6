"""Evacuation flags are S3 objects that evacuate regions, each in the bucket of another region. Pure.

Route 53's health checkers have no credentials, so everybody may read the marks, and nothing else of a bucket.
"""

import json
from typing import Any

from chalicelib.config.declared import Fleet, partition

SID = "LamplighterMarks"


def flag_region(fleet: Fleet, region: str) -> str:
    """The region whose bucket holds the flag that evacuates `region`. It is the next in the fleet with a bucket."""
    names = [known.name for known in fleet.regions]
    start = names.index(region)
    turned = [*fleet.regions[start + 1:], *fleet.regions[:start]]
    return next((other.name for other in turned if other.endpoint and other.endpoint.bucket), "")


def flag_key(region: str) -> str:
    """The key of the S3 object that evacuates `region`."""
    return f"evacuated/{region}"


def flag_bucket(fleet: Fleet, region: str) -> str:
    """The bucket of `region` for the marks of others. Empty if it has none."""
    entrance = next(known.endpoint for known in fleet.regions if known.name == region)
    return (entrance.bucket if entrance else None) or ""


def statement(bucket: str, region: str) -> dict[str, Any]:
    """The statement in the policy of `bucket` of `region` with which health checkers see its flags."""
    return {"Sid": SID, "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": f"arn:{partition(region)}:s3:::{bucket}/evacuated/*"}


def is_open(policy: str) -> bool:
    """Whether a bucket with this policy lets health checkers see its flags. A single statement needs no list."""
    statements = json.loads(policy).get("Statement", ())
    return any(one.get("Sid") == SID for one in ([statements] if isinstance(statements, dict) else statements))


def policy(bucket: str, region: str) -> str:
    """The policy of a bucket that is for marks alone."""
    return json.dumps({"Version": "2012-10-17", "Statement": [statement(bucket, region)]})
