"""Answers of AWS to `lamp check --aws` that the sandbox does not give: other accounts' buckets, classic balancers."""

from functools import partial
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from commands.deploy import account_names

HOME = "eu-west-1"
NAME = "old-1.eu-west-1.elb.amazonaws.com"


class Answering:
    """Clients that expect one call each and give one answer."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._stubs: list[Stubber] = []

    def expect(self, service: str) -> Stubber:
        made = self._clients[service] = boto3.client(
            service, region_name=HOME, aws_access_key_id="a", aws_secret_access_key="b")
        stub = Stubber(made)
        stub.activate()
        self._stubs.append(stub)
        return stub

    def client(self, service: str) -> Any:
        return self._clients[service]

    def findings(self, look_up: account_names.Lookup) -> list[str]:
        found = list(look_up(self.client))
        for stub in self._stubs:
            stub.assert_no_pending_responses()
        return found


@pytest.mark.parametrize(("status", "words"), [(403, "belongs to another account"), (404, "")])
def test_a_bucket_of_another_account_is_told_and_one_that_is_not_made_yet_is_none_of_ours(
    status: int, words: str
) -> None:
    aws = Answering()
    asked = {"Bucket": "marks", "ExpectedBucketOwner": "111122223333"}
    aws.expect("s3").add_client_error("head_bucket", str(status), "", status, expected_params=asked)
    found = aws.findings(partial(account_names._bucket, "marks", HOME, "111122223333"))
    assert words in " ".join(found) and len(found) == bool(words)


def test_a_bucket_that_s3_redirects_to_is_in_another_region() -> None:
    aws = Answering()
    aws.expect("s3").add_client_error(
        "head_bucket", "301", "", 301, response_meta={"HTTPHeaders": {"x-amz-bucket-region": "us-east-1"}})
    [line] = aws.findings(partial(account_names._bucket, "marks", HOME, "111122223333"))
    assert line.startswith("the bucket marks is in us-east-1. ")


@pytest.mark.parametrize(("zone", "words"), [("Z1", ""), ("Z2", "the hosted zone of old-1")])
def test_a_classic_load_balancer_is_found_among_its_own_kind(zone: str, words: str) -> None:
    aws = Answering()
    aws.expect("elbv2").add_response("describe_load_balancers", {"LoadBalancers": []})
    aws.expect("elb").add_response("describe_load_balancers", {"LoadBalancerDescriptions": [
        {"DNSName": NAME, "CanonicalHostedZoneNameID": "Z1"}]})
    found = aws.findings(partial(account_names._balancer, NAME, zone))
    assert words in " ".join(found) and len(found) == bool(words)


def test_a_target_group_that_aws_does_not_find() -> None:
    aws = Answering()
    aws.expect("elbv2").add_client_error("describe_target_groups", "TargetGroupNotFound", http_status_code=400)
    assert aws.findings(partial(account_names._target_group, "hosts")) == [
        "there is no target group hosts. Create it, or write the name of another one"]
