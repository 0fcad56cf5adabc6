"""The owner that a call of S3 expects, and the names that belong to an account. The emulator looks at neither.

A call for a bucket of another account than `x-amz-expected-bucket-owner` is refused with 403 ("Verifying bucket
ownership with bucket owner condition", S3 user guide). The same holds for the source of a copy.

A name that ends with `-an` is one of the account's own namespace, and is made in that alone. It also has the account
and the region in it ("Namespaces for general purpose buckets", S3 user guide).
"""

from typing import Any

from sandbox.emulator_patches import Context, change

# The header, and what names the bucket that it is about.
_EXPECTED, _EXPECTED_SOURCE, _SOURCE = (
    "x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner", "x-amz-copy-source")


@change("services.s3", "_apply_bucket_scope", "method bucket key headers query_params body internal",
        "S3 refuses a call for the bucket of another owner than the expected one")
def scope(original: Any, context: Context) -> Any:
    from ministack.services import s3

    def apply(
        method: str, bucket: str, key: str, headers: dict[str, str], query_params: dict[str, Any], body: bytes = b"",
        internal: bool = False,
    ) -> Any:
        if method == "PUT" and not key and not query_params and not _may_be_made(bucket, headers):
            return s3._error("InvalidBucketName", "The specified bucket is not valid.", 400, f"/{bucket}")
        source = s3.url_unquote(headers.get(_SOURCE, "")).lstrip("/").partition("/")[0]
        for header, name in ((_EXPECTED, bucket), (_EXPECTED_SOURCE, source)):
            owner = s3._bucket_owner_account(name)
            if owner is not None and headers.get(header, owner) != owner:
                return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}/{key}" if key else f"/{bucket}")
        return original(method, bucket, key, headers, query_params, body, internal)

    return apply


def _may_be_made(bucket: str, headers: dict[str, str]) -> bool:
    from ministack.core.responses import get_account_id, get_region

    own = headers.get("x-amz-bucket-namespace") == "account-regional"
    return own == bucket.endswith("-an") and (not own or bucket.endswith(f"-{get_account_id()}-{get_region()}-an"))
