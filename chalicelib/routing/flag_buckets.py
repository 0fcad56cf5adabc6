"""The buckets that hold the flags of evacuated regions. They are read, made, and opened for health checkers.

An existing bucket is taken as it is. One that has a policy of its own is never changed.
"""

import json
from typing import Any

from chalicelib.aws import client as cloud
from chalicelib.engine.operation import Rejected
from chalicelib.routing.evacuation_flags import SID, policy
from chalicelib.routing.state import BucketObservation

# S3's other two blocks are about access lists, which nobody needs here.
_ACCESS = {"BlockPublicAcls": True, "IgnorePublicAcls": True,
           "BlockPublicPolicy": False, "RestrictPublicBuckets": False}
_NO_POLICY = "NoSuchBucketPolicy"


def look(region: str, name: str, account: str) -> BucketObservation:
    """The state of the bucket `name`. A region that does not answer is no reason not to look at the others."""
    client = cloud.client("s3", region)
    try:
        cloud.aws_call(region, lambda: client.head_bucket(Bucket=name, ExpectedBucketOwner=account))
        said = cloud.aws_call(region, lambda: client.get_bucket_policy(Bucket=name, ExpectedBucketOwner=account))
    except cloud.Unavailable:
        return BucketObservation(region, name, "away")
    except cloud.ClientError as error:
        state = {"404": "missing", "403": "foreign", _NO_POLICY: "closed"}.get(_code(error))
        if state is None:
            raise
        return BucketObservation(region, name, state)
    sids = {one.get("Sid") for one in json.loads(said["Policy"]).get("Statement", ())}
    return BucketObservation(region, name, "open" if SID in sids else "own policy")


def make(seen: BucketObservation) -> str:
    """The bucket, readable as it must be. `Refused` if the account does not let that happen."""
    region, client = seen.region, cloud.client("s3", seen.region)
    try:
        if seen.state == "missing":
            cloud.aws_call(region, lambda: client.create_bucket(Bucket=seen.name, **_place(region)))
        cloud.aws_call(region, lambda: client.put_public_access_block(
            Bucket=seen.name, PublicAccessBlockConfiguration=_ACCESS))
        cloud.aws_call(region, lambda: client.put_bucket_policy(Bucket=seen.name, Policy=policy(seen.name)))
    except cloud.ClientError as error:
        raise Rejected(f"the bucket {seen.name} in {region} cannot be opened for health checkers ({error}); does the "
                      "account block public policies as a whole, or has somebody else that name?") from None
    return f"{seen.name}: readable below evacuated/"


def _place(region: str) -> dict[str, Any]:
    # us-east-1 is the one region that refuses to be named.
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _code(error: cloud.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
