"""The sandbox's own signatures are botocore's."""

import time
from datetime import UTC, datetime

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sandbox.hosts.signing import Identity, signed_headers

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@pytest.mark.slow
@given(key=WORDS, secret=WORDS, token=st.just("") | WORDS, target=WORDS, body=st.binary(max_size=200),
       now=st.integers(0, 4_000_000_000))
def test_it_signs_as_botocore_does(key: str, secret: str, token: str, target: str, body: bytes, now: int) -> None:
    headers = {"Host": "127.0.0.1:4566", "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    theirs = AWSRequest("POST", "http://127.0.0.1:4566/", headers=headers, data=body)
    moment = datetime.fromtimestamp(now, UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: moment.replace(tzinfo=None))
        SigV4Auth(Credentials(key, secret, token or None), "ssm", "eu-west-1").add_auth(theirs)
    ours = signed_headers(Identity(key, secret, token), "ssm", "eu-west-1", headers, body, now)
    assert ours == dict(theirs.headers.items())


def test_without_a_time_it_is_now() -> None:
    before = time.time()
    stamp = signed_headers(Identity("k", "s"), "ssm", "eu-west-1", {"Host": "h"}, b"")["X-Amz-Date"]
    signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert int(before) <= signed <= time.time()
