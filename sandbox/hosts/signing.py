"""Signature Version 4 of a POST to `/`, which is all that the AWS JSON protocol needs.

The steps are those of "Create a signed AWS API request" (IAM User Guide). Tests hold them against botocore's.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import NamedTuple

_ALGORITHM = "AWS4-HMAC-SHA256"


class Identity(NamedTuple):
    """The credentials of a caller. `token` is empty for a user's own ones."""

    key_id: str
    secret: str
    token: str = ""


def signed_headers(
    identity: Identity, service: str, region: str, headers: Mapping[str, str], body: bytes, now: float | None = None,
) -> dict[str, str]:
    """`headers`, the time of the request, the token and the signature of all of these and `body`.

    `headers` must have `Host`. `now` is epoch seconds, the clock's without it.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = {**headers, "X-Amz-Date": stamp} | ({"X-Amz-Security-Token": identity.token} if identity.token else {})
    signed = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
    names = ";".join(name for name, _ in signed)
    request = "\n".join(("POST", "/", "", *(f"{name}:{value}" for name, value in signed), "", names,
                         hashlib.sha256(body).hexdigest()))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{identity.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {**sent, "Authorization": f"{_ALGORITHM} Credential={identity.key_id}/{scope}, SignedHeaders={names}, "
                                     f"Signature={signature}"}
