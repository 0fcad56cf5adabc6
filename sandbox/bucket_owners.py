"""The owner that a call of S3 expects, which the emulator does not look at.

A call for a bucket of another account than `x-amz-expected-bucket-owner` is refused with 403 ("Verifying bucket
ownership with bucket owner condition", S3 user guide). The same holds for the source of a copy.
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
        source = s3.url_unquote(headers.get(_SOURCE, "")).lstrip("/").partition("/")[0]
        for header, name in ((_EXPECTED, bucket), (_EXPECTED_SOURCE, source)):
            owner = s3._bucket_owner_account(name)
            if owner is not None and headers.get(header, owner) != owner:
                return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}/{key}" if key else f"/{bucket}")
        return original(method, bucket, key, headers, query_params, body, internal)

    return apply
