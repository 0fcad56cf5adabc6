"""CloudFormation's source of the package, one private, encrypted bucket per region."""

import json
from typing import Any

from botocore.exceptions import ClientError

from commands.deploy.account import Target, spoken
from commands.deploy.packaging import Package
from commands.errors import UsageError

# Everywhere else an account has names that nobody else can take, `<prefix>-<account>-<region>-an` ("Namespaces for
# general purpose buckets", S3 user guide).
_WITHOUT_NAMESPACES = frozenset({"me-south-1", "me-central-1"})
_PRIVATE = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}


def upload(target: Target, package: Package, region: str, account: str) -> tuple[dict[str, Any], str]:
    """Bring the package to `region`. Returns the template that points at it, and the address of that template.

    Objects have their content's hash as name, so an existing one is not sent again.
    """
    with spoken(region):
        bucket = ensure(target, package.fleet.name, region, account)
        key = f"{package.stage}/{package.digest}.zip"
        client = target.client("s3", region)
        if not _has(client, bucket, key, account):
            client.put_object(Bucket=bucket, Key=key, Body=package.zip.read_bytes(), ExpectedBucketOwner=account)
        template = pointed(package.template, bucket, key)
        name = f"{package.stage}/{package.digest}.json"
        client.put_object(Bucket=bucket, Key=name, Body=json.dumps(template).encode(), ExpectedBucketOwner=account)
        return template, f"{_endpoint(client, region)}/{bucket}/{name}"


def pointed(template: dict[str, Any], bucket: str, key: str) -> dict[str, Any]:
    """`template` with every function's code at `key` of `bucket`."""
    parts = {id: _pointed(part, bucket, key) for id, part in template["Resources"].items()}
    return {**template, "Resources": parts}


def name_of(fleet: str, region: str, account: str) -> str:
    """The name of a region's bucket, in the account's own namespace where AWS has that."""
    return f"{fleet}-{account}-{region}{'' if region in _WITHOUT_NAMESPACES else '-an'}"


def ensure(target: Target, fleet: str, region: str, account: str) -> str:
    """The region's bucket, made if it was missing. Its name."""
    name, client = name_of(fleet, region, account), target.client("s3", region)
    try:
        client.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 403:
            raise UsageError(f"the bucket {name} in {region} belongs to somebody else, or it forbids s3:ListBucket. "
                          "Choose another name in fleet.toml, or ask for that permission") from None
        if status != 404:
            raise
        _make(client, name, region, account)
    return name


def _make(client: Any, name: str, region: str, account: str) -> None:
    # us-east-1 is the one region that refuses to be named.
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    namespace = {"BucketNamespace": "account-regional"} if name.endswith("-an") else {}
    client.create_bucket(Bucket=name, **where, **namespace)
    client.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=_PRIVATE, ExpectedBucketOwner=account)
    client.put_bucket_encryption(Bucket=name, ExpectedBucketOwner=account, ServerSideEncryptionConfiguration={
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})


def _has(client: Any, bucket: str, key: str, account: str) -> bool:
    try:
        client.head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return False
        raise
    return True


def _pointed(part: dict[str, Any], bucket: str, key: str) -> dict[str, Any]:
    if part.get("Type") != "AWS::Serverless::Function":
        return part
    return {**part, "Properties": {**part["Properties"], "CodeUri": {"Bucket": bucket, "Key": key}}}


def _endpoint(client: Any, region: str) -> str:
    """CloudFormation wants the address of a template as S3 serves it, by path, of the bucket's own region."""
    address = str(client.meta.endpoint_url)
    return f"https://s3.{region}.amazonaws.com" if address.endswith(".amazonaws.com") else address
