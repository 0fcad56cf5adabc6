"""S3: small objects, and the buckets that hold them.

Bucket names are shared by all accounts of AWS, and somebody else may take a name that is free. So each call says whose
bucket it means, and S3 answers 403 if that is another account's ("Verifying bucket ownership with bucket owner
condition", S3 user guide). CreateBucket takes no owner. A read without credentials is sent as health checkers send it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from chalicelib.aws import client
from chalicelib.aws.client import Clients

Ownership = Literal["own", "foreign", "missing"]


class S3(Protocol):
    """One region's S3. A method raises `ClientError` if AWS denies the call, `Unavailable` without an answer.

    AWS denies each call for a bucket of another account.
    """

    def get_object(self, bucket: str, key: str) -> bytes | None:
        """The object's body, or `None` if there is no such object."""

    def is_public(self, bucket: str, key: str) -> bool:
        """Whether S3 gives the object to somebody without credentials, as the health checkers of Route 53 are."""

    def put_object(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Write the object."""

    def delete_object(self, bucket: str, key: str) -> None:
        """Delete the object. Nothing happens if there is none."""

    def ownership(self, bucket: str) -> Ownership:
        """Whether the bucket is the account's own. It is `foreign` also if the account may not list it."""

    def policy(self, bucket: str) -> str | None:
        """The bucket's policy as JSON, or `None` if it has none."""

    def create_bucket(self, bucket: str) -> None:
        """Make the bucket."""

    def put_public_access_block(self, bucket: str, blocks: Mapping[str, bool]) -> None:
        """Set which public access the bucket blocks, in the shape of boto3's `PublicAccessBlockConfiguration`."""

    def put_policy(self, bucket: str, policy: str) -> None:
        """Give the bucket this policy in the place of the one that it has."""


class AwsS3:
    """`S3` by AWS, for the buckets of `account` (12 digits)."""

    def __init__(self, region: str, account: str, clients: Clients | None = None) -> None:
        self.region = region
        self.account = account
        self._clients = clients

    def get_object(self, bucket: str, key: str) -> bytes | None:
        try:
            body: bytes = self._call(lambda s3: s3.get_object(
                Bucket=bucket, Key=key, ExpectedBucketOwner=self.account)["Body"].read())
        except client.ClientError as error:
            if client.error_code(error) != "NoSuchKey":
                raise
            return None
        return body

    def is_public(self, bucket: str, key: str) -> bool:
        try:
            self._call(lambda s3: s3.get_object(Bucket=bucket, Key=key), client.anonymous)
        except client.ClientError:
            return False
        return True

    def put_object(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        self._call(lambda s3: s3.put_object(
            Bucket=bucket, Key=key, Body=body, ContentType=content_type, ExpectedBucketOwner=self.account))

    def delete_object(self, bucket: str, key: str) -> None:
        self._call(lambda s3: s3.delete_object(Bucket=bucket, Key=key, ExpectedBucketOwner=self.account))

    def ownership(self, bucket: str) -> Ownership:
        try:
            self._call(lambda s3: s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=self.account))
        except client.ClientError as error:
            # An answer to HEAD has no body, so that its code is the bare status.
            found = _OWNERSHIP.get(client.error_code(error))
            if found is None:
                raise
            return found
        return "own"

    def policy(self, bucket: str) -> str | None:
        try:
            answer = self._call(lambda s3: s3.get_bucket_policy(Bucket=bucket, ExpectedBucketOwner=self.account))
        except client.ClientError as error:
            if client.error_code(error) != "NoSuchBucketPolicy":
                raise
            return None
        return str(answer["Policy"])

    def create_bucket(self, bucket: str) -> None:
        # us-east-1 is the one region that refuses to be named.
        place = {} if self.region == "us-east-1" else {
            "CreateBucketConfiguration": {"LocationConstraint": self.region}}
        self._call(lambda s3: s3.create_bucket(Bucket=bucket, **place))

    def put_public_access_block(self, bucket: str, blocks: Mapping[str, bool]) -> None:
        self._call(lambda s3: s3.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=dict(blocks), ExpectedBucketOwner=self.account))

    def put_policy(self, bucket: str, policy: str) -> None:
        self._call(lambda s3: s3.put_bucket_policy(
            Bucket=bucket, Policy=policy, ExpectedBucketOwner=self.account))

    def _call(self, request: Callable[[Any], Any], clients: Clients | None = None) -> Any:
        api = (clients or self._clients or client.client)("s3", self.region)
        return client.aws_call(self.region, lambda: request(api))


_OWNERSHIP: Mapping[str, Ownership] = {"404": "missing", "403": "foreign"}
