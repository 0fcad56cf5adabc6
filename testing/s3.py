"""One region's S3 in memory: buckets with their owners and policies, and objects."""

from collections.abc import Callable, Mapping

from botocore.exceptions import ClientError

from chalicelib.aws.s3 import Ownership

# Called before and after each effect with the call's name, as in "s3 put_object"; it may wait, or raise.
Fault = Callable[[str], None]


def _denied(code: str, call: str, why: str, status: int = 403) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": why},
                        "ResponseMetadata": {"HTTPStatusCode": status}}, call)  # type: ignore[typeddict-item]


class FakeS3:
    """`chalicelib.aws.s3.S3`. `buckets` has the policy of each bucket (`None`: it has none).

    `owners` names the account of those that are not ours, and each call for one of these is denied. With
    `blocks_public_policies` the account allows no policy that is public. With `hides_objects` nobody reads objects
    without credentials, as with a KMS key.
    """

    def __init__(self, fault: Fault = lambda call: None) -> None:
        self.fault = fault
        self.buckets: dict[str, str | None] = {}
        self.owners: dict[str, str] = {}
        self.public_access: dict[str, dict[str, bool]] = {}
        self.objects: dict[tuple[str, str], bytes] = {}
        self.blocks_public_policies = False
        self.hides_objects = False

    def get_object(self, bucket: str, key: str) -> bytes | None:
        self.fault("s3 get_object")
        self._owned("GetObject", bucket)
        body = self.objects.get((bucket, key))
        self.fault("s3 get_object")
        return body

    def is_public(self, bucket: str, key: str) -> bool:
        self.fault("s3 is_public")
        is_public = (bucket, key) in self.objects and not self.hides_objects
        self.fault("s3 is_public")
        return is_public

    def put_object(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        self.fault("s3 put_object")
        self._owned("PutObject", bucket)
        self.objects[bucket, key] = body
        self.fault("s3 put_object")

    def delete_object(self, bucket: str, key: str) -> None:
        self.fault("s3 delete_object")
        self._owned("DeleteObject", bucket)
        self.objects.pop((bucket, key), None)
        self.fault("s3 delete_object")

    def ownership(self, bucket: str) -> Ownership:
        self.fault("s3 ownership")
        ownership: Ownership = "missing" if bucket not in self.buckets else (
            "foreign" if bucket in self.owners else "own")
        self.fault("s3 ownership")
        return ownership

    def policy(self, bucket: str) -> str | None:
        self.fault("s3 policy")
        self._owned("GetBucketPolicy", bucket)
        policy = self.buckets[bucket]
        self.fault("s3 policy")
        return policy

    def create_bucket(self, bucket: str) -> None:
        self.fault("s3 create_bucket")
        if bucket in self.owners:
            raise _denied("BucketAlreadyExists", "CreateBucket", f"{bucket} is somebody else's")
        self.buckets.setdefault(bucket, None)
        self.fault("s3 create_bucket")

    def put_public_access_block(self, bucket: str, blocks: Mapping[str, bool]) -> None:
        self.fault("s3 put_public_access_block")
        self._owned("PutPublicAccessBlock", bucket)
        self.public_access[bucket] = dict(blocks)
        self.fault("s3 put_public_access_block")

    def put_policy(self, bucket: str, policy: str) -> None:
        self.fault("s3 put_policy")
        self._owned("PutBucketPolicy", bucket)
        if self.blocks_public_policies or self.public_access.get(bucket, {}).get("BlockPublicPolicy", True):
            raise _denied("AccessDenied", "PutBucketPolicy",
                          "public policies are prevented by the BlockPublicPolicy setting in Block Public Access")
        self.buckets[bucket] = policy
        self.fault("s3 put_policy")

    def _owned(self, call: str, bucket: str) -> None:
        if bucket in self.owners:
            raise _denied("AccessDenied", call, "the bucket owner is not the expected one")
        if bucket not in self.buckets:
            raise _denied("NoSuchBucket", call, "The specified bucket does not exist", 404)
