"""The embedded S3 refuses a call for a bucket of another owner than the expected one, as AWS does."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from commands.deploy.account import number
from sandbox.world import Sandbox

pytestmark = pytest.mark.world
HOME = "eu-west-1"
CALLS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "head_bucket": lambda s3, owner: s3.head_bucket(**owner),
    "list_objects_v2": lambda s3, owner: s3.list_objects_v2(**owner),
    "put_object": lambda s3, owner: s3.put_object(Key="k", Body=b"mine", **owner),
    "get_object": lambda s3, owner: s3.get_object(Key="k", **owner),
    "head_object": lambda s3, owner: s3.head_object(Key="k", **owner),
    "copy_object": lambda s3, owner: s3.copy_object(Key="c", CopySource="owned/k", **owner),
    "put_public_access_block": lambda s3, owner: s3.put_public_access_block(
        PublicAccessBlockConfiguration={"BlockPublicPolicy": True}, **owner),
    "put_bucket_encryption": lambda s3, owner: s3.put_bucket_encryption(ServerSideEncryptionConfiguration={
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}, **owner),
    "delete_object": lambda s3, owner: s3.delete_object(Key="c", **owner),
}


def test_every_call_with_another_owner_is_refused_and_does_nothing(empty: Sandbox) -> None:
    s3, account = empty.client("s3", HOME), number(empty, HOME)
    s3.create_bucket(Bucket="owned", CreateBucketConfiguration={"LocationConstraint": HOME})
    for name, call in CALLS.items():
        with pytest.raises(ClientError) as refused:
            call(s3, {"Bucket": "owned", "ExpectedBucketOwner": "999999999999"})
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, name
        call(s3, {"Bucket": "owned", "ExpectedBucketOwner": account})
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.copy_object(Bucket="owned", Key="c", CopySource="owned/k", ExpectedSourceBucketOwner="999999999999")
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="owned")["Contents"]] == ["k"]


@pytest.mark.parametrize(("name", "namespace", "made"), [
    ("n-{account}-eu-west-1-an", True, True), ("n-{account}-eu-west-1-an", False, False),
    ("n-{account}-us-east-1-an", True, False), ("n-999999999999-eu-west-1-an", True, False), ("n-plain", True, False)])
def test_a_name_of_the_accounts_own_namespace_is_made_in_that_alone(
    empty: Sandbox, name: str, namespace: bool, made: bool
) -> None:
    bucket = name.format(account=number(empty, HOME))
    more = {"BucketNamespace": "account-regional"} if namespace else {}
    s3 = empty.client("s3", HOME)

    def make() -> None:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": HOME}, **more)

    if made:
        make()
        s3.delete_bucket(Bucket=bucket)
    else:
        with pytest.raises(ClientError, match="InvalidBucketName"):
            make()
